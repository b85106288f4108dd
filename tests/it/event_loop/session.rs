//! The writer's session: heartbeats, fencing, a registry that forgets the session, and the stop.

use std::time::Duration;

use pod_registrar::{
    model::{digest::Digest, ids::Version},
    reconcile::outcome::Failure,
};
use tokio::time::Instant;

use super::{
    fake::Fake,
    world::{EventLoopHarness, SECOND, many, ms_between, pod},
};

#[tokio::test(start_paused = true)]
async fn heartbeats_come_every_third_of_the_ttl() {
    // Each heartbeat carries the status: in sync or not, pods, and pending changes.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(12, "a")).await;
    world.pass(295 * SECOND).await;
    let state = registry.state();
    assert_eq!(state.beats.len(), 10, "in five minutes");
    for pair in state.beats.windows(2) {
        assert!((29_000..=31_000).contains(&ms_between(pair[0].0, pair[1].0)));
    }
    let beat = &state.beats[0].1;
    assert!(beat.synced && beat.counts.unwrap().pods == 12 && beat.counts.unwrap().pending == 0);
    let opened = &state.opened[0].1;
    assert_eq!((opened.ttl_seconds, opened.min_epoch, opened.scope.as_deref()), (90, None, Some("scope")));
}

#[tokio::test(start_paused = true)]
async fn heartbeat_of_a_busy_cluster_is_synced() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    registry.state().latency = SECOND * 9 / 10;
    for round in 0..120 {
        world.apply(pod("x", &format!("{round}"))).await;
        world.pass(SECOND).await;
    }
    let state = registry.state();
    assert!(state.beats.len() >= 4 && state.beats.iter().all(|(_, beat)| beat.synced));
    assert!(state.beats.iter().any(|(_, beat)| beat.counts.unwrap().pending > 0), "a change was pending");
}

#[tokio::test(start_paused = true)]
async fn fenced_writer_waits_until_the_other_session_ends() {
    // Until then it writes nothing and opens no session.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    world.health.watch_listed(0);
    registry.state().supersede("other:1");
    world.apply(pod("x", "a")).await;
    world.pass(SECOND).await;
    let (opened, writes) = registry.read(|s| (s.opened.len(), s.writes.len()));
    world.apply(pod("y", "a")).await;
    world.pass(600 * SECOND).await;
    assert_eq!(registry.read(|s| (s.opened.len(), s.writes.len())), (opened, writes), "it sends nothing");
    assert!(!world.health.ready().ok() && world.health.live().ok());
    assert_eq!(world.figure("fenced"), 1);
    registry.state().end_session();
    world.pass(20 * SECOND).await;
    world.assert_equal();
    assert!(world.health.ready().ok());
    assert_eq!(registry.state().opened.len(), opened + 1);
}

#[tokio::test(start_paused = true)]
async fn unknown_own_session_is_adopted() {
    // Writes go into this session, and no other session is opened.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    {
        // As if a request that timed out had arrived after all.
        let mut state = registry.state();
        state.supersede("test:0000");
    }
    let opened = registry.state().opened.len();
    world.apply(pod("x", "a")).await;
    world.pass(20 * SECOND).await;
    world.assert_equal();
    assert_eq!(registry.read(|s| (s.opened.len(), s.session.as_ref().unwrap().epoch == s.epoch)), (opened, true));
    assert!(world.health.live().ok() && world.figure("writer") == 1);
}

#[tokio::test(start_paused = true)]
async fn own_session_from_a_backup_is_replaced() {
    // Its versions are used already.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3, "a")).await;
    let backup = registry.state().session.take();
    world.apply(pod("x", "a")).await;
    world.pass(SECOND).await;
    registry.state().supersede("other:1");
    world.apply(pod("y", "a")).await;
    world.pass(SECOND).await;
    assert_eq!(world.figure("fenced"), 1);
    registry.state().session = backup;
    world.pass(20 * SECOND).await;
    world.assert_equal();
    let epochs: Vec<u64> = registry.state().opened.iter().map(|(_, open)| open.min_epoch.unwrap_or_default()).collect();
    // The third declares that another writer may be alive. The last one replaces the session from the backup.
    assert_eq!(epochs, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn probe_with_a_writes_answer_backs_off() {
    // The answer to the probe is one that only a write should get.
    for failure in [Failure::TooLarge, Failure::StaleEpoch, Failure::UnknownSession] {
        let registry = Fake::new();
        registry.state().down = Some(failure.clone());
        let mut world = EventLoopHarness::start(registry.clone(), many(3, "a"), super::world::options());
        world.list().await;
        world.pass(60 * SECOND).await;
        let asked = registry.state().probes.len();
        assert!((10..=40).contains(&asked), "{failure}: {asked} probes in a minute");
        registry.state().down = None;
        world.pass(10 * SECOND).await;
        world.assert_equal();
    }
}

#[tokio::test(start_paused = true)]
async fn restored_registry_is_filled_above_all_epochs() {
    let registry = Fake::new();
    registry.state().epoch = 8;
    let mut world = EventLoopHarness::settled(registry.clone(), many(40, "a")).await;
    {
        let mut state = registry.state();
        state.records.retain(|id, _| id.as_str() < "uid-00010");
        (state.epoch, state.session) = (2, None);
    }
    world.apply(pod("x", "a")).await;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let state = registry.state();
    assert_eq!(state.opened[1].1.min_epoch, Some(9));
    assert!(state.epoch > 9);
    assert!(state.tombstones.is_empty(), "a short inventory deletes nothing");
}

#[tokio::test(start_paused = true)]
async fn resync_repairs_changes_of_other_clients() {
    // Another client removed, changed and added records.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(600, "a")).await;
    let items = registry.state().items();
    {
        let mut state = registry.state();
        state.records.remove("uid-00100");
        state.records.get_mut("uid-00200").unwrap().1 = Digest([1; 32]);
        state.records.insert("ghost".into(), (Version { epoch: 1, seq: 1 }, Digest([2; 32])));
    }
    world.pass(2_100 * SECOND).await;
    world.assert_equal();
    assert_eq!(registry.state().items() - items, 3);
    assert_eq!(world.lists, 2, "only a list that began after the inventory shows that `ghost` is no pod");
    for kind in ["missing", "extra", "differing"] {
        assert_eq!(world.figure(&format!("drift_repaired_total{{kind=\"{kind}\"}}")), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn stop_finishes_requests_and_closes_the_session() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().latency = 5 * SECOND;
    for pod in many(100, "a") {
        world.apply(pod).await;
    }
    world.pass(SECOND).await;
    let (epoch, asked) = (registry.state().epoch, Instant::now());
    world.stop().await.unwrap();
    assert!(ms_between(asked, Instant::now()) < 6_000);
    assert_eq!(registry.read(|s| (s.records.len(), s.closed)), (100, Some(epoch)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_no_longer_than_twenty_seconds() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().latency = Duration::from_secs(3_600);
    world.apply(pod("x", "a")).await;
    world.pass(SECOND).await;
    let asked = Instant::now();
    world.stop().await.unwrap();
    assert!(ms_between(asked, Instant::now()) <= 20_000);
    assert!(registry.state().closed.is_some(), "the session is closed nevertheless");
}
