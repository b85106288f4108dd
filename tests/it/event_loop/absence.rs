//! Deletions that are inferred from absence: confirmed, guarded or held.

use super::{
    fake::{Fake, Fault},
    world::{EventLoopHarness, LookUp, SECOND, many, options, pod},
};
use pod_registrar::{
    controller::error::Error,
    reconcile::{
        deletion::Removal,
        outcome::{Failure, OperationKind},
    },
};
use tokio::time::Instant;

/// A registry that holds the records of this many pods from an earlier run.
async fn filled(count: usize) -> Fake {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(count, "a")).await.stop().await.unwrap();
    registry
}

fn deleted(registry: &Fake) -> usize {
    registry.state().tombstones.len()
}

#[tokio::test(start_paused = true)]
async fn few_absences_leave_after_a_cluster_check() {
    // The pods were deleted while the controller was down, and the cluster is known to be the same.
    let registry = filled(100).await;
    let world = EventLoopHarness::settled(registry.clone(), many(95, "a")).await;
    world.assert_equal();
    assert_eq!(deleted(&registry), 5);
    assert_eq!(world.checks.len(), 1, "the cluster is identified once");
    assert!(world.checks[0].is_empty(), "few absences need no sample");
    let removals: Vec<_> =
        registry.state().writes.iter().flat_map(|w| w.items.clone()).filter_map(|i| i.removal).collect();
    assert!(removals.iter().all(|removal| *removal == Removal::Inferred));
}

#[tokio::test(start_paused = true)]
async fn thousand_absences_leave_within_a_minute() {
    // The pods were deleted while the controller was down.
    let registry = filled(3_000).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(2_000, "a"), options());
    world.list().await;
    world.pass(9 * SECOND).await;
    assert_eq!(deleted(&registry), 0, "one list confirms nothing");
    assert_eq!(world.figure("deletions_held"), 1000);
    world.pass(50 * SECOND).await;
    world.assert_equal();
    assert_eq!(world.checks[0].len(), 20, "a sample was looked up");
    assert_eq!(world.second_lists, 1);
}

#[tokio::test(start_paused = true)]
async fn confirmed_deletions_stay_limited_after_an_outage() {
    // Those that are confirmed before the outage do not gather in the queue, which sends at full rate.
    let outages = [Failure::Unreachable("refused".into()), Failure::Throttled { status: 503, after: None }];
    for outage in outages {
        let registry = filled(3_000).await;
        let mut world = EventLoopHarness::start(registry.clone(), many(1_000, "a"), options());
        world.list().await;
        while world.checks.is_empty() {
            world.pass(SECOND / 100).await;
        }
        registry.state().down = Some(outage.clone());
        world.pass(600 * SECOND).await;
        assert!(world.figure("deletions_held") >= 1_500, "{outage}: they wait in the guard");
        registry.state().down = None;
        world.pass(60 * SECOND).await;
        world.assert_equal();
        let state = registry.state();
        let deletes = state
            .writes
            .iter()
            .map(|write| (write.at, write.items.iter().filter(|item| item.kind == OperationKind::Delete).count()));
        let deletes: Vec<(Instant, usize)> = deletes.collect();
        let within = |from: Instant| deletes.iter().filter(move |(at, _)| (from..from + SECOND).contains(at));
        let most = deletes.iter().map(|(from, _)| within(*from).map(|(_, count)| count).sum::<usize>()).max();
        // The allowance of a second may be used at once, as often in the queue as in the guard.
        assert!(most.unwrap() <= 400, "{outage}: {most:?} within a second");
    }
}

#[tokio::test(start_paused = true)]
async fn next_list_finds_deletions_missed_by_the_watch() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    world.pods.remove("uid-00017");
    world.pods.insert("uid-x".into(), pod("uid-x", "a"));
    world.list().await;
    world.pass(2 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn empty_list_deletes_nothing_until_confirmed() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(30, "a")).await;
    let pods = std::mem::take(&mut world.pods);
    world.list().await;
    world.pass(9 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    world.pods = pods;
    world.pass(60 * SECOND).await;
    assert_eq!(deleted(&registry), 0, "the second list disagreed");
    world.pods.clear();
    world.list().await;
    world.pass(60 * SECOND).await;
    assert_eq!(deleted(&registry), 30, "the cluster is really empty");
}

