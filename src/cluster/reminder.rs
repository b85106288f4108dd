//! When a fault that lasts is reported again: at growing intervals, so that it is neither forgotten nor fills the log.

use std::time::Duration;

use tokio::time::Instant;

/// The first interval and the longest one.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(30 * 60));

/// Remembers when a fault was last reported.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reminder {
    next: Option<(Instant, Duration)>,
}

impl Reminder {
    /// Whether a fault is to be reported now. It is when it is new, and then after 30 s, 1 min, 2 min and so on, up to
    /// every 30 min.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let interval = match self.next {
            Some((at, _)) if now < at => return false,
            Some((_, interval)) => (interval * 2).min(INTERVALS.1),
            None => INTERVALS.0,
        };
        self.next = Some((now + interval, interval));
        true
    }

    /// The fault is over. Says whether it was reported.
    pub(super) fn is_over(&mut self) -> bool {
        self.next.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lasting_fault_is_reported_at_growing_intervals() {
        let mut reminder = Reminder::default();
        let mut reports = Vec::new();
        for second in 0..600 {
            if reminder.is_due() {
                reports.push(second);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(reports, [0, 30, 90, 210, 450]);
        assert!(reminder.is_over() && !reminder.is_over() && reminder.is_due(), "a new one is reported at once");
    }
}
