//! When to try again, and how fast: backoff, the circuit breaker and rate limits. [`crate::reconcile::retry_budget`] limits retries.

use std::time::Duration;

use super::outcome::Failure;
use crate::model::moment::Moment;

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

/// Batches that the registry refuses for their content are divided at full speed, but no more than this many times without
/// an accepted write in between: then something else is wrong.
const DIVIDED_AT_FULL_SPEED: u32 = 16;

/// The circuit breaker: whether requests may be sent now, and whether one request has to go first.
///
/// After a failure, no write is sent until the registry has answered a question that changes nothing. Then one write may
/// try. So an outage leaves no write uncertain, and a write that fails right after an answered question is itself to
/// blame. A registry that asks for patience (429, 503) does answer: after the wait, one write goes without a question,
/// which would only use up what a rate limit allows.
#[derive(Clone, Debug, Default)]
pub struct CircuitBreaker {
    failures: u32,
    resume_at: Option<Moment>,
    /// Whether the next write has to wait for an answered question.
    needs_probe: bool,
    probed: bool,
    divisions: u32,
}

impl CircuitBreaker {
    /// How many writes may be in flight.
    pub fn slots(&self, now: Moment, max: usize) -> usize {
        match self.failures {
            _ if self.is_paused(now) => 0,
            0 => max,
            _ => usize::from(self.probed || !self.needs_probe),
        }
    }

    /// Whether it is time to ask a question that changes nothing.
    pub fn wants_probe(&self, now: Moment) -> bool {
        self.failures > 0 && self.needs_probe && !self.probed && !self.is_paused(now)
    }

    /// When the pause ends or ended, if there was one.
    pub fn resume_at(&self) -> Option<Moment> {
        self.resume_at
    }

    /// Whether no request may be sent now.
    pub fn is_paused(&self, now: Moment) -> bool {
        self.resume_at.is_some_and(|resume_at| now < resume_at)
    }

    /// Failures in a row; those of requests that were in flight together count once.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a write that fails now is itself to blame, as far as can be told.
    pub fn blames_writes(&self) -> bool {
        self.failures == 0 || self.probed
    }

    /// The question was answered.
    pub fn probed(&mut self) {
        self.probed = true;
    }

    /// A request was answered. During a pause, that request was sent before it: it says nothing about what comes after, and
    /// the pause stands.
    pub fn succeeded(&mut self, now: Moment) {
        self.divisions = 0;
        if !self.is_paused(now) {
            (self.failures, self.probed) = (0, false);
        }
    }

    /// A batch that can be divided failed as a whole. `refused` says that it was certainly not applied: then its parts are
    /// sent at once. Otherwise they wait shortly.
    pub fn dividing(&mut self, refused: bool, now: Moment) {
        self.divisions = self.divisions.saturating_add(1);
        if refused && self.divisions <= DIVIDED_AT_FULL_SPEED {
            return;
        }
        self.failures = self.failures.max(1);
        self.needs_probe = true;
        self.pause_until(now + KEY_BASE);
    }

    /// A request was not answered as a request; waits as the failure asks.
    pub fn failed(&mut self, failure: &Failure, now: Moment, random: u64) {
        if self.failures == 0 || !self.is_paused(now) {
            self.failures = self.failures.saturating_add(1);
            self.needs_probe = false;
        }
        self.needs_probe |= !matches!(failure, Failure::Throttled { .. });
        let own = |max| backoff(KEY_BASE, max, self.failures, random);
        let delay = match failure {
            // At least our own delay: a registry that names no wait and goes on refusing is not asked at full speed.
            Failure::Throttled { after: Some(after), .. } => own(TARGET_MAX).max(*after),
            Failure::Unauthorized { .. } => own(CREDENTIAL_MAX).max(Duration::from_secs(1)),
            _ => own(TARGET_MAX),
        };
        self.pause_until(now + delay);
    }

    fn pause_until(&mut self, moment: Moment) {
        self.probed = false;
        self.resume_at = self.resume_at.max(Some(moment));
    }
}

