//! Leader and standby: who writes, what a takeover costs, and what a standby remembers.

use std::time::Duration;

use pod_registrar::{
    model::moment::Moment,
    reconcile::{
        deletion::{Deletion, Removal},
        election::Leadership,
        outcome::{Failure, OperationKind},
    },
};
use tokio::time::Instant;

use super::{
    fake::{Fake, State},
    world::{EventLoopHarness, SECOND, many, ms_between, options, pod},
};

fn leader(term: u64) -> Leadership {
    Leadership::Leader { term, until: Moment::from_secs(u64::MAX) }
}

/// A standby that has listed these pods.
async fn standby(registry: &Fake, pods: impl IntoIterator<Item = pod_registrar::model::pod::Pod>) -> EventLoopHarness {
    let mut world = EventLoopHarness::start_as(Leadership::Follower, registry.clone(), pods, options());
    world.list().await;
    world.pass(5 * SECOND).await;
    world
}

/// Everything that a registry sees of a writer: writes, sessions, heartbeats, readings, pages.
fn traffic(state: &State) -> [usize; 5] {
    [state.writes.len(), state.opened.len(), state.beats.len(), state.readings.len(), state.pages]
}

fn deletes(registry: &Fake) -> Vec<Option<Removal>> {
    let state = registry.state();
    let items = state.writes.iter().flat_map(|write| write.items.clone());
    items.filter(|item| item.kind == OperationKind::Delete).map(|item| item.removal).collect()
}

#[tokio::test(start_paused = true)]
async fn standby_writes_nothing() {
    // A takeover with an unchanged registry costs one comparison of digests.
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(700, "a")).await.stop().await.unwrap();
    let before = registry.read(traffic);
    let mut world = standby(&registry, many(700, "a")).await;
    world.apply(pod("x", "a")).await;
    world.delete("x").await;
    world.pass(600 * SECOND).await;
    assert_eq!(registry.read(traffic), before);
    assert_eq!(world.figure("leader"), 0);

    let asked = Instant::now();
    world.lead(leader(1));
    world.pass(5 * SECOND).await;
    let [writes, opened, beats, readings, pages] = before;
    assert_eq!(registry.read(traffic), [writes, opened + 1, beats + 1, readings + 1, pages]);
    assert!(ms_between(asked, registry.state().opened.last().unwrap().0) < 100, "the session is opened at once");
    assert_eq!((world.lists, world.relists_asked(), world.second_lists), (1, 0, 0));
    world.pass(60 * SECOND).await;
    assert!(registry.state().beats.last().unwrap().1.synced);
    assert_eq!((world.figure("leader"), world.figure("writer")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_standby_with_a_complete_list_is_ready() {
    let world = standby(&Fake::new(), many(3, "a")).await;
    assert!(!world.health.ready().ok());
    world.health.watch_listed(0);
    assert!(world.health.ready().ok() && world.health.live().ok());
}

#[tokio::test(start_paused = true)]
async fn takeover_sends_what_the_standby_saw() {
    // Changes and deletions are sent without another list and without the absence guard.
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(700, "a")).await.stop().await.unwrap();
    let mut world = standby(&registry, many(700, "a")).await;
    // The leader is dead, so the registry learns nothing. These are more deletions than the absence guard lets through.
    for n in 0..300 {
        world.delete(&format!("uid-{n:05}")).await;
    }
    world.apply(pod("new", "a")).await;
    world.apply(pod("uid-00400", "b")).await;
    // This pod is back, so it must not be deleted.
    world.apply(pod("uid-00299", "a")).await;
    world.pass(60 * SECOND).await;
    world.lead(leader(4));
    world.pass(2 * SECOND).await;
    world.assert_equal();
    assert_eq!(deletes(&registry), vec![Some(Removal::Observed(Deletion::Deleted)); 299]);
    assert_eq!((world.lists, world.second_lists, world.checks.len()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn remembered_deletions_are_bounded() {
    // A deletion that was dropped from memory is inferred from the pod's absence.
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(40, "a")).await.stop().await.unwrap();
    let mut world = standby(&registry, many(40, "a")).await;
    world.delete("uid-00007").await;
    for round in 0..21 {
        for n in 0..1_000 {
            let uid = format!("short-{round}-{n}");
            world.apply(pod(&uid, "a")).await;
            world.delete(&uid).await;
        }
        world.pass(SECOND).await;
    }
    assert!(world.figure("pending") == 0, "a standby has nothing pending");
    world.delete("uid-00008").await;
    world.pass(SECOND).await;
    world.lead(leader(1));
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(deletes(&registry), [Some(Removal::Observed(Deletion::Deleted)), Some(Removal::Inferred)]);
}

#[tokio::test(start_paused = true)]
async fn new_leaders_observed_deletion_needs_no_inventory() {
    // An open session is enough.
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(10, "a")).await.stop().await.unwrap();
    let mut world = standby(&registry, many(10, "a")).await;
    registry.state().unreadable = true;
    world.lead(leader(1));
    world.pass(SECOND).await;
    world.delete("uid-00003").await;
    world.pass(SECOND).await;
    assert_eq!(registry.state().records.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn lost_leadership_stops_all_requests() {
    // A regained leadership trusts nothing that the ledger held before.
    let registry = Fake::new();
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), many(30, "a"), options());
    world.list().await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
    world.lead(Leadership::Follower);
    world.pass(SECOND).await;
    let before = registry.read(traffic);
    world.apply(pod("x", "a")).await;
    world.apply(pod("uid-00001", "b")).await;
    world.delete("uid-00002").await;
    world.pass(600 * SECOND).await;
    assert_eq!(registry.read(traffic), before);
    assert_eq!((world.figure("leader"), world.figure("writer")), (0, 0));
    // Another leader does all of that, and more.
    {
        let mut state = registry.state();
        state.records.remove("uid-00010");
        state.records.remove("uid-00002");
        state.supersede("test:0000");
    }
    world.lead(leader(3));
    world.pass(5 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    assert_eq!((state.opened.len(), state.opened[1].1.min_epoch), (2, Some(1)), "one session per term");
    assert_eq!((world.lists, world.second_lists), (1, 0));
    let written: Vec<_> = state.writes[before[0]..].iter().flat_map(|write| &write.items).collect();
    assert_eq!(written.len(), 3, "x, and the two that differ");
}

#[tokio::test(start_paused = true)]
async fn standby_notices_the_end_of_an_outage() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), many(3, "a"), options());
    world.list().await;
    world.pass(5 * SECOND).await;
    registry.state().down = Some(Failure::Unreachable("down".into()));
    world.apply(pod("x", "a")).await;
    world.pass(30 * SECOND).await;
    world.lead(Leadership::Follower);
    world.pass(30 * SECOND).await;
    assert!(world.activity().outage.is_some(), "it lasts");
    registry.state().down = None;
    world.pass(60 * SECOND).await;
    assert_eq!(world.activity().outage, None);
}

