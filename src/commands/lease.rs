//! Leader election for a command that writes: it leads while it holds the Lease of its settings.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Error, target_settings::TargetSettings};
use crate::{
    cli::{orders::OrderElectionSettings, values::LeaseName},
    clock::Clock,
    kubernetes::lease::{LeaseClient, LeaseRef, elector::Elector},
    reconcile::{
        election::Leadership,
        status::{Ability, ControllerStatus},
    },
    telemetry::metrics::Metrics,
};

impl From<LeaseName> for LeaseRef {
    fn from(LeaseName { namespace, name }: LeaseName) -> Self {
        Self { namespace, name }
    }
}

/// Who stands for election.
pub(super) struct Candidate<'a> {
    pub(super) instance: &'a str,
    /// The names of all targets in the settings.
    pub(super) targets: Vec<&'static str>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

/// Starts the leader election. Without a Lease, this process always leads.
pub(super) fn stand(
    leases: Option<LeaseClient>,
    duration: Duration,
    candidate: Candidate<'_>,
    controller_status: watch::Receiver<ControllerStatus>,
) -> (watch::Receiver<Leadership>, Lease) {
    let over = CancellationToken::new();
    let Some(leases) = leases else {
        return (watch::channel(Leadership::Alone).1, Lease { over, task: None, holder: None });
    };
    let Candidate { instance, targets, clock, metrics } = candidate;
    let (elector, leadership) =
        Elector::new(leases, instance.to_owned(), targets, duration, clock, controller_status, metrics);
    let holder = Some(elector.holder());
    let task = tokio::spawn(elector.run(over.clone().cancelled_owned()));
    (leadership, Lease { over, task: Some(AbortOnDropHandle::new(task)), holder })
}

/// A process that does not lead for the duration of a Lease and this time has a rival.
const LEADS_WITHIN: Duration = Duration::from_secs(5);

/// Refuses to write without the Lease of the controller if the registry compares terms. That of a process without a
/// Lease is newer than the terms of each Lease that was created before.
pub(super) fn check(target: &TargetSettings, election: &OrderElectionSettings) -> Result<(), Error> {
    if election.lease.is_some() || !target.names_terms() {
        return Ok(());
    }
    let why = "refuses writers with an older term; name the Lease of the controller with --lease, also while the controller \
        is stopped. If it runs without one, create one from deploy/lease.yaml for this command";
    Err(Error::Unfit { name: target.name.to_owned(), why })
}

/// Runs `work` while this process leads, for commands that end. Gives up if another process keeps the Lease.
pub(super) async fn while_leading<T>(
    leases: Option<LeaseClient>,
    election: &OrderElectionSettings,
    candidate: Candidate<'_>,
    work: impl AsyncFnOnce(watch::Receiver<Leadership>) -> Result<T, Error>,
) -> Result<T, Error> {
    let clock = candidate.clock;
    // It holds the Lease whatever the registry does.
    let able = ControllerStatus { ability: Ability::Able, ..ControllerStatus::default() };
    let (_status, always_able) = watch::channel(able);
    let (mut leadership, mut lease) = stand(leases, election.lease_duration, candidate, always_able);
    let leading = async {
        let leads = leadership.wait_for(|leadership| leadership.term(clock.now()).is_some());
        let leads = tokio::time::timeout(election.lease_duration + LEADS_WITHIN, leads).await.map(drop);
        if let (Err(_), Some(LeaseName { namespace, name })) = (leads, &election.lease) {
            return Err(Error::Led { lease: format!("{namespace}/{name}") });
        }
        work(leadership).await
    };
    let result = tokio::select! {
        result = leading => result,
        error = lease.ended() => return Err(error),
    };
    lease.release().await;
    result
}

/// The task of the leader election, if there is a Lease. It outlives the event loop, because the Lease may be released
/// only after the last write.
pub(super) struct Lease {
    over: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
    holder: Option<watch::Receiver<String>>,
}

impl Lease {
    /// The holder of the Lease, for people. None without a Lease.
    pub(super) fn holder(&self) -> Option<watch::Receiver<String>> {
        self.holder.clone()
    }

    /// Waits until the task ends, which is a defect unless `over` is cancelled.
    pub(super) async fn ended(&mut self) -> Error {
        match &mut self.task {
            None => std::future::pending().await,
            Some(task) => match task.await {
                Ok(()) => Error::TaskEnded("lease"),
                Err(source) => Error::TaskFailed { name: "lease", source },
            },
        }
    }

    /// Releases the Lease if this process holds it, and waits until that is done.
    pub(super) async fn release(mut self) {
        self.over.cancel();
        if self.task.is_some() {
            let Error::TaskFailed { source, .. } = self.ended().await else { return };
            tracing::warn!(%source, "lease not released; it expires");
        }
    }
}
