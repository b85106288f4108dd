//! When to try again, and how fast at all.

use std::time::Duration;

use super::{Failure, Moment};

/// The first delay of a key, doubled with each further failure.
const KEY_BASE: Duration = Duration::from_millis(200);
/// The longest delay of a key: a record that the registry takes again is not late by more than this.
const KEY_MAX: Duration = Duration::from_secs(60);
/// The longest delay of the whole registry: the outage's end is noticed within this.
const TARGET_MAX: Duration = Duration::from_secs(5);
/// The longest delay while the credential is refused: each try is a line in somebody's audit log.
const CREDENTIAL_MAX: Duration = Duration::from_secs(30);

/// The delay before the next try after `failures` in a row: doubled each time up to `max`, of which a random part
/// between a half and the whole is taken, so that those who failed together do not come back together.
pub fn backoff(base: Duration, max: Duration, failures: u32, random: u64) -> Duration {
    let whole = base.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    let half = whole / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(random % nanos)
}

/// The delay of one key after its `failures`-th failure in a row.
pub fn key_backoff(failures: u32, random: u64) -> Duration {
    backoff(KEY_BASE, KEY_MAX, failures, random)
}

/// The registry as a whole: whether it may be spoken to now, and by how many at once.
///
/// After a failure nothing is written until a question that changes nothing was answered; then one write may try. So an
/// outage puts no write in doubt, and a write that fails right after an answered question has itself to blame.
#[derive(Clone, Debug, Default)]
pub struct Target {
    failures: u32,
    resume_at: Moment,
    probed: bool,
}

impl Target {
    /// How many writes may be in flight.
    pub fn slots(&self, now: Moment, max: usize) -> usize {
        match self.failures {
            _ if now < self.resume_at => 0,
            0 => max,
            _ => usize::from(self.probed),
        }
    }

    /// Whether it is time to ask a question that changes nothing.
    pub fn wants_question(&self, now: Moment) -> bool {
        self.failures > 0 && !self.probed && now >= self.resume_at
    }

    /// When it may be spoken to again.
    pub fn resume_at(&self) -> Moment {
        self.resume_at
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a write that fails now has itself to blame, as far as can be told.
    pub fn blames_writes(&self) -> bool {
        self.failures == 0 || self.probed
    }

    /// The question was answered.
    pub fn probed(&mut self) {
        self.probed = true;
    }

    /// A request was answered. During a pause that is one which was sent before it: it says nothing about what comes after,
    /// and the registry's word stands.
    pub fn succeeded(&mut self, now: Moment) {
        if now >= self.resume_at {
            (self.failures, self.probed) = (0, false);
        }
    }

    /// A batch that can be divided failed as a whole: its parts are tried soon, as there is an end to dividing.
    pub fn dividing(&mut self, now: Moment) {
        self.failures = self.failures.max(1);
        self.pause_until(now + KEY_BASE);
    }

    /// A request was not answered as a request; waits as the failure asks.
    pub fn failed(&mut self, failure: &Failure, now: Moment, random: u64) {
        self.failures = self.failures.saturating_add(1);
        let own = |max| backoff(KEY_BASE, max, self.failures, random);
        let delay = match failure {
            // At least our own delay: a registry that asks for no patience and goes on refusing is not asked at full speed.
            Failure::Throttled { after: Some(after), .. } => own(TARGET_MAX).max(*after),
            Failure::Unauthorized { .. } => own(CREDENTIAL_MAX).max(Duration::from_secs(1)),
            _ => own(TARGET_MAX),
        };
        self.pause_until(now + delay);
    }

    fn pause_until(&mut self, moment: Moment) {
        self.probed = false;
        self.resume_at = self.resume_at.max(moment);
    }
}

/// How much of what was not acknowledged may be sent again.
///
/// A registry that fails half of what it is told must not be told everything twice. So a repeat costs a token. Each first
/// try earns a small share of one, and time does as long as there is less than one, so that there is always progress. Once
/// many operations in many requests in a row were acknowledged, the registry is well, and an acknowledged repeat earns two:
/// what is left over of an outage is caught up with at a speed that doubles with each round trip. Such a row is unlikely
/// unless nineteen of twenty succeed, and there repeats are few by themselves: at every share of failures they stay near
/// or below a tenth of the first tries.
#[derive(Clone, Debug)]
pub struct Budget {
    tokens: f64,
    filled_at: Moment,
    /// Operations that were acknowledged in a row, and requests in which all were.
    operations_in_a_row: u32,
    requests_in_a_row: u32,
    /// Whether a repeat had to wait since the registry was last well.
    exhausted: bool,
}

/// What a first try earns.
const EARNED_BY_A_FIRST_TRY: f64 = 0.06;
/// What an acknowledged repeat earns while everything is acknowledged.
const EARNED_BY_A_REPEAT: f64 = 2.0;
/// What a second earns while there is less than one token.
const EARNED_A_SECOND: f64 = 2.0;
/// The most tokens, and those at the start: a batch of 500 that fails as a whole can be divided down to the record that
/// is to blame, for which its records are sent twice again on average.
const TOKENS_MAX: f64 = 1_000.0;
/// After so many operations that were acknowledged in a row the registry counts as well,
const WELL_AFTER_OPERATIONS: u32 = 20;
/// in no fewer requests than these: the operations of one request often fail together.
const WELL_AFTER_REQUESTS: u32 = 12;

impl Default for Budget {
    fn default() -> Self {
        Self {
            tokens: TOKENS_MAX,
            filled_at: Moment::ZERO,
            operations_in_a_row: 0,
            requests_in_a_row: 0,
            exhausted: false,
        }
    }
}

impl Budget {
    /// Whether a repeat may go now.
    pub fn allows(&mut self, now: Moment) -> bool {
        let gained = now.saturating_sub(self.filled_at).as_secs_f64() * EARNED_A_SECOND;
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 {
            self.tokens = (self.tokens + gained).min(1.0);
        }
        self.exhausted |= self.tokens < 1.0;
        self.tokens >= 1.0
    }

