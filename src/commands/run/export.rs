//! Traces and log lines of a running controller, for a collector if one is set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::export::ExportSettings,
    clock::Clock,
    commands::{Error, collector, tasks::Tasks},
    controller::options::TraceOutput,
    model::ids::RecordOwner,
    otlp::{
        connection::{Collector, CollectorConnection},
        exporter::{ExportRoute, Exporter, QUEUE, Timing},
        lines,
        messages::{KeyValue, OtlpResource},
        spans,
    },
    reconcile::trace::Sampling,
    telemetry::{
        log_export::LogLines,
        metrics::{Metrics, labels::Signal},
    },
};

/// Time limit for what waits when the process stops.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
const TASK: &str = "export";

/// What is exported, and where to.
#[derive(Default)]
pub(super) struct Export {
    collector: Option<Collector>,
    ratio: f64,
    /// The lines of the log, if they are sent.
    pub(super) lines: Option<LogLines>,
}

/// The running export.
pub(super) struct Exporting {
    pub(super) traces: Option<TraceOutput>,
    stop: CancellationToken,
}

impl Export {
    pub(super) fn new(settings: ExportSettings) -> Self {
        let ExportSettings { collector, trace_ratio } = settings;
        Self { collector: collector::collector(collector), ratio: trace_ratio, lines: None }
    }

    /// Starts the task that sends. Without a collector, there is none. The names are the owner of the records, the UID
    /// of the cluster and this instance.
    pub(super) fn start(
        self,
        (owner, cluster_uid, instance): (&RecordOwner, Option<&str>, &str),
        clock: Clock,
        metrics: &Metrics,
        tasks: &mut Tasks,
    ) -> Result<Exporting, Error> {
        let stop = CancellationToken::new();
        let Some(collector) = self.collector else { return Ok(Exporting { traces: None, stop }) };
        let resource = resource(owner, cluster_uid, instance);
        let (to, queue) = mpsc::channel(QUEUE);
        let timing = || Timing { clock, wall, rng: fastrand::Rng::new() };
        let route = ExportRoute { signal: Signal::Traces, path: "v1/traces", encode: spans::encode };
        let (connection, metrics) = (CollectorConnection::new(collector.clone())?, metrics.clone());
        let traces = Exporter::new(route, queue, connection, resource.clone(), timing(), metrics.clone());
        let lines = match self.lines {
            None => None,
            Some(lines) => {
                let route = ExportRoute { signal: Signal::Logs, path: "v1/logs", encode: lines::encode };
                let (connection, queue) = (CollectorConnection::new(collector)?, lines.counted_in(metrics.clone()));
                Some(Exporter::new(route, queue, connection, resource, timing(), metrics))
            }
        };
        let stopped = stop.clone();
        tasks.spawn(TASK, async move {
            let lines = async {
                if let Some(lines) = lines {
                    lines.run(stopped.clone()).await;
                }
            };
            tokio::join!(traces.run(stopped.clone()), lines);
            Ok(())
        });
        let traces = TraceOutput { sampling: Sampling::new(self.ratio, fastrand::u64(..)), to };
        Ok(Exporting { traces: Some(traces), stop })
    }
}

impl Exporting {
    /// Sends what waits, as far as the time limit allows.
    pub(super) async fn finish(self, tasks: &mut Tasks) {
        if self.traces.is_none() {
            return;
        }
        self.stop.cancel();
        // It ends because it was asked to.
        if tokio::time::timeout(FINISH_WITHIN, tasks.end_of(TASK)).await.is_err() {
            tracing::warn!("the collector did not take the last traces and log lines in time; dropping them");
        }
    }
}

/// This process, by the names of OpenTelemetry's conventions.
fn resource(owner: &RecordOwner, cluster_uid: Option<&str>, instance: &str) -> OtlpResource {
    let mut attributes = vec![
        KeyValue::text("service.name", env!("CARGO_PKG_NAME")),
        KeyValue::text("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::text("service.instance.id", instance),
        KeyValue::text("k8s.cluster.name", &*owner.cluster_name),
    ];
    attributes.extend(cluster_uid.map(|uid| KeyValue::text("k8s.cluster.uid", uid)));
    OtlpResource { attributes }
}

/// The wall clock, since 1970.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
