//! The retry budget: how much of what may have been applied is sent again.
//!
//! | attempt | why it is sent | what limits it |
//! | --- | --- | --- |
//! | first | new, changed, or certainly not applied before | nothing here |
//! | retry | the first answer was lost or uncertain | a share of the first tries, or two per second |
//! | persistent | it failed by itself more than once | a smaller share, or one per two seconds |
//! | rejected | the registry rejected this very record before the last resync | 100 per second |
//!
//! Each kind has its own tokens, so that records that always fail never use up what occasional failures need. A registry
//! that fails half of its requests gets few retries: each costs a token, and each first try earns a small share of one.
//! While a bucket has less than one token, time fills it, so that there is always progress. After many acknowledged
//! operations in a row the registry counts as well, and an acknowledged retry earns two tokens: the rest of an outage is
//! caught up with at a speed that doubles with each round trip. Such a row is unlikely unless nineteen of twenty operations
//! succeed, and then retries are few by themselves. At every share of failures, retries stay near or below a tenth of the
//! first tries: the two shares are 8 %, and time and the tokens at the start add to them.

use std::time::Duration;

use super::{ledger::pending::AttemptKind, retry::RateLimit};
use crate::model::moment::Moment;

/// What an acknowledged retry earns while everything is acknowledged.
const EARNED_BY_A_RETRY: f64 = 2.0;
/// The most tokens, and those at the start: a batch of 500 that fails as a whole can be divided down to the record that
/// is to blame, which sends its records twice on average.
const TOKENS_MAX: f64 = 1_000.0;
/// The registry counts as well after this many acknowledged operations in a row,
const WELL_AFTER_OPERATIONS: u32 = 20;
/// in no fewer requests than these: the operations of one request often fail together.
const WELL_AFTER_REQUESTS: u32 = 12;
/// Rejected records that are tried again after a resync, per second.
const REJECTED_PER_SECOND: u32 = 100;

/// What retries of each kind may be sent.
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
    /// Whether an attempt of this kind may go now.
    pub fn allows(&mut self, attempt: AttemptKind, now: Moment) -> bool {
        match attempt {
            AttemptKind::First => true,
            AttemptKind::Retry => self.retries.allow(now),
            AttemptKind::Persistent => self.persistent.allow(now),
            AttemptKind::Rejected => self.rejected.available(now) > 0,
        }
    }

    /// When the next attempt of this kind may go, if nothing else earns a token before.
    pub fn next_at(&mut self, attempt: AttemptKind, now: Moment) -> Moment {
        match attempt {
            AttemptKind::First => now,
            AttemptKind::Retry => self.retries.next_at(now),
            AttemptKind::Persistent => self.persistent.next_at(now),
            AttemptKind::Rejected => self.rejected.next_at(now, self.rejected.portion()),
        }
    }

    /// An operation was sent.
    pub fn sent(&mut self, attempt: AttemptKind) {
        match attempt {
            AttemptKind::First => {
                self.retries.earn(self.retries.by_first_try);
                self.persistent.earn(self.persistent.by_first_try);
            }
            AttemptKind::Retry => self.retries.tokens -= 1.0,
            AttemptKind::Persistent => self.persistent.tokens -= 1.0,
            AttemptKind::Rejected => self.rejected.take(1),
        }
    }

    /// An operation was acknowledged.
    pub fn acknowledged(&mut self, attempt: AttemptKind) {
        self.retries.acknowledged(attempt == AttemptKind::Retry);
        self.persistent.acknowledged(attempt == AttemptKind::Persistent);
    }

    /// A request was answered, whatever its operations came to.
    pub fn answered(&mut self) {
        for tokens in [&mut self.retries, &mut self.persistent] {
            tokens.requests_in_a_row = tokens.requests_in_a_row.saturating_add(1);
        }
    }

    /// An operation, or a request with operations of this kind, may have failed. A record that always fails says nothing
    /// about the others.
    pub fn failed(&mut self, attempt: AttemptKind) {
        self.persistent.failed();
        if matches!(attempt, AttemptKind::First | AttemptKind::Retry) {
            self.retries.failed();
        }
    }

    /// Whether the registry is well for the first time since retries had to wait: then the ones with a growing backoff need
    /// not wait any more.
    pub fn recovered(&mut self) -> bool {
        let retries = self.retries.recovered();
        self.persistent.recovered() || retries
    }
}

