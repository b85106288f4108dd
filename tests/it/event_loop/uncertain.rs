//! Uncertain records: unanswered writes are sent again, late arrivals undo nothing, and an inventory neither causes a
//! deletion nor prevents one.

use pod_registrar::reconcile::outcome::{Failure, OperationKind, Verdict};

use super::{
    attempts::FailureRate,
    fake::{Fake, Fault},
    world::{EventLoopHarness, SECOND, many, options, pod},
};

#[tokio::test(start_paused = true)]
async fn late_put_does_not_undo_a_deletion() {
    // The put timed out, and it arrives after the deletion.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().faults.push_back(Fault::ArriveLate(30 * SECOND));
    world.apply(pod("uid-00001", "b")).await;
    world.pass(SECOND / 100).await;
    assert_eq!(world.figure("pending"), 1, "it is pending until it is answered");
    world.delete("uid-00001").await;
    world.pass(20 * SECOND).await;
    world.assert_equal();
    world.pass(20 * SECOND).await;
    world.assert_equal();
    let late = registry.read(|state| state.late.clone());
    assert!(matches!(late.as_slice(), [(uid, Verdict::Tombstoned { .. })] if uid == "uid-00001"), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn late_requests_undo_nothing_newer() {
    // Both a put and a deletion timed out.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().faults.push_back(Fault::ArriveLate(30 * SECOND));
    world.apply(pod("uid-00001", "b")).await;
    world.pass(10 * SECOND).await;
    world.apply(pod("uid-00001", "c")).await;
    world.pass(SECOND).await;
    registry.state().faults.push_back(Fault::ArriveLate(30 * SECOND));
    world.delete("uid-00002").await;
    world.pass(SECOND / 100).await;
    // The pod left the selector, and is back before the deletion arrives.
    world.apply(pod("uid-00002", "back")).await;
    world.pass(60 * SECOND).await;
    world.assert_equal();
    let late = registry.read(|state| state.late.clone());
    assert!(
        late.iter().any(|(uid, verdict)| uid == "uid-00001" && matches!(verdict, Verdict::Stale { .. })),
        "{late:?}"
    );
    assert!(registry.read(|state| state.records.contains_key("uid-00002")));
}

#[tokio::test(start_paused = true)]
async fn timed_out_record_is_uncertain_until_answered() {
    // The answer to a later write ends the uncertainty.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().faults.push_back(Fault::ApplyAndLose);
    world.apply(pod("uid-00001", "b")).await;
    world.pass(SECOND / 10).await;
    // The registry holds the desired record, but this is not known: a change back is sent as well.
    world.apply(pod("uid-00001", "a")).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(world.figure("records{state=\"uncertain\"}"), 0);
}

#[tokio::test(start_paused = true)]
async fn incomplete_inventory_causes_puts_only() {
    // A pending deletion stays pending even if the inventory leaves its record out.
    let registry = Fake::new();
    let hasty = pod_registrar::controller::options::ControllerOptions { resync_interval: 10 * SECOND, ..options() };
    let mut world = EventLoopHarness::start(registry.clone(), many(100, "a"), hasty);
    world.list().await;
    world.pass(5 * SECOND).await;
    let verdict = Verdict::Retry { after: Some(60 * SECOND), cause: "busy".into() };
    registry.state().failing_ids.insert("uid-00042".into(), verdict);
    world.delete("uid-00042").await;
    world.pass(SECOND).await;
    let (items, readings) = registry.read(|state| (state.items(), state.readings.len()));
    registry.state().hidden.extend((40..60).map(|n| format!("uid-{n:05}")));
    world.pass(30 * SECOND).await;
    registry.state().failing_ids.clear();
    assert!(registry.read(|state| state.readings.len()) >= readings + 2);
    let written: Vec<_> = registry.read(|s| s.writes.iter().flat_map(|w| w.items.clone()).skip(items).collect());
    assert!(written.len() >= 19, "records that the inventory lacks are written again");
    assert!(written.iter().all(|item| item.kind == OperationKind::Put), "a short inventory deletes nothing");
    assert!(world.pods.len() == 99 && registry.read(|state| state.records.contains_key("uid-00042")));
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert!(registry.read(|state| state.tombstones.contains_key("uid-00042")), "the deletion stayed pending");
}

#[tokio::test(start_paused = true)]
async fn an_empty_inventory_deletes_nothing_and_causes_puts() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    registry.state().hidden.extend((0..100).map(|n| format!("uid-{n:05}")));
    let before = registry.read(|state| state.items());
    world.pass(2_100 * SECOND).await;
    let items = registry.read(|s| s.writes.iter().flat_map(|w| w.items.clone()).skip(before).collect::<Vec<_>>());
    assert!(items.len() == 100 && items.iter().all(|item| item.kind == OperationKind::Put), "{}", items.len());
    registry.state().hidden.clear();
    world.pass(2_100 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn only_unacknowledged_items_are_retried() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(200, "a")).await;
    registry.state().failure_rate = Some(FailureRate::Items(30, Verdict::Uncertain { cause: "status 500".into() }));
    let before = registry.read(|state| state.attempts);
    for pod in many(200, "b") {
        world.apply(pod).await;
    }
    world.pass(SECOND / 10).await;
    registry.state().failure_rate = None;
    let failed = registry.read(|state| {
        let held = |n| state.records[&format!("uid-{n:05}")].1;
        (0..200).filter(|n| held(*n) == pod(&format!("uid-{n:05}"), "a").content.unwrap().digest).count()
    });
    assert!((30..=90).contains(&failed), "{failed}");
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let attempts = registry.read(|state| state.attempts);
    assert_eq!((attempts.first - before.first, attempts.retries - before.retries, attempts.needless), (200, failed, 0));
}

#[tokio::test(start_paused = true)]
async fn record_that_fails_its_batch_is_parked() {
    // The registry refuses the whole batch because of one record.
    for failure in [
        Failure::Refused { status: 400, detail: "a body that it cannot read".into() },
        Failure::Refused { status: 422, detail: "schema".into() },
        Failure::TooLarge,
    ] {
        let registry = Fake::new();
        registry.state().breaks_batches.insert("uid-00123".into());
        registry.state().breaks_with = Some(failure.clone());
        let mut world = EventLoopHarness::start(registry.clone(), many(500, "a"), options());
        world.list().await;
        world.pass(30 * SECOND).await;
        assert_eq!(registry.state().records.len(), 499, "{failure}: all others are registered");
        let writes = registry.state().writes.len();
        world.pass(600 * SECOND).await;
        assert_eq!(registry.state().writes.len(), writes, "{failure}: the record waits until it changes");
        registry.state().breaks_batches.clear();
        world.apply(pod("uid-00123", "fixed")).await;
        world.pass(SECOND).await;
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn neighbours_of_failing_records_are_registered() {
    let firewall = Failure::Unauthorized { status: 403, detail: "blocked".into(), named: false };
    for failure in [Failure::Broken("status 500".into()), firewall] {
        let registry = Fake::new();
        registry.state().breaks_batches.extend((0..10).map(|n| format!("uid-{:05}", n * 600)));
        registry.state().breaks_with = Some(failure.clone());
        let mut world = EventLoopHarness::start(registry.clone(), many(6_000, "a"), options());
        world.list().await;
        world.pass(60 * SECOND).await;
        let records = registry.state().records.len();
        assert_eq!((records, world.figure("records{state=\"registered\"}")), (5_990, 5_990), "{failure}");
        world.apply(pod("x", "a")).await;
        world.pass(SECOND).await;
        assert_eq!(registry.state().records.len(), 5_991, "{failure}: no record waits for the rejected ones");
        registry.state().breaks_batches.clear();
        world.pass(120 * SECOND).await;
        world.assert_equal();
    }
}
