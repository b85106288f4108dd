//! The retry budget: limits requests that retry a write which may have been applied.
//!
//! | attempt | why it is sent | limit |
//! | --- | --- | --- |
//! | first | new, changed, or certainly not applied before | none here |
//! | retry | the answer was lost or uncertain | 6 % of the first attempts, or 2 per second |
//! | persistent | failed more than once in a request of its own | 2 % of the first attempts, or 1 per 2 seconds |
//! | rejected | the registry rejected this record before the last resync | 100 per second |
//!
//! Each kind has its own tokens, so records that always fail use up no tokens of occasional failures. A retry costs one
//! token, a first attempt earns its share of one, and time fills a bucket with less than one token, so there is always
//! progress.
//!
//! After 20 acknowledged operations in a row, in at least 12 requests, the registry counts as healthy. Each
//! acknowledged retry then earns two tokens, so the rest of an outage drains at a speed that doubles with each round
//! trip. Such a row is unlikely unless 19 of 20 operations succeed, and then there are few retries anyway. At any share
//! of failures, retries stay near or below a tenth of the first attempts.

use std::time::Duration;

use super::{ledger::pending::AttemptKind, retry::RateLimit};
use crate::model::moment::Moment;

/// Tokens that an acknowledged retry earns while the registry is healthy.
const EARNED_BY_A_RETRY: f64 = 2.0;
/// The size of a bucket, and its tokens at the start. A batch of 500 that fails as a whole can be divided down to the
/// record at fault, which sends its records twice on average.
const TOKENS_MAX: f64 = 1_000.0;
/// The registry counts as healthy after this many acknowledged operations in a row.
const HEALTHY_AFTER_OPERATIONS: u32 = 20;
/// They have to come from at least this many requests: the operations of one request often fail together.
const HEALTHY_AFTER_REQUESTS: u32 = 12;
/// Rejected records that are retried per second after a resync.
const REJECTED_PER_SECOND: u32 = 100;

#[derive(Clone, Debug)]
pub struct RetryBudget {
    retries: Tokens,
    persistent: Tokens,
    rejected: RateLimit,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            retries: Tokens::earning(0.06, 2.0),
            persistent: Tokens::earning(0.02, 0.5),
            rejected: RateLimit::new(REJECTED_PER_SECOND),
        }
    }
}

impl RetryBudget {
    pub fn allows(&mut self, attempt: AttemptKind, now: Moment) -> bool {
        match attempt {
            AttemptKind::First => true,
            AttemptKind::Retry => self.retries.allow(now),
            AttemptKind::Persistent => self.persistent.allow(now),
            AttemptKind::Rejected => self.rejected.available(now) > 0,
        }
    }

    /// When the next attempt of this kind may go, unless a token is earned before.
    pub fn next_at(&mut self, attempt: AttemptKind, now: Moment) -> Moment {
        match attempt {
            AttemptKind::First => now,
            AttemptKind::Retry => self.retries.next_at(now),
            AttemptKind::Persistent => self.persistent.next_at(now),
            AttemptKind::Rejected => self.rejected.next_at(now, self.rejected.portion()),
        }
    }

    pub fn sent(&mut self, attempt: AttemptKind) {
        match attempt {
            AttemptKind::First => {
                self.retries.earn(self.retries.by_first_attempt);
                self.persistent.earn(self.persistent.by_first_attempt);
            }
            AttemptKind::Retry => self.retries.tokens -= 1.0,
            AttemptKind::Persistent => self.persistent.tokens -= 1.0,
            AttemptKind::Rejected => self.rejected.take(1),
        }
    }

    pub fn acknowledged(&mut self, attempt: AttemptKind) {
        self.retries.acknowledged(attempt == AttemptKind::Retry);
        self.persistent.acknowledged(attempt == AttemptKind::Persistent);
    }

    /// A request was answered, whatever the results of its operations.
    pub fn answered(&mut self) {
        for tokens in [&mut self.retries, &mut self.persistent] {
            tokens.requests_in_a_row = tokens.requests_in_a_row.saturating_add(1);
        }
    }

