//! Reports of the loop: logs of outages and of rejected or uncertain records, metrics, health and the status page.

use std::time::Duration;

use tokio::sync::watch;

use super::options::Approver;
use crate::{
    model::{label::RecordLabel, moment::Moment, uid::Uid},
    reconcile::{
        absence::hold::HoldSummary,
        activity::{Backlog, PARKED_SHOWN},
        fault_log::{FaultLog, FaultSummary, Outage, OutageReport},
        ledger::{Ledger, backlog::BacklogKind, entry::Known, pending::Pending, reading::Drift},
        outcome::{Failure, OperationKind},
        session::Phase,
        silence,
        status::ControllerStatus,
    },
    telemetry::{
        health::LoopHealth,
        metrics::{
            labels::{DriftKind, Operation, RecordState, RequestKind, RequestOutcome},
            target::TargetMetrics,
        },
    },
};

/// How often records are counted.
const EVERY: Duration = Duration::from_secs(1);
/// A write that the registry did not apply this many times in a row, each after a longer pause, is logged as a warning.
const REFUSALS_LASTING: u32 = 5;

pub(super) struct Reporter {
    approver: Approver,
    metrics: TargetMetrics,
    health: LoopHealth,
    controller_status: watch::Sender<ControllerStatus>,
    outage: Outage,
    rejected: FaultLog,
    failed: FaultLog,
    uncertain: FaultLog,
    refused: FaultLog,
    divided: FaultLog,
    equality: Equality,
    /// None if the next count is due at once.
    reported_at: Option<Moment>,
}

/// Whether the registry is equal to the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Equality {
    NotYet,
    Now,
    NoMore,
}

/// A fault that may come in large numbers; see [`FaultLog`].
pub(super) enum Fault {
    Record(FailedRecord),
    Divided { items: usize, bytes: usize, error: String },
}

/// What went wrong with one record.
pub(super) struct FailedRecord {
    /// The key of the record. If the record cannot be made, the UID of its pod.
    pub(super) key: Uid,
    pub(super) fault: RecordFault,
    pub(super) cause: String,
    /// The `traceparent` of the request that failed, if the change is sampled.
    pub(super) trace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub(super) enum RecordFault {
    Rejected {
        kind: OperationKind,
    },
    /// The registry did not apply a write for now.
    NotApplied {
        failures: u32,
    },
    /// A write may have been applied.
    Uncertain {
        failures: u32,
        is_lasting: bool,
    },
    /// The record cannot be made.
    NotMade,
}

/// What is counted outside of the ledger.
pub(super) struct LoopCounts {
    /// Pods that the watches report, also those that the target does not select.
    pub(super) pods: usize,
    pub(super) held: usize,
    /// Pods whose records cannot be made.
    pub(super) failed: usize,
    pub(super) queue_entries: usize,
}

/// What was counted.
pub(super) struct Counted {
    pub(super) uncertain: usize,
    pub(super) backlog: Backlog,
    /// The keys of the first parked records.
    pub(super) parked: Vec<Uid>,
    /// The key of the record whose change was refused most often.
    pub(super) refused: Option<Uid>,
}

impl Reporter {
    pub(super) fn new(
        metrics: TargetMetrics,
        health: LoopHealth,
        controller_status: watch::Sender<ControllerStatus>,
        approver: Approver,
    ) -> Self {
        Self {
            approver,
            metrics,
            health,
            controller_status,
            outage: Outage::default(),
            rejected: FaultLog::default(),
            failed: FaultLog::default(),
            uncertain: FaultLog::default(),
            refused: FaultLog::default(),
            divided: FaultLog::default(),
            equality: Equality::NotYet,
            reported_at: None,
        }
    }

    /// When the next count is due: it does not wait for events.
    pub(super) fn due_at(&self) -> Moment {
        self.reported_at.map_or(Moment::START, |at| at + EVERY)
    }

    pub(super) fn loop_turned(&self) {
        self.health.turned();
    }

    pub(super) fn stopping(&self) {
        self.health.process().stopping();
    }

    pub(super) fn set_leader(&self, leads: bool) {
        self.metrics.process().set_leader(leads);
    }

    /// Whether every watch has shown signs of life lately.
    pub(super) fn watches_live(&self) -> bool {
        self.health.process().watch_silences().into_iter().all(|silence| silence < silence::OLD_AFTER)
    }

