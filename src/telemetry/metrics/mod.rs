//! The metrics of a running controller.
//!
//! The event loop and the watches report to one handle, and the admin server encodes it. No decision depends on it.

pub mod labels;
mod series;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{encoding::text, registry::Registry};
use strum::VariantArray as _;
use tokio::time::Instant;

use labels::{DriftKind, Operation, OperationOutcome, RecordState, RelistReason, RequestKind, RequestOutcome};
use series::{Series, one, two};

use crate::telemetry::health::Health;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures for `/status`; each is also a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub pods: i64,
    pub records: Vec<(&'static str, i64)>,
    pub oldest_pending_seconds: f64,
    /// From the start until the registry first equalled the cluster; 0 before.
    pub first_complete_sync_seconds: f64,
    pub watch_silence_seconds: Vec<f64>,
}

/// The handle. Cheap to clone; all clones share their counts.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    started: Instant,
    health: Health,
    series: Series,
    registry: Registry,
}

impl Metrics {
    /// For a process that starts now.
    pub fn new(health: Health) -> Self {
        let (series, registry) = Series::register();
        Self(Arc::new(Inner { started: Instant::now(), health, series, registry }))
    }

    pub fn set_pods(&self, count: usize) {
        self.0.series.pods.set(wide(count));
    }

    pub fn set_records(&self, state: RecordState, count: usize) {
        self.0.series.records.get_or_create(&one(state)).set(wide(count));
    }

    /// `oldest` is how long the oldest pending change has waited; zero if none is pending.
    pub fn set_pending(&self, count: usize, oldest: Duration) {
        self.0.series.pending.set(wide(count));
        self.0.series.oldest_pending_age.set(oldest.as_secs_f64());
    }

    pub fn request(&self, request: RequestKind, outcome: RequestOutcome) {
        self.0.series.requests.get_or_create(&two(request, outcome)).inc();
    }

    pub fn operation(&self, operation: Operation, outcome: OperationOutcome) {
        self.0.series.operations.get_or_create(&two(operation, outcome)).inc();
    }

    /// The registry acknowledged a change, `delay` after a watch reported it.
    pub fn acknowledged_after(&self, delay: Duration) {
        self.0.series.change_to_acknowledgement.observe(delay.as_secs_f64());
    }

    /// A complete list began.
    pub fn relisted(&self, reason: RelistReason) {
        self.0.series.relists.get_or_create(&one(reason)).inc();
    }

    pub fn watch_failed(&self) {
        self.0.series.watch_errors.inc();
    }

    pub fn pod_undecodable(&self) {
        self.0.series.undecodable_pods.inc();
    }