    /// An operation of this kind, or a request with one, may have failed. A record that always fails says nothing about
    /// the others.
    pub fn failed(&mut self, attempt: AttemptKind) {
        self.persistent.failed();
        if matches!(attempt, AttemptKind::First | AttemptKind::Retry) {
            self.retries.failed();
        }
    }

    /// Whether the registry is healthy for the first time since retries had to wait. Records with a long backoff then
    /// need not wait any more.
    pub fn recovered(&mut self) -> bool {
        let retries = self.retries.recovered();
        self.persistent.recovered() || retries
    }
}

#[derive(Clone, Debug)]
struct Tokens {
    /// Tokens that a first attempt earns.
    by_first_attempt: f64,
    /// Tokens per second while there is less than one.
    by_second: f64,
    tokens: f64,
    filled_at: Moment,
    /// Operations that were acknowledged in a row.
    operations_in_a_row: u32,
    /// Requests without a failed operation in a row.
    requests_in_a_row: u32,
    /// Whether a retry had to wait since the registry was last healthy.
    exhausted: bool,
}

impl Tokens {
    fn earning(by_first_attempt: f64, by_second: f64) -> Self {
        Self {
            by_first_attempt,
            by_second,
            tokens: TOKENS_MAX,
            filled_at: Moment::START,
            operations_in_a_row: 0,
            requests_in_a_row: 0,
            exhausted: false,
        }
    }

    fn allow(&mut self, now: Moment) -> bool {
        let gained = now.since(self.filled_at).as_secs_f64() * self.by_second;
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 {
            self.tokens = (self.tokens + gained).min(1.0);
        }
        self.exhausted |= self.tokens < 1.0;
        self.tokens >= 1.0
    }

    fn next_at(&mut self, now: Moment) -> Moment {
        if self.allow(now) {
            return now;
        }
        let missing = (1.0 - self.tokens) / self.by_second;
        // Rounded up: slightly too early would find no token and wake up again at once.
        now + Duration::from_secs_f64(missing.max(0.0)) + Duration::from_millis(1)
    }

    fn acknowledged(&mut self, retry: bool) {
        self.operations_in_a_row = self.operations_in_a_row.saturating_add(1);
        if retry && self.is_healthy() {
            self.earn(EARNED_BY_A_RETRY);
        }
    }

    fn failed(&mut self) {
        (self.operations_in_a_row, self.requests_in_a_row) = (0, 0);
    }

    fn is_healthy(&self) -> bool {
        self.operations_in_a_row >= HEALTHY_AFTER_OPERATIONS && self.requests_in_a_row >= HEALTHY_AFTER_REQUESTS
    }

    fn recovered(&mut self) -> bool {
        self.is_healthy() && std::mem::take(&mut self.exhausted)
    }

    fn earn(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(TOKENS_MAX);
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

    fn kind(retry: bool) -> AttemptKind {
        if retry { AttemptKind::Retry } else { AttemptKind::First }
    }

    /// Ten minutes of a thousand first attempts per second, of which `failing` in a thousand fail, as do their retries.
    /// Returns the retries per thousand first attempts, and the operations that wait at the end.
    fn retries_of_first_attempts(failing: u64) -> (u64, u64) {
        // A small generator, which gives the same numbers each time.
        let mut random = 42_u64;
        let mut fails = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % 1000 < failing
        };
        let (mut budget, mut first, mut retries, mut waiting) = (RetryBudget::default(), 0, 0, 0);
        let mut judge = |budget: &mut RetryBudget, retry: bool, waiting: &mut u64| {
            budget.sent(kind(retry));
            if fails() {
                budget.failed(AttemptKind::Retry);
                *waiting += 1;
            } else {
                budget.answered();
                budget.acknowledged(kind(retry));
            }
        };
        for tick in 0..6_000 {
            for _ in 0..100 {
                first += 1;
                judge(&mut budget, false, &mut waiting);
            }
            for _ in 0..1_000 {
                if waiting == 0 || !budget.allows(AttemptKind::Retry, at(tick * 100)) {
                    break;
                }
                waiting -= 1;
                retries += 1;
                judge(&mut budget, true, &mut waiting);
            }
        }
        (retries * 1000 / first, waiting)
    }

