//! Which lines an outage logs: its start, one per minute, and its end.
//!
//! A registry that fails and recovers all the time logs no more than that: the next start is logged at least a minute
//! after the last line.

use std::time::Duration;

use super::outcome::Failure;
use crate::model::moment::Moment;

const EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub struct Outage {
    since: Option<Moment>,
    logged: bool,
    logged_at: Option<Moment>,
    /// Failed requests since the last line.
    failures: u64,
    /// Failed requests since the start.
    all_failures: u64,
    last: Option<Failure>,
}

/// A line about an outage that lasts, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutageReport {
    /// Time since the first failed request.
    pub time: Duration,
    /// Failed requests since the last line, or in the whole outage that is over.
    pub failures: u64,
}

impl Outage {
    /// A request failed. If the start of an outage has to be logged, returns the failures since the last line.
    pub fn failed(&mut self, failure: &Failure, now: Moment) -> Option<u64> {
        self.failures += 1;
        self.all_failures += 1;
        self.last = Some(failure.clone());
        self.since.get_or_insert(now);
        if self.logged || !self.is_due(now) {
            return None;
        }
        self.logged = true;
        Some(self.log(now))
    }

    /// Returns what to log now about an outage that lasts.
    pub fn lasts(&mut self, now: Moment) -> Option<OutageReport> {
        let since = self.since.filter(|_| self.logged && self.is_due(now))?;
        Some(OutageReport { time: now.since(since), failures: self.log(now) })
    }

    /// A request was answered. Returns what to log about the outage that is over.
    pub fn over(&mut self, now: Moment) -> Option<OutageReport> {
        let since = self.since.take()?;
        let failures = std::mem::take(&mut self.all_failures);
        std::mem::take(&mut self.logged).then(|| {
            self.log(now);
            OutageReport { time: now.since(since), failures }
        })
    }

    pub fn last(&self) -> Option<&Failure> {
        self.last.as_ref()
    }

    fn is_due(&self, now: Moment) -> bool {
        self.logged_at.is_none_or(|at| now >= at + EVERY)
    }

    fn log(&mut self, now: Moment) -> u64 {
        self.logged_at = Some(now);
        std::mem::take(&mut self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Moment {
        Moment::from_secs(secs)
    }

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn outage_logs_start_minutes_and_end() {
        let mut outage = Outage::default();
        assert_eq!((outage.over(at(1)), outage.lasts(at(1))), (None, None));
        assert_eq!(outage.failed(&Failure::NotFound, at(10)), Some(1));
        let mut lines = Vec::new();
        for now in 11..200 {
            assert_eq!(outage.failed(&Failure::NotFound, at(now)), None);
            lines.extend(outage.lasts(at(now)).map(|lasted| (now, lasted.time, lasted.failures)));
        }
        assert_eq!(lines, [(70, secs(60), 60), (130, secs(120), 60), (190, secs(180), 60)]);
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
}
