//! Slow or partly failing inventories: each part is used as soon as it is read, and a failed request is repeated alone.

use std::time::Duration;

use pod_registrar::{model::digest::Buckets, reconcile::outcome::Failure};

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

/// A registry with 500 records, and the UIDs of five pods that have changed since.
async fn five_changed() -> (Fake, Vec<String>) {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(500, "a")).await.stop().await.unwrap();
    let changed = (0..5).map(|n| format!("uid-{:05}", n * 100)).collect();
    (registry, changed)
}

async fn start(registry: &Fake, changed: &[String]) -> EventLoopHarness {
    let body = |uid: &str| if changed.iter().any(|changed| changed == uid) { "b" } else { "a" };
    let pods: Vec<_> = many(500, "a").map(|made| pod(&made.uid.to_string(), body(&made.uid.to_string()))).collect();
    let mut world = EventLoopHarness::start(registry.clone(), pods, options());
    world.list().await;
    world
}

/// The items, digest readings and pages so far.
fn counted(registry: &Fake) -> (usize, usize, usize) {
    registry.read(|state| (state.items(), state.readings.len(), state.pages))
}

#[tokio::test(start_paused = true)]
async fn slow_inventory_is_used_bucket_by_bucket() {
    let (registry, changed) = five_changed().await;
    let (items, readings, _) = counted(&registry);
    registry.state().slow_inventory = Duration::from_secs(240);
    let mut world = start(&registry, &changed).await;
    // Digests show at once which buckets are equal; a pod in one of them waits for no page.
    let differs = |id: &str| changed.iter().any(|uid| Buckets::By8Bits.of(uid) == Buckets::By8Bits.of(id));
    let new = (0..).map(|n| format!("new-{n}")).find(|id| !differs(id)).unwrap();
    world.pass(SECOND).await;
    world.apply(pod(&new, "a")).await;
    world.pass(300 * SECOND).await;
    assert_eq!(registry.state().items() - items, 2, "the new pod, and the one in the bucket that is read");
    assert!(registry.state().records.contains_key(&new));
    world.pass(1_200 * SECOND).await;
    world.assert_equal();
    let (all_items, all_readings, _) = counted(&registry);
    assert_eq!((all_items - items, all_readings - readings), (6, 1), "nothing is read or written twice");
}

#[tokio::test(start_paused = true)]
async fn slow_pages_are_used_as_they_arrive() {
    let (registry, changed) = five_changed().await;
    registry.state().features.digests = false;
    registry.state().records.remove("uid-00150");
    registry.state().slow_inventory = Duration::from_secs(240);
    let items = registry.state().items();
    let mut world = start(&registry, &changed).await;
    world.pass(300 * SECOND).await;
    assert_eq!(registry.state().items() - items, 1, "the records of the first page are compared");
    assert!(!registry.state().records.contains_key("uid-00150"), "a missing record is known only at the end");
    world.pass(1_200 * SECOND).await;
    world.assert_equal();
    assert_eq!(registry.state().items() - items, 6);
}

#[tokio::test(start_paused = true)]
async fn failed_page_is_retried_alone() {
    let (registry, changed) = five_changed().await;
    let (items, readings, pages) = counted(&registry);
    let broken = Some(Failure::Broken("status 502".into()));
    let faults = [None, broken.clone(), None, None, Some(Failure::Expired), broken];
    registry.state().inventory_faults = faults.into();
    let mut world = start(&registry, &changed).await;
    world.pass(120 * SECOND).await;
    world.assert_equal();
    let (all_items, all_readings, all_pages) = counted(&registry);
    assert_eq!((all_items - items, all_readings - readings, all_pages - pages), (5, 1, 8));
}

#[tokio::test(start_paused = true)]
async fn slow_page_is_requested_with_fewer_records() {
    for digests in [true, false] {
        let (registry, changed) = five_changed().await;
        registry.state().features.digests = digests;
        // All buckets together take 25 s; one request may take 10 s.
        registry.state().slow_items = SECOND / 20;
        let mut world = start(&registry, &changed).await;
        world.pass(120 * SECOND).await;
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn failing_bucket_keeps_no_other_waiting() {
    let (registry, changed) = five_changed().await;
    registry.state().refusals.bucket = Some(Buckets::By8Bits.of(&changed[0]));
    let items = registry.state().items();
    let mut world = start(&registry, &changed).await;
    // Before the tenth failure, after which the reading starts again.
    world.pass(60 * SECOND).await;
    let others = changed.iter().filter(|uid| Buckets::By8Bits.of(uid) != Buckets::By8Bits.of(&changed[0])).count();
    assert!(others > 0 && registry.state().items() - items == others, "{others} others");
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_where_digests_are_refused() {
    let (registry, changed) = five_changed().await;
    registry.state().refusals.digests = Some(Failure::Throttled { status: 429, after: Some(SECOND) });
    let mut world = start(&registry, &changed).await;
    world.pass(60 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn failing_resync_is_not_in_sync() {
    let registry = Fake::new();
    registry.state().features.digests = false;
    let mut world = EventLoopHarness::settled(registry.clone(), many(5, "a")).await;
    assert!(world.is_in_sync() && world.status().failed_resync.is_none());
    registry.state().miscount = 1;
    world.pass(2 * options().resync_interval).await;
    let failed = world.status().failed_resync.unwrap();
    assert!(!world.is_in_sync() && failed.tries >= 3 && failed.seconds > 60, "{failed:?}");
    assert!(failed.cause.contains("lists 5 ids and counts 6"), "{failed:?}");
    registry.state().miscount = 0;
    world.pass(60 * SECOND).await;
    assert!(world.is_in_sync() && world.status().failed_resync.is_none());
}

#[tokio::test(start_paused = true)]
async fn lagging_inventory_is_read_again() {
    let registry = Fake::new();
    registry.state().again_after = Some(10 * SECOND);
    let mut world = EventLoopHarness::settled(registry.clone(), many(5, "a")).await;
    let readings = || registry.read(|state| state.readings.len());
    assert_eq!(readings(), 1);
    world.pass(15 * SECOND).await;
    assert_eq!(readings(), 2);
    world.pass(60 * SECOND).await;
    assert_eq!(readings(), 2, "the next one is the regular one");
}
