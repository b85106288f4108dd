//! The status of the running controller, for `/status` and for people. Everything is in memory, and nothing waits for
//! an event loop.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::targets::RunningTarget;
use crate::{
    admin::status::{
        ShownBacklog, ShownChange, ShownCluster, ShownFailedRender, ShownFailedRenders, ShownFailedResync, ShownHold,
        ShownLeader, ShownRecord, ShownRefusedRecord, ShownSession, ShownState, ShownTarget, ShownWatchFailure,
        ShownWork, StatusDocument,
    },
    cli::values::LeaseName,
    clock::Clock,
    model::{ids::RecordOwner, label::RecordLabel, moment::Moment},
    reconcile::{
        absence::hold::HoldSummary,
        activity::{AcknowledgedChange, Activity, RefusedRecord, Work},
        outcome::OperationKind,
        progress,
        status::ControllerStatus,
    },
    telemetry::{
        health::{Health, ListRead, WatchFailure},
        metrics::{Figures, Metrics, target::TargetFigures},
    },
};

/// Failing watches that are shown.
const WATCH_FAILURES_SHOWN: usize = 10;

#[derive(Clone)]
pub(super) struct StatusPage {
    metrics: Metrics,
    health: Health,
    targets: Arc<[RunningTarget]>,
    instance: Arc<str>,
    /// The Lease on which held deletions are approved.
    approvals: Option<LeaseName>,
    begun: Arc<OnceLock<Begun>>,
}

/// What is known once the cluster is identified.
pub(super) struct Begun {
    pub(super) owner: RecordOwner,
    pub(super) clock: Clock,
    /// The Lease of the leader election, and who holds it.
    pub(super) leader: Option<(LeaseName, watch::Receiver<String>)>,
}

impl StatusPage {
    pub(super) fn new(
        metrics: Metrics,
        health: Health,
        targets: Vec<RunningTarget>,
        instance: &str,
        approvals: Option<LeaseName>,
    ) -> Self {
        Self { metrics, health, targets: targets.into(), instance: instance.into(), approvals, begun: Arc::default() }
    }

    /// The cluster is identified, and the targets begin.
    pub(super) fn begun(&self, begun: Begun) {
        // The caller sets it once, so this cannot fail.
        let _ = self.begun.set(begun);
    }

    /// The members beside `targets` are those of all targets together.
    pub(super) fn page(&self) -> StatusDocument {
        let begun = self.begun.get();
        let now = begun.map_or(Moment::START, |begun| begun.clock.now());
        let Figures { pods, watch_silence_seconds } = self.metrics.figures();
        let statuses: Vec<ControllerStatus> =
            self.targets.iter().map(|target| target.status.borrow().clone()).collect();
        let figures: Vec<TargetFigures> = self.targets.iter().map(|target| target.metrics.figures()).collect();
        let parts = self.targets.iter().zip(&statuses).zip(&figures);
        let targets: Vec<ShownTarget> =
            parts.map(|((target, status), figures)| self.target(target, status, figures, now)).collect();
        let in_sync = targets.iter().all(|target| target.state.in_sync);
        let leader = begun.and_then(|begun| begun.leader.as_ref());
        StatusDocument {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            instance: (*self.instance).to_owned(),
            cluster: begun.map(|Begun { owner, .. }| ShownCluster {
                id: owner.cluster_id.clone(),
                name: owner.cluster_name.clone(),
            }),
            owner: begun.map(|begun| begun.owner.owner.clone()),
            leader: leader
                .map(|(lease, holder)| ShownLeader { lease: name_of(lease), holder: holder.borrow().clone() }),
            pods,
            watch_silence_seconds,
            watch_failures: self
                .health
                .watch_failures()
                .into_iter()
                .take(WATCH_FAILURES_SHOWN)
                .map(watch_failure)
                .collect(),
            work: self.health.lists().map(list).into_iter().collect(),
            all: ShownState { in_sync, ..self.state(&ControllerStatus::of_all(&statuses), &sum(figures)) },
            targets,
        }
    }

    fn target(
        &self,
        target: &RunningTarget,
        status: &ControllerStatus,
        figures: &TargetFigures,
        now: Moment,
    ) -> ShownTarget {
        let activity = target.activity.borrow();
        let Activity { backlog, parked, refused, changes, work, outage, compared_at } = &*activity;
        let is_reached = outage.is_none();
        let state = self.state(status, figures);
        // What a registry holds that does not answer is not known.
        let in_sync = state.in_sync && is_reached && target.stopped.get().is_none();
        ShownTarget {
            name: target.settings.name.to_owned(),
            kind: target.settings.kind_name().to_owned(),
            stopped: target.stopped.get().cloned(),
            outage: outage.clone(),
            compared_seconds_ago: compared_at.map(|at| now.since(at).as_secs_f64()),
            backlog: ShownBacklog {
                in_flight: backlog.in_flight,
                retrying: backlog.retrying,
                deletions: backlog.deletions,
                changed: backlog.changed,
                missing: backlog.missing,
                differing: backlog.differing,
            },
            parked: parked.iter().map(|record| refused_record(record, now)).collect(),
            refused: refused.as_ref().map(|record| refused_record(record, now)),
            changes: changes.iter().map(|change| acknowledged(change, now)).collect(),
            work: work.iter().map(|work| of_work(work, is_reached, now)).collect(),
            state: ShownState { in_sync, ..state },
        }
    }

