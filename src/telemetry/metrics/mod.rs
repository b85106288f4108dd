//! The metrics of a running controller.
//!
//! The watches and the election report to [`Metrics`], and each event loop to the [`TargetMetrics`] of its target. The
//! admin server encodes all of them. No decision depends on them.

pub mod labels;
mod series;
pub mod target;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{encoding::text, registry::Registry};
use tokio::time::Instant;

use labels::{ExportOutcome, Receipt, ReceiptOutcome, RelistReason, Signal};
use series::{Series, one, two};
use target::TargetMetrics;

use crate::telemetry::health::Health;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures of the process for `/status`; each is also a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub pods: i64,
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

    /// The metrics of one target. Its series exist from now on. The name is that of the label.
    pub fn target(&self, name: &'static str) -> TargetMetrics {
        self.0.series.add_target(name);
        TargetMetrics { process: self.clone(), name }
    }

    pub fn set_pods(&self, count: usize) {
        self.0.series.pods.set(wide(count));
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

    /// An Event, a condition or an annotation was written, or was not.
    pub fn receipt(&self, kind: Receipt, outcome: ReceiptOutcome) {
        self.0.series.receipts.get_or_create(&two(kind, outcome)).inc();
    }

    pub fn set_leader(&self, leader: bool) {
        self.0.series.leader.set(leader.into());
    }

    pub fn lease_failed(&self) {
        self.0.series.lease_failures.inc();
    }

    /// This number of traces or log lines was sent to the collector, or was not.
    pub fn exported(&self, signal: Signal, outcome: ExportOutcome, count: usize) {
        self.0.series.exports.get_or_create(&two(signal, outcome)).inc_by(count as u64);
    }

    pub fn figures(&self) -> Figures {
        Figures {
            pods: self.0.series.pods.get(),
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
    use super::{
        labels::{DriftKind, Operation, OperationOutcome, RecordState, RequestKind, RequestOutcome},
        *,
    };

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
        let (first, second) = (metrics.target("first"), metrics.target("second"));
        assert_eq!(value(&metrics, "first_complete_sync_seconds{target=\"first\"}"), Some(0.0));
        tokio::time::advance(Duration::from_secs(2)).await;
        first.synced();
        tokio::time::advance(Duration::from_secs(2)).await;
        first.clone().synced();
        second.synced();
        assert_eq!(value(&metrics, "first_complete_sync_seconds{target=\"first\"}"), Some(2.0));
        assert_eq!(value(&metrics, "first_complete_sync_seconds{target=\"second\"}"), Some(4.0));
    }

    #[tokio::test]
    async fn recorded_values_appear_in_their_series() {
        let metrics = Metrics::new(Health::new(1));
        let target = metrics.target("a");
        let other = metrics.target("b");
        metrics.set_pods(7);
        target.set_records(RecordState::InFlight, 2);
        target.set_pending(3, Duration::from_millis(1500));
        target.request(RequestKind::Write, RequestOutcome::Throttled);
        target.operation(Operation::Delete, OperationOutcome::Stale);
        target.acknowledged_after(Duration::from_millis(3), None);
        metrics.relisted(RelistReason::Gone);
        metrics.watch_failed();
        metrics.pod_undecodable();
        metrics.set_leader(true);
        metrics.lease_failed();
        target.set_writer(true);
        target.set_fenced(true);
        target.set_held(5);
        target.retried();
        target.set_memory(11, 12);
        target.drift_repaired(DriftKind::Extra);
        other.set_records(RecordState::InFlight, 3);
        for (series, expected) in [
            ("pods", 7.0),
            ("records{target=\"a\",state=\"in_flight\"}", 2.0),
            ("records{target=\"b\",state=\"in_flight\"}", 3.0),
            ("pending{target=\"a\"}", 3.0),
            ("pending{target=\"b\"}", 0.0),
            ("oldest_pending_age_seconds{target=\"a\"}", 1.5),
            ("requests_total{target=\"a\",operation=\"write\",outcome=\"throttled\"}", 1.0),
            ("operations_total{target=\"a\",operation=\"delete\",outcome=\"stale\"}", 1.0),
            ("change_to_acknowledgement_seconds_count{target=\"a\"}", 1.0),
            ("change_to_acknowledgement_seconds_bucket{le=\"0.0025\",target=\"a\"}", 0.0),
            ("change_to_acknowledgement_seconds_bucket{le=\"0.005\",target=\"a\"}", 1.0),
            ("relists_total{reason=\"gone\"}", 1.0),
            ("watch_errors_total", 1.0),
            ("undecodable_pods_total", 1.0),
            ("leader", 1.0),
            ("lease_failures_total", 1.0),
            ("writer{target=\"a\"}", 1.0),
            ("fenced{target=\"a\"}", 1.0),
            ("deletions_held{target=\"a\"}", 5.0),
            ("retries_total{target=\"a\"}", 1.0),
            ("ledger_entries{target=\"a\"}", 11.0),
            ("queue_entries{target=\"a\"}", 12.0),
            ("drift_repaired_total{target=\"a\",kind=\"extra\"}", 1.0),
        ] {
            assert_eq!(value(&metrics, series), Some(expected), "{series}");
        }
    }

    #[tokio::test]
    async fn every_series_exists_from_the_start() {
        let metrics = Metrics::new(Health::new(1));
        let _targets = ["a", "b"].map(|name| metrics.target(name));
        let text = metrics.encode().unwrap();
        assert_eq!(text.matches("pod_registrar_requests_total{").count(), 2 * 6 * 5);
        assert_eq!(text.matches("pod_registrar_operations_total{").count(), 2 * 2 * 4);
        assert_eq!(value(&metrics, "drift_repaired_total{target=\"b\",kind=\"missing\"}"), Some(0.0));
        assert!(text.contains(concat!("pod_registrar_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
        assert!(text.ends_with("# EOF\n"));
    }
}