    #[test]
    fn retries_stay_near_a_tenth_of_first_attempts() {
        // This holds for every share of failures.
        for failing in [1, 10, 50, 80, 90, 100, 120, 150, 200, 300, 500, 700, 900, 1000] {
            let (retries, _) = retries_of_first_attempts(failing);
            assert!(retries <= 110, "{failing} in a thousand fail: {retries} retries per thousand first attempts");
        }
        assert!(retries_of_first_attempts(500).0 <= 70);
    }

    #[test]
    fn half_failing_requests_do_not_open_the_budget() {
        // A registry that fails every second request does not count as recovered.
        let mut budget = RetryBudget::default();
        let (mut first, mut retries, mut random) = (0, 0, 7_u64);
        for second in 0..600 {
            let going: Vec<bool> =
                (0..1_000).map(|n| n >= 500 && budget.allows(AttemptKind::Retry, at(second * 1000))).collect();
            going.iter().for_each(|retry| budget.sent(kind(*retry)));
            retries += going.iter().filter(|retry| **retry).count();
            first += going.iter().filter(|retry| !**retry).count();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if random >> 63 == 0 {
                budget.failed(AttemptKind::Retry);
            } else {
                budget.answered();
                going.iter().for_each(|retry| budget.acknowledged(kind(*retry)));
            }
        }
        assert!(retries * 10 <= first, "{retries} retries of {first}");
    }

    #[test]
    fn few_failures_are_retried_without_waiting() {
        for failing in [1, 10, 50] {
            assert!(retries_of_first_attempts(failing).1 <= 100, "{failing} in a thousand fail");
        }
    }

    #[test]
    fn empty_budget_allows_occasional_retries() {
        // It opens once every retry is acknowledged.
        let mut budget = RetryBudget::default();
        while budget.allows(AttemptKind::Retry, at(0)) {
            budget.sent(AttemptKind::Retry);
            budget.failed(AttemptKind::Retry);
        }
        let (mut now, mut sent) = (at(0), 0);
        while sent < 10 {
            now = budget.next_at(AttemptKind::Retry, now);
            assert!(budget.allows(AttemptKind::Retry, now), "it wakes up when there is a token");
            budget.sent(AttemptKind::Retry);
            budget.failed(AttemptKind::Retry);
            sent += 1;
        }
        assert!((at(4_500)..=at(5_500)).contains(&now), "{now:?} for ten");
        let began = now;
        let mut left = 10_000;
        while left > 0 {
            now = budget.next_at(AttemptKind::Retry, now).max(now + ms(20));
            let mut going = 0;
            while left > 0 && budget.allows(AttemptKind::Retry, now) {
                budget.sent(AttemptKind::Retry);
                (left, going) = (left - 1, going + 1);
            }
            budget.answered();
            (0..going).for_each(|_| budget.acknowledged(AttemptKind::Retry));
        }
        assert_eq!((budget.recovered(), budget.recovered()), (true, false), "a recovery is reported once");
        assert!(now - began <= ms(12_000), "ten thousand took {:?}", now - began);
    }

    #[test]
    fn persistent_failures_leave_tokens_for_occasional_ones() {
        let mut budget = RetryBudget::default();
        for secs in 0..600 {
            while budget.allows(AttemptKind::Persistent, at(secs * 1000)) {
                budget.sent(AttemptKind::Persistent);
                budget.failed(AttemptKind::Persistent);
            }
        }
        assert!(!budget.allows(AttemptKind::Persistent, at(599_000)));
        let retries = (0..1_500).take_while(|_| {
            let allowed = budget.allows(AttemptKind::Retry, at(599_000));
            budget.sent(AttemptKind::Retry);
            allowed
        });
        assert_eq!(retries.count(), 1_000);
    }

    #[test]
    fn rejected_records_leave_at_a_bounded_rate() {
        let mut budget = RetryBudget::default();
        let (mut now, mut sent) = (at(0), 0);
        while now < at(10_000) {
            while budget.allows(AttemptKind::Rejected, now) {
                budget.sent(AttemptKind::Rejected);
                sent += 1;
            }
            now = budget.next_at(AttemptKind::Rejected, now);
        }
        assert!((1_000..=1_110).contains(&sent), "{sent} in ten seconds");
    }
}