    /// Shows whether the registry is equal to the cluster. Returns whether it is for the first time.
    pub(super) fn set_in_sync(&mut self, in_sync: bool, pods: usize) -> bool {
        let before = self.equality;
        self.equality = match before {
            _ if in_sync => Equality::Now,
            Equality::NotYet => Equality::NotYet,
            _ => Equality::NoMore,
        };
        if self.equality != before {
            self.reported_at = None;
        }
        if !in_sync || before == Equality::Now {
            return false;
        }
        self.metrics.synced();
        let is_first = before == Equality::NotYet;
        if is_first {
            tracing::info!(pods, "the registry is equal to the cluster");
        } else {
            tracing::debug!(pods, "the registry is equal to the cluster again");
        }
        is_first
    }

    /// Logs and counts once per second. Returns what it counted.
    pub(super) fn report(&mut self, ledger: &Ledger, counts: &LoopCounts, now: Moment) -> Option<Counted> {
        if now < self.due_at() {
            return None;
        }
        self.reported_at = Some(now);
        self.log_outage(ledger.pending_count(), now);
        self.log_summaries(now);
        Some(self.count(ledger, counts, now))
    }

    pub(super) fn show(&self, controller_status: ControllerStatus, phase: Phase) {
        let fenced = matches!(phase, Phase::Fenced { .. });
        self.metrics.set_writer(controller_status.epoch.is_some());
        self.metrics.set_fenced(fenced);
        self.health.set_fenced(fenced);
        self.controller_status.send_if_modified(|shown| {
            let news = *shown != controller_status;
            if news {
                log_holds(&shown.holds, &controller_status.holds, self.approver);
                *shown = controller_status;
            }
            news
        });
    }
}

/// Requests and outages.
impl Reporter {
    pub(super) fn requested(&self, request: RequestKind, failure: Option<&Failure>) {
        self.metrics.request(request, failure.map_or(RequestOutcome::Ok, outcome));
    }

    /// Logs the start of an outage.
    pub(super) fn request_failed(&mut self, request: RequestKind, failure: &Failure, pause: Duration, now: Moment) {
        let Some(failures) = self.outage.failed(failure, now) else {
            tracing::debug!(?request, error = %failure, "request to the registry failed");
            return;
        };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        if matches!(failure, Failure::Unauthorized { .. }) {
            tracing::error!(
                ?request,
                error = %failure,
                failures,
                pause_ms,
                "the registry refuses the credential; reading it again. Check the token and its rights"
            );
        } else if matches!(failure, Failure::Memory(_)) {
            tracing::error!(
                error = %failure,
                failures,
                pause_ms,
                "the memory file of the target cannot be used; the target waits. Fix it as the field error says"
            );
        } else {
            tracing::warn!(?request, error = %failure, failures, pause_ms, "request to the registry failed; pausing");
        }
    }

    /// The last failure of the outage that lasts.
    pub(super) fn outage(&self) -> Option<&Failure> {
        self.outage.last()
    }

    /// Logs the end of an outage.
    pub(super) fn registry_answered(&mut self, pending: usize, now: Moment) {
        if let Some(OutageReport { time, failures }) = self.outage.over(now) {
            let lasted_s = time.as_secs();
            tracing::info!(lasted_s, failures, pending, "the registry answers again; resuming");
        }
    }

