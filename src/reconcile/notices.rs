//! Limits the log lines of faults.
//!
//! [`Reminder`] is for one fault that lasts: it is logged at growing intervals. [`Notices`] is for many faults at once:
//! a few are logged, the others are counted.

use std::time::Duration;

use crate::model::moment::Moment;

/// Time between the first two lines about a lasting fault. It doubles with each line.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The longest time between two lines about a lasting fault.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// Faults that are logged one by one per interval.
const LOGGED_MAX: usize = 5;
const NAMES_MAX: usize = 5;
/// The interval between summaries.
const SUMMARY_AFTER: Duration = Duration::from_secs(60);

/// One fault that lasts. It is logged at once, then after 1 min, 2 min, 4 min and so on, up to every hour. Alternating
/// causes count as one fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reminder {
    next: Option<(Moment, Duration)>,
}

impl Reminder {
    /// Whether to log the fault now.
    pub fn is_due(&mut self, now: Moment) -> bool {
        let interval = match self.next {
            Some((at, _)) if now < at => return false,
            Some((_, interval)) => (interval * 2).min(AGAIN_MAX),
            None => AGAIN_AFTER,
        };
        self.next = Some((now + interval, interval));
        true
    }

    /// Whether the fault was logged more than once, so that it has lasted for at least a minute.
    pub fn is_repeated(&self) -> bool {
        self.next.is_some_and(|(_, interval)| interval > AGAIN_AFTER)
    }

    /// The fault is over. Returns whether it was logged.
    pub fn over(&mut self) -> bool {
        self.next.take().is_some()
    }
}

#[derive(Debug, Default)]
pub struct Notices {
    /// The causes that were logged in this interval.
    logged: Vec<String>,
    /// The number of faults that were not logged.
    more: u64,
    /// The first names of faults that were not logged, at most [`NAMES_MAX`].
    named: Vec<String>,
    /// The end of the interval, once it has begun.
    ends_at: Option<Moment>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct NoticeSummary {
    pub count: u64,
    /// The first names, separated by commas.
    pub first: String,
}

impl Notices {
    /// Whether to log this fault on its own line. If not, it is counted.
    pub fn note(&mut self, name: &str, cause: &str, now: Moment) -> bool {
        if self.logged.is_empty() && self.more == 0 {
            self.ends_at = Some(now + SUMMARY_AFTER);
        }
        if self.logged.len() < LOGGED_MAX && !self.logged.iter().any(|logged| logged == cause) {
            self.logged.push(cause.to_owned());
            return true;
        }
        self.more += 1;
        if self.named.len() < NAMES_MAX && !self.named.iter().any(|named| named == name) {
            self.named.push(name.to_owned());
        }
        false
    }

    /// The faults that were counted, once the interval is over.
    pub fn summary(&mut self, now: Moment) -> Option<NoticeSummary> {
        if self.ends_at.is_none_or(|ends_at| now < ends_at) {
            return None;
        }
        self.logged.clear();
        let (count, first) = (std::mem::take(&mut self.more), std::mem::take(&mut self.named).join(", "));
        (count > 0).then_some(NoticeSummary { count, first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    #[test]
    fn lasting_fault_is_reported_at_growing_intervals() {
        let mut reminder = Reminder::default();
        let reports: Vec<u64> = (0..20_000).filter(|secs| reminder.is_due(at(*secs))).collect();
        assert_eq!(reports, [0, 60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980, 14_580, 18_180]);
        assert!(reminder.over() && !reminder.over());
        assert!(reminder.is_due(at(20_000)), "a new fault is reported at once");
        assert!(!reminder.is_repeated() && !reminder.is_due(at(20_059)) && !reminder.is_repeated());
        assert!(reminder.is_due(at(20_060)) && reminder.is_repeated(), "it has lasted for a minute");
    }

    #[test]
    fn many_faults_become_few_lines_and_a_summary() {
        let mut notices = Notices::default();
        let logged = (0..5_000).filter(|n| notices.note(&format!("ns-{n}"), &n.to_string(), at(0))).count();
        assert_eq!((logged, notices.summary(at(59))), (5, None));
        let first = "ns-5, ns-6, ns-7, ns-8, ns-9".to_owned();
        assert_eq!(
            (notices.summary(at(60)), notices.summary(at(61))),
            (Some(NoticeSummary { count: 4_995, first }), None)
        );
        assert!(notices.note("ns-1", "1", at(62)), "another interval");
    }

    #[test]
    fn each_cause_is_logged_once_per_interval() {
        let mut notices = Notices::default();
        let logged = (0..100).filter(|n| notices.note(["a", "b"][n % 2], "invalid type", at(0))).count();
        assert_eq!((logged, notices.summary(at(60))), (1, Some(NoticeSummary { count: 99, first: "b, a".into() })));
    }
}
