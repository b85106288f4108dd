//! Traces and log lines of a running controller, at a collector that is made of the official definitions.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;

use super::world::{ProcessHarness, name};
use crate::support::{Collector, Garble, SOON, attribute, eventually, until};

const SECRET: &str = "Bearer s3cret-of-the-collector";

/// The spans of the trace of this pod's last change, the root first.
fn trace_of(spans: &[Span], pod: &str) -> Option<Vec<Span>> {
    let root = spans
        .iter()
        .rfind(|span| span.name == "change" && attribute(&span.attributes, "k8s.pod.name").as_deref() == Some(pod))?;
    let mut spans: Vec<Span> = spans.iter().filter(|span| span.trace_id == root.trace_id).cloned().collect();
    spans.sort_by_key(|span| (!span.parent_span_id.is_empty(), span.start_time_unix_nano, span.end_time_unix_nano));
    Some(spans)
}

async fn trace(collector: &Collector, pod: &str, operation: &str) -> Vec<Span> {
    eventually(&format!("a trace of {pod}"), SOON, async || {
        let spans = collector.spans();
        let trace = trace_of(&spans, pod).ok_or_else(|| format!("{} spans", spans.len()))?;
        let found = attribute(&trace[0].attributes, "pod_registrar.operation");
        if found.as_deref() == Some(operation) { Ok(trace) } else { Err(format!("{found:?}")) }
    })
    .await
}

fn names(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| &*span.name).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn change_is_one_trace_from_watch_to_acknowledgement() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let mut controller = world.controller_with(&["--otlp-endpoint", &collector.url, "--trace-ratio", "1"]);
    controller.synced().await;
    world.kube.create(0..1);
    world.equal().await;
    let spans = trace(&collector, &name(0), "put").await;
    assert_eq!(names(&spans), ["change", "queue", "request"]);
    let [root, queue, request] = &spans[..] else { panic!() };
    assert!(root.parent_span_id.is_empty() && queue.parent_span_id == root.span_id);
    assert_eq!(request.parent_span_id, root.span_id);
    assert_eq!(queue.start_time_unix_nano, root.start_time_unix_nano);
    assert!(queue.end_time_unix_nano <= request.start_time_unix_nano);
    assert_eq!(request.end_time_unix_nano, root.end_time_unix_nano);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.saturating_sub(Duration::from_nanos(root.start_time_unix_nano));
    assert!(age < SOON * 4, "{age:?}");
    let of = |key: &str| attribute(&root.attributes, key);
    assert_eq!((of("k8s.namespace.name"), of("k8s.pod.uid")), (Some("default".into()), Some(world.kube.uid(&name(0)))));
    assert_eq!((of("pod_registrar.target"), of("pod_registrar.requests")), (Some("default".into()), Some("1".into())));
    let status = attribute(&request.attributes, "http.response.status_code").unwrap();
    assert!(status.starts_with('2'), "{status}");
    // The registry can join the trace.
    let header = format!("00-{}-{}-01", hex(&root.trace_id), hex(&request.span_id));
    assert!(world.proxy.seen().iter().any(|exchange| exchange.traceparent.as_deref() == Some(&header)), "{header}");
    // So can readers of the metrics.
    let (_, text) = controller.page("/metrics").await;
    assert!(text.contains(&format!("# {{trace_id=\"{}\"}}", hex(&root.trace_id))), "{text}");
    let resource = &collector.resources()[0];
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("pod-registrar"));
    assert_eq!(attribute(&resource.attributes, "k8s.cluster.uid").as_deref(), Some(super::world::CLUSTER));
    world.kube.delete(0..1);
    let deletion = trace(&collector, &name(0), "delete").await;
    assert_eq!(names(&deletion), ["change", "queue", "request"]);
}

#[tokio::test]
async fn retried_change_has_a_span_per_request() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let mut controller = world.controller_with(&["--otlp-endpoint", &collector.url, "--trace-ratio", "1"]);
    controller.synced().await;
    let mut answers = [Some(Garble::Wait(503))].into_iter();
    world.proxy.garble(move || answers.next().flatten());
    world.kube.create(0..1);
    world.equal().await;
    let spans = trace(&collector, &name(0), "put").await;
    assert_eq!(names(&spans), ["change", "queue", "request", "request"]);
    let [.., first, second] = &spans[..] else { panic!() };
    let of = |span: &Span, key: &str| attribute(&span.attributes, key);
    assert_eq!((of(first, "error.type"), of(second, "error.type")), (Some("throttled".into()), None));
    assert_eq!(of(first, "http.response.status_code").as_deref(), Some("503"));
    assert_eq!(of(&spans[0], "pod_registrar.requests").as_deref(), Some("2"));
    assert!(second.start_time_unix_nano >= first.end_time_unix_nano + 900_000_000, "the registry asked for a second");
    let sent: Vec<_> = world.proxy.seen().into_iter().filter_map(|exchange| exchange.traceparent).collect();
    for span in [first, second] {
        let header = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert!(sent.contains(&header), "{header} in {sent:?}");
    }
}

