//! `pod-registrar run`: the controller. It puts together the informers, the event loop of each target, the Lease and
//! the admin pages.

mod export;
mod fan_out;
mod pod_page;
mod receipts;
mod recording;
mod status;
pub(super) mod targets;

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    informers::{self, InformerParts, Watching},
    instance,
    lease::{self, Candidate},
    owner,
    target_settings::{TargetConnection, TargetSettings},
    tasks::Tasks,
};
use crate::{
    admin::{self, Pages},
    cli::flags::{ElectionSettings, HoldSettings, IdentitySettings, RecordSettings, RunSettings},
    clock::Clock,
    controller::{
        self,
        event_loop::EventLoop,
        explain::Question,
        options::{Approver, BACKLOG_WINDOW, ControllerOptions, Inputs, Outputs, VISITS_PER_TURN},
    },
    kubernetes::{
        self,
        client::{ClusterConnection, PodSelection},
        kubeconfig::Environment,
        lease::{LeaseClient, approvals::Approvals},
    },
    listen,
    model::ids::RecordOwner,
    reconcile::{
        absence::{
            ScopeChangePolicy,
            check::{Check, CheckResult},
            hold::HoldId,
        },
        fault_log::Reminder,
        receipts::ReceiptKinds,
        retry,
        status::ControllerStatus,
    },
    telemetry::{health::Health, log_export::LogLines, metrics::Metrics},
};
use export::{Export, Exporting};
use pod_page::PodPages;
use receipts::{ReceiptSurroundings, Receipts};
use recording::Recording;
use status::{Begun, StatusPage};
use targets::{EventLoops, LoopEnd, RunningTarget};

/// The least and the longest delay between attempts to read the cluster's identity.
const IDENTITY_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Time limit after a signal for requests in flight and the end of the session. A pod has 30 s.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// The same limit with a Lease, because a standby waits to take over. A request without an answer by then leaves its
/// records uncertain; the next session fences it.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(1_500);
/// Interval at which the process reports that it is alive, before its event loop does.
const TURN: Duration = Duration::from_secs(1);
/// Checks of absent pods that wait for their turn.
const CHECKS_WAITING: usize = 4;

/// `lines` are those of the log, if they are sent to a collector.
pub(super) async fn run(
    settings: RunSettings,
    environment: Environment,
    lines: Option<LogLines>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let cluster = informers::cluster(settings.cluster.clone(), environment)?;
    let admin = listen(settings.admin_addr, "choose another address with --admin-addr")?;
    let address = admin.local_addr().map_err(Error::Start)?;
    let mut controller = Controller::new(cluster, settings)?;
    controller.export.lines = lines;
    tracing::info!(%address, "health and metrics are served");
    controller.run(admin, stop).await
}

/// Binds an address. The error says how to fix it.
pub(super) fn listen(address: SocketAddr, fix: &'static str) -> Result<TcpListener, Error> {
    let listener = listen::bind(address).map_err(|source| Error::Listen { address, source, fix })?;
    TcpListener::from_std(listener).map_err(Error::Start)
}

/// The cluster, and the settings of its controller.
pub(super) struct Controller {
    cluster: ClusterConnection,
    scope: PodSelection,
    record: RecordSettings,
    targets: Vec<TargetSettings>,
    identity: IdentitySettings,
    election: ElectionSettings,
    holds: HoldSettings,
    receipts: ReceiptKinds,
    resync_interval: Duration,
    relist_interval: Duration,
    /// Where the exchanges with registries are recorded.
    exchanges: Option<PathBuf>,
    export: Export,
}

struct Shared {
    clock: Clock,
    metrics: Metrics,
    health: Health,
    instance: String,
    targets: Vec<RunningTarget>,
    /// Of each target.
    questions: Vec<mpsc::Receiver<Question>>,
    pod_pages: PodPages,
    status: StatusPage,
    exporting: Exporting,
}

/// Who this process is to all its targets.
struct ProcessIdentity {
    owner: RecordOwner,
    /// The UID of the `kube-system` namespace, if it could be read.
    cluster_uid: Option<String>,
    instance: String,
}

impl Controller {
    /// Reads the targets file, if there is one.
    pub(super) fn new(cluster: ClusterConnection, settings: RunSettings) -> Result<Self, Error> {
        let targets = TargetSettings::of(settings.registry.clone())?;
        Ok(Self::with_targets(cluster, settings, targets))
    }

