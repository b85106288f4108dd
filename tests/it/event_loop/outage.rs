//! A registry that is down, that recovers slowly, or that refuses the credential.

use pod_registrar::reconcile::outcome::{Failure, OperationKind};
use tokio::time::Instant;

use super::{
    fake::{Fake, Fault},
    world::{EventLoopHarness, SECOND, many, ms_between, pod},
};

#[tokio::test(start_paused = true)]
async fn retry_after_for_all_is_obeyed_by_all() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().faults.push_back(Fault::Refuse(Failure::Throttled { status: 429, after: Some(20 * SECOND) }));
    let asked = Instant::now();
    world.apply(pod("x", "a")).await;
    for n in 0..10 {
        world.pass(SECOND).await;
        world.apply(pod(&format!("y{n}"), "a")).await;
    }
    world.pass(60 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    let quiet = state.writes[1..].iter().map(|w| w.at).chain(state.probes[1..].iter().copied()).min().unwrap();
    assert!(ms_between(asked, quiet) >= 20_000);
}

#[tokio::test(start_paused = true)]
async fn outage_costs_probes_but_no_writes() {
    // After the outage, deletions are sent first.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(2_000, "a")).await;
    registry.state().down = Some(Failure::Unreachable("connection refused".into()));
    let (writes, probes) = registry.read(|s| (s.writes.len(), s.probes.len()));
    for round in 0..60 {
        for pod in many(400, &format!("round {round}")) {
            world.apply(pod).await;
        }
        world.apply(pod(&format!("new-{round}"), "a")).await;
        world.delete(&format!("uid-0{:04}", 1_000 + round)).await;
        world.pass(60 * SECOND).await;
    }
    let attempted = registry.state().writes.len() - writes;
    assert!(attempted <= 4, "{attempted} writes during an outage of one hour");
    let asked = registry.state().probes.len() - probes;
    assert!((700..=1_500).contains(&asked), "{asked} probes in an hour");
    registry.state().down = None;
    let ended = Instant::now();
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    let caught_up: Vec<_> = state.writes.iter().filter(|w| w.at >= ended).collect();
    let kinds: Vec<_> = caught_up.iter().flat_map(|w| &w.items).map(|i| i.kind).collect();
    let deletes = kinds.iter().filter(|kind| **kind == OperationKind::Delete).count();
    assert_eq!((deletes, kinds.len()), (60, 60 + 400 + 60), "one write per pod");
    assert!(kinds[..60].iter().all(|kind| *kind == OperationKind::Delete));
}

#[tokio::test(start_paused = true)]
async fn refused_credential_is_read_again() {
    // No pending change is dropped.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().down = Some(Failure::Unauthorized { status: 401, detail: String::new(), named: true });
    let probes = registry.state().probes.len();
    for pod in many(100, "a") {
        world.apply(pod).await;
    }
    world.pass(600 * SECOND).await;
    let asked = registry.state().probes.len() - probes;
    assert!((15..=60).contains(&asked), "{asked} probes in ten minutes");
    assert!(registry.state().refreshed >= asked);
    registry.state().down = None;
    world.pass(40 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn half_of_all_writes_failing_loses_nothing() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    let mut rng = fastrand::Rng::with_seed(11);
    for n in 0..600 {
        if rng.bool() {
            registry.state().faults.push_back(Fault::Refuse(Failure::Broken("status 500".into())));
        } else {
            registry.state().faults.push_back(Fault::ApplyAndLose);
        }
        world.apply(pod(&format!("p{n:03}"), "a")).await;
        world.pass(SECOND / 10).await;
    }
    registry.state().faults.clear();
    world.pass(120 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn registry_outage_affects_neither_liveness_nor_readiness() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    world.health.watch_listed(0);
    registry.state().down = Some(Failure::Unreachable("connection refused".into()));
    world.pass(3_600 * SECOND).await;
    assert!(world.health.live().ok() && world.health.ready().ok());
}

#[tokio::test(start_paused = true)]
async fn repeated_410_answers_back_off() {
    // A proxy answers every write with status 410.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    for _ in 0..1_000 {
        registry.state().faults.push_back(Fault::Refuse(Failure::Expired));
    }
    let writes = registry.state().writes.len();
    world.apply(pod("x", "a")).await;
    world.pass(60 * SECOND).await;
    let attempted = registry.state().writes.len() - writes;
    assert!((5..=40).contains(&attempted), "{attempted} writes in a minute");
    registry.state().faults.clear();
    world.pass(20 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn failed_batch_is_divided_from_its_own_size() {
    // The batch is small.
    let registry = Fake::new();
    registry.state().breaks_batches.insert("uid-00003".into());
    let mut world = EventLoopHarness::start(registry.clone(), many(10, "a"), super::world::options());
    world.list().await;
    world.pass(3 * SECOND).await;
    assert_eq!(registry.state().records.len(), 9);
    assert!(registry.state().writes.len() <= 12, "{} requests", registry.state().writes.len());
}
