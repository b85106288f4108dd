//! Two clusters or two processes with one cluster id: who may write, and which deletions are sent.

use pod_registrar::{
    controller::error::Error,
    model::moment::Moment,
    reconcile::{
        absence::hold::HoldReason,
        election::Leadership,
        outcome::{Failure, Verdict},
        status::Ability,
    },
};

use super::{
    attempts::FailureRate,
    fake::Fake,
    world::{EventLoopHarness, LookUp, SECOND, many, options, pod},
};

/// A registry that another process filled with these pods.
async fn filled(count: usize) -> Fake {
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(count, "a")).await.stop().await.unwrap();
    registry
}

/// The pods of a clone, which differ from those of [`filled`].
fn own(count: usize) -> impl Iterator<Item = pod_registrar::model::pod::Pod> {
    (0..count).map(|n| pod(&format!("clone-{n:05}"), "a"))
}

fn deleted(registry: &Fake) -> usize {
    registry.state().tombstones.len()
}

/// Ten absences are confirmed, and the registry is too busy to take their deletions.
async fn with_confirmed_deletions(registry: &Fake) -> EventLoopHarness {
    let mut world = EventLoopHarness::start(registry.clone(), many(20, "a"), options());
    let busy = Verdict::Retry { cause: "busy".into(), after: None };
    registry.state().failure_rate = Some(FailureRate::Items(100, busy));
    world.list().await;
    world.pass(5 * SECOND).await;
    assert!(!world.checks.is_empty(), "they are confirmed");
    world
}

/// Another process takes over the session.
fn held_by_another(registry: &Fake) {
    let mut state = registry.state();
    state.supersede("other:1");
    (state.closed, state.heartbeat) = (None, Some("first".into()));
}

