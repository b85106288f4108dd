//! The metrics of one target.

use std::{fmt, time::Duration};

use strum::VariantArray as _;

use super::{
    Metrics,
    labels::{DriftKind, Operation, OperationOutcome, RecordState, RequestKind, RequestOutcome},
    series::{Series, TRACE_LABEL, target, target_and, target_and_two},
    wide,
};

/// The handle. Cheap to clone; all clones share their counts.
#[derive(Clone)]
pub struct TargetMetrics {
    pub(super) process: Metrics,
    pub(super) name: &'static str,
}

/// Figures of a target for `/status`; each is also a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetFigures {
    pub records: Vec<(&'static str, i64)>,
    pub oldest_pending_seconds: f64,
    /// From the start until the registry first equalled the cluster; 0 before.
    pub first_complete_sync_seconds: f64,
}

impl TargetMetrics {
    /// The metrics of the whole process.
    pub fn process(&self) -> &Metrics {
        &self.process
    }

    fn series(&self) -> &Series {
        &self.process.0.series
    }

    pub fn set_records(&self, state: RecordState, count: usize) {
        self.series().records.get_or_create(&target_and(self.name, state)).set(wide(count));
    }

    /// `oldest` is how long the oldest pending change has waited; zero if none is pending.
    pub fn set_pending(&self, count: usize, oldest: Duration) {
        let (series, target) = (self.series(), target(self.name));
        series.pending.get_or_create(&target).set(wide(count));
        series.oldest_pending_age.get_or_create(&target).set(oldest.as_secs_f64());
    }

    pub fn request(&self, request: RequestKind, outcome: RequestOutcome) {
        self.series().requests.get_or_create(&target_and_two(self.name, request, outcome)).inc();
    }

    pub fn operation(&self, operation: Operation, outcome: OperationOutcome) {
        self.series().operations.get_or_create(&target_and_two(self.name, operation, outcome)).inc();
    }

    /// The registry acknowledged a change, `delay` after a watch reported it. `trace` is the name of its trace, which
    /// becomes the exemplar of the bucket.
    pub fn acknowledged_after(&self, delay: Duration, trace: Option<String>) {
        let delays = self.series().change_to_acknowledgement.get_or_create(&target(self.name));
        delays.observe(delay.as_secs_f64(), trace.map(|trace| [(TRACE_LABEL, trace)]), None);
    }

    /// The registry equals the cluster. Only the first time counts.
    pub fn synced(&self) {
        let seconds = self.series().first_complete_sync.get_or_create(&target(self.name));
        if seconds.get() == 0.0 {
            seconds.set(self.process.0.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE));
        }
    }

    pub fn set_writer(&self, writer: bool) {
        self.series().writer.get_or_create(&target(self.name)).set(writer.into());
    }

    pub fn set_fenced(&self, fenced: bool) {
        self.series().fenced.get_or_create(&target(self.name)).set(fenced.into());
    }

    pub fn set_held(&self, count: usize) {
        self.series().deletions_held.get_or_create(&target(self.name)).set(wide(count));
    }

    /// An operation was sent again, because the registry did not acknowledge it.
    pub fn retried(&self) {
        self.series().retries.get_or_create(&target(self.name)).inc();
    }

    pub fn set_memory(&self, ledger_entries: usize, queue_entries: usize) {
        let (series, target) = (self.series(), target(self.name));
        series.ledger_entries.get_or_create(&target).set(wide(ledger_entries));
        series.queue_entries.get_or_create(&target).set(wide(queue_entries));
    }

    /// A resync found that a record differs, and queued it for repair.
    pub fn drift_repaired(&self, kind: DriftKind) {
        self.series().drift_repaired.get_or_create(&target_and(self.name, kind)).inc();
    }

    pub fn figures(&self) -> TargetFigures {
        let (series, target) = (self.series(), target(self.name));
        let records = |state| series.records.get_or_create(&target_and(self.name, state)).get();
        TargetFigures {
            records: RecordState::VARIANTS.iter().map(|state| (state.into(), records(*state))).collect(),
            oldest_pending_seconds: series.oldest_pending_age.get_or_create(&target).get(),
            first_complete_sync_seconds: series.first_complete_sync.get_or_create(&target).get(),
        }
    }
}

impl fmt::Debug for TargetMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}
