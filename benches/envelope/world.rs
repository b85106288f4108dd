//! Everything around the controller that is measured, and whether the registry tells the truth about it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    cluster::StandIn,
    error::Result,
    options::Options,
    process::Reaper,
    recorder::{Recorder, Running},
    registry::Registry,
    subject::{Kind, Place, Subject},
    truth::Truth,
};

/// How often it is looked whether all is as it should be.
const LOOK: Duration = Duration::from_millis(500);

/// A cluster, and folders for what is written.
pub(crate) struct World {
    pub(crate) cluster: StandIn,
    pub(crate) reaper: Reaper,
    /// For logs.
    pub(crate) logs: PathBuf,
    /// For databases: in memory where that can be had, so that no disk is measured.
    pub(crate) scratch: PathBuf,
    /// The executable that serves the registry.
    pub(crate) binary: PathBuf,
    /// Whether there is none.
    pub(crate) taker: bool,
}

/// A registry with the recorder before it, or the recorder alone.
pub(crate) struct Target {
    pub(crate) registry: Option<Registry>,
    pub(crate) recorder: Recorder,
    _running: Running,
}

impl World {
    /// A world of so many pods.
    pub(crate) async fn start(
        pods: u32,
        options: &Options,
        logs: &Path,
        scratch: &Path,
        reaper: &Reaper,
    ) -> Result<Self> {
        let mut arguments = vec![format!("--pods={pods}"), format!("--seed={}", options.seed)];
        arguments.extend(options.pod_kb.map(|kilobytes| format!("--pod-kb={kilobytes}")));
        let cluster = StandIn::start(&arguments, logs, reaper).await?;
        let (logs, scratch, binary) = (logs.to_owned(), scratch.to_owned(), options.binary.clone());
        Ok(Self { cluster, reaper: reaper.clone(), logs, scratch, binary, taker: options.taker })
    }

    /// Somebody to tell of pods: a registry for ours, somebody who counts for the others.
    pub(crate) async fn target(&self, kind: &Kind) -> Result<Target> {
        let registry = if kind.is_ours() && !self.taker {
            Some(Registry::start(&self.binary, &self.scratch, &self.logs, &self.reaper).await?)
        } else {
            None
        };
        let (recorder, running) = Recorder::start(registry.as_ref().map(|registry| registry.address)).await?;
        Ok(Target { registry, recorder, _running: running })
    }

    /// Starts a controller that tells a target.
    pub(crate) async fn subject(&self, kind: &Kind, target: &Target) -> Result<Subject> {
        let registry = target.recorder.url();
        let place = Place {
            kubeconfig: &self.cluster.kubeconfig,
            registry: &registry,
            folder: &self.logs,
            reaper: &self.reaper,
        };
        Subject::start(kind, &place).await
    }

    /// How what is registered differs from what is there.
    pub(crate) async fn truth(&self, target: &Target) -> Result<Truth> {
        let pods = self.cluster.pods().await?;
        Ok(match &target.registry {
            Some(registry) => {
                let held = registry.held().await?;
                Truth::of(&pods, held.iter().map(|(uid, held)| (*uid, Some(held.version))))
            }
            None => Truth::of(&pods, target.recorder.live().into_iter().map(|uid| (uid, None))),
        })
    }

    /// Waits until the registry tells the truth, or nothing has been written for a while. What is then still wrong is the
    /// result.
    pub(crate) async fn settle(
        &self,
        subject: &mut Subject,
        target: &Target,
        quiet: Duration,
        within: Duration,
    ) -> Result<Truth> {
        let begun = Instant::now();
        let mut written = (target.recorder.counts().puts, target.recorder.counts().deletes);
        let mut since = Instant::now();
        loop {
            subject.process.check()?;
            sleep(LOOK).await;
            let now = (target.recorder.counts().puts, target.recorder.counts().deletes);
            if now != written {
                (written, since) = (now, Instant::now());
            }
            let churning = self.cluster.stats().await?.churning;
            let still = !churning && since.elapsed() >= LOOK;
            if still {
                let truth = self.truth(target).await?;
                if truth.holds() || since.elapsed() > quiet {
                    return Ok(truth);
                }
            }
            if begun.elapsed() > within {
                return self.truth(target).await;
            }
        }
    }
}