/// A line about the request as a whole, and one about the record.
#[tokio::test]
async fn line_about_a_traced_write_names_its_trace() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let flags = ["--otlp-endpoint", &collector.url, "--trace-ratio", "1", "--export-logs", "true"];
    let mut controller = world.controller_with(&flags);
    controller.synced().await;
    let mut answers = [Some(Garble::Wait(503))].into_iter();
    world.proxy.garble(move || answers.next().flatten());
    world.kube.create(0..1);
    world.equal().await;
    let spans = trace(&collector, &name(0), "put").await;
    let (root, first) = (&spans[0], &spans[2]);
    let named = |text: &str| {
        let lines = collector.lines().into_iter();
        lines.filter(|line| format!("{:?}", line.body).contains(text)).map(|line| (line.trace_id, line.span_id)).next()
    };
    until("the line is exported", || named("request to the registry failed").is_some()).await;
    let line = named("request to the registry failed").unwrap();
    assert_eq!(line, (root.trace_id.clone(), first.span_id.clone()));
    world.proxy.reject(Some(&world.kube.uid(&name(0))));
    world.kube.label(&name(0), "other");
    until("the line is exported", || named("the registry rejected a record").is_some()).await;
    let (trace_id, span_id) = named("the registry rejected a record").unwrap();
    let header = format!("00-{}-{}-01", hex(&trace_id), hex(&span_id));
    assert!(world.proxy.seen().iter().any(|exchange| exchange.traceparent.as_deref() == Some(&header)), "{header}");
    let text = controller.log_line("the registry rejected a record").await;
    assert!(text.contains(&hex(&trace_id)), "{text}");
    // Lines about no write name none.
    assert_eq!(named("the registry is equal"), Some((Vec::new(), Vec::new())));
}

#[tokio::test]
async fn dead_collector_delays_nothing() {
    let world = ProcessHarness::start().await;
    // Nothing listens on this port.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{unused}");
    let mut controller =
        world.controller_with(&["--otlp-endpoint", &endpoint, "--trace-ratio", "1", "--export-logs", "true"]);
    controller.synced().await;
    world.kube.create(0..20);
    world.equal().await;
    controller.log_line("the collector does not take requests; retrying").await;
    world.kube.delete(0..20);
    world.equal().await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    // Each signal once, and again only after a minute.
    let warnings = controller.stderr().into_iter().filter(|line| line.contains("the collector does not take"));
    let count = warnings.count();
    assert!((2..=4).contains(&count), "{count}");
}

#[tokio::test]
async fn silent_collector_delays_no_stop() {
    let world = ProcessHarness::start().await;
    // Connections are made, and nothing answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut controller =
        world.controller_with(&["--otlp-endpoint", &endpoint, "--otlp-timeout", "5m", "--export-logs", "true"]);
    controller.synced().await;
    world.kube.create(0..3);
    world.equal().await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    controller.log_line("the collector did not take the last traces and log lines in time; dropping them").await;
}

#[tokio::test]
async fn busy_collector_gets_everything_again() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    collector.answers_with([503, 429]);
    world.kube.create(0..3);
    let mut controller = world.controller_with(&["--otlp-endpoint", &collector.url, "--trace-ratio", "1"]);
    controller.synced().await;
    for number in 0..3 {
        trace(&collector, &name(number), "put").await;
    }
    assert!(collector.requests() >= 3);
    controller.log_line("the collector answers again; exporting").await;
    assert!(controller.figure("exports_total{signal=\"traces\",outcome=\"exported\"}").await >= 3.0);
    let refused = controller.figure("exports_total{signal=\"traces\",outcome=\"dropped\"}").await;
    assert!(refused.abs() < 1.0, "{refused}");
}

#[tokio::test]
async fn stop_sends_what_waits() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let mut controller = world.controller_with(&["--otlp-endpoint", &collector.url, "--export-logs", "true"]);
    controller.synced().await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let messages: Vec<String> = collector
        .lines()
        .iter()
        .filter_map(|line| format!("{:?}", line.body.as_ref()?).split('"').nth(1).map(str::to_owned))
        .collect();
    let has = |start: &str| messages.iter().any(|message| message.starts_with(start));
    assert!(has("cluster identified") && has("the registry is equal") && has("session closed"), "{messages:#?}");
}

#[tokio::test]
async fn credential_for_the_collector_is_sent_and_hidden() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let file = world.kube.folder.path().join("headers");
    std::fs::write(&file, format!("Authorization: {SECRET}\n")).unwrap();
    collector.answers_with([401]);
    let flags =
        ["--otlp-endpoint", &collector.url, "--trace-ratio", "1", "--otlp-headers-file", file.to_str().unwrap()];
    let mut controller = world.controller_with(&flags);
    controller.synced().await;
    world.kube.create(0..1);
    controller.log_line("the collector refused a request; dropping its items").await;
    world.kube.create(1..2);
    trace(&collector, &name(1), "put").await;
    assert!(collector.credentials().iter().all(|credential| credential == SECRET));
    let (_, status) = controller.page("/status").await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let shown = controller.stderr().join("\n") + &status;
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn without_endpoint_nothing_is_sent() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let mut controller = world.controller_with(&["--trace-ratio", "1", "--export-logs", "true"]);
    controller.synced().await;
    world.kube.create(0..3);
    world.equal().await;
    until("its changes are acknowledged", || world.proxy.seen().iter().any(|exchange| exchange.writes())).await;
    assert!(world.proxy.seen().iter().all(|exchange| exchange.traceparent.is_none()));
    let (_, text) = controller.page("/metrics").await;
    assert!(!text.contains("trace_id"), "{text}");
    controller.terminate();
    assert_eq!((controller.code().await, collector.requests()), (0, 0));
}