    /// The same with these targets, whatever registries the settings name.
    pub(super) fn with_targets(
        cluster: ClusterConnection,
        settings: RunSettings,
        targets: Vec<TargetSettings>,
    ) -> Self {
        let RunSettings {
            cluster: _,
            scope,
            record,
            registry: _,
            identity,
            election,
            holds,
            receipts,
            admin_addr: _,
            resync_interval,
            relist_interval,
            exchanges,
            export,
            log: _,
        } = settings;
        let (scope, export) = (informers::scope(scope), Export::new(export));
        let receipts = receipts.receipts.into_iter().flatten().collect();
        Self {
            cluster,
            scope,
            record,
            targets,
            identity,
            election,
            holds,
            receipts,
            resync_interval,
            relist_interval,
            exchanges,
            export,
        }
    }

    /// Keeps the registry equal to the cluster until `stop` is cancelled. Serves the admin pages on `admin`.
    pub(super) async fn run(mut self, admin: TcpListener, stop: CancellationToken) -> Result<(), Error> {
        let watches = informers::watches(&self.scope);
        let health = Health::new(watches);
        let metrics = Metrics::new(health.clone());
        let (targets, questions): (Vec<_>, Vec<_>) =
            self.targets.iter().map(|target| RunningTarget::new(target.clone(), &metrics)).unzip();
        let instance = instance::name(self.election.instance.as_deref());
        let approvals = self.holds.approval_lease.clone();
        let status = StatusPage::new(metrics.clone(), health.clone(), targets.clone(), &instance, approvals);
        let mut tasks = Tasks::default();
        let (page, pod_pages) = (status.clone(), PodPages::new(targets.clone()));
        let asked = pod_pages.clone();
        let pages = Pages {
            health: health.clone(),
            metrics: metrics.clone(),
            status: Box::new(move || page.page()),
            pod: Box::new(move |namespace, name| Box::pin(asked.clone().page(namespace, name))),
        };
        tasks.spawn("admin", async move {
            admin::serve(admin, pages, std::future::pending()).await;
            Ok(())
        });
        let result = tokio::select! {
            error = tasks.first_end() => Err(error),
            never = report_alive(&health) => match never {},
            identity = self.identity(&stop) => match identity? {
                None => Ok(()),
                Some((owner, uid)) => {
                    let clock = Clock::start();
                    let names = (&owner, uid.as_deref(), &*instance);
                    let export = std::mem::take(&mut self.export);
                    let exporting = export.start(names, clock, &metrics, &mut tasks)?;
                    let shared = Shared {
                        clock,
                        metrics,
                        health,
                        instance,
                        targets,
                        questions,
                        pod_pages,
                        status,
                        exporting,
                    };
                    self.control(owner, uid, shared, &mut tasks, stop).await
                }
            },
        };
        tasks.end().await;
        result
    }

    /// Reads the cluster's UID, however long it takes, and makes the owner of records. None if `stop` is cancelled.
    async fn identity(&self, stop: &CancellationToken) -> Result<Option<(RecordOwner, Option<String>)>, Error> {
        let client = self.cluster.client();
        let (clock, mut reminder) = (Clock::start(), Reminder::default());
        let (mut failures, mut rng) = (0_u32, fastrand::Rng::new());
        let uid = loop {
            let read = tokio::select! {
                read = kubernetes::identity::read(&client) => read,
                () = stop.cancelled() => return Ok(None),
            };
            let error = match read {
                Ok(uid) => break Some(uid),
                // Without the right to read the namespace kube-system, --cluster-id identifies the cluster.
                Err(error @ kubernetes::identity::Error::Read { is_refused: true, .. })
                    if self.identity.names.cluster_id.is_some() =>
                {
                    tracing::warn!(%error, "no right to read the cluster's identity; using --cluster-id");
                    break None;
                }
                Err(error) => error,
            };
            failures = failures.saturating_add(1);
            let delay = retry::backoff(IDENTITY_RETRY.0, IDENTITY_RETRY.1, failures, rng.u64(..));
            let is_refused = matches!(error, kubernetes::identity::Error::Read { is_refused: true, .. });
            let is_due = reminder.is_due(clock.now());
            if is_due && is_refused && reminder.is_repeated() {
                tracing::error!(
                    %error,
                    failures,
                    "the right to read the cluster's identity is still missing; retrying. Grant it as the field error says"
                );
            } else if is_due {
                tracing::warn!(%error, failures, "cluster identity not read; retrying");
            } else {
                tracing::debug!(%error, failures, "cluster identity not read; retrying");
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return Ok(None),
            }
        };
        let record_owner = owner::made_up(self.identity.names.clone(), uid.as_deref().unwrap_or_default());
        let RecordOwner { cluster_id, cluster_name, owner } = &record_owner;
        tracing::info!(cluster_id, cluster_name, owner, "cluster identified");
        Ok(Some((record_owner, uid)))
    }

