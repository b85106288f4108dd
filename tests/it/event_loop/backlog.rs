//! The backlog: pending records of very many pods wait as one mark per pod, and pass through a small queue.

use std::collections::BTreeSet;

use pod_registrar::{controller::options::ControllerOptions, reconcile::election::Leadership};

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

const WINDOW: usize = 100;
/// The most queue entries whose keys were sent or dropped already.
const LEFTOVERS: usize = 64;

/// Options with a small window and 100 writes per second.
fn slow() -> ControllerOptions {
    ControllerOptions { backlog_window: WINDOW, max_writes_per_second: 100, ..options() }
}

/// The UIDs that were written more than once.
fn written_twice(registry: &Fake) -> Vec<String> {
    let (mut seen, mut twice) = (BTreeSet::new(), Vec::new());
    for item in registry.state().writes.iter().flat_map(|write| &write.items) {
        if !seen.insert(item.uid.to_string()) {
            twice.push(item.uid.to_string());
        }
    }
    twice
}

#[tokio::test(start_paused = true)]
async fn batches_are_full_however_small_the_window_is() {
    for backlog_window in [0, 1, 7, WINDOW] {
        let mut world =
            EventLoopHarness::start(Fake::new(), many(1_234, "a"), ControllerOptions { backlog_window, ..options() });
        world.list().await;
        world.pass(5 * SECOND).await;
        world.assert_equal();
        // The first batch has 32 items; each further one has twice as many.
        assert_eq!(world.registry.state().writes.len(), 14, "{backlog_window}");
        assert_eq!(written_twice(&world.registry), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn window_bounds_the_queue() {
    // The metrics count the rest as pending.
    const PODS: usize = 5_000;
    let mut world = EventLoopHarness::start(Fake::new(), many(PODS, "a"), slow());
    world.list().await;
    let began = world.clock.now();
    for _ in 0..40 {
        world.pass(SECOND).await;
        let entries = world.figure("queue_entries");
        assert!(entries <= WINDOW + LEFTOVERS, "{entries} entries");
        let (left, pending) = (PODS - world.registry.state().records.len(), world.figure("pending"));
        // The metrics may be one second old.
        assert!((left..=left + 110).contains(&pending), "{pending} are reported as pending, {left} are");
        let by_state = ["pending", "in_flight"].map(|state| world.figure(&format!("records{{state=\"{state}\"}}")));
        assert_eq!(by_state.iter().sum::<usize>(), pending);
        let waited = world.clock.now() - began;
        let reported: f64 = world.seconds("oldest_pending_age");
        assert!(reported > waited.as_secs_f64() - 1.5, "the oldest has waited {waited:?}, {reported} s are reported");
    }
    world.pass(20 * SECOND).await;
    world.assert_equal();
    assert_eq!((world.figure("pending"), world.figure("queue_entries")), (0, 0));
    assert_eq!(written_twice(&world.registry), [""; 0]);
}

/// The first list of very many pods arrives while the registry is slow.
#[tokio::test(start_paused = true)]
async fn pages_wait_outside_the_queue() {
    const PODS: usize = 3_000;
    let mut world = EventLoopHarness::start(Fake::new(), many(PODS, "a"), slow());
    world.page(1).await;
    world.pass(5 * SECOND).await;
    for pods in (0..=PODS).step_by(500) {
        world.page(pods).await;
        for _ in 0..3 {
            world.pass(SECOND).await;
            let entries = world.figure("queue_entries");
            assert!(entries <= WINDOW + LEFTOVERS, "{entries} entries");
        }
    }
    world.pass(20 * SECOND).await;
    assert_eq!(world.registry.state().records.len(), PODS, "no list was complete");
    assert_eq!(written_twice(&world.registry), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn writer_with_a_backlog_is_not_in_sync() {
    const PODS: usize = 9_000;
    let mut world = EventLoopHarness::start(Fake::new(), many(PODS, "a"), slow());
    world.list().await;
    let mut beats = 0;
    for _ in 0..120 {
        world.pass(SECOND).await;
        let state = world.registry.state();
        let (held, new_beats) = (state.records.len(), &state.beats[beats..]);
        beats += new_beats.len();
        for (_, beat) in new_beats {
            let pending = beat.counts.as_ref().unwrap().pending;
            assert!(!beat.synced || (held, pending) == (PODS, 0), "{held} records, {pending} are reported as pending");
            assert!(pending >= (PODS - held) as u64, "{pending} are reported as pending, {held} are there");
        }
    }
    world.assert_equal();
    assert!(world.registry.state().beats.last().is_some_and(|(_, beat)| beat.synced), "a heartbeat says so at once");
    assert!(beats >= 3, "{beats} heartbeats");
}

#[tokio::test(start_paused = true)]
async fn deletions_and_live_changes_pass_a_backlog() {
    let mut world = EventLoopHarness::start(Fake::new(), many(5_000, "a"), slow());
    world.list().await;
    world.pass(5 * SECOND).await;
    let (there, pending) = {
        let state = world.registry.state();
        let is_there = |n: &usize| state.records.contains_key(&format!("uid-{n:05}"));
        let [there, pending] = [true, false].map(|there| (0..5_000).find(|n| is_there(n) == there).unwrap());
        (format!("uid-{there:05}"), format!("uid-{pending:05}"))
    };
    world.delete(&there).await;
    world.apply(pod("new", "a")).await;
    world.apply(pod(&pending, "b")).await;
    world.pass(SECOND / 10).await;
    let records = world.registry.read(|state| state.records.clone());
    assert!(!records.contains_key(&there), "a deletion");
    assert!(
        records.contains_key("new") && records.contains_key(&pending),
        "live changes, one of them of a pending record"
    );
    assert!(records.len() < 1_000, "{} are there", records.len());
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(written_twice(&world.registry), [there], "a record that changes while it is pending is written once");
}

#[tokio::test(start_paused = true)]
async fn missing_records_go_before_differing_ones() {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(5_000, "old")).await.stop().await.unwrap();
    registry.state().writes.clear();
    let missing = (0..50).map(|n| pod(&format!("missing-{n}"), "a"));
    let pods = many(5_000, "new").chain(missing);
    let mut world =
        EventLoopHarness::start(registry.clone(), pods, ControllerOptions { backlog_window: WINDOW, ..options() });
    world.list().await;
    world.pass(SECOND / 10).await;
    let there = registry.read(|state| state.records.keys().filter(|uid| uid.starts_with("missing")).count());
    assert_eq!(there, 50);
    assert!(registry.state().items() <= 1_200, "rewrites have a rate limit");
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(written_twice(&registry), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn list_restarts_a_backlog_without_repeating_writes() {
    let mut world = EventLoopHarness::start(Fake::new(), many(3_000, "a"), slow());
    world.list().await;
    for round in 0..6 {
        world.pass(3 * SECOND).await;
        // No event announces these changes: some pods are registered, some are pending.
        for n in (round..3_000).step_by(60) {
            let uid = format!("uid-{n:05}");
            match n % 3 {
                0 => _ = world.pods.remove(&uid),
                1 => _ = world.pods.insert(uid.clone(), pod(&uid, "b")),
                _ => _ = world.pods.insert(format!("{uid}-{round}"), pod(&format!("{uid}-{round}"), "a")),
            }
        }
        world.list().await;
    }
    world.pass(120 * SECOND).await;
    world.assert_equal();
    assert_eq!(world.figure("ledger_entries"), world.pods.len());
    let attempts = world.registry.state().attempts;
    assert_eq!((attempts.retries, attempts.needless), (0, 0), "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn backlog_outlives_a_session_but_not_leadership() {
    let leads = |world: &EventLoopHarness, term| Leadership::Leader { term, until: world.clock.now() + 3_600 * SECOND };
    let mut world = EventLoopHarness::start_as(Leadership::Follower, Fake::new(), many(3_000, "a"), slow());
    world.lead(leads(&world, 1));
    world.list().await;
    world.pass(5 * SECOND).await;
    // The registry forgets the session.
    world.registry.state().session = None;
    world.pass(5 * SECOND).await;
    assert!(world.registry.state().opened.len() >= 2);
    let held = world.registry.state().records.len();
    assert!((800..1_500).contains(&held), "{held}");
    world.lead(Leadership::Follower);
    world.pass(2 * SECOND).await;
    assert_eq!(
        (world.figure("pending"), world.figure("queue_entries")),
        (0, 0),
        "the next leader finds the pending records"
    );
    world.lead(leads(&world, 2));
    world.pass(60 * SECOND).await;
    world.assert_equal();
    let twice = written_twice(&world.registry).len();
    // The limit of writes lets a batch of 100 through.
    assert!(twice <= 100, "{twice} written twice: only the batch refused with the session is repeated");
}
