//! A sick registry is not told everything twice: what is sent again stays a small part of what is sent for the first time,
//! and once the sickness is over everything is made good within seconds.

use std::time::Duration;

use pod_registrar::reconcile::outcome::{Failure, OperationKind, Verdict};
use tokio::time::Instant;

use super::{
    fake::{Fake, Fault, Sickness},
    tries::Tries,
    world::{EventLoopHarness, SECOND, many, ms_between, pod},
};

const PODS: usize = 3_000;

/// A thousand changes a second over some thousand pods, of which one in fifty ends and makes room for another.
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

/// A registry that is sick under churn; what was tried of it meanwhile, and how many pods that are gone it still had.
async fn sick(sickness: Sickness, time: Duration) -> (EventLoopHarness, Tries, usize) {
    let registry = Fake::new();
    registry.state().latency = Duration::from_millis(20);
    let mut world = EventLoopHarness::settled(registry.clone(), many(PODS, "a")).await;
    let mut churn = Churn { next: PODS, random: fastrand::Rng::with_seed(3) };
    let before = registry.state().tries;
    registry.state().sickness = Some(sickness);
    churn.run(&mut world, time).await;
    let after = registry.state().tries;
    let gone = registry.read(|state| state.records.keys().filter(|uid| !world.pods.contains_key(*uid)).count());
    registry.state().sickness = None;
    let tries = Tries {
        first: after.first - before.first,
        repeats: after.repeats - before.repeats,
        needless: after.needless - before.needless,
        early: after.early - before.early,
    };
    (world, tries, gone)
}

