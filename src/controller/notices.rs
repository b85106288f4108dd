//! Requests about a target as a whole, such as a sign of life: one at a time, while this process leads.

use std::time::Duration;

use crate::model::moment::Moment;

/// After a request that failed, the next one waits for this time.
const RETRY: Duration = Duration::from_secs(30);

pub(super) struct NoticeSchedule {
    in_flight: bool,
    not_before: Moment,
    /// When something is due next.
    due_at: Option<Moment>,
}

impl NoticeSchedule {
    pub(super) fn new() -> Self {
        Self { in_flight: false, not_before: Moment::START, due_at: None }
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.due_at.filter(|_| !self.in_flight).map(|at| at.max(self.not_before))
    }

    /// Whether to send now, if something is due after this time.
    pub(super) fn sends(&mut self, after: Option<Duration>, now: Moment) -> bool {
        self.due_at = after.map(|after| now + after);
        let sends = !self.in_flight && self.due_at().is_some_and(|at| at <= now);
        self.in_flight |= sends;
        sends
    }

    pub(super) fn answered(&mut self, is_done: bool, now: Moment) {
        self.in_flight = false;
        if !is_done {
            self.not_before = now + RETRY;
        }
    }
}