#[tokio::test(start_paused = true)]
async fn unrenewed_leadership_ends_by_itself() {
    let registry = Fake::new();
    let soon = Leadership::Leader { term: 1, until: Moment::from_secs(20) };
    let mut world = EventLoopHarness::start_as(soon, registry.clone(), many(30, "a"), options());
    world.list().await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let begun = world.clock.now();
    world.lead(Leadership::Leader { term: 1, until: begun + 15 * SECOND });
    for n in 0..20 {
        world.apply(pod(&format!("x{n}"), "a")).await;
        world.pass(SECOND).await;
    }
    assert_eq!(registry.state().opened.len(), 1, "a renewal starts no new term");
    let over = Instant::now() - (world.clock.now() - (begun + 15 * SECOND));
    let state = registry.state();
    assert!(state.writes.last().unwrap().at <= over && state.beats.iter().all(|(at, _)| *at <= over));
    assert_eq!(state.records.len(), 30 + 15);
}

#[tokio::test(start_paused = true)]
async fn writes_in_flight_end_with_the_leadership() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), many(3, "a"), options());
    world.list().await;
    world.pass(5 * SECOND).await;
    // The registry applies a write after 4 s; the request is cancelled before that.
    registry.state().latency = 4 * SECOND;
    world.apply(pod("x", "a")).await;
    world.pass(SECOND).await;
    world.lead(Leadership::Follower);
    world.pass(60 * SECOND).await;
    assert!(!registry.state().records.contains_key("x"), "nothing is written after the term");
    registry.state().latency = Duration::ZERO;
    world.lead(leader(3));
    world.pass(5 * SECOND).await;
    world.assert_equal();
    assert_eq!(registry.state().records["x"].0.epoch, 2, "written again, in the next session");
}