#[tokio::test(start_paused = true)]
async fn pods_that_a_look_up_finds_are_held() {
    // The metrics show the hold, and puts and observed deletions pass.
    let registry = filled(1_000).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(500, "a"), options());
    world.look_up = LookUp::StillThere;
    world.list().await;
    world.pass(30 * SECOND).await;
    world.apply(pod("new", "a")).await;
    world.delete("uid-00001").await;
    world.pass(1_800 * SECOND).await;
    assert_eq!(deleted(&registry), 1, "observed deletions pass");
    assert!(registry.state().records.contains_key("new"));
    assert_eq!(world.figure("deletions_held"), 500);
    assert!(world.checks.len() > 3, "the absences are checked again and again");
    world.look_up = LookUp::Truth;
    world.pass(600 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_deletions_are_held() {
    let registry = filled(100).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(95, "a"), options());
    world.look_up = LookUp::Nothing;
    world.list().await;
    world.pass(600 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    assert_eq!(world.figure("deletions_held"), 5);
}

#[tokio::test(start_paused = true)]
async fn end_of_checks_ends_the_loop() {
    // Its own error, so that the process names the task that failed.
    let mut world = EventLoopHarness::settled(Fake::new(), many(5, "a")).await;
    world.end_checks();
    world.pass(SECOND).await;
    let error = world.ended().await.unwrap_err();
    assert!(matches!(error, Error::ChecksEnded), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_cluster_ends_the_process_before_any_deletion() {
    let registry = filled(100).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(95, "a"), options());
    world.look_up = LookUp::OtherCluster;
    world.list().await;
    world.pass(10 * SECOND).await;
    let error = world.ended().await.unwrap_err();
    assert!(matches!(error, Error::ClusterChanged { .. }), "{error}");
    assert_eq!(deleted(&registry), 0);
}

#[tokio::test(start_paused = true)]
async fn list_from_before_the_inventory_proves_no_absence() {
    let registry = filled(10).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(10, "a"), options());
    let newest = world.pods.remove("uid-00009").unwrap();
    world.lists_arrive = false;
    world.list().await;
    world.pass(30 * SECOND).await;
    assert_eq!(deleted(&registry), 0, "another writer may have registered the pod after the list");
    world.pods.insert("uid-00009".into(), newest);
    world.list().await;
    world.pass(30 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn restored_clusters_list_is_always_guarded() {
    // It needs confirmation, however few pods are absent.
    let registry = filled(100).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(98, "a"), options());
    world.trusted = false;
    world.list().await;
    world.pass(5 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    world.pass(60 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn inventory_that_contradicts_its_count_is_discarded() {
    let registry = filled(100).await;
    registry.state().miscount = 7;
    let changed = many(100, "b");
    let mut world = EventLoopHarness::start(registry.clone(), changed, options());
    world.list().await;
    let items = registry.state().items();
    world.pass(60 * SECOND).await;
    assert_eq!(registry.state().items(), items);
    assert_eq!(deleted(&registry), 0);
    registry.state().miscount = 0;
    world.pass(60 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn emptied_registry_is_filled_again() {
    // Pending deletions are sent as well.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    registry.state().down = Some(pod_registrar::reconcile::outcome::Failure::Unreachable("refused".into()));
    world.delete("uid-00042").await;
    world.pass(SECOND).await;
    {
        let mut state = registry.state();
        state.records.clear();
        state.session = None;
        state.down = None;
    }
    world.pass(30 * SECOND).await;
    world.assert_equal();
    assert!(registry.state().tombstones.contains_key("uid-00042"));
}

/// The registry has no name for a pod whose record it never held.
#[tokio::test(start_paused = true)]
async fn uncertain_record_that_never_arrived_is_not_held() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().faults.push_back(Fault::Refuse(Failure::Broken("cut".into())));
    world.apply(pod("x", "a")).await;
    world.pass(SECOND / 100).await;
    assert!(registry.read(|state| state.faults.is_empty() && state.records.is_empty()), "the write failed");
    world.pods.clear();
    world.list().await;
    world.pass(60 * SECOND).await;
    assert_eq!((world.figure("records{state=\"uncertain\"}"), world.figure("deletions_held")), (0, 0));
    assert!(world.is_in_sync() && registry.state().records.is_empty());
}

/// A pod becomes absent while the guard asks about one whose record was removed by hand.
#[tokio::test(start_paused = true)]
async fn unanswered_question_delays_no_other_absence() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), [pod("lost", "a")]).await;
    {
        let mut state = registry.state();
        state.records.remove("lost");
        state.latency = 5 * SECOND;
    }
    world.apply(pod("other", "a")).await;
    world.pass(SECOND).await;
    world.pods.clear();
    world.list().await;
    world.pass(60 * SECOND).await;
    assert!(registry.state().records.is_empty());
    assert_eq!(world.figure("deletions_held"), 0);
}
