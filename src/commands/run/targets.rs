//! The targets of a running controller: one event loop each, over the same pods.
//!
//! A target's own failure ends or delays no other target. If its session belongs to another cluster, its loop ends and
//! the others go on; every other end of a loop ends the process.

use std::sync::{Arc, OnceLock};

use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::pod_page::AT_ONCE;
use crate::{
    commands::target_settings::TargetSettings,
    controller::{self, event_loop::EventLoop, explain::Question, options::Inputs},
    mapping::{
        guarantees::{GuaranteeLevel, guarantees},
        target::Target,
    },
    model::ids::DEFAULT_TARGET,
    reconcile::{activity::Activity, status::ControllerStatus},
    registry::Registry,
    telemetry::{
        health::LoopHealth,
        metrics::{Metrics, target::TargetMetrics},
    },
};

/// A target, and what is shown of it. Cheap to clone.
#[derive(Clone)]
pub(in crate::commands) struct RunningTarget {
    pub(in crate::commands) settings: Arc<TargetSettings>,
    pub(in crate::commands) metrics: TargetMetrics,
    pub(in crate::commands) status: watch::Sender<ControllerStatus>,
    pub(super) activity: watch::Sender<Activity>,
    /// Why its loop ended while the process went on.
    pub(in crate::commands) stopped: Arc<OnceLock<String>>,
    /// Questions for its loop.
    pub(super) questions: mpsc::Sender<Question>,
}

impl RunningTarget {
    /// Returns the receiver of questions for its loop, too.
    pub(super) fn new(settings: TargetSettings, metrics: &Metrics) -> (Self, mpsc::Receiver<Question>) {
        let metrics = metrics.target(settings.name);
        let (status, _) = watch::channel(ControllerStatus::default());
        let (questions, receiver) = mpsc::channel(AT_ONCE);
        let activity = watch::Sender::default();
        (Self { settings: Arc::new(settings), metrics, status, activity, stopped: Arc::default(), questions }, receiver)
    }

    /// The status while the loop runs.
    pub(super) fn shown(&self) -> Option<ControllerStatus> {
        self.stopped.get().is_none().then(|| self.status.borrow().clone())
    }

    /// Logs which guarantees hold for a registry that a file describes. `targets check` says why.
    pub(super) fn log_guarantees(&self, target: &Target) {
        let all = guarantees(target);
        let [_, downtime, ..] = &all;
        let levels = all.each_ref().map(|guarantee| guarantee.level.name());
        let [
            foreign_records_kept,
            deleted_during_downtime,
            restart_writes_differences,
            drift_repaired,
            late_writes_refused,
        ] = levels;
        self.span().in_scope(|| {
            tracing::info!(
                foreign_records_kept,
                deleted_during_downtime,
                restart_writes_differences,
                drift_repaired,
                late_writes_refused,
                "registry described by a file; these guarantees hold"
            );
            if downtime.level == GuaranteeLevel::None {
                tracing::warn!(
                    because = downtime.because,
                    "the record of a pod that is deleted while no process runs stays in the registry; see the field because"
                );
            }
        });
    }

    /// Logs where the memory has to be. Nothing shows whether other replicas have the same folder.
    pub(super) fn log_memory(&self, path: &str, has_lease: bool) {
        let follows_leader = match has_lease {
            true => "only if every replica mounts its folder from one ReadWriteMany volume; otherwise run one replica",
            false => "there is no other leader; keep its folder on a volume that outlives the pod",
        };
        self.span().in_scope(|| tracing::info!(path, follows_leader, "records are remembered in a file"));
    }

    /// A span that names the target in the log. The only target of a process needs none.
    fn span(&self) -> tracing::Span {
        match self.settings.name {
            DEFAULT_TARGET => tracing::Span::none(),
            name => tracing::info_span!("registry", target = name),
        }
    }
}

/// The event loops of all targets.
#[derive(Default)]
pub(super) struct EventLoops {
    set: JoinSet<Result<(), controller::error::Error>>,
    running: Vec<(Id, RunningTarget, LoopHealth)>,
}

impl EventLoops {
    pub(super) fn start<R: Registry>(
        &mut self,
        target: &RunningTarget,
        health: LoopHealth,
        event_loop: EventLoop<R>,
        inputs: Inputs,
        stop: CancellationToken,
    ) {
        let run = async move { event_loop.run(inputs, stop.cancelled()).await };
        let handle = self.set.spawn(run.instrument(target.span()));
        self.running.push((handle.id(), target.clone(), health));
    }

    /// Waits until all loops have stopped, or until one ends for a reason that concerns the whole process.
    pub(super) async fn ended(&mut self) -> Result<(), LoopEnd> {
        while let Some(ended) = self.set.join_next_with_id().await {
            match ended {
                Ok((id, Ok(()))) => self.running.retain(|(running, ..)| *running != id),
                Ok((id, Err(error))) if error.is_of_target() && self.running.len() > 1 => self.stopped(id, &error),
                Ok((_, Err(error))) => return Err(LoopEnd::Error(error)),
                Err(error) => return Err(LoopEnd::Failed(error)),
            }
        }
        Ok(())
    }

    /// The other targets go on without this one.
    fn stopped(&mut self, id: Id, error: &controller::error::Error) {
        let Some(at) = self.running.iter().position(|(running, ..)| *running == id) else { return };
        let (_, target, health) = self.running.swap_remove(at);
        // It ends once, so this cannot fail.
        let _ = target.stopped.set(error.to_string());
        health.ended();
        target.status.send_replace(ControllerStatus::default());
        target.activity.send_replace(Activity::default());
        tracing::error!(
            name = target.settings.name,
            %error,
            "a target stopped; the others go on. Fix it as the field error says, and restart"
        );
    }

    /// Aborts the loops that still run, and waits until they have ended.
    pub(super) async fn abort(&mut self) {
        self.set.shutdown().await;
    }
}

/// Why the event loops cannot go on.
pub(super) enum LoopEnd {
    Error(controller::error::Error),
    Failed(JoinError),
}
