//! The retry budget: writes that are sent again stay a small part of first writes while the registry fails, and
//! everything is delivered within seconds after it recovers.

use std::time::Duration;

use pod_registrar::reconcile::outcome::{Failure, OperationKind, Verdict};
use tokio::time::Instant;

use super::{
    attempts::{Attempts, FailureRate},
    fake::{Fake, Fault},
    world::{EventLoopHarness, SECOND, many, ms_between, pod},
};

const PODS: usize = 3_000;

/// 1,000 changes per second over 3,000 pods. One in fifty deletes its pod and creates another.
struct Churn {
    next: usize,
    random: fastrand::Rng,
}

impl Churn {
    async fn run(&mut self, world: &mut EventLoopHarness, time: Duration) {
        for _ in 0..time.as_millis() / 100 {
            for _ in 0..100 {
                self.step(world).await;
            }
            world.pass(SECOND / 10).await;
        }
    }

    async fn step(&mut self, world: &mut EventLoopHarness) {
        let n = self.random.usize(self.next - PODS..self.next);
        let uid = format!("uid-{n:05}");
        if !world.pods.contains_key(&uid) {
            return;
        }
        if self.random.u8(..50) > 0 {
            return world.apply(pod(&uid, &self.random.u64(..).to_string())).await;
        }
        world.delete(&uid).await;
        world.apply(pod(&format!("uid-{:05}", self.next), "new")).await;
        self.next += 1;
    }
}

/// Runs churn while some writes fail. Returns the attempts, and how many deleted pods the registry still held at the
/// end.
async fn run_failing(failure_rate: FailureRate, time: Duration) -> (EventLoopHarness, Attempts, usize) {
    let registry = Fake::new();
    registry.state().latency = Duration::from_millis(20);
    let mut world = EventLoopHarness::settled(registry.clone(), many(PODS, "a")).await;
    let mut churn = Churn { next: PODS, random: fastrand::Rng::with_seed(3) };
    let before = registry.state().attempts;
    registry.state().failure_rate = Some(failure_rate);
    churn.run(&mut world, time).await;
    let after = registry.state().attempts;
    let gone = registry.read(|state| state.records.keys().filter(|uid| !world.pods.contains_key(*uid)).count());
    registry.state().failure_rate = None;
    let attempts = Attempts {
        first: after.first - before.first,
        retries: after.retries - before.retries,
        needless: after.needless - before.needless,
        early: after.early - before.early,
    };
    (world, attempts, gone)
}

