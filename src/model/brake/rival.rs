//! Another writer for the same cluster id and owner: while it lives, absence from our lists proves nothing about its pods.

use std::time::Duration;

use crate::model::Moment;

/// A writer that lost its session notices with its next heartbeat, at most 30 s later, and the registry tells of it in the
/// answer to ours, at most 30 s after that. No question is asked about inferred deletions before.
pub const FIRST_SIGN_WITHIN: Duration = Duration::from_secs(75);
/// Without a sign for this long, the other writer is gone. It gives one every 10 s.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(90);

/// What is known of another writer.
#[derive(Debug, Default)]
pub(super) struct Rival {
    expected_until: Moment,
    seen: Option<Moment>,
}

impl Rival {
    pub(super) fn expect(&mut self, until: Moment) {
        self.expected_until = self.expected_until.max(until);
    }

    pub(super) fn seen(&mut self, at: Moment) {
        self.seen = self.seen.max(Some(at));
    }

    /// Whether one may still announce itself.
    pub(super) fn is_expected(&self, now: Moment) -> bool {
        now < self.expected_until
    }

    pub(super) fn is_alive(&self, now: Moment) -> bool {
        self.seen.is_some_and(|seen| now < seen + GONE_AFTER)
    }
}
