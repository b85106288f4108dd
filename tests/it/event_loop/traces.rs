//! Traces of acknowledged changes: which points in time and requests they have, and what happens without a reader.

use std::time::Duration;

use pod_registrar::controller::options::TraceOutput;
use pod_registrar::reconcile::{
    election::Leadership,
    outcome::{Failure, OperationKind},
    trace::{AttemptOutcome, ChangeTrace, Sampling},
};
use tokio::sync::mpsc;

use super::{
    fake::{Fake, Fault},
    world::{EventLoopHarness, SECOND, many, options, pod},
};

/// A synced world that traces this share of the changes, and the other end of its queue.
async fn traced(registry: Fake, ratio: f64, queue: usize) -> (EventLoopHarness, mpsc::Receiver<ChangeTrace>) {
    let (to, mut traces) = mpsc::channel(queue);
    let output = TraceOutput { sampling: Sampling::new(ratio, 7), to };
    let pods = [pod("a", "1"), pod("b", "1")];
    let mut world = EventLoopHarness::start_traced(Some(output), Leadership::Alone, registry, pods, options());
    world.list().await;
    world.pass(5 * SECOND).await;
    while traces.try_recv().is_ok() {}
    (world, traces)
}

fn metrics(world: &EventLoopHarness) -> String {
    world.metrics.encode().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_change_gives_one_trace() {
    let registry = Fake::new();
    let (mut world, mut traces) = traced(registry.clone(), 1.0, 100).await;
    registry.state().latency = Duration::from_millis(30);
    let seen_at = world.clock.now();
    world.apply(pod("a", "2")).await;
    world.pass(2 * SECOND).await;
    let trace = traces.try_recv().unwrap();
    assert_eq!(trace.seen_at, seen_at);
    assert!((30..40).contains(&trace.acknowledged_at.since(seen_at).as_millis()), "{trace:?}");
    assert_eq!((trace.kind, trace.target, trace.requests), (OperationKind::Put, "default", 1));
    assert_eq!(trace.record.pod.as_deref(), Some("default/a"));
    let [request] = &trace.attempts[..] else { panic!("{trace:?}") };
    assert_eq!((request.sent_at, request.answered_at), (seen_at, trace.acknowledged_at));
    assert_eq!((request.outcome, request.changes), (AttemptOutcome::Done, 1));
    // The bucket of its latency names the trace.
    let exemplar = format!("# {{trace_id=\"{}\"}} 0.03", trace.names.trace());
    let text = metrics(&world);
    assert!(text.lines().any(|line| line.contains("le=\"0.05\"") && line.contains(&exemplar)), "{exemplar}: {text}");
    world.delete("b").await;
    world.pass(2 * SECOND).await;
    let deletion = traces.try_recv().unwrap();
    assert_eq!((deletion.kind, deletion.record.pod.as_deref()), (OperationKind::Delete, Some("default/b")));
    assert!(traces.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn retry_is_a_second_request() {
    let registry = Fake::new();
    let (mut world, mut traces) = traced(registry.clone(), 1.0, 100).await;
    registry.state().faults.push_back(Fault::Refuse(Failure::Throttled { status: 503, after: Some(SECOND) }));
    registry.state().faults.push_back(Fault::ApplyAndLose);
    let seen_at = world.clock.now();
    world.apply(pod("a", "2")).await;
    world.pass(60 * SECOND).await;
    let trace = traces.try_recv().unwrap();
    let outcomes: Vec<AttemptOutcome> = trace.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Throttled, AttemptOutcome::NoAnswer, AttemptOutcome::Done], "{trace:?}");
    assert_eq!((trace.seen_at, trace.requests), (seen_at, 3));
    assert!(trace.attempts.windows(2).all(|pair| pair[0].answered_at <= pair[1].sent_at), "{trace:?}");
    assert!(trace.attempts[1].sent_at >= seen_at + SECOND);
}

#[tokio::test(start_paused = true)]
async fn full_queue_drops_and_delays_nothing() {
    let (mut world, mut traces) = traced(Fake::new(), 1.0, 1).await;
    for pod in many(50, "2") {
        world.apply(pod).await;
    }
    world.pass(5 * SECOND).await;
    assert!(world.is_in_sync());
    assert!(traces.try_recv().is_ok() && traces.try_recv().is_err());
    let text = metrics(&world);
    let dropped = "pod_registrar_exports_total{signal=\"traces\",outcome=\"dropped\"} ";
    let dropped: u32 = text.lines().find_map(|line| line.strip_prefix(dropped)).unwrap().parse().unwrap();
    assert!(dropped >= 49, "{dropped}");
}

#[tokio::test(start_paused = true)]
async fn slow_changes_are_traced_without_sampling() {
    let registry = Fake::new();
    let (mut world, mut traces) = traced(registry.clone(), 0.0, 100).await;
    world.apply(pod("a", "2")).await;
    world.pass(5 * SECOND).await;
    assert!(traces.try_recv().is_err());
    registry.state().latency = Duration::from_millis(1_500);
    world.apply(pod("a", "3")).await;
    world.pass(5 * SECOND).await;
    let trace = traces.try_recv().unwrap();
    assert!((1_500..1_600).contains(&trace.acknowledged_at.since(trace.seen_at).as_millis()), "{trace:?}");
}

#[tokio::test(start_paused = true)]
async fn without_tracing_metrics_have_no_exemplars() {
    let mut world = EventLoopHarness::settled(Fake::new(), [pod("a", "1")]).await;
    world.apply(pod("a", "2")).await;
    world.pass(5 * SECOND).await;
    let text = metrics(&world);
    assert!(text.contains("change_to_acknowledgement_seconds_count{target=\"default\"} 2"), "{text}");
    assert!(!text.contains("trace_id"), "{text}");
}
