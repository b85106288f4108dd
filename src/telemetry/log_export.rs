//! Log lines as values, for the task that sends them to a collector.
//!
//! They are the lines of this program that the filter of the log lets through, but not those of the export itself,
//! which would lead to more of them. Nothing waits: if the queue is full, a line is dropped and counted.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::metrics::{
    Metrics,
    labels::{ExportOutcome, Signal},
};

/// Modules whose lines are exported begin so.
const OWN: &str = env!("CARGO_CRATE_NAME");
/// The module of the export.
const EXPORT: &str = concat!(env!("CARGO_CRATE_NAME"), "::otlp");
/// The field of tracing with the text of a line.
const MESSAGE: &str = "message";
/// The span around lines that belong to a trace. Its fields are those of [`LineTrace`].
const TRACE: &str = "trace";
/// Characters of a text in a line.
const TEXT_CHARS: usize = 4_000;

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When it was logged, since 1970.
    pub wall: Duration,
    pub level: Level,
    pub module: &'static str,
    pub message: String,
    /// Those of the spans around it first, as `target.name`.
    pub fields: Vec<LogField>,
    /// The trace that it belongs to, if there is one.
    pub trace: Option<LineTrace>,
}

/// The names of a trace and of a span in it, in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineTrace {
    pub trace_id: String,
    pub span_id: String,
}

pub type LogField = (Cow<'static, str>, FieldValue);

#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    Text(String),
    Bool(bool),
    Integer(i64),
    Number(f64),
}

/// Hands log lines to a queue.
pub struct LogExport {
    to: mpsc::Sender<LogLine>,
    counts: Arc<OnceLock<Metrics>>,
}

/// The other end of the queue.
pub struct LogLines {
    lines: mpsc::Receiver<LogLine>,
    counts: Arc<OnceLock<Metrics>>,
}

/// A queue for this number of lines.
pub fn queue(size: usize) -> (LogExport, LogLines) {
    let ((to, lines), counts) = (mpsc::channel(size), Arc::default());
    (LogExport { to, counts: Arc::clone(&counts) }, LogLines { lines, counts })
}

impl LogLines {
    /// The lines. From now on, those that are dropped count in these metrics.
    pub fn counted_in(self, metrics: Metrics) -> mpsc::Receiver<LogLine> {
        // It is set once.
        let _ = self.counts.set(metrics);
        self.lines
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for LogExport {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !is_exported(metadata.target()) {
            return;
        }
        let (mut found, mut trace) = (Fields::default(), None);
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            if span.name() == TRACE {
                trace = extensions.get::<Fields>().map(Fields::trace);
                continue;
            }
            let of_span = extensions.get::<Fields>().into_iter().flat_map(|fields| &fields.others);
            found
                .others
                .extend(of_span.map(|(name, value)| (Cow::Owned(format!("{}.{name}", span.name())), value.clone())));
        }
        event.record(&mut found);
        let Fields { message, others: fields } = found;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (level, module) = (*metadata.level(), metadata.target());
        let line = LogLine { wall, level, module, message, fields, trace };
        if self.to.try_send(line).is_err()
            && let Some(metrics) = self.counts.get()
        {
            metrics.exported(Signal::Logs, ExportOutcome::Dropped, 1);
        }
    }
}

fn is_exported(module: &str) -> bool {
    module.starts_with(OWN) && !module.starts_with(EXPORT)
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<LogField>,
}

impl Fields {
    fn trace(&self) -> LineTrace {
        let mut trace = LineTrace::default();
        for (name, value) in &self.others {
            match (&**name, value) {
                ("trace_id", FieldValue::Text(id)) => trace.trace_id.clone_from(id),
                ("span_id", FieldValue::Text(id)) => trace.span_id.clone_from(id),
                _ => {}
            }
        }
        trace
    }

    fn add(&mut self, field: &Field, value: FieldValue) {
        match value {
            FieldValue::Text(text) if field.name() == MESSAGE => self.message = text,
            value => self.others.push((Cow::Borrowed(field.name()), value)),
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, FieldValue::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, FieldValue::Integer(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, i64::try_from(value).map_or_else(|_| FieldValue::Text(value.to_string()), FieldValue::Integer));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, FieldValue::Number(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, FieldValue::Text(value.chars().take(TEXT_CHARS).collect()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::health::Health;

    fn logged(size: usize, act: impl FnOnce()) -> LogLines {
        let (export, lines) = queue(size);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(export), act);
        lines
    }

    fn text(text: &str) -> FieldValue {
        FieldValue::Text(text.into())
    }

    #[test]
    fn line_has_message_fields_and_target() {
        let mut lines = logged(9, || {
            let _target = tracing::info_span!("registry", target = "cmdb").entered();
            tracing::warn!(pods = 3_u64, error = %"no", large = u64::MAX, is = true, "not applied; {}", "retrying");
        });
        let line = lines.lines.try_recv().unwrap();
        assert_eq!((line.level, &*line.message), (Level::WARN, "not applied; retrying"));
        assert!(line.module.starts_with("pod_registrar::telemetry::log_export"));
        let expected: [LogField; 5] = [
            ("registry.target".into(), text("cmdb")),
            ("pods".into(), FieldValue::Integer(3)),
            ("error".into(), text("no")),
            ("large".into(), text("18446744073709551615")),
            ("is".into(), FieldValue::Bool(true)),
        ];
        assert_eq!(line.fields, expected);
    }

    #[test]
    fn line_belongs_to_the_innermost_trace() {
        let mut lines = logged(9, || {
            let _target = tracing::info_span!("target", name = "cmdb").entered();
            let _request = tracing::error_span!("trace", trace_id = "0a", span_id = "01").entered();
            tracing::error_span!("trace", trace_id = "0b", span_id = "02").in_scope(|| tracing::info!("a record"));
            tracing::info!("a request");
        });
        let mut next = || lines.lines.try_recv().unwrap();
        let (record, request) = (next(), next());
        let trace = |trace_id: &str, span_id: &str| {
            Some(LineTrace { trace_id: trace_id.to_owned(), span_id: span_id.to_owned() })
        };
        assert_eq!((record.trace, request.trace), (trace("0b", "02"), trace("0a", "01")));
        assert_eq!(record.fields, [("target.name".into(), text("cmdb"))]);
    }

    #[test]
    fn lines_of_others_are_not_exported() {
        let mut lines = logged(9, || {
            tracing::warn!(target: "hyper::client", "a request");
            tracing::warn!(target: "pod_registrar::otlp::exporter", "a request");
        });
        assert!(lines.lines.try_recv().is_err());
    }

    #[tokio::test]
    async fn full_queue_drops_and_counts() {
        let (export, lines) = queue(1);
        let metrics = Metrics::new(Health::new(0));
        let mut lines = lines.counted_in(metrics.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(export), || {
            tracing::info!("first");
            tracing::info!("second");
        });
        assert_eq!(lines.try_recv().unwrap().message, "first");
        assert!(lines.try_recv().is_err());
        let text = metrics.encode().unwrap();
        assert!(text.contains("pod_registrar_exports_total{signal=\"logs\",outcome=\"dropped\"} 1\n"), "{text}");
    }
}
