//! Start and restart: what is written, and what is not.

use pod_registrar::reconcile::outcome::OperationKind;

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, options, pod},
};

#[tokio::test(start_paused = true)]
async fn an_empty_registry_is_filled_in_few_batches() {
    let world = EventLoopHarness::settled(Fake::new(), many(4_900, "a")).await;
    world.assert_equal();
    let (writes, full) = world.registry.read(|state| (state.writes.len(), state.writes[18].items.len()));
    assert!(writes <= 24 && full == 500, "{writes} requests");
    assert!(world.stop().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn restart_without_changes_writes_only_the_session() {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(700, "a")).await.stop().await.unwrap();
    let (writes, pages) = registry.read(|s| (s.writes.len(), s.pages));
    let world = EventLoopHarness::settled(registry.clone(), many(700, "a")).await;
    assert_eq!(registry.read(|s| (s.writes.len(), s.pages)), (writes, pages), "one request for digests");
    assert_eq!(world.lists, 1);
    assert_eq!(registry.state().opened.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn restart_reads_and_writes_only_differences() {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(700, "a")).await.stop().await.unwrap();
    let (items, pages) = registry.read(|s| (s.items(), s.pages));
    let changed = many(700, "a").map(|p| if &*p.uid.text() < "uid-00003" { pod(&p.uid.text(), "b") } else { p });
    let world = EventLoopHarness::settled(registry.clone(), changed.chain([pod("new", "a")])).await;
    world.assert_equal();
    assert_eq!(registry.state().items() - items, 4);
    assert!(registry.state().pages - pages <= 4, "only the buckets that differ are read");
}

#[tokio::test(start_paused = true)]
async fn writes_wait_for_list_and_inventory() {
    let registry = Fake::new();
    registry.state().unreadable = true;
    let mut world = EventLoopHarness::start(registry, many(10, "a"), options());
    world.pass(10 * SECOND).await;
    assert_eq!(world.registry.state().readings.len(), 0, "nothing is compared before the list");
    world.list().await;
    world.pass(60 * SECOND).await;
    let (readings, pages) = world.registry.read(|state| (state.readings.len(), state.pages));
    assert!(readings == 3 && pages > 3, "{readings} readings of digests, {pages} pages");
    assert_eq!(world.registry.state().items(), 0);
    world.registry.state().unreadable = false;
    world.pass(60 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn observed_deletion_waits_for_no_inventory() {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(10, "a")).await.stop().await.unwrap();
    registry.state().unreadable = true;
    let mut world = EventLoopHarness::start(registry, many(10, "a"), options());
    world.list().await;
    world.pass(SECOND).await;
    world.delete("uid-00003").await;
    world.pass(SECOND).await;
    assert!(!world.registry.state().records.contains_key("uid-00003"));
    assert_eq!(world.registry.state().records.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn new_release_rewrites_each_record_once() {
    // The rewrites have a rate limit, and live changes go first.
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(5_000, "old")).await.stop().await.unwrap();
    let before = registry.state().writes.len();
    let mut world = EventLoopHarness::start(registry.clone(), many(5_000, "new"), options());
    world.list().await;
    world.pass(2 * SECOND).await;
    let written = |from: usize| registry.state().writes[from..].iter().map(|w| w.items.len()).sum::<usize>();
    let after_two_seconds = written(before);
    assert!((1_000..=3_100).contains(&after_two_seconds), "{after_two_seconds} written in two seconds");
    world.apply(pod("live", "a")).await;
    world.pass(SECOND / 100).await;
    assert!(registry.state().records.contains_key("live"), "a live change goes first");
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(written(before), 5_001, "each once");
    let requests = registry.state().writes.len() - before;
    assert!(requests <= 60, "{requests} requests: rewrites are sent in batches");
    let deletes = registry
        .state()
        .writes
        .iter()
        .flat_map(|w| w.items.clone())
        .filter(|i| i.kind == OperationKind::Delete)
        .count();
    assert_eq!(deletes, 0, "no rewrite deletes");
}

#[tokio::test(start_paused = true)]
async fn frequent_resyncs_do_not_hold_up_lists() {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(10, "a")).await.stop().await.unwrap();
    let hasty = pod_registrar::controller::options::ControllerOptions { resync_interval: SECOND, ..options() };
    let mut world = EventLoopHarness::start(registry.clone(), many(9, "a"), hasty);
    world.lists_arrive = false;
    world.list().await;
    world.pass(30 * SECOND).await;
    assert_eq!(world.relists_asked(), 1, "one list is requested, however often it is missing");
    world.list().await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
}