    async fn control(
        &self,
        owner: RecordOwner,
        uid: Option<String>,
        shared: Shared,
        tasks: &mut Tasks,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let Shared { clock, metrics, health, instance, targets, questions, pod_pages, status, exporting } = shared;
        let mut recording = Recording::new(self.exchanges.clone());
        let connected =
            targets.iter().map(|target| target.settings.connect(&owner, recording.log(target.settings.name)));
        let registries = connected.collect::<Result<Vec<TargetConnection>, Error>>()?;
        let statuses = fan_out::status(&targets, tasks);
        let names = self.targets.iter().map(|target| target.name).collect();
        let candidate = Candidate { instance: &instance, targets: names, clock, metrics: metrics.clone() };
        let leases = self.election.lease.clone().map(|lease| LeaseClient::new(self.cluster.client(), lease.into()));
        let (leadership, mut lease) = lease::stand(leases, self.election.lease_duration, candidate, statuses.clone());
        let leader = self.election.lease.clone().zip(lease.holder());
        status.begun(Begun { owner: owner.clone(), clock, leader });
        let receipts = Receipts::new(self.receipts);
        let sink = receipts.as_ref().map(|receipts| receipts.sink.clone());
        let parts = InformerParts {
            scope: self.scope.clone(),
            rule: owner::rule(&owner, &self.record),
            relist_interval: self.relist_interval,
            clock,
            metrics: metrics.clone(),
            health: health.clone(),
            receipts: receipts.as_ref().map(|receipts| receipts.board.clone()),
        };
        let Watching { view, pod_events, relist } = informers::start(&self.cluster, parts, tasks);
        pod_pages.watching(&view);
        if let Some(receipts) = receipts {
            let surroundings = ReceiptSurroundings {
                client: self.cluster.client(),
                scope: &self.scope,
                targets: &targets,
                instance: instance.clone(),
                view: view.clone(),
                leadership: leadership.clone(),
                clock,
                metrics,
            };
            receipts.start(surroundings, tasks);
        }
        let pod_events = fan_out::pod_events(pod_events, targets.len(), tasks);
        let approvals = self.approvals(&instance, statuses, &targets, tasks);
        let identity = ProcessIdentity { owner, cluster_uid: uid, instance };
        let mut loops = EventLoops::default();
        for ((((target, registry), pod_events), approvals), questions) in
            targets.iter().zip(registries).zip(pod_events).zip(approvals).zip(questions)
        {
            let (checks, check_results) = self.checks(&identity, tasks);
            let inputs = Inputs { pod_events, check_results, leadership: leadership.clone(), approvals, questions };
            let (health, relist) = (health.add_loop(), relist.clone());
            let (controller_status, activity) = (target.status.clone(), target.activity.clone());
            let (metrics, health_of_loop) = (target.metrics.clone(), health.clone());
            let (receipts, traces) = (sink.clone(), exporting.traces.clone());
            let outputs = Outputs {
                checks,
                relist,
                controller_status,
                activity,
                receipts,
                traces,
                metrics,
                health: health_of_loop,
            };
            let (options, view, stop) = (self.options(&target.settings, &identity), view.clone(), stop.clone());
            match registry {
                TargetConnection::V1(registry) => {
                    let event_loop = EventLoop::new(*registry, view, options, clock, outputs);
                    loops.start(target, health, event_loop, inputs, stop);
                }
                TargetConnection::Mapped(registry) => {
                    target.log_guarantees(registry.target());
                    if let Some(path) = target.settings.memory() {
                        target.log_memory(path, self.election.lease.is_some());
                    }
                    let event_loop = EventLoop::new(*registry, view, options, clock, outputs);
                    loops.start(target, health, event_loop, inputs, stop);
                }
            }
        }
        let result = tokio::select! {
            result = loops.ended() => match result {
                Ok(()) => Ok(()),
                // The reason is that of the task behind the error, although other tasks may have ended too.
                Err(LoopEnd::Error(controller::error::Error::WatchesEnded)) => Err(tasks.end_of("watch").await),
                Err(LoopEnd::Error(controller::error::Error::ChecksEnded)) => Err(tasks.end_of("confirm").await),
                Err(LoopEnd::Error(error)) => Err(Error::from(error)),
                Err(LoopEnd::Failed(source)) => Err(Error::TaskFailed { name: "event loop", source }),
            },
            error = tasks.first_end_before(&stop) => Err(error),
            error = lease.ended() => return Err(error),
            never = recording.run() => match never {},
        };
        loops.abort().await;
        recording.finish().await;
        lease.release().await;
        exporting.finish(tasks).await;
        result
    }

