//! Deletions that wait for the operator: after a change of settings, and if they cannot be confirmed.

use pod_registrar::reconcile::{
    absence::{ScopeChangePolicy, hold::HoldReason},
    deletion::Removal,
    outcome::OperationKind,
};

use super::{
    fake::Fake,
    world::{EventLoopHarness, LookUp, SECOND, many, options, pod},
};

/// A registry that a controller with other settings filled with these pods.
pub(super) async fn filled(pods: usize) -> Fake {
    let registry = Fake::new();
    let mut options = options();
    options.scope = "before".into();
    let mut world = EventLoopHarness::start(registry.clone(), many(pods, "a"), options);
    world.list().await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
    world.stop().await.unwrap();
    registry
}

/// A controller whose settings select only the first `selected` of the pods.
pub(super) async fn narrowed(
    registry: &Fake,
    there: usize,
    selected: usize,
    on_scope_change: ScopeChangePolicy,
) -> EventLoopHarness {
    let mut options = options();
    options.on_scope_change = on_scope_change;
    let mut world = EventLoopHarness::start(registry.clone(), many(selected, "a"), options);
    world.others = many(there, "a").skip(selected).map(|pod| (pod.uid.to_string(), pod)).collect();
    world.list().await;
    world.pass(30 * SECOND).await;
    world
}

fn deletes(registry: &Fake) -> Vec<Option<Removal>> {
    let items = registry.state().writes.iter().flat_map(|w| w.items.clone()).collect::<Vec<_>>();
    items.into_iter().filter(|item| item.kind == OperationKind::Delete).map(|item| item.removal).collect()
}

fn declared(registry: &Fake) -> Vec<String> {
    registry.state().opened.iter().filter_map(|(_, request)| request.scope.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn deselected_records_are_held_until_approved() {
    // Narrowed settings deselect the records, and the approval must name exactly this hold.
    let registry = filled(10).await;
    let mut world = narrowed(&registry, 10, 8, ScopeChangePolicy::Hold).await;
    world.pass(3_600 * SECOND).await;
    assert_eq!((deletes(&registry).len(), registry.state().records.len()), (0, 10), "a hold does not expire");
    let [held] = world.held().try_into().unwrap();
    assert_eq!((held.deletions, &held.because), (2, &HoldReason::ScopeChanged));
    assert_eq!(world.figure("deletions_held"), 2);
    world.approve(&"0123456789ab".parse().unwrap()).await;
    world.pass(10 * SECOND).await;
    assert!(deletes(&registry).is_empty(), "the id of another hold approves nothing");
    world.apply(pod("live", "a")).await;
    world.delete("uid-00000").await;
    world.pass(SECOND).await;
    assert_eq!(deletes(&registry).len(), 1, "puts and observed deletions do not wait");
    world.approve(&held.id).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(deletes(&registry)[1..], [Some(Removal::LeftSelection); 2]);
    assert!(world.held().is_empty());
}

#[tokio::test(start_paused = true)]
async fn restart_remembers_that_the_settings_changed() {
    let registry = filled(10).await;
    for _ in 0..3 {
        let world = narrowed(&registry, 10, 8, ScopeChangePolicy::Hold).await;
        assert_eq!(world.held().len(), 1);
        world.stop().await.unwrap();
    }
    let mut world = narrowed(&registry, 10, 8, ScopeChangePolicy::Hold).await;
    assert_eq!(declared(&registry)[1..], ["unsettled"; 4], "until the hold is gone");
    world.approve(&world.held()[0].id).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(declared(&registry).last().unwrap(), "scope");
    let writes = registry.state().items();
    world.pass(3_600 * SECOND).await;
    assert_eq!(registry.read(|s| (s.items(), s.opened.len())), (writes, 6), "nothing more is written");
}

#[tokio::test(start_paused = true)]
async fn settings_that_deselect_no_pod_hold_nothing() {
    // Pods that were deleted during the downtime are deregistered as usual.
    let registry = filled(10).await;
    // Two pods were deleted during the downtime; the new settings select all others.
    let mut world = narrowed(&registry, 8, 8, ScopeChangePolicy::Hold).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    assert_eq!(deletes(&registry), [Some(Removal::Inferred); 2]);
    assert!(world.held().is_empty());
    assert_eq!(declared(&registry), ["before", "unsettled", "scope"]);
}

#[tokio::test(start_paused = true)]
async fn selecting_pods_again_needs_no_approval() {
    let registry = filled(10).await;
    let mut world = narrowed(&registry, 10, 8, ScopeChangePolicy::Hold).await;
    for pod in std::mem::take(&mut world.others).into_values() {
        world.apply(pod).await;
    }
    world.pass(10 * SECOND).await;
    assert!(world.held().is_empty() && deletes(&registry).is_empty());
    world.assert_equal();
    assert_eq!(declared(&registry).last().unwrap(), "scope");
}

#[tokio::test(start_paused = true)]
async fn automatic_release_runs_at_a_bounded_rate() {
    let registry = filled(1_000).await;
    let mut world = narrowed(&registry, 1_000, 300, ScopeChangePolicy::Release).await;
    world.pass(30 * SECOND).await;
    world.assert_equal();
    assert_eq!(deletes(&registry), vec![Some(Removal::LeftSelection); 700]);
    let state = registry.state();
    let leaving: Vec<_> = state.writes.iter().filter(|w| w.items.iter().any(|i| i.removal.is_some())).collect();
    let span = leaving.last().unwrap().at - leaving[0].at;
    assert!(span >= 5 * SECOND, "700 were deleted within {span:?}");
}

#[tokio::test(start_paused = true)]
async fn approval_releases_unconfirmed_deletions() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    world.look_up = LookUp::Nothing;
    world.pods.retain(|uid, _| uid.as_str() < "uid-00011");
    world.list().await;
    world.pass(120 * SECOND).await;
    let [held] = world.held().try_into().unwrap();
    assert_eq!((held.deletions, &held.because), (89, &HoldReason::Unconfirmed("forbidden".into())));
    world.approve(&held.id).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
}