#[tokio::test(start_paused = true)]
async fn writes_in_flight_end_when_the_lease_lapses() {
    let registry = Fake::new();
    let until = Moment::from_secs(10);
    let lapses = Leadership::Leader { term: 1, until };
    let mut world = EventLoopHarness::start_as(lapses, registry.clone(), many(3, "a"), options());
    world.list().await;
    world.pass(5 * SECOND).await;
    registry.state().latency = 6 * SECOND;
    world.apply(pod("x", "a")).await;
    // No election result arrives: the loop goes by its own clock.
    world.pass(60 * SECOND).await;
    assert!(!registry.state().records.contains_key("x"));
}

#[tokio::test(start_paused = true)]
async fn session_opened_too_late_is_closed_again() {
    // The leadership is lost before the session is open.
    let registry = Fake::new();
    let mut world = EventLoopHarness::start_as(Leadership::Follower, registry.clone(), many(3, "a"), options());
    world.list().await;
    world.pass(SECOND).await;
    registry.state().slow_session = 3 * SECOND;
    world.lead(leader(1));
    world.pass(SECOND).await;
    world.lead(Leadership::Follower);
    world.pass(5 * SECOND).await;
    assert_eq!(registry.read(|s| (s.opened.len(), s.closed, s.writes.len())), (1, Some(1), 0));
    registry.state().slow_session = Duration::ZERO;
    world.lead(leader(2));
    world.pass(5 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn fenced_leader_resumes_only_in_a_new_term() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), many(3, "a"), options());
    world.list().await;
    world.pass(5 * SECOND).await;
    registry.state().supersede("test:0000");
    world.apply(pod("x", "a")).await;
    world.pass(300 * SECOND).await;
    assert_eq!(registry.state().opened.len(), 1);
    world.lead(leader(2));
    world.pass(5 * SECOND).await;
    world.assert_equal();
    assert_eq!(world.figure("fenced"), 0);
}

#[tokio::test(start_paused = true)]
async fn handover_stop_keeps_its_time_limit() {
    let registry = Fake::new();
    let handing_over = pod_registrar::controller::options::ControllerOptions {
        stop_within: Duration::from_millis(1_500),
        ..options()
    };
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), [], handing_over);
    world.list().await;
    world.pass(5 * SECOND).await;
    registry.state().latency = Duration::from_secs(60);
    for pod in many(5_000, "a") {
        world.apply(pod).await;
    }
    world.pass(SECOND / 10).await;
    let (asked, sent) = (Instant::now(), registry.state().writes.len());
    world.stop().await.unwrap();
    assert!(ms_between(asked, Instant::now()) <= 1_500);
    assert_eq!(registry.read(|s| (s.writes.len(), s.closed)), (sent, Some(1)), "nothing more is sent");
}

#[tokio::test(start_paused = true)]
async fn deletions_before_the_first_session_are_bounded() {
    // A single writer remembers observed deletions within bounds, as a standby does.
    let registry = Fake::new();
    EventLoopHarness::settled(registry.clone(), many(40, "a")).await.stop().await.unwrap();
    registry.state().down = Some(Failure::Unreachable("connection refused".into()));
    let mut world = EventLoopHarness::start(registry.clone(), many(40, "a"), options());
    world.list().await;
    world.delete("uid-00003").await;
    for n in 0..2_000 {
        let uid = format!("short-{n}");
        world.apply(pod(&uid, "a")).await;
        world.delete(&uid).await;
    }
    world.pass(60 * SECOND).await;
    assert_eq!(world.figure("pending"), 0);
    registry.state().down = None;
    world.pass(60 * SECOND).await;
    world.assert_equal();
    assert_eq!(deletes(&registry), [Some(Removal::Observed(Deletion::Deleted))]);
}

#[tokio::test(start_paused = true)]
async fn answer_after_its_term_is_harmless() {
    // The process sleeps, as on a suspended machine: an answer and the end of the term arrive together.
    let registry = Fake::new();
    let mut world = EventLoopHarness::start_as(leader(1), registry.clone(), many(3, "a"), options());
    world.list().await;
    world.pass(5 * SECOND).await;
    registry.state().latency = Duration::from_millis(100);
    world.lead(Leadership::Leader { term: 1, until: world.clock.now() + 2 * SECOND });
    world.apply(pod("x", "a")).await;
    world.pass(Duration::from_millis(10)).await;
    tokio::time::advance(3 * SECOND).await;
    world.pass(SECOND).await;
    registry.state().latency = Duration::ZERO;
    world.lead(leader(2));
    world.apply(pod("y", "a")).await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
}
