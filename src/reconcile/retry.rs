//! When to retry, and how fast: backoff, the circuit breaker and rate limits. [`crate::reconcile::retry_budget`] limits
//! retries.
//!
//! All of it is a few pure lines over [`Moment`]s and seeds. The crates for it bring a clock or random numbers of their
//! own: `backon` (backoff), `governor` (rate limit), and the retry budget of `tower`.

use std::time::Duration;

use super::outcome::Failure;
use crate::model::moment::Moment;

/// The first delay of one record. Each further failure doubles it.
const KEY_BASE: Duration = Duration::from_millis(200);
/// The longest delay of one record, once the registry accepts it again.
const KEY_MAX: Duration = Duration::from_secs(60);
/// The longest pause of all requests. The end of an outage is noticed within it.
const BREAKER_MAX: Duration = Duration::from_secs(5);
/// The longest pause while the credential is refused. Each attempt is a line in an audit log.
const CREDENTIAL_MAX: Duration = Duration::from_secs(30);

/// The delay after this many failures in a row. It doubles each time up to `max`; a random part between half and all of
/// it is taken, so that records that failed together are not retried together.
pub fn backoff(base: Duration, max: Duration, failures: u32, random: u64) -> Duration {
    let whole = base.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    let half = whole / 2;
    let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_nanos(random % nanos)
}

/// The delay of one record after this many failures in a row.
pub fn key_backoff(failures: u32, random: u64) -> Duration {
    backoff(KEY_BASE, KEY_MAX, failures, random)
}

/// The first delay of a request about a target as a whole. Each further failure doubles it.
const NOTICE_BASE: Duration = Duration::from_secs(1);
/// The longest delay of such a request, and the delay of one that the registry refuses.
const NOTICE_MAX: Duration = Duration::from_secs(30);

/// The delay of a request about a target as a whole after this many failures in a row, the last one of which was a
/// refusal or not. A request that is sent at an interval waits no longer than that.
pub fn notice_delay(failures: u32, is_refusal: bool, every: Option<Duration>) -> Duration {
    let doubled = NOTICE_BASE.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(NOTICE_MAX);
    let own = if is_refusal { NOTICE_MAX } else { doubled };
    every.map_or(own, |every| own.min(every))
}

/// Batches that the registry refuses for their content are divided without a pause, but at most this many times without
/// an accepted write in between. Beyond it, something else is wrong.
const DIVIDED_AT_FULL_SPEED: u32 = 16;

/// The circuit breaker: whether requests may be sent now, and whether a probe has to go first.
///
/// After a failure, no write is sent until the registry has answered a probe, which changes nothing. Then one write may
/// go. An outage therefore leaves no write uncertain, and a write that fails right after an answered probe is itself at
/// fault. A registry that asks to wait (429, 503) does answer: after the wait, one write goes without a probe, which
/// would only use up the rate limit of the registry.
#[derive(Clone, Debug, Default)]
pub struct CircuitBreaker {
    failures: u32,
    resume_at: Option<Moment>,
    /// Whether the next write has to wait for an answered probe.
    needs_probe: bool,
    probed: bool,
    divisions: u32,
}

impl CircuitBreaker {
    /// The number of writes that may be in flight.
    pub fn slots(&self, now: Moment, max: usize) -> usize {
        match self.failures {
            _ if self.is_paused(now) => 0,
            0 => max,
            _ => usize::from(self.probed || !self.needs_probe),
        }
    }

    pub fn wants_probe(&self, now: Moment) -> bool {
        self.failures > 0 && self.needs_probe && !self.probed && !self.is_paused(now)
    }

    /// The end of the last pause.
    pub fn resume_at(&self) -> Option<Moment> {
        self.resume_at
    }

    pub fn is_paused(&self, now: Moment) -> bool {
        self.resume_at.is_some_and(|resume_at| now < resume_at)
    }

    /// Failures in a row. Requests that were in flight together count once.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a write that fails now is itself at fault, as far as can be known.
    pub fn blames_writes(&self) -> bool {
        self.failures == 0 || self.probed
    }

    /// The probe was answered.
    pub fn probed(&mut self) {
        self.probed = true;
    }

    /// A request was answered. During a pause it does not count, because it was sent before the pause.
    pub fn succeeded(&mut self, now: Moment) {
        self.divisions = 0;
        if !self.is_paused(now) {
            (self.failures, self.probed) = (0, false);
        }
    }

    /// A batch that can be divided failed as a whole. If it was `refused`, so that nothing was applied, its parts are
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

    /// A request failed: pauses as long as the failure requires.
    pub fn failed(&mut self, failure: &Failure, now: Moment, random: u64) {
        if self.failures == 0 || !self.is_paused(now) {
            self.failures = self.failures.saturating_add(1);
            self.needs_probe = false;
        }
        self.needs_probe |= !matches!(failure, Failure::Throttled { .. });
        let own = |max| backoff(KEY_BASE, max, self.failures, random);
        let delay = match failure {
            // At least our own delay: a registry may go on refusing without asking for a wait.
            Failure::Throttled { after: Some(after), .. } => own(BREAKER_MAX).max(*after),
            Failure::Unauthorized { .. } => own(CREDENTIAL_MAX).max(Duration::from_secs(1)),
            _ => own(BREAKER_MAX),
        };
        self.pause_until(now + delay);
    }

    fn pause_until(&mut self, moment: Moment) {
        self.probed = false;
        self.resume_at = self.resume_at.max(Some(moment));
    }
}

/// A rate limit: a token bucket that holds the tokens of one second.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_second: u32,
    tokens: f64,
    filled_at: Moment,
}