    /// The members that a target has and the process, too.
    fn state(&self, status: &ControllerStatus, figures: &TargetFigures) -> ShownState {
        let ControllerStatus {
            session,
            epoch,
            in_sync,
            holds,
            failed_renders,
            failed_resync,
            left_differing,
            ability: _,
        } = status;
        let TargetFigures { records, oldest_pending_seconds, first_complete_sync_seconds } = figures;
        let failed = failed_renders.first.iter().map(|failed| ShownFailedRender {
            uid: failed.uid.to_string(),
            pod: failed.pod.clone(),
            cause: failed.cause.clone(),
        });
        ShownState {
            session: ShownSession { state: <&str>::from(*session).to_owned(), epoch: *epoch },
            in_sync: *in_sync,
            first_complete_sync_seconds: Some(*first_complete_sync_seconds).filter(|seconds| *seconds > 0.0),
            records: records.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect(),
            oldest_pending_seconds: *oldest_pending_seconds,
            holds: holds.iter().map(|hold| self.hold(hold)).collect(),
            failed_renders: ShownFailedRenders { count: failed_renders.count, pods: failed.collect() },
            failed_resync: failed_resync.as_ref().map(|failed| ShownFailedResync {
                seconds: failed.seconds,
                tries: failed.tries,
                cause: failed.cause.clone(),
            }),
            left_differing: *left_differing,
        }
    }

    fn hold(&self, hold: &HoldSummary) -> ShownHold {
        let HoldSummary { id, target, deletions, because, first, former: _ } = hold;
        let lease = self.approvals.as_ref().map(name_of);
        ShownHold {
            id: id.to_string(),
            target: (*target).to_owned(),
            deletions: *deletions,
            because: because.to_string(),
            records: first.iter().map(record).collect(),
            approve: lease.map(|lease| format!("pod-registrar approve {id} --approval-lease {lease}")),
        }
    }
}

fn name_of(LeaseName { namespace, name }: &LeaseName) -> String {
    format!("{namespace}/{name}")
}

fn record(label: &RecordLabel) -> ShownRecord {
    ShownRecord {
        id: label.id_or_key(),
        kind: label.kind.clone(),
        uid: label.uid.as_ref().map(ToString::to_string),
        pod: label.pod.clone(),
    }
}

fn refused_record(RefusedRecord { label, answer }: &RefusedRecord, now: Moment) -> ShownRefusedRecord {
    let (cause, at) = answer.clone().unzip();
    ShownRefusedRecord { record: record(label), cause, seconds_ago: at.map(|at| now.since(at).as_secs_f64()) }
}

fn acknowledged(AcknowledgedChange { kind, label, at }: &AcknowledgedChange, now: Moment) -> ShownChange {
    let change = match kind {
        OperationKind::Put => "put",
        OperationKind::Delete => "delete",
    };
    ShownChange { change: change.to_owned(), record: record(label), seconds_ago: now.since(*at).as_secs_f64() }
}

/// While the registry cannot be reached, the rate so far says nothing about the rest.
fn of_work(Work { kind, progress }: &Work, is_reached: bool, now: Moment) -> ShownWork {
    ShownWork {
        what: <&str>::from(*kind).to_owned(),
        done: progress.done,
        total: progress.total,
        seconds: now.since(progress.begun).as_secs_f64(),
        remaining_seconds: progress.remaining(now).filter(|_| is_reached).map(|rest| rest.as_secs_f64()),
    }
}

fn watch_failure(WatchFailure { namespace, cause }: WatchFailure) -> ShownWatchFailure {
    ShownWatchFailure { namespace, cause }
}

fn list(ListRead { elapsed, done, total }: ListRead) -> ShownWork {
    let rest = total.and_then(|total| progress::remaining(elapsed, done, total));
    ShownWork {
        what: "list".to_owned(),
        done,
        total,
        seconds: elapsed.as_secs_f64(),
        remaining_seconds: rest.map(|rest| rest.as_secs_f64()),
    }
}

/// The figures of all targets together. The first complete sync is that of the last target.
fn sum(targets: Vec<TargetFigures>) -> TargetFigures {
    let add = |mut all: TargetFigures, target: TargetFigures| {
        all.records.iter_mut().zip(target.records).for_each(|(sum, (_, count))| sum.1 += count);
        all.oldest_pending_seconds = all.oldest_pending_seconds.max(target.oldest_pending_seconds);
        all.first_complete_sync_seconds = match (all.first_complete_sync_seconds, target.first_complete_sync_seconds) {
            (all, target) if all > 0.0 && target > 0.0 => all.max(target),
            _ => 0.0,
        };
        all
    };
    let none = TargetFigures { records: Vec::new(), oldest_pending_seconds: 0.0, first_complete_sync_seconds: 0.0 };
    targets.into_iter().reduce(add).unwrap_or(none)
}
