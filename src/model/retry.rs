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
            Failure::Throttled { after: Some(after), .. } => *after,
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

    /// When the next item may go, if none may now.
    pub fn next_at(&mut self, now: Moment) -> Moment {
        if self.available(now) > 0 {
            return now;
        }
        let missing = (1.0 - self.tokens) / f64::from(self.per_second);
        now + Duration::from_secs_f64(missing.clamp(0.001, 1.0))
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
        let at = rate.next_at(ms(0));
        assert!(at > ms(0) && at <= ms(101), "{at:?}");
        assert!(rate.available(at + ms(1)) >= 1);
    }
}
