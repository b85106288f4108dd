//! `pod-registrar purge`: deletes all records of one target that have our owner mark.
//!
//! The records are shown first: those that the registry lists, or else those in the memory of the target. Then the
//! event loop of the controller runs over a cluster that has no pods, so that the deletions pass the same absence
//! guard, at the same bounded rate, as after a loss of all pods. What an operator approves otherwise, the answer to the
//! question approves here, unless there are more records than were shown. Each record is looked up again before it is
//! deleted.

mod empty_cluster;
mod progress;
mod records;
mod report;

use std::{pin::pin, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::{
    empty_cluster::EmptyCluster,
    progress::Progress,
    records::{RecordToPurge, RecordsToPurge},
    report::PurgeReport,
};
use super::{
    DONE, Error, FAILED, REFUSED, informers, instance,
    lease::{self, Candidate},
    owner,
    question::Consent,
    registry_reader::Registries,
    report::print,
    target_settings::{self, TargetConnection, TargetKind, TargetSettings},
};
use crate::{
    cli::{
        orders::{OrderElectionSettings, PurgeSettings},
        targets::OwnerSettings,
    },
    clock::Clock,
    controller::{
        event_loop::EventLoop,
        options::{Approver, BACKLOG_WINDOW, ControllerOptions, Inputs, Outputs, VISITS_PER_TURN},
    },
    kubernetes::{client::ClusterConnection, identity, kubeconfig::Environment, lease::LeaseClient},
    model::ids::RecordOwner,
    reconcile::{absence::ScopeChangePolicy, election::Leadership, status::ControllerStatus},
    registry::{Registry, mapped::deletion_log::DeletionLog},
    store::{StoreWriter, View},
    telemetry::{health::Health, metrics::Metrics},
};

/// Time limit after a signal, as for the controller.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Questions that wait: nobody asks any.
const WAITING: usize = 4;
/// How often the registry is read again while deletions are refused.
const RESYNC_INTERVAL: Duration = Duration::from_secs(300);
/// What this process selects, instead of a hash of settings.
const SCOPE: &str = "no pod";

pub(super) async fn run(
    settings: PurgeSettings,
    environment: Environment,
    stop: CancellationToken,
) -> Result<u8, Error> {
    let targets = TargetSettings::of(settings.registry.clone())?;
    let names: Vec<&'static str> = targets.iter().map(|target| target.name).collect();
    let target = target_settings::choose(targets, settings.name.as_deref())?;
    let registries = Registries::load(settings.registry.connection.clone())?;
    // A cluster that is gone has records, too.
    let needs_cluster = settings.owner.cluster_id.is_none() || settings.election.lease.is_some();
    // No controller is left that its registry could refuse.
    if needs_cluster {
        lease::check(&target, &settings.election)?;
    }
    let cluster = needs_cluster.then(|| informers::cluster(settings.cluster.clone(), environment)).transpose()?;
    let reading = async {
        let (owner, cluster_uid) = identify(settings.owner.clone(), cluster.as_ref()).await?;
        let shown = records::read(&registries, &target, &owner).await?;
        Ok::<_, Error>((owner, cluster_uid, shown.records))
    };
    let (owner, cluster_uid, shown) = stop.run_until_cancelled(reading).await.unwrap_or(Err(Error::Stopped))?;
    let mut report = PurgeReport::new(target.name, &owner, shown, settings.election.lease.is_some());
    let format = settings.output.output;
    let consent = Consent { yes: settings.yes, format, stop: stop.clone() };
    let shown = report.shown.len();
    if shown == 0 || !consent.is_given("delete them", shown, report.lines()).await? {
        let code = if shown == 0 { DONE } else { REFUSED };
        print(format, || report.lines(), || report.json()).await?;
        return Ok(code);
    }
    let purge = Purge::new(target, owner, cluster_uid, shown, settings.election.instance.as_deref());
    purge.run(&settings.election, names, cluster.as_ref(), &stop).await?;
    // If that fails, it is the only account of them.
    tracing::info!(records = purge.log.count(), "deletions ended; reading the records again");
    report.ended(purge.left(&registries, &stop).await?, purge.log());
    print(format, || report.lines(), || report.json()).await?;
    Ok(if report.is_done() { DONE } else { FAILED })
}

/// The owner of the records, and the UID of the cluster if it can be read.
async fn identify(
    settings: OwnerSettings,
    cluster: Option<&ClusterConnection>,
) -> Result<(RecordOwner, Option<String>), Error> {
    let Some(cluster) = cluster else { return Ok((owner::made_up(settings, ""), None)) };
    let client = cluster.client();
    let owner = owner::of_cluster(settings, &client).await?;
    Ok((owner, identity::read(&client).await.ok()))
}

/// The deletion of all records of one target.
struct Purge {
    target: TargetSettings,
    owner: RecordOwner,
    cluster_uid: Option<String>,
    /// The number of records that were shown.
    shown: usize,
    instance: String,
    clock: Clock,
    health: Health,
    metrics: Metrics,
    log: DeletionLog,
}

impl Purge {
    fn new(
        target: TargetSettings,
        owner: RecordOwner,
        cluster_uid: Option<String>,
        shown: usize,
        instance: Option<&str>,
    ) -> Self {
        let (instance, clock, health) = (instance::name(instance), Clock::start(), Health::new(1));
        let metrics = Metrics::new(health.clone());
        Self { target, owner, cluster_uid, shown, instance, clock, health, metrics, log: DeletionLog::default() }
    }

    /// What was deleted. None for a registry that deletes only records of the owner who asks.
    fn log(&self) -> Option<&DeletionLog> {
        matches!(self.target.kind, TargetKind::Mapped(_)).then_some(&self.log)
    }

    /// The records that are left. A list that lags may still show what was deleted, so it is read again later.
    async fn left(&self, registries: &Registries, stop: &CancellationToken) -> Result<Vec<RecordToPurge>, Error> {
        let RecordsToPurge { records, lag } = records::read(registries, &self.target, &self.owner).await?;
        let may_be_gone = records.iter().any(|record| self.log.has(&record.key));
        if !may_be_gone || stop.run_until_cancelled(tokio::time::sleep(lag)).await.is_none() {
            return Ok(records);
        }
        Ok(records::read(registries, &self.target, &self.owner).await?.records)
    }

    /// Deletes the records while this process leads. Ends when none is left, or none that the registry lets be deleted,
    /// or after a signal.
    async fn run(
        &self,
        election: &OrderElectionSettings,
        targets: Vec<&'static str>,
        cluster: Option<&ClusterConnection>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let leases = election.lease.clone().zip(cluster);
        let leases = leases.map(|(lease, cluster)| LeaseClient::new(cluster.client(), lease.into()));
        let metrics = self.metrics.clone();
        let candidate = Candidate { instance: &self.instance, targets, clock: self.clock, metrics };
        lease::while_leading(leases, election, candidate, async |leadership| {
            match self.target.connect(&self.owner, None)? {
                TargetConnection::V1(registry) => self.delete(*registry, leadership, stop).await,
                TargetConnection::Mapped(registry) => {
                    self.delete(registry.with_deletion_log(&self.log), leadership, stop).await
                }
            }
        })
        .await
    }

    async fn delete<R: Registry>(
        &self,
        registry: R,
        leadership: watch::Receiver<Leadership>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (pod_event, pod_events) = mpsc::channel(WAITING);
        let (check, checks) = mpsc::channel(WAITING);
        let (check_result, check_results) = mpsc::channel(WAITING);
        let (approval, approvals) = mpsc::channel(WAITING);
        let (_question, questions) = mpsc::channel(WAITING);
        let (relist, relists) = watch::channel(0);
        let (controller_status, status) = watch::channel(ControllerStatus::default());
        let metrics = self.metrics.target(self.target.name);
        let health = self.health.add_loop();
        let activity = watch::Sender::default();
        let (receipts, traces, of_target) = (None, None, metrics.clone());
        let outputs = Outputs {
            checks: check,
            relist,
            controller_status,
            activity,
            receipts,
            traces,
            metrics: of_target,
            health,
        };
        let inputs = Inputs { pod_events, check_results, leadership, approvals, questions };
        let view = View::new([StoreWriter::default().store()]);
        let event_loop = EventLoop::new(registry, view, self.options(), self.clock, outputs);
        let cluster =
            EmptyCluster { clock: self.clock, health: self.health.clone(), pod_event, relists, checks, check_result };
        let progress = Progress { status, metrics, approval, log: self.log.clone(), shown: self.shown };
        let over = CancellationToken::new();
        let mut work = pin!(event_loop.run(inputs, over.cancelled()));
        let result = tokio::select! {
            result = &mut work => return Ok(result?),
            () = cluster.run() => Err(Error::TaskEnded("empty cluster")),
            result = progress.run() => result,
            // What is left is shown.
            () = stop.cancelled() => Ok(()),
        };
        over.cancel();
        work.await?;
        result
    }

    fn options(&self) -> ControllerOptions {
        ControllerOptions {
            target: self.target.name,
            request_timeout: self.target.request_timeout,
            max_in_flight: self.target.max_in_flight,
            max_writes_per_second: self.target.max_writes_per_second,
            backlog_window: BACKLOG_WINDOW,
            visits_per_turn: VISITS_PER_TURN,
            resync_interval: RESYNC_INTERVAL,
            instance: self.instance.clone(),
            is_previous_process: instance::is_previous_process,
            cluster_name: self.owner.cluster_name.clone(),
            cluster_uid: self.cluster_uid.clone(),
            replaces_cluster_uid: None,
            scope: SCOPE.to_owned(),
            namespaces: Vec::new(),
            stop_within: STOP_WITHIN,
            on_scope_change: ScopeChangePolicy::Hold,
            approver: Approver::Command,
            start_epoch: instance::started_at(),
            seed: fastrand::u64(..),
        }
    }
}
