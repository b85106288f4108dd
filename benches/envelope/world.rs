//! The API server and the registry around a controller, and whether they agree.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::StandIn,
    error::Result,
    inventory::Inventory,
    options::Options,
    recorder::{Behind, Recorder},
    registry::Registry,
    subject::{Kind, Subject},
    truth::Truth,
};

/// Interval of comparisons of the registry with the cluster.
const INTERVAL: Duration = Duration::from_millis(500);

/// Folders, and how registries are made.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) logs: PathBuf,
    /// For databases: in memory if possible, so that no disk is measured.
    pub(crate) scratch: PathBuf,
    /// The executable of the registry.
    pub(crate) binary: PathBuf,
    /// Whether a sink takes the registry's place.
    pub(crate) sink: bool,
}

pub(crate) struct World {
    pub(crate) cluster: StandIn,
    pub(crate) places: Places,
}

/// A registry behind a recorder, or a recorder alone.
pub(crate) struct Target {
    pub(crate) registry: Option<Registry>,
    pub(crate) recorder: Recorder,
    _running: AbortOnDropHandle<Result<()>>,
}

impl Target {
    pub(crate) async fn of(kind: &Kind, places: &Places) -> Result<Self> {
        let Places { logs, scratch, binary, sink } = places;
        let registry = match kind {
            Kind::Ours { .. } if !sink => Some(Registry::start(binary, scratch, logs).await?),
            _ => None,
        };
        let behind = match (&registry, kind) {
            (Some(registry), _) => Behind::Registry(registry.address),
            (None, Kind::Described { .. }) => Behind::Inventory(Inventory::default()),
            (None, _) => Behind::Sink,
        };
        let (recorder, running) = Recorder::start(behind).await?;
        Ok(Self { registry, recorder, _running: running })
    }

    /// Compares the registered pods with the living ones.
    pub(crate) async fn truth(&self, living: &HashMap<u128, u64>) -> Result<Truth> {
        let truth = match &self.registry {
            Some(registry) => Truth::of(living, registry.held().await?.into_iter().map(|(uid, at)| (uid, Some(at)))),
            None => Truth::of(living, self.recorder.live().into_iter().map(|uid| (uid, None))),
        };
        Ok(Truth { twice: self.recorder.counts().twice, ..truth })
    }
}

impl World {
    pub(crate) async fn start(pods: u32, options: &Options, places: &Places) -> Result<Self> {
        let mut arguments = vec![format!("--pods={pods}"), format!("--seed={}", options.seed)];
        arguments.extend(options.pod_kb.map(|kilobytes| format!("--pod-kb={kilobytes}")));
        Ok(Self { cluster: StandIn::start(&arguments, &places.logs).await?, places: places.clone() })
    }

    /// Starts a controller.
    pub(crate) async fn subject(&self, kind: &Kind, target: &Target) -> Result<Subject> {
        Subject::start(kind, &self.cluster.kubeconfig, &target.recorder.url(), &self.places.logs).await
    }

    async fn truth(&self, target: &Target) -> Result<Truth> {
        target.truth(&self.cluster.pods().await?).await
    }

    /// Waits until the registry equals the cluster, or nothing has been written for a while.
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
            sleep(INTERVAL).await;
            let now = (target.recorder.counts().puts, target.recorder.counts().deletes);
            if now != written {
                (written, since) = (now, Instant::now());
            }
            let churning = self.cluster.stats().await?.churning;
            if !churning && since.elapsed() >= INTERVAL {
                let truth = self.truth(target).await?;
                if truth.is_equal() || since.elapsed() > quiet {
                    return Ok(truth);
                }
            }
            if begun.elapsed() > within {
                return self.truth(target).await;
            }
        }
    }
}