    /// Logs, once per minute, an outage that lasts.
    fn log_outage(&mut self, pending: usize, now: Moment) {
        let Some(OutageReport { time, failures }) = self.outage.lasts(now) else { return };
        let lasted_s = time.as_secs();
        let error = self.outage.last().map(ToString::to_string);
        if matches!(self.outage.last(), Some(Failure::Unauthorized { .. })) {
            tracing::error!(
                lasted_s,
                failures,
                pending,
                error,
                "the registry still refuses the credential; retrying. Check the token and its rights"
            );
        } else if matches!(self.outage.last(), Some(Failure::Memory(_))) {
            tracing::error!(
                lasted_s,
                failures,
                pending,
                error,
                "the memory file of the target still cannot be used; the target waits. Fix it as the field error says"
            );
        } else {
            tracing::warn!(lasted_s, failures, pending, error, "requests to the registry still fail; retrying");
        }
    }
}

fn outcome(failure: &Failure) -> RequestOutcome {
    match failure {
        Failure::Unauthorized { .. } => RequestOutcome::Unauthorized,
        Failure::Throttled { .. } => RequestOutcome::Throttled,
        Failure::Unreachable(_) | Failure::Broken(_) | Failure::Memory(_) => RequestOutcome::Failed,
        Failure::Refused { .. }
        | Failure::NotFound
        | Failure::Expired
        | Failure::Inventory(_)
        | Failure::TooLarge
        | Failure::StaleEpoch
        | Failure::UnknownSession => RequestOutcome::Rejected,
    }
}

/// Records that fail.
impl Reporter {
    pub(super) fn divided(&mut self, items: usize, bytes: usize, error: &str, now: Moment) {
        if self.divided.note(error, error, now) {
            tracing::warn!(items, bytes, error, "a batch failed as a whole; sending its parts separately");
        } else {
            tracing::debug!(items, bytes, error, "a batch failed as a whole");
        }
    }

    pub(super) fn note(&mut self, label: &RecordLabel, fault: RecordFault, cause: &str, now: Moment) {
        let RecordLabel { key: _, kind, id, uid, pod } = label;
        let (uid, name) = (uid.as_ref().map(Uid::to_string), label.name());
        match fault {
            RecordFault::Rejected { kind: OperationKind::Put } if self.rejected.note(&name, cause, now) => {
                tracing::warn!(
                    uid,
                    kind,
                    id,
                    pod,
                    cause,
                    "the registry rejected a record; waiting for the record or the settings to change, or for the next resync"
                );
            }
            RecordFault::Rejected { kind: OperationKind::Delete } if self.rejected.note(&name, cause, now) => {
                tracing::warn!(uid, kind, id, pod, cause, "the registry rejected a deletion; retrying");
            }
            RecordFault::Rejected { .. } => {
                tracing::debug!(uid, kind, id, pod, cause, "the registry rejected an operation");
            }
            RecordFault::NotApplied { failures }
                if failures >= REFUSALS_LASTING && self.refused.note(&name, cause, now) =>
            {
                tracing::warn!(uid, kind, id, pod, cause, failures, "the registry keeps refusing a write; retrying");
            }
            RecordFault::NotApplied { failures } => {
                tracing::debug!(uid, kind, id, pod, cause, failures, "not applied; retrying");
            }
            RecordFault::Uncertain { failures, is_lasting: true } if self.uncertain.note(&name, cause, now) => {
                tracing::warn!(
                    uid,
                    kind,
                    id,
                    pod,
                    cause,
                    failures,
                    "writes for a pod keep failing and may have been applied; retrying"
                );
            }
            RecordFault::Uncertain { failures, .. } => {
                tracing::debug!(uid, kind, id, pod, cause, failures, "not acknowledged; retrying");
            }
            RecordFault::NotMade if self.failed.note(&name, cause, now) => {
                tracing::warn!(
                    uid,
                    pod,
                    cause,
                    "the record of a pod cannot be made; it stays as it is until the pod or the settings change"
                );
            }
            RecordFault::NotMade => tracing::debug!(uid, pod, cause, "the record of a pod cannot be made"),
        }
    }

    fn log_summaries(&mut self, now: Moment) {
        if let Some(FaultSummary { count, first }) = self.rejected.summary(now) {
            tracing::warn!(
                count,
                records = first,
                "the registry rejected more operations; waiting for the records or the settings to change, or for the next resync"
            );
        }
        if let Some(FaultSummary { count, first }) = self.failed.summary(now) {
            tracing::warn!(
                count,
                uids = first,
                "the records of more pods cannot be made; they stay as they are until the pods or the settings change"
            );
        }
        if let Some(FaultSummary { count, first }) = self.uncertain.summary(now) {
            tracing::warn!(
                count,
                records = first,
                "more writes for pods keep failing and may have been applied; retrying"
            );
        }
        if let Some(FaultSummary { count, first }) = self.refused.summary(now) {
            tracing::warn!(count, records = first, "the registry keeps refusing more writes; retrying");
        }
        if let Some(FaultSummary { count, first }) = self.divided.summary(now) {
            tracing::warn!(count, errors = first, "more batches failed as a whole; sending their parts separately");
        }
    }