/// What holds for every kind of failure.
async fn assert_within_budget_and_recovered(mut world: EventLoopHarness, attempts: Attempts) {
    assert!(attempts.retries * 10 <= attempts.first, "{attempts:?}");
    assert_eq!(attempts.needless, 0, "an acknowledged record is not sent again");
    assert_eq!(attempts.early, 0, "nothing is sent before its Retry-After");
    world.pass(20 * SECOND).await;
    assert_eq!(world.figure("pending"), 0);
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn half_of_all_items_failing_costs_few_retries() {
    // The items fail for ten minutes, and the registry catches up at once afterwards.
    let failure_rate = FailureRate::Items(50, Verdict::Uncertain { cause: "status 500".into() });
    let (world, attempts, gone) = run_failing(failure_rate, 600 * SECOND).await;
    assert!(attempts.first >= 200_000, "first attempts go on: {attempts:?}");
    assert!(attempts.retries >= 15_000, "retries go on: {attempts:?}");
    assert!(gone <= 300, "{gone} deleted pods are still registered: deletions do not wait behind puts");
    assert_within_budget_and_recovered(world, attempts).await;
}

#[tokio::test(start_paused = true)]
async fn item_with_retry_after_goes_once_per_wait() {
    let failure_rate = FailureRate::Items(50, Verdict::Retry { after: Some(SECOND), cause: "busy".into() });
    let (world, attempts, gone) = run_failing(failure_rate, 120 * SECOND).await;
    // Of at most 120,000 changes, half have to wait, and half of these have to wait again.
    assert!((100_000..=240_000).contains(&attempts.first), "{attempts:?}");
    assert_eq!(attempts.retries, 0, "a refused write is not a retry");
    assert!(gone <= 300, "{gone} deleted pods are still registered");
    assert_within_budget_and_recovered(world, attempts).await;
}

#[tokio::test(start_paused = true)]
async fn half_of_all_requests_failing_costs_few_retries() {
    let (world, attempts, _) =
        run_failing(FailureRate::Requests(50, Failure::Broken("status 500".into())), 120 * SECOND).await;
    assert!(attempts.first >= 20_000, "first attempts go on: {attempts:?}");
    assert_within_budget_and_recovered(world, attempts).await;
}

#[tokio::test(start_paused = true)]
async fn half_of_requests_being_throttled_costs_few_retries() {
    let failure = Failure::Throttled { status: 503, after: None };
    let (world, attempts, _) = run_failing(FailureRate::Requests(50, failure), 120 * SECOND).await;
    assert_within_budget_and_recovered(world, attempts).await;
}

#[tokio::test(start_paused = true)]
async fn few_failures_are_retried_without_delay() {
    let failure_rate = FailureRate::Items(1, Verdict::Uncertain { cause: "status 500".into() });
    let (world, attempts, _) = run_failing(failure_rate, 60 * SECOND).await;
    let stale = world.registry.read(|state| {
        let differs = |uid: &String, digest| state.records.get(uid).is_none_or(|(_, held)| *held != digest);
        world.pods.iter().filter(|(uid, pod)| differs(uid, pod.content.as_ref().unwrap().digest)).count()
    });
    assert!(stale <= 150, "{stale} of {PODS} records are outdated; a hundred changes are in flight");
    assert_within_budget_and_recovered(world, attempts).await;
}

#[tokio::test(start_paused = true)]
async fn failing_record_is_tried_once_per_minute() {
    // No other record waits for it.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(50, "a")).await;
    registry.state().failing_ids.insert("uid-00007".into(), Verdict::Uncertain { cause: "status 500".into() });
    world.apply(pod("uid-00007", "poison")).await;
    for n in 0..600 {
        let faulty = n % 20 == 0;
        if faulty {
            registry.state().faults.push_back(Fault::Items(Verdict::Uncertain { cause: "status 500".into() }));
        }
        world.apply(pod(&format!("uid-{:05}", 10 + n % 40), &n.to_string())).await;
        world.pass(SECOND).await;
    }
    world.pass(3 * SECOND).await;
    let attempts = registry.read(|state| {
        let items = state.writes.iter().flat_map(|write| &write.items);
        items.filter(|item| item.uid.text() == "uid-00007").count()
    });
    assert!((10..=30).contains(&attempts), "{attempts} attempts in ten minutes");
    assert_eq!(world.figure("pending"), 1, "no other record is pending");
    registry.state().failing_ids.clear();
    world.pass(70 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn deletions_that_fail_for_ever_starve_no_record() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(2_500, "a")).await;
    let broken = || Verdict::Uncertain { cause: "status 500".into() };
    for n in 0..2_000 {
        let uid = format!("uid-{n:05}");
        registry.state().failing_ids.insert(uid.clone(), broken());
        world.delete(&uid).await;
    }
    world.pass(120 * SECOND).await;
    registry.state().failing_ids.insert("uid-02400".into(), broken());
    world.apply(pod("uid-02400", "b")).await;
    world.pass(SECOND).await;
    registry.state().failing_ids.remove("uid-02400");
    let recovered = Instant::now();
    while world.figure("pending") > 2_000 {
        world.pass(SECOND).await;
        assert!(ms_between(recovered, Instant::now()) < 30_000, "the record waits behind the deletions");
    }
    registry.state().failing_ids.clear();
    world.pass(120 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn waiting_retry_does_not_keep_the_loop_busy() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3_000, "a")).await;
    registry.state().failure_rate = Some(FailureRate::Items(100, Verdict::Uncertain { cause: "status 500".into() }));
    for pod in many(3_000, "b") {
        world.apply(pod).await;
    }
    world.pass(600 * SECOND).await;
    let writes = registry.read(|state| state.writes.len());
    world.pass(600 * SECOND).await;
    let written = registry.read(|state| state.writes.len()) - writes;
    let most = "at most two retries per second, and one per two seconds for records that failed more than once";
    assert!((300..=1_600).contains(&written), "{written} requests in ten minutes: {most}");
    registry.state().failure_rate = None;
    world.pass(90 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn zero_retry_after_still_backs_off() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(10, "a")).await;
    let writes = registry.read(|state| state.writes.len());
    registry.state().failure_rate =
        Some(FailureRate::Requests(100, Failure::Throttled { status: 429, after: Some(Duration::ZERO) }));
    world.apply(pod("uid-00001", "b")).await;
    world.delete("uid-00002").await;
    world.pass(600 * SECOND).await;
    let attempted = registry.read(|state| state.writes.len() - writes);
    assert!((100..=300).contains(&attempted), "{attempted} writes");
    registry.state().failure_rate = None;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let kinds = registry.read(|s| s.writes.last().unwrap().items.iter().map(|item| item.kind).collect::<Vec<_>>());
    assert_eq!(kinds.first(), Some(&OperationKind::Delete));
}
