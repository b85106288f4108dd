//! What of many similar faults goes into the log: the first few, then a count.
//!
//! [`Repeats`] is about one thing that fails again and again: its cause is told when it is new, then at growing
//! intervals. [`Notices`] is about many things that fail together: a few are told, the others are counted.

use std::time::Duration;

use super::Moment;

/// A cause that does not change is told again after this time, then after twice the time,
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// up to this.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// Faults of one kind that are told by themselves within an interval.
const TOLD: usize = 5;
/// Names in a summary.
const NAMED: usize = 5;
/// The interval of a summary.
const SUMMARY_AFTER: Duration = Duration::from_secs(60);

/// One thing that fails again and again.
#[derive(Debug, Default)]
pub struct Repeats {
    cause: Option<String>,
    again_at: Moment,
    interval: Duration,
}

impl Repeats {
    /// Whether the cause is to be told now.
    pub fn tell(&mut self, cause: &str, now: Moment) -> bool {
        if self.cause.as_deref() != Some(cause) {
            // Causes that take turns are one outage: the interval stays.
            let is_new = self.cause.replace(cause.to_owned()).is_none();
            if is_new {
                self.interval = AGAIN_AFTER;
            } else if now < self.again_at {
                return false;
            }
        } else if now < self.again_at {
            return false;
        } else {
            self.interval = (self.interval * 2).min(AGAIN_MAX);
        }
        self.again_at = now + self.interval;
        true
    }

    /// It works again. Says whether its failure had been told.
    pub fn works(&mut self) -> bool {
        self.cause.take().is_some()
    }
}

/// Many things that fail together.
#[derive(Debug, Default)]
pub struct Notices {
    /// The causes that were told within this interval.
    told: Vec<String>,
    /// Faults that were not told.
    more: u64,
    /// The first things that failed without being told.
    named: Vec<String>,
    ends_at: Moment,
}

/// The faults of an interval that were counted instead of logged.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many faults.
    pub count: u64,
    /// The first few things that failed, by name.
    pub first: String,
}

impl Notices {
    /// Whether this fault of a thing is to be told by itself; otherwise it is counted.
    pub fn tell(&mut self, name: &str, cause: &str, now: Moment) -> bool {
        if self.told.is_empty() && self.more == 0 {
            self.ends_at = now + SUMMARY_AFTER;
        }
        if self.told.len() < TOLD && !self.told.iter().any(|told| told == cause) {
            self.told.push(cause.to_owned());
            return true;
        }
        self.more += 1;
        if self.named.len() < NAMED && !self.named.iter().any(|named| named == name) {
            self.named.push(name.to_owned());
        }
        false
    }

    /// The faults that were counted and not told, once the interval is over.
    pub fn summary(&mut self, now: Moment) -> Option<Summary> {
        if now < self.ends_at {
            return None;
        }
        self.told.clear();
        let (count, first) = (std::mem::take(&mut self.more), std::mem::take(&mut self.named).join(", "));
        (count > 0).then_some(Summary { count, first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn lasting_cause_is_told_at_growing_intervals() {
        let mut repeats = Repeats::default();
        let told: Vec<u64> = (0..20_000).filter(|secs| repeats.tell("forbidden", at(*secs))).collect();
        assert_eq!(told, [0, 60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580, 18_180]);
        assert!(repeats.works() && !repeats.works());
        assert!(repeats.tell("forbidden", at(20_000)), "another outage");
    }

    #[test]
    fn alternating_causes_are_one_outage() {
        let mut repeats = Repeats::default();
        let told =
            (0..60).filter(|secs| repeats.tell(if secs % 2 == 0 { "refused" } else { "reset" }, at(*secs))).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn many_faults_become_a_few_lines_and_a_summary() {
        let mut notices = Notices::default();
        let told = (0..5_000).filter(|n| notices.tell(&format!("ns-{n}"), &n.to_string(), at(0))).count();
        assert_eq!((told, notices.summary(at(59))), (5, None));
        let first = "ns-5, ns-6, ns-7, ns-8, ns-9".to_owned();
        assert_eq!((notices.summary(at(60)), notices.summary(at(61))), (Some(Summary { count: 4_995, first }), None));
        assert!(notices.tell("ns-1", "1", at(62)), "another interval");
    }

    #[test]
    fn each_cause_is_told_once_per_interval() {
        let mut notices = Notices::default();
        let told = (0..100).filter(|n| notices.tell(["a", "b"][n % 2], "invalid type", at(0))).count();
        assert_eq!((told, notices.summary(at(60))), (1, Some(Summary { count: 99, first: "b, a".into() })));
    }
}
