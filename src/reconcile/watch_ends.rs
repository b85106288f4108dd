//! When to resume a watch that has ended.
//!
//! A watch ends regularly when the server's timeout ends it. Any other end is a failure: a broken connection, a
//! refusal, silence, or a regular end that comes too soon.
//!
//! | end | what follows |
//! | --- | --- |
//! | regular, after most of its time | resumed at once; earlier failures are forgotten |
//! | any other, after a while with news | resumed after the shortest delay |
//! | any other, with news | resumed within a second |
//! | any other | resumed after a delay that doubles with each failure in a row |

use std::time::Duration;

use super::retry;
use crate::model::moment::Moment;

/// The requested duration of a watch. It is short, so that silence is noticed soon.
pub const WATCH: Duration = Duration::from_secs(20);
/// A regular end before this time is a failure.
const TOO_SOON: Duration = Duration::from_secs(10);
/// A watch that had news and lasted this long works.
const FOR_A_WHILE: Duration = Duration::from_secs(2);
/// A watch that had news but did not last counts at most this number of failures in a row, so that its delay stays
/// below a second: a proxy may cut every watch.
const SHORT_WITH_NEWS: u32 = 2;
/// Failures that are further apart are not in a row.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// Delays after failures in a row: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchEnd {
    /// Whether the answer ended regularly.
    pub orderly: bool,
    pub lasted: Duration,
    /// Whether it delivered an event that was newer than all earlier ones.
    pub news: bool,
}

#[derive(Debug, Default)]
pub struct WatchFailures {
    failures: u32,
    failed_at: Option<Moment>,
}

impl WatchFailures {
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A watch ended. Returns the delay before it is resumed, or `None` to resume it at once.
    pub fn ended(&mut self, end: WatchEnd, now: Moment, random: u64) -> Option<Duration> {
        let WatchEnd { orderly, lasted, news } = end;
        if orderly && lasted >= TOO_SOON {
            self.failures = 0;
            return None;
        }
        if news {
            let forgiven_to = if lasted >= FOR_A_WHILE { 0 } else { SHORT_WITH_NEWS };
            self.failures = self.failures.min(forgiven_to);
        }
        Some(self.failed(now, random))
    }

    /// A watch could not be started or was given up. Returns the delay before it is tried again.
    pub fn failed(&mut self, now: Moment, random: u64) -> Duration {
        if self.failed_at.is_some_and(|failed_at| now > failed_at + FORGIVEN_AFTER) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        retry::backoff(BACKOFF.0, BACKOFF.1, self.failures, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn end(orderly: bool, millis: u64, news: bool) -> WatchEnd {
        WatchEnd { orderly, lasted: Duration::from_millis(millis), news }
    }

    #[test]
    fn every_end_without_news_backs_off() {
        for end in [end(true, 1, false), end(false, 1, false), end(false, 24_000, false)] {
            let started = started_in_a_minute(end);
            assert!(started <= 20, "{end:?}: {started} watches in a minute");
        }
    }

    #[test]
    fn short_watch_with_news_resumes_within_a_second() {
        for end in [end(true, 1, true), end(false, 1_000, true)] {
            let started = started_in_a_minute(end);
            assert!((40..=200).contains(&started), "{end:?}: {started} watches in a minute");
        }
    }

    fn started_in_a_minute(end: WatchEnd) -> usize {
        let mut ends = WatchFailures::default();
        let (mut now, mut started) = (Moment::from_secs(100), 0);
        let until = now + Duration::from_secs(60);
        while now < until {
            now += end.lasted + ends.ended(end, now, 0).unwrap();
            started += 1;
        }
        started
    }

    #[test]
    fn regular_end_resumes_at_once_and_forgives() {
        let mut ends = WatchFailures::default();
        ends.failed(Moment::from_secs(1), 0);
        ends.failed(Moment::from_secs(2), 0);
        assert_eq!(ends.ended(end(true, 20_000, false), Moment::from_secs(22), 0), None);
        assert_eq!(ends.failures(), 0);
    }

    #[test]
    fn broken_watch_with_news_resumes_soon() {
        let mut ends = WatchFailures::default();
        for secs in 0..20 {
            let delay = ends.ended(end(false, 3_000, true), Moment::from_secs(3 * secs), 0);
            assert_eq!(delay, Some(Duration::from_millis(100)));
        }
    }

    #[test]
    fn failures_far_apart_are_not_in_a_row() {
        let mut ends = WatchFailures::default();
        ends.failed(Moment::from_secs(0), 0);
        ends.failed(Moment::from_secs(60), 0);
        assert_eq!(ends.failures(), 2);
        ends.failed(Moment::from_secs(121), 0);
        assert_eq!(ends.failures(), 1);
    }
}