#[tokio::test(start_paused = true)]
async fn clone_deletes_nothing_without_approval() {
    let registry = filled(300).await;
    let mut world = EventLoopHarness::settled(registry.clone(), own(300)).await;
    world.pass(7_200 * SECOND).await;
    assert_eq!((deleted(&registry), registry.state().records.len()), (0, 600), "puts do not wait for an approval");
    let [held] = world.held().try_into().unwrap();
    assert!(held.deletions == 300 && matches!(held.because, HoldReason::NearlyAll { absent: 300, .. }), "{held:?}");
    // A restart finds 600 records, half of them without a pod, and keeps the hold.
    world.stop().await.unwrap();
    let mut world = EventLoopHarness::settled(registry.clone(), own(300)).await;
    world.pass(7_200 * SECOND).await;
    assert_eq!((deleted(&registry), world.held()[0].deletions), (0, 300));
    world.approve(&world.held()[0].id).await;
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(registry.state().opened.last().unwrap().1.scope.as_deref(), Some("scope"), "the hold is gone");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_with_another_uid_is_refused() {
    let registry = filled(10).await;
    registry.state().session.as_mut().unwrap().cluster_uid = Some("another-cluster".into());
    let opened = registry.state().opened.len();
    let world = EventLoopHarness::settled(registry.clone(), own(10)).await;
    let error = world.ended().await.unwrap_err();
    assert!(matches!(&error, Error::IdInUse { expected, .. } if expected == "another-cluster"), "{error}");
    assert!(error.to_string().contains("--replaces-cluster-uid another-cluster"));
    assert_eq!((deleted(&registry), registry.state().opened.len()), (0, opened), "no session is opened");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_cluster_is_taken_over_by_name() {
    let registry = filled(10).await;
    registry.state().session.as_mut().unwrap().cluster_uid = Some("another-cluster".into());
    let mut confirmed = options();
    confirmed.replaces_cluster_uid = Some("another-cluster".into());
    let mut world = EventLoopHarness::start(registry.clone(), own(10), confirmed);
    world.list().await;
    world.pass(60 * SECOND).await;
    world.assert_equal();
    let cluster_uid = registry.read(|state| state.session.clone().unwrap().cluster_uid);
    assert_eq!(cluster_uid.as_deref(), Some("uid-of-cluster"));
}

#[tokio::test(start_paused = true)]
async fn live_session_is_taken_over_after_missed_heartbeat() {
    let registry = filled(5).await;
    held_by_another(&registry);
    let opened = registry.state().opened.len();
    let mut world = EventLoopHarness::start(registry.clone(), many(5, "b"), options());
    world.list().await;
    for beat in 0..20 {
        registry.state().heartbeat = Some(beat.to_string());
        world.pass(30 * SECOND).await;
    }
    assert_eq!(registry.state().opened.len(), opened, "the other writer is alive");
    let announced = registry.state().announced.first().map(|beat| (beat.epoch, beat.synced));
    assert_eq!(announced, Some((registry.state().epoch - 1, false)), "it announces that it waits");
    world.pass(60 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn restarted_process_takes_over_its_own_session() {
    // It takes over at once.
    let registry = filled(5).await;
    held_by_another(&registry);
    registry.state().session.as_mut().unwrap().instance = "test:ffff".into();
    let mut world = EventLoopHarness::start(registry.clone(), many(5, "b"), options());
    world.list().await;
    world.pass(SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn late_session_of_an_earlier_run_delays_nothing() {
    let registry = filled(30).await;
    let mut world = with_confirmed_deletions(&registry).await;
    // The request was on its way when that run was killed. It fences this process.
    held_by_another(&registry);
    registry.state().session.as_mut().unwrap().instance = "test:ffff".into();
    registry.state().failure_rate = None;
    world.pass(30 * SECOND).await;
    world.assert_equal();
    assert_eq!(deleted(&registry), 10, "no other writer is expected");
}

#[tokio::test(start_paused = true)]
async fn inferred_deletions_wait_while_another_writer_lives() {
    let registry = filled(30).await;
    held_by_another(&registry);
    let mut world = EventLoopHarness::start(registry.clone(), many(20, "a"), options());
    world.list().await;
    world.pass(80 * SECOND).await;
    assert!(registry.state().opened.len() > 1, "the session is taken over");
    assert_eq!(deleted(&registry), 0, "the other writer has time to announce itself");
    registry.state().contender = Some("other:1".into());
    world.delete("uid-00000").await;
    world.pass(1_800 * SECOND).await;
    assert_eq!(deleted(&registry), 1, "observed deletions do not wait");
    assert_eq!((world.held()[0].deletions, &world.held()[0].because), (10, &HoldReason::AnotherWriter));
    registry.state().contender = None;
    world.pass(300 * SECOND).await;
    world.assert_equal();
}

/// The scopes of all sessions, in order.
fn declared(registry: &Fake) -> Vec<String> {
    registry.state().opened.iter().filter_map(|(_, opened)| opened.scope.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn restart_remembers_that_another_writer_may_live() {
    let registry = filled(30).await;
    held_by_another(&registry);
    let leads = Leadership::Leader { term: 1, until: Moment::from_secs(u64::MAX) };
    let mut world = EventLoopHarness::start_as(leads, registry.clone(), many(20, "a"), options());
    world.list().await;
    world.pass(10 * SECOND).await;
    assert_eq!((deleted(&registry), &declared(&registry)[1..]), (0, &["scope contested".to_owned()][..]));
    // The other writer does not know yet that its session was superseded.
    world.stop().await.unwrap();
    let mut world = EventLoopHarness::start_as(leads, registry.clone(), many(20, "a"), options());
    world.list().await;
    world.pass(55 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(declared(&registry).last().unwrap(), "scope");
}

#[tokio::test(start_paused = true)]
async fn unanswered_heartbeats_do_not_prove_a_writer_gone() {
    let registry = filled(30).await;
    held_by_another(&registry);
    registry.state().refusals.heartbeats = Some(Failure::Broken("status 500".into()));
    let leads = Leadership::Leader { term: 1, until: Moment::from_secs(u64::MAX) };
    let mut world = EventLoopHarness::start_as(leads, registry.clone(), many(20, "a"), options());
    world.list().await;
    world.pass(600 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    registry.state().refusals.heartbeats = None;
    world.pass(120 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn forgotten_session_may_be_another_writers() {
    let registry = filled(30).await;
    registry.state().session = None;
    let mut world = EventLoopHarness::start(registry.clone(), many(20, "a"), options());
    world.list().await;
    world.pass(55 * SECOND).await;
    assert_eq!(deleted(&registry), 0);
    world.pass(60 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn fence_withdraws_confirmed_deletions() {
    let registry = filled(30).await;
    let mut world = with_confirmed_deletions(&registry).await;
    held_by_another(&registry);
    registry.state().failure_rate = None;
    world.pass(60 * SECOND).await;
    registry.state().end_session();
    world.pass(60 * SECOND).await;
    assert_eq!(deleted(&registry), 0, "the other writer may be alive");
    world.pass(120 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn other_writer_stops_deletions_not_yet_sent() {
    // They are confirmed, and the registry is busy.
    let registry = filled(30).await;
    let mut world = with_confirmed_deletions(&registry).await;
    registry.state().contender = Some("other:1".into());
    world.pass(30 * SECOND).await;
    registry.state().failure_rate = None;
    world.pass(1_800 * SECOND).await;
    assert_eq!(deleted(&registry), 0, "the other writer is alive");
    assert_eq!((world.held()[0].deletions, &world.held()[0].because), (10, &HoldReason::AnotherWriter));
    registry.state().contender = None;
    world.pass(300 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn fenced_writer_opens_above_the_others_epoch() {
    let registry = filled(3).await;
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    held_by_another(&registry);
    let others = registry.state().epoch;
    world.apply(pod("x", "a")).await;
    world.pass(30 * SECOND).await;
    // The registry is restored from a backup that is older than the other session.
    {
        let mut state = registry.state();
        state.epoch = 1;
        state.session.as_mut().unwrap().epoch = 1;
        state.end_session();
    }
    world.pass(30 * SECOND).await;
    world.assert_equal();
    assert!(registry.state().epoch > others, "no epoch is used twice");
}

#[tokio::test(start_paused = true)]
async fn a_fenced_writer_announces_itself() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    held_by_another(&registry);
    world.apply(pod("x", "a")).await;
    world.pass(60 * SECOND).await;
    let announced = registry.read(|state| state.announced.len());
    assert!((5..=8).contains(&announced), "{announced} in a minute");
    let beat = registry.state().announced[0].clone();
    assert_eq!((beat.epoch, beat.instance.as_deref(), beat.synced), (1, Some("test:0000"), false));
}

#[tokio::test(start_paused = true)]
async fn a_sample_without_names_confirms_nothing() {
    let registry = filled(1_000).await;
    registry.state().nameless = true;
    let mut world = EventLoopHarness::start(registry.clone(), many(500, "a"), options());
    world.list().await;
    world.pass(600 * SECOND).await;
    assert_eq!((deleted(&registry), world.checks.len()), (0, 0));
    assert!(matches!(world.held()[0].because, HoldReason::Unconfirmed(_)));
    registry.state().nameless = false;
    world.pass(600 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn writer_with_silent_watch_is_not_in_sync() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    assert!(world.is_in_sync());
    world.silent = true;
    world.pass(60 * SECOND).await;
    assert!(!world.is_in_sync() && !registry.state().beats.last().unwrap().1.synced);
    world.silent = false;
    world.pass(60 * SECOND).await;
    assert!(world.is_in_sync() && registry.state().beats.last().unwrap().1.synced);
}

#[tokio::test(start_paused = true)]
async fn process_without_a_session_is_no_writer() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    assert_eq!(world.figure("writer"), 1);
    registry.state().session = None;
    registry.state().down = Some(Failure::UnknownSession);
    world.apply(pod("x", "a")).await;
    world.pass(60 * SECOND).await;
    assert_eq!(world.figure("writer"), 0);
    assert!(!world.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_opened_with_the_first_page() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::start(registry.clone(), many(1_000, "a"), options());
    world.list_failed().await;
    world.pass(120 * SECOND).await;
    assert_eq!((registry.state().opened.len(), world.ability()), (0, Ability::WithoutPods));
    world.page(500).await;
    world.pass(SECOND).await;
    assert_eq!((registry.state().opened.len(), world.ability()), (1, Ability::Able));
    assert_eq!(registry.state().records.len(), 500, "first registrations do not wait for a complete list");
    world.list().await;
    world.pass(SECOND).await;
    world.assert_equal();
    assert_eq!(registry.state().items(), 1_000, "each once");
}

#[tokio::test(start_paused = true)]
async fn a_page_alone_makes_nothing_absent() {
    let registry = filled(700).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(700, "a"), options());
    let items = registry.state().items();
    world.page(100).await;
    world.pass(600 * SECOND).await;
    assert_eq!((deleted(&registry), registry.state().items(), world.lists), (0, items, 0));
    world.list().await;
    world.pass(60 * SECOND).await;
    assert_eq!(registry.state().items(), items, "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn missing_list_is_requested_again() {
    let registry = filled(10).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(9, "a"), options());
    world.lists_arrive = false;
    world.list().await;
    world.pass(30 * SECOND).await;
    assert_eq!(world.relists_asked(), 1);
    world.pass(600 * SECOND).await;
    assert!((3..=5).contains(&world.relists_asked()), "{} times", world.relists_asked());
}

#[tokio::test(start_paused = true)]
async fn leader_reports_a_lost_registry_after_a_minute() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().down = Some(Failure::Unreachable("refused".into()));
    world.look_up = LookUp::Truth;
    world.pass(60 * SECOND).await;
    assert_eq!(world.ability(), Ability::Able);
    world.pass(120 * SECOND).await;
    assert_eq!(world.ability(), Ability::CutOff);
    registry.state().down = None;
    world.pass(90 * SECOND).await;
    assert_eq!(world.ability(), Ability::Able);
}