    /// Starts the task that answers a target's questions about absent pods.
    fn checks(
        &self,
        identity: &ProcessIdentity,
        tasks: &mut Tasks,
    ) -> (mpsc::Sender<Check>, mpsc::Receiver<CheckResult>) {
        let (check, checks) = mpsc::channel(CHECKS_WAITING);
        let (check_result, check_results) = mpsc::channel(CHECKS_WAITING);
        let (client, scope) = (self.cluster.client(), self.scope.clone());
        let uid = identity.cluster_uid.clone();
        let known = kubernetes::confirm::ExpectedCluster { uid, named: self.identity.names.cluster_id.is_some() };
        tasks.spawn("confirm", async move {
            kubernetes::confirm::run(client, scope, known, checks, check_result).await;
            // It ends with the loop of its target, while other targets may go on.
            std::future::pending().await
        });
        (check, check_results)
    }

    /// Publishes the holds of all targets. Returns a receiver of approvals per target.
    fn approvals(
        &self,
        instance: &str,
        statuses: watch::Receiver<ControllerStatus>,
        targets: &[RunningTarget],
        tasks: &mut Tasks,
    ) -> Vec<mpsc::Receiver<HoldId>> {
        let (approval, approvals) = fan_out::approvals(targets, tasks);
        let Some(lease) = self.holds.approval_lease.clone() else {
            tracing::info!(
                "no Lease is set for approvals; held deletions cannot be approved. \
                 The command run has --approval-lease and --lease"
            );
            return approvals;
        };
        let leases = LeaseClient::new(self.cluster.client(), lease.into());
        let publisher = Approvals { leases, instance: instance.to_owned() };
        tasks.spawn("approvals", async move {
            publisher.run(statuses, approval).await;
            Ok(())
        });
        approvals
    }

    fn options(&self, target: &TargetSettings, identity: &ProcessIdentity) -> ControllerOptions {
        ControllerOptions {
            target: target.name,
            request_timeout: target.request_timeout,
            max_in_flight: target.max_in_flight,
            max_writes_per_second: target.max_writes_per_second,
            backlog_window: BACKLOG_WINDOW,
            visits_per_turn: VISITS_PER_TURN,
            resync_interval: self.resync_interval,
            instance: identity.instance.clone(),
            cluster_name: identity.owner.cluster_name.clone(),
            cluster_uid: identity.cluster_uid.clone(),
            replaces_cluster_uid: self.identity.replaces_cluster_uid.clone(),
            is_previous_process: instance::is_previous_process,
            scope: informers::scope_hash(&self.scope, target.select.as_ref()),
            namespaces: self.scope.namespaces.clone(),
            stop_within: if self.election.lease.is_some() { HAND_OVER_WITHIN } else { STOP_WITHIN },
            approver: Approver::Operator,
            on_scope_change: match self.holds.hold_on_scope_change {
                true => ScopeChangePolicy::Hold,
                false => ScopeChangePolicy::Release,
            },
            start_epoch: instance::started_at(),
            seed: fastrand::u64(..),
        }
    }
}

/// Reports that the process is alive while it waits for the API server.
async fn report_alive(health: &Health) -> Infallible {
    loop {
        health.starting();
        tokio::time::sleep(TURN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silent_api_server_does_not_fail_liveness() {
        // While the API server does not answer, the process is not restarted.
        let health = Health::new(1);
        for _ in 0..60 {
            let waited = tokio::time::timeout(Duration::from_secs(10), report_alive(&health)).await;
            assert!(waited.is_err() && health.live().ok());
        }
    }
}
