//! When to begin a resync early, to settle uncertain records instead of sending them again.
//!
//! A batch that fails as a whole makes each of its records uncertain, and the retry budget allows few retries. One
//! reading settles them all. Readings are frequent while they help, and rare otherwise. A registry that fails many
//! requests is not read: the settled records would be sent again and fail again.

use std::time::Duration;

use crate::model::moment::Moment;

/// Fewer uncertain records are retried within a minute, so they are not worth a reading.
const AT_LEAST: usize = 100;
/// The shortest and the longest time between two readings. It doubles if less than two thirds of the uncertain records
/// were settled since the last reading.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// The largest share of failed requests.
const FAILING_AT_MOST: f64 = 0.2;
/// The weight of one request in that share.
const WEIGHT: f64 = 0.05;

#[derive(Clone, Copy, Debug, Default)]
pub struct EarlyResync {
    last: Option<Last>,
    failing: f64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Moment,
    uncertain: usize,
    again_after: Duration,
}

impl EarlyResync {
    /// A request was answered, or failed. `uncertain` is the share of its operations that may have been applied. Do not
    /// count requests for records that always fail.
    pub fn sent(&mut self, uncertain: f64) {
        self.failing += WEIGHT * (uncertain - self.failing);
    }

    /// Whether to read the inventory now, while this many records are uncertain and none may be retried. Counts the
    /// reading.
    pub fn begin(&mut self, uncertain: usize, now: Moment) -> bool {
        if uncertain < AT_LEAST {
            self.last = None;
        }
        if uncertain < AT_LEAST || self.failing > FAILING_AT_MOST {
            return false;
        }
        let again_after = match self.last {
            Some(last) if now < last.at + last.again_after => return false,
            Some(last) if uncertain * 3 > last.uncertain => (last.again_after * 2).min(AGAIN.1),
            _ => AGAIN.0,
        };
        self.last = Some(Last { at: now, uncertain, again_after });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn few_uncertain_records_begin_no_resync() {
        assert!(!EarlyResync::default().begin(99, at(1)));
    }

    #[test]
    fn registry_that_fails_often_is_not_read() {
        let mut early = EarlyResync::default();
        (0..100).for_each(|n| early.sent(f64::from(n % 2)));
        assert!(!early.begin(5_000, at(1)));
        (0..30).for_each(|_| early.sent(0.0));
        assert!(early.begin(5_000, at(2)));
    }

    #[test]
    fn readings_are_frequent_only_while_they_help() {
        let mut early = EarlyResync::default();
        let helped = [(at(0), 18_000), (at(2), 6_000), (at(4), 2_000), (at(6), 600)];
        assert!(helped.into_iter().all(|(now, uncertain)| early.begin(uncertain, now)));
        let readings = (7..607).filter(|secs| early.begin(600, at(*secs))).count();
        assert!((6..=9).contains(&readings), "{readings} in ten minutes");
        assert!(!early.begin(10, at(610)) && early.begin(600, at(611)), "a new failure");
    }
}