    /// The registry equals the cluster. Only the first time counts.
    pub fn synced(&self) {
        let seconds = &self.0.series.first_complete_sync;
        if seconds.get() == 0.0 {
            seconds.set(self.0.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE));
        }
    }

    pub fn set_leader(&self, leader: bool) {
        self.0.series.leader.set(leader.into());
    }

    pub fn lease_failed(&self) {
        self.0.series.lease_failures.inc();
    }

    pub fn set_writer(&self, writer: bool) {
        self.0.series.writer.set(writer.into());
    }

    pub fn set_fenced(&self, fenced: bool) {
        self.0.series.fenced.set(fenced.into());
    }

    pub fn set_held(&self, count: usize) {
        self.0.series.deletions_held.set(wide(count));
    }

    /// An operation was sent again, because the registry did not acknowledge it.
    pub fn retried(&self) {
        self.0.series.retries.inc();
    }

    pub fn set_memory(&self, ledger_entries: usize, queue_entries: usize) {
        self.0.series.ledger_entries.set(wide(ledger_entries));
        self.0.series.queue_entries.set(wide(queue_entries));
    }

    /// A resync found that a record differs, and queued it for repair.
    pub fn drift_repaired(&self, kind: DriftKind) {
        self.0.series.drift_repaired.get_or_create(&one(kind)).inc();
    }

    pub fn figures(&self) -> Figures {
        let series = &self.0.series;
        let records = |state| series.records.get_or_create(&one(state)).get();
        Figures {
            pods: series.pods.get(),
            records: RecordState::VARIANTS.iter().map(|state| (state.into(), records(*state))).collect(),
            oldest_pending_seconds: series.oldest_pending_age.get(),
            first_complete_sync_seconds: series.first_complete_sync.get(),
            watch_silence_seconds: self.0.health.watch_silences().iter().map(Duration::as_secs_f64).collect(),
        }
    }

    /// All metrics in the OpenMetrics text format, see [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// Never in practice: writing to memory does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let silence = self.0.health.watch_silences().into_iter().max().unwrap_or_default();
        self.0.series.watch_silence.set(silence.as_secs_f64());
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.encode().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("pod_registrar_{series} ")));
        line.map(|number| number.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_metric_shows_the_most_silent_watch() {
        let health = Health::new(2);
        let metrics = Metrics::new(health.clone());
        tokio::time::advance(Duration::from_secs(10)).await;
        health.watch_alive(0);
        assert_eq!(value(&metrics, "watch_silence_seconds"), Some(10.0));
        health.watch_alive(1);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(value(&metrics, "watch_silence_seconds"), Some(3.0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_sync_is_measured() {
        let metrics = Metrics::new(Health::new(0));
        assert_eq!(value(&metrics, "first_complete_sync_seconds"), Some(0.0));
        tokio::time::advance(Duration::from_secs(2)).await;
        metrics.synced();
        tokio::time::advance(Duration::from_secs(2)).await;
        metrics.clone().synced();
        assert_eq!(value(&metrics, "first_complete_sync_seconds"), Some(2.0));
    }

    #[tokio::test]
    async fn recorded_values_appear_in_their_series() {
        let metrics = Metrics::new(Health::new(1));
        metrics.set_pods(7);
        metrics.set_records(RecordState::InFlight, 2);
        metrics.set_pending(3, Duration::from_millis(1500));
        metrics.request(RequestKind::Write, RequestOutcome::Throttled);
        metrics.operation(Operation::Delete, OperationOutcome::Stale);
        metrics.acknowledged_after(Duration::from_millis(3));
        metrics.relisted(RelistReason::Gone);
        metrics.watch_failed();
        metrics.pod_undecodable();
        metrics.set_leader(true);
        metrics.lease_failed();
        metrics.set_writer(true);
        metrics.set_fenced(true);
        metrics.set_held(5);
        metrics.retried();
        metrics.set_memory(11, 12);
        metrics.drift_repaired(DriftKind::Extra);
        for (series, expected) in [
            ("pods", 7.0),
            ("records{state=\"in_flight\"}", 2.0),
            ("pending", 3.0),
            ("oldest_pending_age_seconds", 1.5),
            ("requests_total{operation=\"write\",outcome=\"throttled\"}", 1.0),
            ("operations_total{operation=\"delete\",outcome=\"stale\"}", 1.0),
            ("change_to_acknowledgement_seconds_count", 1.0),
            ("change_to_acknowledgement_seconds_bucket{le=\"0.0025\"}", 0.0),
            ("change_to_acknowledgement_seconds_bucket{le=\"0.005\"}", 1.0),
            ("relists_total{reason=\"gone\"}", 1.0),
            ("watch_errors_total", 1.0),
            ("undecodable_pods_total", 1.0),
            ("leader", 1.0),
            ("lease_failures_total", 1.0),
            ("writer", 1.0),
            ("fenced", 1.0),
            ("deletions_held", 5.0),
            ("retries_total", 1.0),
            ("ledger_entries", 11.0),
            ("queue_entries", 12.0),
            ("drift_repaired_total{kind=\"extra\"}", 1.0),
        ] {
            assert_eq!(value(&metrics, series), Some(expected), "{series}");
        }
    }

    #[tokio::test]
    async fn every_series_exists_from_the_start() {
        let metrics = Metrics::new(Health::new(1));
        let text = metrics.encode().unwrap();
        assert_eq!(text.matches("pod_registrar_requests_total{").count(), 6 * 5);
        assert_eq!(text.matches("pod_registrar_operations_total{").count(), 2 * 4);
        assert_eq!(value(&metrics, "drift_repaired_total{kind=\"missing\"}"), Some(0.0));
        assert!(text.contains(concat!("pod_registrar_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
        assert!(text.ends_with("# EOF\n"));
    }
}