impl RateLimit {
    /// Allows `per_second` items per second, at least one.
    pub fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, tokens: f64::from(per_second), filled_at: Moment::START }
    }

    /// The number of items that may go now.
    pub fn available(&mut self, now: Moment) -> usize {
        let gained = now.since(self.filled_at).as_secs_f64() * f64::from(self.per_second);
        self.tokens = (self.tokens + gained).min(f64::from(self.per_second));
        self.filled_at = now;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tokens are within 0 and a u32")]
        let whole = self.tokens.max(0.0) as usize;
        whole
    }

    /// The most items that may ever go at once.
    pub fn most(&self) -> usize {
        self.per_second as usize
    }

    pub fn take(&mut self, items: usize) {
        self.tokens -= f64::from(u32::try_from(items).unwrap_or(u32::MAX));
    }

    /// When this many items may go at once, at most the tokens of one second.
    pub fn next_at(&mut self, now: Moment, items: usize) -> Moment {
        if self.available(now) >= items {
            return now;
        }
        let items = f64::from(u32::try_from(items).unwrap_or(u32::MAX).min(self.per_second));
        let missing = (items - self.tokens) / f64::from(self.per_second);
        // Rounded up: slightly too early would find too few tokens and wake up again at once.
        now + Duration::from_secs_f64(missing.clamp(0.001, 1.0)) + Duration::from_micros(1)
    }

    /// The tokens of a tenth of a second, at least one. Callers that wait for a portion wake up ten times per second
    /// instead of once per item.
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
    fn notices_are_retried_within_their_interval() {
        let secs = Duration::from_secs;
        let delays =
            |is_refusal, every| (1..=7).map(|n| notice_delay(n, is_refusal, every).as_secs()).collect::<Vec<_>>();
        assert_eq!(delays(false, None), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(delays(true, None), [30; 7]);
        for is_refusal in [false, true] {
            assert!(delays(is_refusal, Some(secs(2))).into_iter().all(|delay| delay <= 2));
        }
        assert_eq!((delays(false, Some(secs(2)))[0], delays(true, Some(secs(86_400)))[0]), (1, 30));
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
        let mut breaker = CircuitBreaker::default();
        assert_eq!((breaker.slots(at(0), 4), breaker.wants_probe(at(0))), (4, false));
        breaker.failed(&Failure::Broken("x".into()), at(1000), 0);
        let then = breaker.resume_at().unwrap();
        assert_eq!((breaker.slots(at(1000), 4), breaker.wants_probe(at(1000))), (0, false));
        assert_eq!((breaker.slots(then, 4), breaker.wants_probe(then)), (0, true));
        assert!(!breaker.blames_writes(), "the outage is at fault");
        breaker.probed();
        assert_eq!((breaker.slots(then, 4), breaker.wants_probe(then)), (1, false));
        assert!(breaker.blames_writes());
        breaker.succeeded(then);
        assert_eq!(breaker.slots(then, 4), 4);
    }

    #[test]
    fn answer_to_an_earlier_request_ends_no_pause() {
        // The request was sent before the pause began.
        let mut breaker = CircuitBreaker::default();
        breaker.failed(&Failure::Throttled { status: 429, after: Some(ms(7000)) }, at(0), 0);
        breaker.succeeded(at(10));
        assert_eq!((breaker.slots(at(6999), 4), breaker.slots(at(7000), 4)), (0, 1), "one write, without a probe");
        assert!(!breaker.wants_probe(at(7000)));
        breaker.failed(&Failure::Broken("cut".into()), at(7100), 0);
        assert!(breaker.wants_probe(breaker.resume_at().unwrap()), "after another failure the probe comes first");
    }

    #[test]
    fn retry_after_is_not_cut_short() {
        // A later failure with a shorter wait does not shorten it.
        let mut breaker = CircuitBreaker::default();
        breaker.failed(&Failure::Throttled { status: 429, after: Some(ms(7000)) }, at(0), 0);
        breaker.failed(&Failure::Broken("a request in flight beside it".into()), at(10), 0);
        breaker.probed();
        assert_eq!(breaker.slots(at(6999), 4), 0);
        assert_eq!(breaker.slots(at(7000), 4), 1);
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
        assert_eq!(rate.available(most), 1_000, "more than fits into the bucket is not waited for");
        assert_eq!(RateLimit::new(1).portion(), 1);
    }

    #[test]
    fn zero_retry_after_still_backs_off() {
        let (mut breaker, mut now) = (CircuitBreaker::default(), at(0));
        for _ in 0..10 {
            breaker.failed(&Failure::Throttled { status: 429, after: Some(ms(0)) }, now, 0);
            let before = std::mem::replace(&mut now, breaker.resume_at().unwrap());
            assert!(now >= before + ms(100), "{before:?}");
            breaker.probed();
        }
        assert!(now >= at(5000), "the pause grows each time");
    }

    #[test]
    fn failures_that_were_in_flight_together_count_once() {
        let mut breaker = CircuitBreaker::default();
        (0..4).for_each(|_| breaker.failed(&Failure::Broken("cut".into()), at(1000), u64::MAX));
        assert!(breaker.failures() == 1 && breaker.resume_at() <= Some(at(1200)));
    }

    #[test]
    fn refused_batches_are_divided_without_pause_at_first() {
        let mut breaker = CircuitBreaker::default();
        (0..16).for_each(|_| breaker.dividing(true, at(0)));
        assert_eq!(breaker.slots(at(0), 4), 4);
        breaker.dividing(true, at(0));
        assert_eq!(breaker.slots(at(0), 4), 0);
        let mut breaker = CircuitBreaker::default();
        breaker.dividing(false, at(0));
        assert_eq!(breaker.slots(at(0), 4), 0, "a batch that may have been applied waits");
    }
}
