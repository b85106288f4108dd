//! The spans of traces of changes. `docs/operations.md` has the same list of spans and attributes.

use prost::Message as _;

use super::{
    WallClock,
    messages::{
        KeyValue, OtlpResource, OtlpScope, ResourceSpans, ScopeSpans, Span, SpanKind, SpanStatus, StatusCode,
        TracesRequest,
    },
};
use crate::{
    model::{label::RecordLabel, moment::Moment},
    reconcile::{
        outcome::OperationKind,
        trace::{AttemptOutcome, CHANGE_SPAN, ChangeTrace, QUEUE_SPAN, TracedAttempt},
    },
};

/// The flag of a trace that is kept.
const SAMPLED: u32 = 1;

/// The body of a request with the spans of these traces.
pub fn encode(resource: &OtlpResource, traces: &[ChangeTrace], clock: WallClock) -> Vec<u8> {
    let spans = traces.iter().flat_map(|trace| spans(trace, clock)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(OtlpScope::of_this_program()), spans }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    TracesRequest { resource_spans }.encode_to_vec()
}

/// The root first, then its children by their start.
fn spans(trace: &ChangeTrace, clock: WallClock) -> Vec<Span> {
    let mut spans = vec![Span {
        parent_span_id: Vec::new(),
        attributes: attributes(trace),
        ..span(trace, CHANGE_SPAN, "change", (trace.seen_at, trace.acknowledged_at), clock)
    }];
    // If the first request is not kept, nothing tells how long the change waited for it.
    if let Some(first) = trace.attempts.first().filter(|_| trace.requests as usize == trace.attempts.len()) {
        spans.push(span(trace, QUEUE_SPAN, "queue", (trace.seen_at, first.sent_at), clock));
    }
    spans.extend(trace.request_spans().map(|(number, attempt)| request(trace, number, attempt, clock)));
    spans
}

fn span(trace: &ChangeTrace, number: u32, name: &str, (from, to): (Moment, Moment), clock: WallClock) -> Span {
    Span {
        trace_id: trace.names.trace().0.to_vec(),
        span_id: trace.names.span(number).0.to_vec(),
        parent_span_id: trace.names.span(CHANGE_SPAN).0.to_vec(),
        name: name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time: clock.nanos(from),
        end_time: clock.nanos(to.max(from)),
        attributes: Vec::new(),
        status: None,
        flags: SAMPLED,
    }
}

fn request(trace: &ChangeTrace, number: u32, attempt: &TracedAttempt, clock: WallClock) -> Span {
    let outcome: &'static str = attempt.outcome.into();
    let mut attributes = vec![
        KeyValue::text("pod_registrar.outcome", outcome),
        KeyValue::count("pod_registrar.request.changes", attempt.changes),
    ];
    attributes.extend(attempt.status.map(|status| KeyValue::count("http.response.status_code", status)));
    let mut status = None;
    if attempt.outcome != AttemptOutcome::Done {
        attributes.push(KeyValue::text("error.type", outcome));
        status = Some(SpanStatus { message: String::new(), code: StatusCode::Error.into() });
    }
    Span {
        kind: SpanKind::Client.into(),
        attributes,
        status,
        ..span(trace, number, "request", (attempt.sent_at, attempt.answered_at), clock)
    }
}