    /// Counts the records in each state.
    fn count(&self, ledger: &Ledger, counts: &LoopCounts, now: Moment) -> Counted {
        let (mut parked, mut oldest) = (counts.failed, ledger.backlog_since().unwrap_or(now));
        let (mut uncertain, mut first_parked) = (ledger.backlog_uncertain(), Vec::new());
        let mut refused: Option<(u32, &Uid)> = None;
        let mut backlog = Backlog {
            missing: ledger.backlog_of(BacklogKind::Backfill),
            differing: ledger.backlog_of(BacklogKind::Rewrite),
            ..Backlog::default()
        };
        for (uid, change) in ledger.all_pending() {
            uncertain += usize::from(ledger.known(uid) == Known::Uncertain);
            // Also while it is retried after a resync.
            if change.attempts().parked.is_some() {
                parked += 1;
                if first_parked.len() < PARKED_SHOWN {
                    first_parked.push(uid.clone());
                }
                continue;
            }
            let failures = change.attempts().failures;
            if failures >= REFUSALS_LASTING && refused.is_none_or(|(most, _)| failures > most) {
                refused = Some((failures, uid));
            }
            oldest = oldest.min(change.since());
            *of_reason(&mut backlog, change, now) += 1;
        }
        let in_flight = backlog.in_flight;
        let pending = backlog.waiting();
        self.metrics.process().set_pods(counts.pods);
        self.metrics.set_records(RecordState::Registered, ledger.owned().saturating_sub(uncertain));
        self.metrics.set_records(RecordState::Pending, pending);
        self.metrics.set_records(RecordState::InFlight, in_flight);
        self.metrics.set_records(RecordState::Parked, parked);
        self.metrics.set_records(RecordState::Held, counts.held);
        self.metrics.set_records(RecordState::Uncertain, uncertain);
        self.metrics.set_pending(pending + in_flight, now.since(oldest));
        self.metrics.set_held(counts.held);
        self.metrics.set_memory(ledger.entry_count(), counts.queue_entries);
        Counted { uncertain, backlog, parked: first_parked, refused: refused.map(|(_, uid)| uid.clone()) }
    }
}

/// The reason why a change waits.
fn of_reason<'a>(backlog: &'a mut Backlog, change: &Pending, now: Moment) -> &'a mut usize {
    let attempts = change.attempts();
    match () {
        () if attempts.in_flight.is_some() => &mut backlog.in_flight,
        () if attempts.not_before.is_some_and(|at| at > now) => &mut backlog.retrying,
        () if change.deletion.is_some() || change.confirmed.is_some() => &mut backlog.deletions,
        () => &mut backlog.changed,
    }
}

fn log_holds(before: &[HoldSummary], now: &[HoldSummary], approver: Approver) {
    let lacks = |holds: &[HoldSummary], hold: &HoldSummary| !holds.iter().any(|other| other.id == hold.id);
    for hold in now.iter().filter(|hold| lacks(before, hold)) {
        if approver == Approver::Command {
            tracing::info!(
                hold = %hold.id,
                deletions = hold.deletions,
                because = %hold.because,
                "deletions are held; this command approves them if needed"
            );
            continue;
        }
        tracing::error!(
            hold = %hold.id,
            deletions = hold.deletions,
            because = %hold.because,
            records = records_of(hold),
            "deletions are held until their pods are back, or an operator approves them: pod-registrar approve HOLD"
        );
    }
    for hold in before.iter().filter(|hold| lacks(now, hold)) {
        tracing::info!(hold = %hold.id, "hold is over");
    }
}

/// The first records of a hold, with their pods if they are known.
fn records_of(hold: &HoldSummary) -> String {
    let shown = |label: &RecordLabel| match &label.pod {
        Some(pod) => format!("{} ({pod})", label.name()),
        None => label.name(),
    };
    hold.first.iter().map(shown).collect::<Vec<_>>().join(", ")
}

impl From<Drift> for DriftKind {
    fn from(drift: Drift) -> Self {
        match drift {
            Drift::Missing => Self::Missing,
            Drift::Extra => Self::Extra,
            Drift::Differing => Self::Differing,
        }
    }
}

impl From<OperationKind> for Operation {
    fn from(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Put => Self::Put,
            OperationKind::Delete => Self::Delete,
        }
    }
}