/// The tokens for one kind of retry.
#[derive(Clone, Debug)]
struct Tokens {
    /// What a first try earns,
    by_first_try: f64,
    /// and a second, while there is less than one token.
    by_second: f64,
    tokens: f64,
    filled_at: Moment,
    /// Operations that were acknowledged in a row, and requests in which all were.
    operations_in_a_row: u32,
    requests_in_a_row: u32,
    /// Whether a retry had to wait since the registry was last well.
    exhausted: bool,
}

impl Tokens {
    fn earning(by_first_try: f64, by_second: f64) -> Self {
        Self {
            by_first_try,
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
        // Rounded up, as a moment too early would find nothing and wake again at once.
        now + Duration::from_secs_f64(missing.max(0.0)) + Duration::from_millis(1)
    }

    fn acknowledged(&mut self, retry: bool) {
        self.operations_in_a_row = self.operations_in_a_row.saturating_add(1);
        if retry && self.is_well() {
            self.earn(EARNED_BY_A_RETRY);
        }
    }

    fn failed(&mut self) {
        (self.operations_in_a_row, self.requests_in_a_row) = (0, 0);
    }

    fn is_well(&self) -> bool {
        self.operations_in_a_row >= WELL_AFTER_OPERATIONS && self.requests_in_a_row >= WELL_AFTER_REQUESTS
    }

    fn recovered(&mut self) -> bool {
        self.is_well() && std::mem::take(&mut self.exhausted)
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

    /// Ten minutes of a thousand first tries a second, of which `failing` in a thousand fail, repeats as well; how many
    /// repeats there were a thousand first tries, and how many operations wait at the end.
    fn repeats_of_first_tries(failing: u64) -> (u64, u64) {
        // Random enough, and the same each time.
        let mut random = 42_u64;
        let mut fails = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % 1000 < failing
        };
        let (mut budget, mut first, mut repeats, mut waiting) = (RetryBudget::default(), 0, 0, 0);
        let mut judge = |budget: &mut RetryBudget, repeat: bool, waiting: &mut u64| {
            budget.sent(kind(repeat));
            if fails() {
                budget.failed(AttemptKind::Retry);
                *waiting += 1;
            } else {
                budget.answered();
                budget.acknowledged(kind(repeat));
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
                repeats += 1;
                judge(&mut budget, true, &mut waiting);
            }
        }
        (repeats * 1000 / first, waiting)
    }

    #[test]
    fn retries_stay_near_a_tenth_of_first_tries() {
        // This holds for every share of failures.
        for failing in [1, 10, 50, 80, 90, 100, 120, 150, 200, 300, 500, 700, 900, 1000] {
            let (repeats, _) = repeats_of_first_tries(failing);
            assert!(repeats <= 110, "{failing} in a thousand fail: {repeats} repeats a thousand first tries");
        }
        assert!(repeats_of_first_tries(500).0 <= 70);
    }

    #[test]
    fn half_failing_requests_do_not_open_the_budget() {
        // A registry that fails every second request does not count as recovered.
        let mut budget = RetryBudget::default();
        let (mut first, mut repeats, mut random) = (0, 0, 7_u64);
        for second in 0..600 {
            let going: Vec<bool> =
                (0..1_000).map(|n| n >= 500 && budget.allows(AttemptKind::Retry, at(second * 1000))).collect();
            going.iter().for_each(|repeat| budget.sent(kind(*repeat)));
            repeats += going.iter().filter(|repeat| **repeat).count();
            first += going.iter().filter(|repeat| !**repeat).count();
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if random >> 63 == 0 {
                budget.failed(AttemptKind::Retry);
            } else {
                budget.answered();
                going.iter().for_each(|repeat| budget.acknowledged(kind(*repeat)));
            }
        }
        assert!(repeats * 10 <= first, "{repeats} repeats of {first}");
    }

    #[test]
    fn few_failures_are_retried_without_waiting() {
        for failing in [1, 10, 50] {
            assert!(repeats_of_first_tries(failing).1 <= 100, "{failing} in a thousand fail");
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
            assert!(budget.allows(AttemptKind::Retry, now), "it is awake at the right moment");
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
        assert_eq!((budget.recovered(), budget.recovered()), (true, false), "it is well again, once");
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