fn attributes(trace: &ChangeTrace) -> Vec<KeyValue> {
    let operation = match trace.kind {
        OperationKind::Put => "put",
        OperationKind::Delete => "delete",
    };
    let mut attributes = vec![
        KeyValue::text("pod_registrar.target", trace.target),
        KeyValue::text("pod_registrar.operation", operation),
        KeyValue::text("pod_registrar.record", trace.record.id_or_key()),
        KeyValue::count("pod_registrar.requests", trace.requests),
    ];
    let RecordLabel { key: _, id: _, kind, uid, pod } = &trace.record;
    attributes.extend(kind.iter().map(|kind| KeyValue::text("pod_registrar.kind", kind)));
    attributes.extend(uid.iter().map(|uid| KeyValue::text("k8s.pod.uid", &*uid.text())));
    if let Some((namespace, name)) = pod.as_ref().and_then(|pod| pod.split_once('/')) {
        attributes.push(KeyValue::text("k8s.namespace.name", namespace));
        attributes.push(KeyValue::text("k8s.pod.name", name));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        common::v1::{KeyValue as OfficialKeyValue, any_value::Value},
        trace::v1::{Span as OfficialSpan, span::SpanKind as OfficialKind, status::StatusCode as OfficialCode},
    };

    use super::*;
    use crate::{
        model::{trace::TraceNames, uid::Uid},
        reconcile::trace::ATTEMPTS_KEPT,
    };

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn attempt(sent: u64, answered: u64, outcome: AttemptOutcome, status: Option<u16>) -> TracedAttempt {
        TracedAttempt { sent_at: at(sent), answered_at: at(answered), outcome, status, changes: 3 }
    }

    fn trace(requests: u32, attempts: Vec<TracedAttempt>) -> ChangeTrace {
        let uid: Uid = "u-1".into();
        let pod = Some("shop/web-0".to_owned());
        ChangeTrace {
            names: TraceNames::of_change(1, "cmdb", &uid, at(100)),
            target: "cmdb",
            record: RecordLabel { key: uid.clone(), kind: None, id: Some("42".into()), uid: Some(uid), pod },
            kind: OperationKind::Put,
            seen_at: at(100),
            acknowledged_at: at(500),
            requests,
            attempts,
        }
    }

    /// The spans as the official definitions read them.
    fn decoded(traces: &[ChangeTrace]) -> Vec<OfficialSpan> {
        let clock = WallClock { moment: at(1_000), wall: Duration::from_secs(1_700_000_000) };
        let resource = OtlpResource { attributes: vec![KeyValue::text("service.name", "pod-registrar")] };
        let body = encode(&resource, traces, clock);
        let request = <ExportTraceServiceRequest as prost::Message>::decode(&body[..]).unwrap();
        let [resource_spans] = &request.resource_spans[..] else { panic!("{request:?}") };
        let service = shown(&resource_spans.resource.as_ref().unwrap().attributes);
        assert_eq!(service, ["service.name=pod-registrar"]);
        let [scope] = &resource_spans.scope_spans[..] else { panic!("{request:?}") };
        assert_eq!(scope.scope.as_ref().unwrap().name, "pod-registrar");
        scope.spans.clone()
    }

    fn shown(attributes: &[OfficialKeyValue]) -> Vec<String> {
        let shown = |attribute: &OfficialKeyValue| {
            let value = match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
                Value::StringValue(text) => text.clone(),
                Value::IntValue(number) => number.to_string(),
                other => panic!("{other:?}"),
            };
            format!("{}={value}", attribute.key)
        };
        attributes.iter().map(shown).collect()
    }

    #[test]
    fn official_definitions_read_a_trace() {
        let attempts = vec![
            attempt(150, 200, AttemptOutcome::Throttled, Some(429)),
            attempt(450, 500, AttemptOutcome::Done, Some(200)),
        ];
        let spans = decoded(&[trace(2, attempts)]);
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["change", "queue", "request", "request"]);
        let epoch = 1_700_000_000_000_u64 - 1_000;
        let times: Vec<(u64, u64)> = spans
            .iter()
            .map(|span| [span.start_time_unix_nano, span.end_time_unix_nano].map(|nanos| nanos / 1_000_000 - epoch))
            .map(|[start, end]| (start, end))
            .collect();
        assert_eq!(times, [(100, 500), (100, 150), (150, 200), (450, 500)]);
        let [root, children @ ..] = &spans[..] else { panic!() };
        assert!(root.parent_span_id.is_empty());
        assert!(children.iter().all(|span| span.parent_span_id == root.span_id && span.trace_id == root.trace_id));
        assert_eq!((root.trace_id.len(), root.span_id.len(), root.flags), (16, 8, 1));
        assert_eq!(spans.iter().map(OfficialSpan::kind).filter(|kind| *kind == OfficialKind::Client).count(), 2);
        assert_eq!(
            shown(&root.attributes),
            [
                "pod_registrar.target=cmdb",
                "pod_registrar.operation=put",
                "pod_registrar.record=42",
                "pod_registrar.requests=2",
                "k8s.pod.uid=u-1",
                "k8s.namespace.name=shop",
                "k8s.pod.name=web-0"
            ]
        );
        assert_eq!(
            shown(&children[1].attributes),
            [
                "pod_registrar.outcome=throttled",
                "pod_registrar.request.changes=3",
                "http.response.status_code=429",
                "error.type=throttled"
            ]
        );
        assert_eq!(children[1].status.as_ref().unwrap().code(), OfficialCode::Error);
        assert!(children[2].status.is_none());
    }

    #[test]
    fn requests_that_are_not_kept_have_no_spans() {
        let attempts = vec![attempt(450, 500, AttemptOutcome::Done, None); ATTEMPTS_KEPT + 1];
        let spans = decoded(&[trace(100, attempts)]);
        assert_eq!(spans.len(), 1 + ATTEMPTS_KEPT + 1, "without `queue`");
        let ids: std::collections::HashSet<_> = spans.iter().map(|span| span.span_id.clone()).collect();
        assert_eq!(ids.len(), spans.len());
    }
}
