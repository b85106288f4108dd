//! Limits the log lines of faults.
//!
//! | for | type | logged |
//! | --- | --- | --- |
//! | one fault that lasts | [`Reminder`] | at once, then at growing intervals |
//! | an outage of the registry, which may fail and recover all the time | [`Outage`] | its start, once per minute, its end |
//! | many faults at once | [`FaultLog`] | the first ones of different causes; the others as a count per minute |

use std::time::Duration;

use super::outcome::Failure;
use crate::model::moment::Moment;

/// Time between the first two lines about a lasting fault. It doubles with each line.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The longest time between two lines about a lasting fault.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// Faults that are logged one by one per interval.
const LOGGED_MAX: usize = 5;
const NAMES_MAX: usize = 5;
/// The least time between two lines about an outage, except for its end.
const OUTAGE_EVERY: Duration = Duration::from_secs(60);
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

/// Failed requests until one is answered. If outages follow each other quickly, the start of the next one is logged at
/// least a minute after the last line, and its end only if its start was.
#[derive(Debug, Default)]
pub struct Outage {
    since: Option<Moment>,
    logged: bool,
    logged_at: Option<Moment>,
    /// Failed requests since the start.
    failures: u64,
    last: Option<Failure>,
}

/// A line about an outage that lasts, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutageReport {
    /// Time since the first failed request.
    pub time: Duration,
    pub failures: u64,
}

impl Outage {
    /// A request failed. Returns the number of failed requests if the start of the outage has to be logged.
    pub fn failed(&mut self, failure: &Failure, now: Moment) -> Option<u64> {
        self.failures += 1;
        self.last = Some(failure.clone());
        self.since.get_or_insert(now);
        if self.logged || !self.is_due(now) {
            return None;
        }
        (self.logged, self.logged_at) = (true, Some(now));
        Some(self.failures)
    }

    /// Returns what to log now about an outage that lasts.
    pub fn lasts(&mut self, now: Moment) -> Option<OutageReport> {
        let since = self.since.filter(|_| self.logged && self.is_due(now))?;
        self.logged_at = Some(now);
        Some(OutageReport { time: now.since(since), failures: self.failures })
    }

    /// A request was answered. Returns what to log about the outage that is over.
    pub fn over(&mut self, now: Moment) -> Option<OutageReport> {
        let over = std::mem::replace(self, Self { logged_at: self.logged_at, ..Self::default() });
        let since = over.since.filter(|_| over.logged)?;
        self.logged_at = Some(now);
        Some(OutageReport { time: now.since(since), failures: over.failures })
    }

    pub fn last(&self) -> Option<&Failure> {
        self.last.as_ref()
    }

    fn is_due(&self, now: Moment) -> bool {
        self.logged_at.is_none_or(|at| now >= at + OUTAGE_EVERY)
    }
}

/// Many faults at once, of which a few are logged. The others are counted.
#[derive(Debug, Default)]
pub struct FaultLog {
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
pub struct FaultSummary {
    pub count: u64,
    /// The first names, separated by commas.
    pub first: String,
}

impl FaultLog {
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
    pub fn summary(&mut self, now: Moment) -> Option<FaultSummary> {
        if self.ends_at.is_none_or(|ends_at| now < ends_at) {
            return None;
        }
        self.logged.clear();
        let (count, first) = (std::mem::take(&mut self.more), std::mem::take(&mut self.named).join(", "));
        (count > 0).then_some(FaultSummary { count, first })
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
    fn outage_logs_start_minutes_and_end() {
        let secs = Duration::from_secs;
        let mut outage = Outage::default();
        assert_eq!((outage.over(at(1)), outage.lasts(at(1))), (None, None));
        assert_eq!(outage.failed(&Failure::NotFound, at(10)), Some(1));
        let mut lines = Vec::new();
        for now in 11..200 {
            assert_eq!(outage.failed(&Failure::NotFound, at(now)), None);
            lines.extend(outage.lasts(at(now)).map(|lasted| (now, lasted.time, lasted.failures)));
        }
        assert_eq!(lines, [(70, secs(60), 61), (130, secs(120), 121), (190, secs(180), 181)]);
        assert_eq!(outage.over(at(200)), Some(OutageReport { time: secs(190), failures: 190 }));
        assert_eq!(outage.over(at(201)), None);
    }

    #[test]
    fn flapping_registry_logs_twice_per_minute() {
        let (mut outage, mut lines) = (Outage::default(), 0);
        for now in 0..600 {
            lines += u32::from(outage.failed(&Failure::NotFound, at(now)).is_some());
            lines += u32::from(outage.over(at(now)).is_some());
        }
        assert_eq!(lines, 20);
    }

    #[test]
    fn many_faults_become_few_lines_and_a_summary() {
        let mut log = FaultLog::default();
        let logged = (0..5_000).filter(|n| log.note(&format!("ns-{n}"), &n.to_string(), at(0))).count();
        assert_eq!((logged, log.summary(at(59))), (5, None));
        let first = "ns-5, ns-6, ns-7, ns-8, ns-9".to_owned();
        assert_eq!((log.summary(at(60)), log.summary(at(61))), (Some(FaultSummary { count: 4_995, first }), None));
        assert!(log.note("ns-1", "1", at(62)), "another interval");
    }

    #[test]
    fn distinct_causes_are_bounded() {
        let mut log = FaultLog::default();
        (0..20_000).for_each(|n| _ = log.note(&format!("pod-{n}"), &format!("cause {n}"), at(1)));
        assert_eq!((log.logged.len(), log.named.len()), (LOGGED_MAX, NAMES_MAX));
    }

    #[test]
    fn each_cause_is_logged_once_per_interval() {
        let mut log = FaultLog::default();
        let logged = (0..100).filter(|n| log.note(["a", "b"][n % 2], "invalid type", at(0))).count();
        assert_eq!((logged, log.summary(at(60))), (1, Some(FaultSummary { count: 99, first: "b, a".into() })));
    }
}