    /// When the next repeat may go, if nothing else earns before.
    pub fn next_at(&mut self, now: Moment) -> Moment {
        if self.allows(now) {
            return now;
        }
        let missing = (1.0 - self.tokens) / EARNED_A_SECOND;
        // Rounded up, as a moment too early would find nothing and wake again at once.
        now + Duration::from_secs_f64(missing.max(0.0)) + Duration::from_millis(1)
    }

    /// Something was sent for the first time, or again.
    pub fn sent(&mut self, repeat: bool) {
        if repeat {
            self.tokens -= 1.0;
        } else {
            self.earn(EARNED_BY_A_FIRST_TRY);
        }
    }

    /// What was sent was acknowledged.
    pub fn acknowledged(&mut self, repeat: bool) {
        self.operations_in_a_row = self.operations_in_a_row.saturating_add(1);
        if repeat && self.is_well() {
            self.earn(EARNED_BY_A_REPEAT);
        }
    }

    /// A request was answered, whatever its operations came to.
    pub fn answered(&mut self) {
        self.requests_in_a_row = self.requests_in_a_row.saturating_add(1);
    }

    /// What was sent came to nothing.
    pub fn failed(&mut self) {
        (self.operations_in_a_row, self.requests_in_a_row) = (0, 0);
    }

    fn is_well(&self) -> bool {
        self.operations_in_a_row >= WELL_AFTER_OPERATIONS && self.requests_in_a_row >= WELL_AFTER_REQUESTS
    }

    /// Whether the registry is well for the first time since repeats had to wait: then what waits for longer and longer
    /// after each failure need not wait any more.
    pub fn recovered(&mut self) -> bool {
        self.is_well() && std::mem::take(&mut self.exhausted)
    }

    fn earn(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(TOKENS_MAX);
    }
}

/// A token bucket: so many a second, a second's worth at once.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_second: u32,
    tokens: f64,
    filled_at: Moment,
}

