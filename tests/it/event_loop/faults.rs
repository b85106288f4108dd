//! Faults of the process and of the whole cluster: a stop with much pending, a panic, a hanging loop, a release that is
//! rolled back, and mass deletions.

use std::time::Duration;

use pod_registrar::{
    reconcile::outcome::{Failure, OperationKind},
    telemetry::health::LONGEST_TURN,
};
use tokio::time::Instant;

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, ms_between, options, pod},
};

/// Stops a loop with this many pending records, starts another loop, and checks that it registers all of them.
async fn stopped_with_a_backlog(count: usize, registry: Fake, mut world: EventLoopHarness, recover: impl Fn(&Fake)) {
    for pod in many(count, "b") {
        world.apply(pod).await;
    }
    world.pass(SECOND).await;
    let (held, asked) = (registry.state().records.len(), Instant::now());
    assert!(held < count / 2, "{held} are already written");
    world.stop().await.unwrap();
    assert!(ms_between(asked, Instant::now()) <= 20_000);
    recover(&registry);
    let mut world = EventLoopHarness::start(registry, many(count, "b"), options());
    world.list().await;
    world.pass(40 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn stop_with_a_slow_registry_ends_in_time() {
    // Many changes are pending, and the next start finds them.
    let registry = Fake::new();
    let world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().latency = 2 * SECOND;
    stopped_with_a_backlog(20_000, registry, world, |registry| registry.state().latency = Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn stop_with_100000_pending_keys_ends_in_time() {
    // The registry is down, and the next start finds the changes.
    let registry = Fake::new();
    let world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().down = Some(Failure::Unreachable("connection refused".into()));
    stopped_with_a_backlog(100_000, registry, world, |registry| registry.state().down = None).await;
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_request_ends_the_loop() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().panics = true;
    world.apply(pod("x", "a")).await;
    world.pass(SECOND).await;
    assert!(world.panicked().await, "otherwise it would wait for the reply forever");
}

#[tokio::test(start_paused = true)]
async fn stalled_loop_is_not_live() {
    let mut world = EventLoopHarness::settled(Fake::new(), many(3, "a")).await;
    world.health.watch_listed(0);
    world.pass(2 * LONGEST_TURN).await;
    assert!(world.health.live().ok(), "it turns even if nothing happens");
    world.hang();
    world.pass(LONGEST_TURN - 2 * SECOND).await;
    assert!(world.health.live().ok(), "one turn may take this long");
    world.pass(4 * SECOND).await;
    assert!(!world.health.live().ok() && world.health.ready().ok());
}

#[tokio::test(start_paused = true)]
async fn release_and_rollback_rewrite_each_record_once() {
    // They delete no record.
    const PODS: usize = 4_000;
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(PODS, "old")).await.stop().await.unwrap();
    for release in ["new", "old"] {
        let before = registry.state().writes.len();
        let mut world = EventLoopHarness::start(registry.clone(), many(PODS, release), options());
        world.list().await;
        world.pass(2 * SECOND).await;
        let written = |registry: &Fake| registry.state().writes[before..].iter().map(|w| w.items.len()).sum::<usize>();
        let soon = written(&registry);
        assert!((1_000..=3_100).contains(&soon), "{soon} written in two seconds");
        world.apply(pod("live", release)).await;
        world.pass(SECOND / 100).await;
        let live = registry.state().records["live"].1;
        assert_eq!(
            live,
            pod("live", release).content.unwrap().digest,
            "a live change does not wait behind the rewrites"
        );
        world.pass(10 * SECOND).await;
        world.assert_equal();
        assert_eq!(written(&registry), PODS + 1, "each once");
        world.delete("live").await;
        world.pass(SECOND).await;
        world.stop().await.unwrap();
    }
    let state = registry.state();
    let deletes = state.writes.iter().flat_map(|w| &w.items).filter(|i| i.kind == OperationKind::Delete);
    assert!(deletes.into_iter().all(|item| item.uid.text() == "live"), "no rewrite deletes");
}

#[tokio::test(start_paused = true)]
async fn observed_mass_deletions_are_not_guarded() {
    // 3,000 pods of a namespace are deleted, and then 36,000 pods are preempted.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(40_000, "a")).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    for (from, to) in [(0, 3_000), (3_000, 39_000)] {
        let began = Instant::now();
        for number in from..to {
            world.delete(&format!("uid-{number:05}")).await;
        }
        // At the maximum rate of writes, plus one second.
        world.pass(SECOND * u32::try_from((to - from) / 5_000 + 2).unwrap()).await;
        world.assert_equal();
        assert!(ms_between(began, Instant::now()) < 12_000);
    }
    assert!((world.checks.is_empty(), world.second_lists) == (true, 0), "no deletion has to be confirmed");
    assert_eq!(world.figure("deletions_held"), 0);
    let deleted = registry.state().tombstones.len();
    assert_eq!((deleted, registry.state().records.len()), (39_000, 1_000));
    for pod in many(3_000, "again").map(|p| pod(&format!("new-{}", p.uid), "a")) {
        world.apply(pod).await;
    }
    world.pass(2 * SECOND).await;
    world.assert_equal();
}
