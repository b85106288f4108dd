//! Delivery: latency, order, coalescing, and items that the registry does not accept.

use std::time::Duration;

use pod_registrar::reconcile::{
    deletion::{Deletion, Removal},
    outcome::{OperationKind, Verdict},
};
use tokio::time::Instant;

use super::{
    fake::{Fake, Fault},
    world::{EventLoopHarness, SECOND, many, ms_between, options, pod},
};
use crate::support::series;

#[tokio::test(start_paused = true)]
async fn a_lone_change_leaves_at_once() {
    let mut world = EventLoopHarness::settled(Fake::new(), many(3, "a")).await;
    let changed = Instant::now();
    world.apply(pod("uid-00001", "b")).await;
    world.pass(SECOND).await;
    world.assert_equal();
    let state = world.registry.state();
    assert_eq!(ms_between(changed, state.writes.last().unwrap().at), 0);
}

/// The latency of a change includes everything that keeps the loop from reading its events.
#[tokio::test(start_paused = true)]
async fn latency_counts_from_the_events_arrival() {
    let mut world = EventLoopHarness::settled(Fake::new(), many(3, "a")).await;
    let sum = |world: &EventLoopHarness| {
        series::<f64>(&world.metrics.encode().unwrap(), "change_to_acknowledgement_seconds_sum")
    };
    let before = sum(&world);
    world.late(pod("uid-new", "b"), "uid-00001", 3 * SECOND).await;
    world.pass(SECOND).await;
    world.assert_equal();
    let latency = sum(&world) - before;
    assert!((6.0..6.5).contains(&latency), "{latency} s for two changes");
}

#[tokio::test(start_paused = true)]
async fn busy_queue_fills_batches_and_merges_changes() {
    // Many changes of one pod are sent as one.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().latency = Duration::from_millis(200);
    for body in ["a", "b", "c"] {
        for pod in many(300, body) {
            world.apply(pod).await;
        }
    }
    world.pass(2 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    assert!(state.items() <= 600, "{} items for 900 changes of 300 pods", state.items());
    assert!(state.writes.len() <= 10, "{} requests", state.writes.len());
}

#[tokio::test(start_paused = true)]
async fn change_during_a_request_is_sent_after_it() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().latency = SECOND;
    world.apply(pod("x", "a")).await;
    world.pass(SECOND / 2).await;
    world.apply(pod("x", "b")).await;
    world.delete("x").await;
    world.apply(pod("y", "a")).await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
    let kinds: Vec<_> =
        registry.state().writes.iter().flat_map(|w| w.items.clone()).map(|i| (i.uid.to_string(), i.kind)).collect();
    let expected = [("x", OperationKind::Put), ("y", OperationKind::Put), ("x", OperationKind::Delete)];
    assert_eq!(kinds, expected.map(|(uid, kind)| (uid.to_owned(), kind)));
}

#[tokio::test(start_paused = true)]
async fn pod_gone_before_its_first_request_is_unreported() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().down = Some(pod_registrar::reconcile::outcome::Failure::Unreachable("refused".into()));
    world.apply(pod("other", "a")).await;
    world.pass(SECOND).await;
    world.apply(pod("brief", "a")).await;
    world.delete("brief").await;
    registry.state().down = None;
    world.pass(30 * SECOND).await;
    world.assert_equal();
    assert!(!registry.state().tombstones.contains_key("brief"));
}

#[tokio::test(start_paused = true)]
async fn reused_pod_name_is_a_delete_and_put() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("old", "db-0")]).await;
    world.delete("old").await;
    world.apply(pod("new", "db-0")).await;
    world.pass(SECOND).await;
    world.assert_equal();
    let last: Vec<_> = registry.state().writes.iter().flat_map(|w| w.items.clone()).skip(1).collect();
    assert!(last.iter().any(|i| i.uid.text() == "old" && i.removal == Some(Removal::Observed(Deletion::Deleted))));
    assert!(last.iter().all(|i| (i.uid.text() == "new") == (i.kind == OperationKind::Put)));
}

