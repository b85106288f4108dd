//! Requests about the target as a whole: a sign of life, and the end of a round.

use std::time::Duration;

use pod_registrar::reconcile::{
    absence::ScopeChangePolicy,
    election::Leadership,
    outcome::{Failure, Verdict},
};

use tokio::time::Instant;

use super::{
    fake::Fake,
    holds::{filled, narrowed},
    world::{EventLoopHarness, SECOND, many, options, pod},
};

/// What the fake wants to send once the registry equals the cluster.
#[derive(Default)]
pub(super) struct Notices {
    wanted: bool,
    /// How many were sent.
    sent: usize,
    /// The answer, while it is set.
    refusal: Option<Failure>,
    /// When a request that was refused is sent again.
    again_at: Option<Instant>,
}

impl Notices {
    pub(super) fn after(&self, in_sync: bool) -> Option<Duration> {
        let wait = self.again_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        (self.wanted && in_sync).then_some(wait)
    }

    pub(super) fn send(&mut self) -> Result<(), Failure> {
        self.sent += 1;
        self.wanted = self.refusal.is_some();
        self.again_at = self.wanted.then(|| Instant::now() + 30 * SECOND);
        self.refusal.clone().map_or(Ok(()), Err)
    }
}

fn sent(registry: &Fake) -> usize {
    registry.state().notices.sent
}

#[tokio::test(start_paused = true)]
async fn round_ends_only_without_parked_records() {
    let registry = Fake::new();
    registry.state().poison.insert("uid-00003".into());
    registry.state().notices.wanted = true;
    let mut world = EventLoopHarness::start(registry.clone(), many(5, "a"), options());
    world.list().await;
    world.pass(600 * SECOND).await;
    assert_eq!((sent(&registry), world.figure("records{state=\"parked\"}")), (0, 1));
    registry.state().poison.clear();
    world.apply(pod("uid-00003", "b")).await;
    world.pass(5 * SECOND).await;
    world.assert_equal();
    assert_eq!(sent(&registry), 1);
}

#[tokio::test(start_paused = true)]
async fn round_ends_only_without_held_deletions() {
    let registry = filled(10).await;
    registry.state().notices.wanted = true;
    let mut world = narrowed(&registry, 10, 8, ScopeChangePolicy::Hold).await;
    world.pass(600 * SECOND).await;
    let [held] = world.held().try_into().unwrap();
    assert_eq!((held.deletions, sent(&registry)), (2, 0));
    world.approve(&held.id).await;
    world.pass(60 * SECOND).await;
    let records = registry.state().records.len();
    assert_eq!((records, sent(&registry)), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn round_ends_only_after_pending_changes() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(5, "a")).await;
    let busy = Verdict::Retry { after: None, cause: "busy".into() };
    registry.state().failing_ids.insert("uid-00002".into(), busy);
    world.apply(pod("uid-00002", "b")).await;
    registry.state().notices.wanted = true;
    world.pass(300 * SECOND).await;
    assert_eq!(sent(&registry), 0);
    registry.state().failing_ids.clear();
    world.pass(120 * SECOND).await;
    assert_eq!(sent(&registry), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_notice_is_repeated_and_pauses_nothing() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(5, "a")).await;
    let refusal = Failure::Refused { status: 400, detail: "no".into() };
    registry.state().notices = Notices { wanted: true, refusal: Some(refusal), ..Notices::default() };
    world.apply(pod("uid-00002", "b")).await;
    world.pass(10 * SECOND).await;
    assert_eq!(sent(&registry), 1);
    world.apply(pod("uid-00002", "c")).await;
    world.pass(2 * SECOND).await;
    world.assert_equal();
    world.pass(20 * SECOND).await;
    assert_eq!(sent(&registry), 2, "after half a minute");
    registry.state().notices.refusal = None;
    world.pass(31 * SECOND).await;
    assert_eq!(sent(&registry), 3);
    world.pass(600 * SECOND).await;
    assert_eq!(sent(&registry), 3, "once");
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_sends_notices() {
    let registry = Fake::new();
    registry.state().notices.wanted = true;
    let mut world = EventLoopHarness::start_as(Leadership::Follower, registry.clone(), many(5, "a"), options());
    world.list().await;
    world.pass(60 * SECOND).await;
    assert_eq!(sent(&registry), 0);
    world.lead(Leadership::Alone);
    world.pass(10 * SECOND).await;
    assert_eq!(sent(&registry), 1);
}
