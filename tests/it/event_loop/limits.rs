//! A registry that accepts less than it is sent: rate limits, slow records, small bodies, and records that always fail.

use std::time::Duration;

use pod_registrar::reconcile::outcome::{Failure, Verdict};
use tokio::time::Instant;

use super::{
    fake::{Fake, Fault},
    gateway::Gateway,
    world::{EventLoopHarness, SECOND, many, ms_between, options, pod},
};

/// Registers this many pods through a gateway. Returns the seconds that it took.
async fn register(pods: usize, gateway: Gateway, within: u32) -> (Fake, f64) {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), []).await;
    registry.state().gateway = gateway;
    for pod in many(pods, "a") {
        world.apply(pod).await;
    }
    let began = Instant::now();
    while registry.read(|state| state.records.len()) < pods {
        world.pass(SECOND / 4).await;
        let (there, writes, refused) =
            registry.read(|state| (state.records.len(), state.writes.len(), state.gateway.refused));
        let in_time = began.elapsed() < SECOND * within;
        assert!(in_time, "{there} of {pods} records after {within} s, in {writes} requests, {refused} refused");
    }
    world.assert_equal();
    (registry, began.elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn limit_of_5_requests_per_second_only_delays() {
    // The gateway sets the limit.
    let gateway = Gateway { requests_per_second: Some(5), retry_after: Some(SECOND), ..Gateway::default() };
    let (registry, took) = register(20_000, gateway, 20).await;
    let (writes, refused) = registry.read(|state| (state.writes.len(), state.gateway.refused));
    assert!(writes <= 75 && refused <= 25, "{writes} requests, {refused} refused, {took} s");
    assert_eq!(registry.state().attempts.retries, 0);
}

#[tokio::test(start_paused = true)]
async fn gateway_with_1_request_per_second_is_obeyed() {
    for retry_after in [Some(SECOND), None] {
        let gateway = Gateway { requests_per_second: Some(1), retry_after, ..Gateway::default() };
        register(10_000, gateway, 60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn gateway_with_2_requests_in_flight_is_obeyed() {
    let gateway = Gateway {
        in_flight: Some(2),
        retry_after: Some(SECOND),
        per_record: Duration::from_millis(1),
        ..Gateway::default()
    };
    // Ten seconds with two requests in flight.
    let (registry, took) = register(20_000, gateway, 16).await;
    let refused = registry.state().gateway.refused;
    assert!(refused <= 4, "{refused} refused in {took} s");
}

#[tokio::test(start_paused = true)]
async fn gateway_with_a_limit_in_bytes_is_obeyed() {
    let bytes_per_second = Some(100_000);
    let gateway = Gateway { bytes_per_second, retry_after: Some(SECOND), ..Gateway::default() };
    // About 30 seconds at the limit.
    let (registry, took) = register(5_000, gateway, 90).await;
    let refused = registry.state().gateway.refused;
    assert!(refused <= 100, "{refused} refused in {took} s");
}

#[tokio::test(start_paused = true)]
async fn refusals_use_up_no_retry_budget() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3_000, "a")).await;
    for failure in [
        Failure::Unreachable("connection refused".into()),
        Failure::Unauthorized { status: 401, detail: String::new(), named: true },
        Failure::Throttled { status: 429, after: None },
        Failure::UnknownSession,
    ] {
        // Several times more records than the budget has tokens.
        for round in 0..4 {
            registry.state().faults.extend(vec![Fault::Refuse(failure.clone()); 6]);
            for pod in many(3_000, &format!("{failure} {round}")) {
                world.apply(pod).await;
            }
            world.pass(40 * SECOND).await;
            world.assert_equal();
        }
    }
    assert_eq!(world.figure("retries_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn slow_records_cost_no_retries() {
    // At 25 ms per record, 5,000 records take 31 s in four requests at a time.
    let (registry, took) = register(5_000, Gateway { per_record: SECOND / 40, ..Gateway::default() }, 36).await;
    let attempts = registry.state().attempts;
    assert_eq!((attempts.retries, attempts.needless), (0, 0), "{attempts:?} in {took} s");
    // At 400 ms per record, the first batches already take too long.
    let (registry, took) = register(1_000, Gateway { per_record: SECOND * 2 / 5, ..Gateway::default() }, 170).await;
    let attempts = registry.state().attempts;
    assert!(attempts.retries * 5 <= attempts.first, "{attempts:?} in {took} s");
}

#[tokio::test(start_paused = true)]
async fn size_that_works_outlives_an_outage() {
    let (registry, _) = register(1_000, Gateway { per_record: SECOND / 40, ..Gateway::default() }, 20).await;
    let mut world = EventLoopHarness::start(registry.clone(), many(1_000, "a"), options());
    world.list().await;
    world.pass(30 * SECOND).await;
    for body in ["b", "c"] {
        registry.state().down = Some(Failure::Unreachable("connection refused".into()));
        for pod in many(1_000, body) {
            world.apply(pod).await;
        }
        world.pass(600 * SECOND).await;
        registry.state().down = None;
        world.pass(30 * SECOND).await;
        world.assert_equal();
    }
    assert_eq!(registry.state().attempts.retries, 0);
}

#[tokio::test(start_paused = true)]
async fn small_body_limit_is_learned_at_full_speed() {
    for failure in [Failure::TooLarge, Failure::Refused { status: 400, detail: "request body".into() }] {
        let gateway = Gateway { body: Some((16_384, failure.clone())), ..Gateway::default() };
        let (registry, took) = register(5_000, gateway, 2).await;
        let (writes, refused) = registry.read(|state| (state.writes.len(), state.gateway.refused));
        assert!(writes <= 250 && refused <= 20, "{failure}: {writes} requests, {refused} refused, {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_records_are_found_at_full_speed() {
    // Three of 1,000 records are refused.
    let registry = Fake::new();
    registry.state().breaks_batches.extend([17, 500, 901].map(|n| format!("uid-{n:05}")));
    registry.state().breaks_with = Some(Failure::Refused { status: 400, detail: "schema".into() });
    let mut world = EventLoopHarness::start(registry.clone(), many(1_000, "a"), options());
    world.list().await;
    world.pass(SECOND).await;
    let (records, writes) = registry.read(|state| (state.records.len(), state.writes.len()));
    assert!(records == 997 && writes <= 70, "{records} records after one second, in {writes} requests");
    world.pass(2 * SECOND).await;
    assert_eq!(world.figure("records{state=\"parked\"}"), 3);
}

/// The time in milliseconds until a record is delivered if its first answer is lost.
async fn lost_answer(world: &mut EventLoopHarness, uid: &str) -> u128 {
    world.pass(SECOND).await;
    let registry = world.registry.clone();
    world.apply(pod(uid, "lost")).await;
    let changed = Instant::now();
    registry.state().failing_ids.insert(uid.into(), Verdict::Uncertain { cause: "status 500".into() });
    world.pass(SECOND / 20).await;
    registry.state().failing_ids.remove(uid);
    while registry
        .read(|state| state.records.get(uid).is_none_or(|(_, held)| *held != pod(uid, "lost").content.unwrap().digest))
    {
        world.pass(SECOND / 50).await;
        assert!(changed.elapsed() < 60 * SECOND, "{uid} is not delivered within a minute");
    }
    ms_between(changed, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn rejected_records_delay_no_lost_answer() {
    let registry = Fake::new();
    registry.state().poison.extend((0..3_000).map(|n| format!("uid-{n:05}")));
    let hasty = pod_registrar::controller::options::ControllerOptions { resync_interval: 60 * SECOND, ..options() };
    let mut world = EventLoopHarness::start(registry.clone(), many(3_100, "a"), hasty);
    world.list().await;
    world.pass(5 * SECOND).await;
    assert_eq!(world.figure("records{state=\"parked\"}"), 3_000);
    for n in 0..20 {
        let took = lost_answer(&mut world, &format!("uid-{:05}", 3_000 + n)).await;
        assert!(took < 1_000, "{took} ms in round {n}");
        world.pass(7 * SECOND).await;
        assert!(world.seconds("oldest_pending_age") < 9.0, "parked records are not pending");
    }
    let attempted = registry.read(|state| state.writes.iter().flat_map(|write| &write.items).count());
    assert!(attempted >= 8_000, "{attempted} operations: rejected records are attempted again at each resync");
    registry.state().poison.clear();
    world.pass(100 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn records_that_always_fail_delay_no_lost_answer() {
    let registry = Fake::new();
    let broken = Verdict::Uncertain { cause: "status 500".into() };
    registry.state().failing_ids.extend((0..3_000).map(|n| (format!("uid-{n:05}"), broken.clone())));
    let mut world = EventLoopHarness::start(registry.clone(), many(3_100, "a"), options());
    world.list().await;
    world.pass(30 * SECOND).await;
    for n in 0..20 {
        let took = lost_answer(&mut world, &format!("uid-{:05}", 3_000 + n)).await;
        assert!(took < 1_000, "{took} ms in round {n}");
        world.pass(10 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn record_that_fails_alone_pauses_no_other() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(100, "a")).await;
    registry.state().breaks_batches.insert("uid-00007".into());
    world.apply(pod("uid-00007", "b")).await;
    world.pass(10 * SECOND).await;
    let probes = registry.state().probes.len();
    for n in 0..300 {
        world.apply(pod(&format!("uid-{:05}", 10 + n % 80), &n.to_string())).await;
        let changed = Instant::now();
        world.pass(SECOND / 100).await;
        let last = registry.read(|state| state.writes.last().map(|write| write.at));
        assert!(last.is_some_and(|at| at >= changed), "round {n}");
        world.pass(SECOND).await;
    }
    assert_eq!(registry.state().probes.len(), probes, "no pause");
}