impl RateLimit {
    /// Allows `per_second` items a second; at least one.
    pub fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, tokens: f64::from(per_second), filled_at: Moment::ZERO }
    }

    /// How many items may go now.
    pub fn available(&mut self, now: Moment) -> usize {
        let gained = now.saturating_sub(self.filled_at).as_secs_f64() * f64::from(self.per_second);
        self.tokens = (self.tokens + gained).min(f64::from(self.per_second));
        self.filled_at = now;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tokens are within 0 and a u32")]
        let whole = self.tokens.max(0.0) as usize;
        whole
    }

    /// Takes what went.
    pub fn take(&mut self, items: usize) {
        self.tokens -= f64::from(u32::try_from(items).unwrap_or(u32::MAX));
    }

    /// When so many items may go at once, if fewer may now; at most a second's worth.
    pub fn next_at(&mut self, now: Moment, items: usize) -> Moment {
        if self.available(now) >= items {
            return now;
        }
        let items = f64::from(u32::try_from(items).unwrap_or(u32::MAX).min(self.per_second));
        let missing = (items - self.tokens) / f64::from(self.per_second);
        // Rounded up, as a moment too early would find too few and wake again at once.
        now + Duration::from_secs_f64(missing.clamp(0.001, 1.0)) + Duration::from_micros(1)
    }

    /// What comes in a tenth of a second; at least one. Whoever waits for so much at a time is not late by more, and asks
    /// ten times a second instead of for each item.
    pub fn portion(&self) -> usize {
        (self.per_second as usize / 10).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_key_waits_longer_each_time_between_half_and_the_whole_up_to_a_minute() {
        for (failures, whole) in [(1, 200), (2, 400), (3, 800), (20, 60_000), (u32::MAX, 60_000)] {
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let delay = key_backoff(failures, random);
                assert!(delay >= ms(whole) / 2 && delay <= ms(whole), "{failures} {random}: {delay:?}");
            }
        }
    }

    #[test]
    fn after_a_failure_a_question_then_one_write_then_all() {
        let mut target = Target::default();
        assert_eq!((target.slots(ms(0), 4), target.wants_question(ms(0))), (4, false));
        target.failed(&Failure::Broken("x".into()), ms(1000), 0);
        let then = target.resume_at();
        assert_eq!((target.slots(ms(1000), 4), target.wants_question(ms(1000))), (0, false));
        assert_eq!((target.slots(then, 4), target.wants_question(then)), (0, true));
        assert!(!target.blames_writes(), "an outage is nobody's fault");
        target.probed();
        assert_eq!((target.slots(then, 4), target.wants_question(then)), (1, false));
        assert!(target.blames_writes());
        target.succeeded(then);
        assert_eq!(target.slots(then, 4), 4);
    }

    #[test]
    fn what_was_sent_before_a_pause_does_not_end_it() {
        let mut target = Target::default();
        target.failed(&Failure::Throttled { status: 429, after: Some(ms(7000)) }, ms(0), 0);
        target.succeeded(ms(10));
        assert_eq!((target.slots(ms(6999), 4), target.slots(ms(7000), 4)), (0, 0));
        assert!(target.wants_question(ms(7000)));
    }

    #[test]
    fn retry_after_is_obeyed_and_a_shorter_one_does_not_undercut_it() {
        let mut target = Target::default();
        target.failed(&Failure::Throttled { status: 429, after: Some(ms(7000)) }, ms(0), 0);
        target.failed(&Failure::Broken("a request in flight beside it".into()), ms(10), 0);
        target.probed();
        assert_eq!(target.slots(ms(6999), 4), 0);
        assert_eq!(target.slots(ms(7000), 4), 1);
    }

    #[test]
    fn a_second_never_sees_more_than_twice_the_rate_and_an_hour_the_rate() {
        let mut rate = RateLimit::new(100);
        let mut sent = 0;
        for tick in 0..36_000_u64 {
            let now = ms(tick * 100);
            let n = rate.available(now);
            rate.take(n);
            sent += n;
            if tick == 9 {
                assert!(sent <= 200, "{sent}");
            }
        }
        assert!((360_000..=360_100).contains(&sent), "{sent}");
    }

    #[test]
    fn an_empty_bucket_says_when_it_has_one_again() {
        let mut rate = RateLimit::new(10);
        rate.take(rate.clone().available(ms(0)));
        let at = rate.next_at(ms(0), 1);
        assert!(at > ms(0) && at <= ms(101), "{at:?}");
        assert!(rate.available(at + ms(1)) >= 1);
    }

    #[test]
    fn an_empty_bucket_says_when_it_has_a_portion_again() {
        let mut rate = RateLimit::new(1_000);
        rate.take(rate.clone().available(ms(0)));
        let at = rate.next_at(ms(0), rate.portion());
        assert!(at >= ms(100) && at < ms(101), "{at:?}");
        assert_eq!(rate.available(at), 100);
        let most = rate.next_at(at, 5_000);
        assert_eq!(rate.available(most), 1_000, "more than fits in never comes, and is not waited for");
        assert_eq!(RateLimit::new(1).portion(), 1);
    }

    #[test]
    fn a_registry_that_asks_for_no_patience_is_waited_for_all_the_same() {
        let (mut target, mut now) = (Target::default(), ms(0));
        for _ in 0..10 {
            target.failed(&Failure::Throttled { status: 429, after: Some(ms(0)) }, now, 0);
            assert!(target.resume_at() >= now + ms(100), "{now:?}");
            now = target.resume_at();
            target.probed();
        }
        assert!(target.resume_at() - ms(2500) >= ms(2500), "and longer each time");
    }

    /// Ten minutes of a thousand first tries a second, of which `failing` in a thousand fail, repeats as well; how many
    /// repeats there were a thousand first tries, and how many operations wait at the end.
    fn repeats_of_first_tries(failing: u64) -> (u64, u64) {
        // Random enough, and the same each time.
        let mut random = 42_u64;
        let mut fails = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % 1000 < failing
        };
        let (mut budget, mut first, mut repeats, mut waiting) = (Budget::default(), 0, 0, 0);
        let mut judge = |budget: &mut Budget, repeat: bool, waiting: &mut u64| {
            budget.sent(repeat);
            if fails() {
                budget.failed();
                *waiting += 1;
            } else {
                budget.answered();
                budget.acknowledged(repeat);
            }
        };
        for tick in 0..6_000 {
            for _ in 0..100 {
                first += 1;
                judge(&mut budget, false, &mut waiting);
            }
            for _ in 0..1_000 {
                if waiting == 0 || !budget.allows(ms(tick * 100)) {
                    break;
                }
                waiting -= 1;
                repeats += 1;
                judge(&mut budget, true, &mut waiting);
            }
        }
        (repeats * 1000 / first, waiting)
    }

    #[test]
    fn repeats_stay_near_or_below_a_tenth_of_first_tries_whatever_the_share_of_failures() {
        for failing in [1, 10, 50, 80, 90, 100, 120, 150, 200, 300, 500, 700, 900, 1000] {
            let (repeats, _) = repeats_of_first_tries(failing);
            assert!(repeats <= 110, "{failing} in a thousand fail: {repeats} repeats a thousand first tries");
        }
        assert!(repeats_of_first_tries(500).0 <= 70);
    }

    #[test]
    fn requests_of_which_every_second_fails_are_not_taken_for_a_registry_that_is_well() {
        let mut budget = Budget::default();
        let (mut first, mut repeats, mut random) = (0, 0, 7_u64);
        for second in 0..600 {
            let going: Vec<bool> = (0..1_000).map(|n| n >= 500 && budget.allows(ms(second * 1000))).collect();
            going.iter().for_each(|repeat| budget.sent(*repeat));
            repeats += going.iter().filter(|repeat| **repeat).count();
            first += going.iter().filter(|repeat| !**repeat).count();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if random >> 63 == 0 {
                budget.failed();
            } else {
                budget.answered();
                going.iter().for_each(|repeat| budget.acknowledged(*repeat));
            }
        }
        assert!(repeats * 10 <= first, "{repeats} repeats of {first}");
    }

    #[test]
    fn few_failures_are_repeated_without_waiting() {
        for failing in [1, 10, 50] {
            assert!(repeats_of_first_tries(failing).1 <= 100, "{failing} in a thousand fail");
        }
    }

    #[test]
    fn an_empty_budget_lets_a_repeat_through_now_and_then_and_opens_once_all_is_acknowledged() {
        let mut budget = Budget::default();
        while budget.allows(ms(0)) {
            budget.sent(true);
            budget.failed();
        }
        let (mut now, mut sent) = (ms(0), 0);
        while sent < 10 {
            now = budget.next_at(now);
            assert!(budget.allows(now), "it is awake at the right moment");
            budget.sent(true);
            budget.failed();
            sent += 1;
        }
        assert!((ms(4_500)..=ms(5_500)).contains(&now), "{now:?} for ten");
        let began = now;
        let mut left = 10_000;
        while left > 0 {
            now = budget.next_at(now).max(now + ms(20));
            let mut going = 0;
            while left > 0 && budget.allows(now) {
                budget.sent(true);
                (left, going) = (left - 1, going + 1);
            }
            budget.answered();
            (0..going).for_each(|_| budget.acknowledged(true));
        }
        assert_eq!((budget.recovered(), budget.recovered()), (true, false), "it is well again, once");
        assert!(now - began <= ms(12_000), "ten thousand took {:?}", now - began);
    }
}
