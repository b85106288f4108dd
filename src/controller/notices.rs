//! Requests about a target as a whole, such as a sign of life: one at a time, while this process leads. The registry's
//! client knows when the next one is due, also after one that failed.

use std::time::Duration;

use crate::model::moment::Moment;

pub(super) struct NoticeSchedule {
    in_flight: bool,
    /// When something is due next.
    due_at: Option<Moment>,
}

impl NoticeSchedule {
    pub(super) fn new() -> Self {
        Self { in_flight: false, due_at: None }
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.due_at.filter(|_| !self.in_flight)
    }

    /// Whether to send now, if something is due after this time.
    pub(super) fn sends(&mut self, after: Option<Duration>, now: Moment) -> bool {
        self.due_at = after.map(|after| now + after);
        let sends = self.due_at().is_some_and(|at| at <= now);
        self.in_flight |= sends;
        sends
    }

    pub(super) fn answered(&mut self) {
        self.in_flight = false;
    }
}