/// A rate limit: a token bucket that holds one second's worth.
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
        Self { per_second, tokens: f64::from(per_second), filled_at: Moment::START }
    }

    /// How many items may go now.
    pub fn available(&mut self, now: Moment) -> usize {
        let gained = now.since(self.filled_at).as_secs_f64() * f64::from(self.per_second);
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

    const fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn key_backoff_doubles_up_to_a_minute() {
        // The wait is random, between half of the backoff and the whole of it.
        for (failures, whole) in [(1, 200), (2, 400), (3, 800), (20, 60_000), (u32::MAX, 60_000)] {
            for random in [0, 1, u64::MAX / 3, u64::MAX] {
                let delay = key_backoff(failures, random);
                assert!(delay >= ms(whole) / 2 && delay <= ms(whole), "{failures} {random}: {delay:?}");
            }
        }
    }

    #[test]
    fn circuit_breaker_probes_then_writes_once_then_closes() {
        let mut target = CircuitBreaker::default();
        assert_eq!((target.slots(at(0), 4), target.wants_probe(at(0))), (4, false));
        target.failed(&Failure::Broken("x".into()), at(1000), 0);
        let then = target.resume_at().unwrap();
        assert_eq!((target.slots(at(1000), 4), target.wants_probe(at(1000))), (0, false));
        assert_eq!((target.slots(then, 4), target.wants_probe(then)), (0, true));
        assert!(!target.blames_writes(), "an outage is nobody's fault");
        target.probed();
        assert_eq!((target.slots(then, 4), target.wants_probe(then)), (1, false));
        assert!(target.blames_writes());
        target.succeeded(then);
        assert_eq!(target.slots(then, 4), 4);
    }

    #[test]
    fn answer_to_an_earlier_request_ends_no_pause() {
        // The request was sent before the pause began.
        let mut target = CircuitBreaker::default();
        target.failed(&Failure::Throttled { status: 429, after: Some(ms(7000)) }, at(0), 0);
        target.succeeded(at(10));
        assert_eq!((target.slots(at(6999), 4), target.slots(at(7000), 4)), (0, 1), "one write, and no question");
        assert!(!target.wants_probe(at(7000)));
        target.failed(&Failure::Broken("cut".into()), at(7100), 0);
        assert!(target.wants_probe(target.resume_at().unwrap()), "after another failure the question comes first");
    }

    #[test]
    fn retry_after_is_not_cut_short() {
        // A later failure with a shorter wait does not shorten it.
        let mut target = CircuitBreaker::default();
        target.failed(&Failure::Throttled { status: 429, after: Some(ms(7000)) }, at(0), 0);
        target.failed(&Failure::Broken("a request in flight beside it".into()), at(10), 0);
        target.probed();
        assert_eq!(target.slots(at(6999), 4), 0);
        assert_eq!(target.slots(at(7000), 4), 1);
    }

    #[test]
    fn rate_limit_bounds_one_second_and_one_hour() {
        // One second sees at most twice the rate, and an hour sees the rate.
        let mut rate = RateLimit::new(100);
        let mut sent = 0;
        for tick in 0..36_000_u64 {
            let now = at(tick * 100);
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
    fn empty_bucket_says_when_one_token_is_back() {
        let mut rate = RateLimit::new(10);
        rate.take(rate.clone().available(at(0)));
        let then = rate.next_at(at(0), 1);
        assert!(then > at(0) && then <= at(101), "{then:?}");
        assert!(rate.available(then + ms(1)) >= 1);
    }

    #[test]
    fn empty_bucket_says_when_a_portion_is_back() {
        let mut rate = RateLimit::new(1_000);
        rate.take(rate.clone().available(at(0)));
        let then = rate.next_at(at(0), rate.portion());
        assert!(then >= at(100) && then < at(101), "{then:?}");
        assert_eq!(rate.available(then), 100);
        let most = rate.next_at(then, 5_000);
        assert_eq!(rate.available(most), 1_000, "more than fits in never comes, and is not waited for");
        assert_eq!(RateLimit::new(1).portion(), 1);
    }

    #[test]
    fn zero_retry_after_still_backs_off() {
        let (mut target, mut now) = (CircuitBreaker::default(), at(0));
        for _ in 0..10 {
            target.failed(&Failure::Throttled { status: 429, after: Some(ms(0)) }, now, 0);
            let before = std::mem::replace(&mut now, target.resume_at().unwrap());
            assert!(now >= before + ms(100), "{before:?}");
            target.probed();
        }
        assert!(now >= at(5000), "and longer each time");
    }

    #[test]
    fn failures_that_were_in_flight_together_count_once() {
        let mut target = CircuitBreaker::default();
        (0..4).for_each(|_| target.failed(&Failure::Broken("cut".into()), at(1000), u64::MAX));
        assert!(target.failures() == 1 && target.resume_at() <= Some(at(1200)));
    }

    #[test]
    fn refused_batches_are_divided_without_pause_at_first() {
        let mut target = CircuitBreaker::default();
        (0..16).for_each(|_| target.dividing(true, at(0)));
        assert_eq!(target.slots(at(0), 4), 4);
        target.dividing(true, at(0));
        assert_eq!(target.slots(at(0), 4), 0);
        let mut target = CircuitBreaker::default();
        target.dividing(false, at(0));
        assert_eq!(target.slots(at(0), 4), 0, "what may have been applied waits");
    }
}
