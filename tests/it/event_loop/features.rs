//! Registries that lack a feature: the fake panics when it is asked for what it does not support.

use std::time::Duration;

use pod_registrar::{
    controller::options::ControllerOptions,
    model::{digest::Digest, ids::Version, moment::Moment},
    reconcile::{
        election::Leadership,
        outcome::{Failure, OperationKind},
    },
    registry::Features,
};

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

const WITHOUT_SESSIONS: Features = Features { sessions: false, ..Features::ALL };
const WITHOUT_INVENTORY: Features = Features { inventory: false, digests: false, ..Features::ALL };

fn registry(features: Features) -> Fake {
    let registry = Fake::new();
    registry.state().features = features;
    registry
}

fn leader(term: u64) -> Leadership {
    Leadership::Leader { term, until: Moment::from_secs(u64::MAX) }
}

/// The epochs of all writes, each once, in their order.
fn epochs(registry: &Fake) -> Vec<u64> {
    let items = registry.read(|state| state.writes.iter().flat_map(|write| write.items.clone()).collect::<Vec<_>>());
    let mut epochs: Vec<u64> = items.iter().map(|item| item.version.epoch).collect();
    epochs.dedup();
    epochs
}

fn deleted(registry: &Fake) -> Vec<String> {
    let items = registry.read(|state| state.writes.iter().flat_map(|write| write.items.clone()).collect::<Vec<_>>());
    let deletions = items.iter().filter(|item| item.kind == OperationKind::Delete);
    deletions.map(|item| item.uid.to_string()).collect()
}

/// A process whose epochs begin here, which has listed and settled.
async fn started_at(start_epoch: u64, registry: &Fake, count: usize, body: &str) -> EventLoopHarness {
    let mut world =
        EventLoopHarness::start(registry.clone(), many(count, body), ControllerOptions { start_epoch, ..options() });
    world.list().await;
    world.pass(5 * SECOND).await;
    world
}