#[tokio::test(start_paused = true)]
async fn rejected_record_is_parked_while_others_pass() {
    let registry = Fake::new();
    registry.state().poison.insert("uid-00007".into());
    let mut world = EventLoopHarness::settled(registry.clone(), many(50, "a")).await;
    assert_eq!(registry.state().records.len(), 49);
    let items = registry.state().items();
    world.pass(600 * SECOND).await;
    assert_eq!(registry.state().items(), items, "an unchanged record is not sent again");
    registry.state().poison.clear();
    world.apply(pod("uid-00007", "fixed")).await;
    world.pass(SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn parked_record_is_retried_at_the_next_resync() {
    let registry = Fake::new();
    registry.state().poison.insert("uid-00007".into());
    let mut world = EventLoopHarness::settled(registry.clone(), many(50, "a")).await;
    registry.state().poison.clear();
    world.pass(2_100 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_breaks_every_batch_is_isolated() {
    let registry = Fake::new();
    registry.state().breaks_batches.insert("uid-00123".into());
    let mut world = EventLoopHarness::start(registry.clone(), many(500, "a"), options());
    world.list().await;
    world.pass(15 * SECOND).await;
    assert_eq!(registry.state().records.len(), 499, "all others are registered");
    registry.state().breaks_batches.clear();
    world.pass(120 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn item_with_retry_after_delays_no_other() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    let verdict = Verdict::Retry { after: Some(7 * SECOND), cause: "busy".into() };
    registry.state().faults.push_back(Fault::Items(verdict));
    let asked = Instant::now();
    world.apply(pod("x", "a")).await;
    world.pass(SECOND).await;
    world.apply(pod("y", "a")).await;
    world.pass(30 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    let times: Vec<_> = state.writes.iter().map(|w| (w.items[0].uid.to_string(), ms_between(asked, w.at))).collect();
    assert_eq!(times[1], ("y".to_owned(), 1_000));
    assert!(times[2].0 == "x" && (7_000..8_500).contains(&times[2].1), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn unanswered_write_is_retried_to_one_effect() {
    // The registry applied the write, and its answer was lost.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("x", "a")]).await;
    registry.state().faults.extend([Fault::ApplyAndLose, Fault::ApplyAndLose]);
    world.apply(pod("x", "b")).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    registry.state().faults.extend([Fault::ApplyAndLose]);
    world.delete("x").await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    let versions: Vec<_> = state.writes.iter().flat_map(|w| &w.items).map(|i| i.version).collect();
    assert!(versions.is_sorted() && versions.len() == 6, "{versions:?}");
}

#[tokio::test(start_paused = true)]
async fn superseded_version_is_passed() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("x", "a")]).await;
    // Another client wrote in our session, with a much higher version.
    let (epoch, edited) = (registry.state().epoch, pod("x", "edited").content.unwrap().digest);
    let version = pod_registrar::model::ids::Version { epoch, seq: 4_000 };
    registry.state().records.insert("x".into(), (version, edited));
    world.apply(pod("x", "b")).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert!(registry.state().records["x"].0.seq > 4_000);
}

#[tokio::test(start_paused = true)]
async fn writes_keep_to_the_limit_per_second() {
    let registry = Fake::new();
    let limited = pod_registrar::controller::options::ControllerOptions { max_writes_per_second: 100, ..options() };
    let mut world = EventLoopHarness::start(registry.clone(), many(1_000, "a"), limited);
    world.list().await;
    world.pass(5 * SECOND).await;
    let items = registry.state().items();
    assert!((400..=650).contains(&items), "{items} after five seconds");
    world.pass(10 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn batches_keep_to_the_registrys_limits() {
    // The limits are in items and in bytes.
    let registry = Fake::new();
    registry.state().max_batch_items = 7;
    let world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    world.assert_equal();
    assert_eq!(registry.state().writes.len(), 15, "the fewest that batches of seven allow");
    let registry = Fake::new();
    registry.state().max_batch_bytes = 1_000;
    let world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    world.assert_equal();
    assert!(registry.state().writes.iter().all(|write| (1..=4).contains(&write.items.len())));
}

#[tokio::test(start_paused = true)]
async fn record_too_large_for_batches_goes_alone() {
    let registry = Fake::new();
    registry.state().max_batch_bytes = 200;
    let mut world = EventLoopHarness::settled(registry.clone(), many(20, "a")).await;
    world.assert_equal();
    world.delete("uid-00007").await;
    world.pass(SECOND).await;
    world.assert_equal();
    assert!(registry.state().writes.iter().all(|write| write.items.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn registry_refusing_all_batches_gets_single_requests() {
    // The registry refuses every batch as too large; no record is parked.
    let registry = Fake::new();
    registry.state().refuses_batches = true;
    let mut world = EventLoopHarness::settled(registry.clone(), many(20, "a")).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(world.figure("records{state=\"parked\"}"), 0);
}

#[tokio::test(start_paused = true)]
async fn resync_reads_the_registrys_changed_limits() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().max_batch_items = 7;
    world.pass(2_000 * SECOND).await;
    for pod in many(100, "b") {
        world.apply(pod).await;
    }
    world.pass(5 * SECOND).await;
    world.assert_equal();
}
