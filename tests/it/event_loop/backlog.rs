//! The backlog: what is owed for very many pods at once waits as a mark, and passes through a small queue.

use std::collections::BTreeSet;

use pod_registrar::{controller::options::ControllerOptions, reconcile::election::Leadership};

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

const WINDOW: usize = 100;
/// Entries of the queue that belong to keys which went elsewhere, at most.
const LEFTOVERS: usize = 64;

/// A loop with a small window, at a hundred writes a second.
fn slow() -> ControllerOptions {
    ControllerOptions { backlog_window: WINDOW, max_writes_per_second: 100, ..options() }
}

/// How many writes each id took, for those that took more than one.
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
        // Of 32 items, then twice as many with each round.
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
        // The figures may be a second old.
        assert!((left..=left + 110).contains(&pending), "{pending} are told to wait, {left} do");
        let by_state = ["pending", "in_flight"].map(|state| world.figure(&format!("records{{state=\"{state}\"}}")));
        assert_eq!(by_state.iter().sum::<usize>(), pending);
        let waited = world.clock.now() - began;
        let told: f64 = world.seconds("oldest_pending_age");
        assert!(told > waited.as_secs_f64() - 1.5, "the oldest has waited {waited:?}, told are {told} s");
    }
    world.pass(20 * SECOND).await;
    world.assert_equal();
    assert_eq!((world.figure("pending"), world.figure("queue_entries")), (0, 0));
    assert_eq!(written_twice(&world.registry), [""; 0]);
}

/// A first list of very many pods comes in while the registry is slow.
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
        let (held, told) = (state.records.len(), &state.beats[beats..]);
        beats += told.len();
        for (_, beat) in told {
            let pending = beat.counts.as_ref().unwrap().pending;
            assert!(!beat.synced || (held, pending) == (PODS, 0), "{held} records, {pending} are told to wait");
            assert!(pending >= (PODS - held) as u64, "{pending} are told to wait, {held} are there");
        }
    }
    world.assert_equal();
    assert!(world.registry.state().beats.last().is_some_and(|(_, beat)| beat.synced), "and said at once");
    assert!(beats >= 3, "{beats} heartbeats");
}

#[tokio::test(start_paused = true)]
async fn deletions_and_live_changes_pass_a_backlog() {
    let mut world = EventLoopHarness::start(Fake::new(), many(5_000, "a"), slow());
    world.list().await;
    world.pass(5 * SECOND).await;
    let (there, owed) = {
        let state = world.registry.state();
        let is_there = |n: &usize| state.records.contains_key(&format!("uid-{n:05}"));
        let [there, owed] = [true, false].map(|there| (0..5_000).find(|n| is_there(n) == there).unwrap());
        (format!("uid-{there:05}"), format!("uid-{owed:05}"))
    };
    world.delete(&there).await;
    world.apply(pod("new", "a")).await;
    world.apply(pod(&owed, "b")).await;
    world.pass(SECOND / 10).await;
    let records = world.registry.read(|state| state.records.clone());
    assert!(!records.contains_key(&there), "a deletion");
    assert!(records.contains_key("new") && records.contains_key(&owed), "live changes, one of what waited");
    assert!(records.len() < 1_000, "{} are there", records.len());
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(written_twice(&world.registry), [there], "what was changed while it waited is written once");
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
    assert!(registry.state().items() <= 1_200, "the others go at a bounded rate");
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
        // Nobody told of these: some that are registered, some that wait.
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
    let tries = world.registry.state().tries;
    assert_eq!((tries.repeats, tries.needless), (0, 0), "{tries:?}");
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
    assert_eq!((world.figure("pending"), world.figure("queue_entries")), (0, 0), "what is owed is the next leader's");
    world.lead(leads(&world, 2));
    world.pass(60 * SECOND).await;
    world.assert_equal();
    let twice = written_twice(&world.registry).len();
    assert!(twice <= 1, "{twice}: what was written before is found, but for what was refused with the session");
}