/// What holds of every sickness.
async fn assert_spared_and_made_good(mut world: EventLoopHarness, tries: Tries) {
    assert!(tries.repeats * 10 <= tries.first, "{tries:?}");
    assert_eq!(tries.needless, 0, "what was acknowledged is not sent again");
    assert_eq!(tries.early, 0, "what was told to wait is not sent before");
    world.pass(20 * SECOND).await;
    assert_eq!(world.figure("pending"), 0);
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn half_of_all_items_failing_costs_few_retries() {
    // The items fail for ten minutes, and the registry catches up at once afterwards.
    let sickness = Sickness::Items(50, Verdict::Uncertain { cause: "status 500".into() });
    let (world, tries, gone) = sick(sickness, 600 * SECOND).await;
    assert!(tries.first >= 200_000, "first tries go on: {tries:?}");
    assert!(tries.repeats >= 15_000, "and repeats do: {tries:?}");
    assert!(gone <= 300, "{gone} pods that are gone are still there: deletions do not wait behind records");
    assert_spared_and_made_good(world, tries).await;
}

#[tokio::test(start_paused = true)]
async fn item_with_retry_after_goes_once_per_wait() {
    let sickness = Sickness::Items(50, Verdict::Retry { after: Some(SECOND), cause: "busy".into() });
    let (world, tries, gone) = sick(sickness, 120 * SECOND).await;
    // Of 120,000 changes at most, half are told to wait, and half of these once more.
    assert!((100_000..=240_000).contains(&tries.first), "{tries:?}");
    assert_eq!(tries.repeats, 0, "nothing of it was applied");
    assert!(gone <= 300, "{gone} pods that are gone are still there");
    assert_spared_and_made_good(world, tries).await;
}

#[tokio::test(start_paused = true)]
async fn half_of_all_requests_failing_costs_few_retries() {
    let (world, tries, _) = sick(Sickness::Requests(50, Failure::Broken("status 500".into())), 120 * SECOND).await;
    assert!(tries.first >= 20_000, "first tries go on: {tries:?}");
    assert_spared_and_made_good(world, tries).await;
}

#[tokio::test(start_paused = true)]
async fn half_of_requests_being_throttled_costs_few_retries() {
    let failure = Failure::Throttled { status: 503, after: None };
    let (world, tries, _) = sick(Sickness::Requests(50, failure), 120 * SECOND).await;
    assert_spared_and_made_good(world, tries).await;
}

#[tokio::test(start_paused = true)]
async fn few_failures_are_retried_without_delay() {
    let sickness = Sickness::Items(1, Verdict::Uncertain { cause: "status 500".into() });
    let (world, tries, _) = sick(sickness, 60 * SECOND).await;
    let stale = world.registry.read(|state| {
        let differs = |uid: &String, digest| state.records.get(uid).is_none_or(|(_, held)| *held != digest);
        world.pods.iter().filter(|(uid, pod)| differs(uid, pod.content.as_ref().unwrap().digest)).count()
    });
    assert!(stale <= 150, "{stale} of {PODS} records are behind, where a hundred changes are under way");
    assert_spared_and_made_good(world, tries).await;
}

#[tokio::test(start_paused = true)]
async fn failing_record_is_tried_once_per_minute() {
    // No other record waits for it.
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(50, "a")).await;
    registry.state().sick_ids.insert("uid-00007".into(), Verdict::Uncertain { cause: "status 500".into() });
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
    let tries = registry.read(|state| {
        let items = state.writes.iter().flat_map(|write| &write.items);
        items.filter(|item| item.uid.text() == "uid-00007").count()
    });
    assert!((10..=30).contains(&tries), "{tries} tries in ten minutes");
    assert_eq!(world.figure("pending"), 1, "the others wait for nothing");
    registry.state().sick_ids.clear();
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
        registry.state().sick_ids.insert(uid.clone(), broken());
        world.delete(&uid).await;
    }
    world.pass(120 * SECOND).await;
    registry.state().sick_ids.insert("uid-02400".into(), broken());
    world.apply(pod("uid-02400", "b")).await;
    world.pass(SECOND).await;
    registry.state().sick_ids.remove("uid-02400");
    let mended = Instant::now();
    while world.figure("pending") > 2_000 {
        world.pass(SECOND).await;
        assert!(ms_between(mended, Instant::now()) < 30_000, "the record waits behind the deletions");
    }
    registry.state().sick_ids.clear();
    world.pass(120 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn waiting_retry_does_not_keep_the_loop_busy() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(3_000, "a")).await;
    registry.state().sickness = Some(Sickness::Items(100, Verdict::Uncertain { cause: "status 500".into() }));
    for pod in many(3_000, "b") {
        world.apply(pod).await;
    }
    world.pass(600 * SECOND).await;
    let writes = registry.read(|state| state.writes.len());
    world.pass(600 * SECOND).await;
    let written = registry.read(|state| state.writes.len()) - writes;
    let most = "two retries per second at most, and one per two seconds of records that failed more than once";
    assert!((300..=1_600).contains(&written), "{written} requests in ten minutes: {most}");
    registry.state().sickness = None;
    world.pass(90 * SECOND).await;
    world.assert_equal();
}

#[tokio::test(start_paused = true)]
async fn zero_retry_after_still_backs_off() {
    let registry = Fake::new();
    let mut world = EventLoopHarness::settled(registry.clone(), many(10, "a")).await;
    let writes = registry.read(|state| state.writes.len());
    registry.state().sickness =
        Some(Sickness::Requests(100, Failure::Throttled { status: 429, after: Some(Duration::ZERO) }));
    world.apply(pod("uid-00001", "b")).await;
    world.delete("uid-00002").await;
    world.pass(600 * SECOND).await;
    let tried = registry.read(|state| state.writes.len() - writes);
    assert!((100..=300).contains(&tried), "{tried} writes");
    registry.state().sickness = None;
    world.pass(10 * SECOND).await;
    world.assert_equal();
    let kinds = registry.read(|s| s.writes.last().unwrap().items.iter().map(|item| item.kind).collect::<Vec<_>>());
    assert_eq!(kinds.first(), Some(&OperationKind::Delete));
}