#[tokio::test(start_paused = true)]
async fn registry_without_batches_gets_single_writes() {
    let registry = registry(Features { batches: false, ..Features::ALL });
    let mut world = EventLoopHarness::settled(registry.clone(), many(20, "a")).await;
    world.delete("uid-00001").await;
    world.pass(SECOND).await;
    world.assert_equal();
    assert!(registry.state().writes.iter().all(|write| write.items.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn registry_without_digests_is_compared_by_pages() {
    let registry = registry(Features { digests: false, ..Features::ALL });
    EventLoopHarness::settled(registry.clone(), many(20, "a")).await.stop().await.unwrap();
    let items = registry.state().items();
    let world = EventLoopHarness::settled(registry.clone(), many(20, "a")).await;
    world.assert_equal();
    assert_eq!(registry.state().items(), items, "nothing differs");
    assert!(registry.read(|state| state.readings.is_empty() && state.pages > 0));
}

#[tokio::test(start_paused = true)]
async fn registry_without_sessions_converges() {
    let registry = registry(WITHOUT_SESSIONS);
    let mut world = EventLoopHarness::settled(registry.clone(), many(20, "a")).await;
    world.assert_equal();
    assert!(world.is_in_sync() && world.figure("writer") == 1);
    world.delete("uid-00001").await;
    world.pass(SECOND).await;
    world.assert_equal();
    // Inferred deletions, heartbeats and resyncs need no session either.
    world.pods.remove("uid-00002").unwrap();
    world.list().await;
    world.pass(4_000 * SECOND).await;
    world.assert_equal();
    assert_eq!(epochs(&registry).len(), 1);
    world.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn epochs_without_sessions_grow_over_restarts() {
    let registry = registry(WITHOUT_SESSIONS);
    let mut world = started_at(1_000, &registry, 3, "a").await;
    world.pass(600 * SECOND).await;
    world.stop().await.unwrap();
    started_at(1_700, &registry, 3, "b").await.assert_equal();
    assert!(matches!(epochs(&registry)[..], [1_000, 1_700]), "{:?}", epochs(&registry));
}

#[tokio::test(start_paused = true)]
async fn epochs_without_sessions_grow_over_terms() {
    // The other process started later, and led in between.
    let registry = registry(WITHOUT_SESSIONS);
    let options = ControllerOptions { start_epoch: 1_000, ..options() };
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), many(3, "a"), options);
    world.list().await;
    world.pass(600 * SECOND).await;
    world.lead(Leadership::Follower);
    world.pass(SECOND).await;
    started_at(1_601, &registry, 3, "b").await.stop().await.unwrap();
    world.pass(SECOND).await;
    world.lead(leader(3));
    world.pass(5 * SECOND).await;
    world.assert_equal();
    assert!(matches!(epochs(&registry)[..], [1_000, 1_601, 1_607..=1_608]), "{:?}", epochs(&registry));
}

#[tokio::test(start_paused = true)]
async fn epoch_without_sessions_passes_a_stored_one() {
    // The clock of the node was set back.
    let registry = registry(WITHOUT_SESSIONS);
    let stored = (Version { epoch: 5_000, seq: 9 }, Digest([1; 32]));
    registry.state().records.insert("uid-00001".into(), stored);
    started_at(1_000, &registry, 3, "a").await.assert_equal();
    assert_eq!(registry.state().records["uid-00001"].0.epoch, 5_001);
}

#[tokio::test(start_paused = true)]
async fn outage_without_sessions_ends_without_writes() {
    let registry = registry(WITHOUT_SESSIONS);
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().down = Some(Failure::Unreachable("no route".into()));
    world.delete("uid-00001").await;
    world.pass(SECOND).await;
    world.apply(pod("uid-00001", "a")).await;
    world.pass(SECOND).await;
    registry.state().down = None;
    world.pass(60 * SECOND).await;
    let questions = registry.state().probes.len();
    world.pass(600 * SECOND).await;
    assert_eq!(registry.state().probes.len(), questions, "the registry is not probed any more");
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn registry_without_inventory_keeps_unknown_records() {
    // The pod of such a record went while no process was running. Nothing shows that it was there.
    let registry = registry(WITHOUT_INVENTORY);
    EventLoopHarness::settled(registry.clone(), many(20, "a")).await.stop().await.unwrap();
    let mut world = EventLoopHarness::settled(registry.clone(), many(19, "a")).await;
    assert!(world.is_in_sync());
    world.apply(pod("new", "a")).await;
    world.delete("uid-00001").await;
    world.pass(SECOND).await;
    assert_eq!(deleted(&registry), ["uid-00001"]);
    world.pass(4_000 * SECOND).await;
    world.list().await;
    world.pass(600 * SECOND).await;
    assert_eq!(deleted(&registry), ["uid-00001"]);
    registry.state().records.remove("uid-00019").unwrap();
    world.assert_equal();
    assert_eq!(registry.state().items(), 20 + 19 + 2, "each process writes each record once");
}

#[tokio::test(start_paused = true)]
async fn own_records_need_no_inventory_to_be_absent() {
    // The watch missed a deletion. The record was written by this process, and the absence guard confirms the absence.
    let registry = registry(WITHOUT_INVENTORY);
    let mut world = EventLoopHarness::settled(registry.clone(), many(20, "a")).await;
    world.pods.remove("uid-00001").unwrap();
    world.list().await;
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(deleted(&registry), ["uid-00001"]);
}

#[tokio::test(start_paused = true)]
async fn takeover_without_inventory_sends_remembered_deletions() {
    let registry = registry(WITHOUT_INVENTORY);
    EventLoopHarness::settled(registry.clone(), many(20, "a")).await.stop().await.unwrap();
    let mut world = EventLoopHarness::start_as(Leadership::Follower, registry.clone(), many(20, "a"), options());
    world.list().await;
    world.delete("uid-00001").await;
    world.pass(5 * SECOND).await;
    assert_eq!(deleted(&registry), [""; 0]);
    world.lead(leader(1));
    world.pass(5 * SECOND).await;
    world.assert_equal();
    world.lead(Leadership::Follower);
    world.delete("uid-00002").await;
    world.pass(5 * SECOND).await;
    world.lead(leader(3));
    world.pass(5 * SECOND).await;
    world.assert_equal();
    assert_eq!(deleted(&registry), ["uid-00001", "uid-00002"]);
}

#[tokio::test(start_paused = true)]
async fn resync_without_inventory_retries_parked_records() {
    // It asks for the capabilities as well: an upgraded registry may have an inventory.
    let registry = registry(WITHOUT_INVENTORY);
    registry.state().poison.insert("uid-00003".into());
    let hasty = ControllerOptions { resync_interval: Duration::from_secs(600), ..options() };
    let mut world = EventLoopHarness::start(registry.clone(), many(20, "a"), hasty);
    world.list().await;
    world.pass(400 * SECOND).await;
    assert_eq!((registry.state().items(), world.figure("records{state=\"parked\"}")), (20, 1));
    registry.state().poison.clear();
    registry.state().features = Features::ALL;
    world.pass(300 * SECOND).await;
    world.assert_equal();
    assert_eq!(registry.read(|state| (state.items(), state.probes.len(), state.readings.len())), (21, 2, 0));
    world.pass(700 * SECOND).await;
    assert_eq!(registry.state().readings.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_lost_answers_without_inventory_are_retried() {
    let registry = registry(WITHOUT_INVENTORY);
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    let lost = super::attempts::FailureRate::Requests(70, Failure::Broken("no answer".into()));
    registry.state().failure_rate = Some(lost);
    for pod in many(2_000, "a") {
        world.apply(pod).await;
    }
    world.pass(120 * SECOND).await;
    registry.state().failure_rate = None;
    world.pass(600 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn registry_without_any_feature_converges() {
    let registry = registry(Features::default());
    let mut world = started_at(1_000, &registry, 20, "a").await;
    world.assert_equal();
    world.delete("uid-00001").await;
    world.apply(pod("uid-00002", "b")).await;
    world.pass(2_000 * SECOND).await;
    world.assert_equal();
    assert!(world.is_in_sync() && registry.state().writes.iter().all(|write| write.items.len() == 1));
    world.stop().await.unwrap();
    let mut world = started_at(4_000, &registry, 20, "c").await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
    world.stop().await.unwrap();
    assert!(matches!(epochs(&registry)[..], [1_000, 4_000]));
}
