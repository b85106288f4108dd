//! How far long work is, and how long the rest takes at the rate so far.

use std::time::Duration;

use crate::model::moment::Moment;

/// Before this time has passed and this much is done, nothing is said about the rest: the first answers are often slow.
const KNOWN_AFTER: (Duration, u64) = (Duration::from_secs(3), 3);

/// How far work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkProgress {
    pub begun: Moment,
    pub done: u64,
    /// None while it is not known.
    pub total: Option<u64>,
}

impl WorkProgress {
    /// The time for the rest. None if it is not known.
    pub fn remaining(&self, now: Moment) -> Option<Duration> {
        remaining(now.since(self.begun), self.done, self.total?)
    }
}

/// The time for the rest of `total`, if `done` took `elapsed`. None before enough is done.
pub fn remaining(elapsed: Duration, done: u64, total: u64) -> Option<Duration> {
    let (least_time, least_done) = KNOWN_AFTER;
    if elapsed < least_time || done < least_done {
        return None;
    }
    let seconds = elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / done as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A drain begins with this number of items. Fewer are everyday work.
const DRAIN_BEGINS_AT: usize = 100;
/// A drain is over below this number of items: new ones always come.
const DRAIN_ENDS_BELOW: usize = 10;

/// Work whose total is not known from the start: items that leave it are counted, and others may join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain(Option<Begun>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    at: Moment,
    /// What was finished before.
    finished: u64,
}

impl Drain {
    /// The progress with this number of items left. `finished` only grows.
    pub fn progress(&mut self, left: usize, finished: u64, now: Moment) -> Option<WorkProgress> {
        if left < DRAIN_ENDS_BELOW || self.0.is_none() && left < DRAIN_BEGINS_AT {
            self.0 = None;
            return None;
        }
        let begun = *self.0.get_or_insert(Begun { at: now, finished });
        let done = finished.saturating_sub(begun.finished);
        Some(WorkProgress { begun: begun.at, done, total: Some(done.saturating_add(left as u64)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(seconds: u64, done: u64, total: u64) -> Option<u64> {
        remaining(Duration::from_secs(seconds), done, total).map(|left| left.as_secs())
    }

    #[test]
    fn rest_takes_as_long_as_so_far() {
        assert_eq!(left(10, 100, 400), Some(30));
        assert_eq!(left(10, 400, 400), Some(0));
        assert_eq!(left(10, 500, 400), Some(0), "more than was expected");
        assert_eq!(left(3_600, 3, u64::MAX), None, "no such time can be written");
    }

    #[test]
    fn first_seconds_say_nothing_about_the_rest() {
        assert_eq!((left(2, 100, 400), left(100, 2, 400), left(100, 0, 400)), (None, None, None));
        let unknown = WorkProgress { begun: Moment::START, done: 100, total: None };
        assert_eq!(unknown.remaining(Moment::from_secs(100)), None);
    }

    #[test]
    fn drain_counts_from_its_first_item() {
        let (mut drain, at) = (Drain::default(), Moment::from_secs);
        assert_eq!(drain.progress(99, 70, at(1)), None);
        let progress = |begun, done, total| Some(WorkProgress { begun: at(begun), done, total: Some(total) });
        assert_eq!(drain.progress(100, 70, at(2)), progress(2, 0, 100));
        assert_eq!(drain.progress(60, 110, at(12)), progress(2, 40, 100));
        assert_eq!(drain.progress(80, 120, at(13)), progress(2, 50, 130), "others joined");
        assert_eq!(drain.progress(9, 200, at(14)), None);
        assert_eq!(drain.progress(50, 200, at(15)), None);
        assert_eq!(drain.progress(300, 200, at(20)), progress(20, 0, 300), "another one");
    }
}
