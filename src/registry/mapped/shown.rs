//! What the lists of this term say of records that they do not show.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::records::Records;
use crate::model::uid::Uid;

/// What it means that nothing showed a record in this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unshown {
    /// The registry does not hold it.
    IsMissing,
    /// An earlier term may have written it. The next list or lookup tells.
    UntilRead,
    /// An earlier term may have written it, and lists and lookups may lack it for this time.
    For(Duration),
    /// The only list of this term may have skipped it.
    MaybeSkipped,
}

#[derive(Debug)]
pub(super) struct ShownRecords {
    has_list: bool,
    lag: Duration,
    /// How long a request may be on its way.
    timeout: Duration,
    term_begun: Instant,
    /// Whether a complete list of this term showed everything that earlier terms wrote.
    shows_earlier_terms: bool,
    /// Whether a complete list was read in this term.
    is_listed: bool,
    /// Records that were deleted before a list of this term has shown all.
    deleted_unread: HashSet<Uid>,
}

impl Records {
    /// Whether the registry may hold a record that nothing showed in this term.
    pub(super) fn unshown(&self) -> Unshown {
        match self.shown.unshown() {
            Unshown::IsMissing if self.unlisted.may_have_skipped() => Unshown::MaybeSkipped,
            unshown => unshown,
        }
    }

    /// The same for one record. It does not hold a record whose deletion it acknowledged.
    pub(super) fn may_be_listed(&self, key: &Uid) -> bool {
        let is_list_to_come = !self.shown.are_all_known() || self.unlisted.may_have_skipped();
        is_list_to_come && !self.shown.was_deleted_unread(key)
    }
}

impl ShownRecords {
    pub(super) fn new(has_list: bool, lag: Duration, timeout: Duration) -> Self {
        Self {
            has_list,
            lag,
            timeout,
            term_begun: Instant::now(),
            shows_earlier_terms: lag.is_zero(),
            is_listed: false,
            deleted_unread: HashSet::new(),
        }
    }

    pub(super) fn begin_term(&mut self) {
        *self = Self::new(self.has_list, self.lag, self.timeout);
    }

    /// When lists and lookups show everything that earlier terms wrote. Their last request may have been on its way
    /// when this term began.
    fn settled_at(&self) -> Instant {
        self.term_begun + self.lag + self.timeout
    }

    /// Whether the registry may hold a record that nothing showed in this term.
    pub(super) fn unshown(&self) -> Unshown {
        let left = self.settled_at().saturating_duration_since(Instant::now());
        match left {
            _ if self.shows_earlier_terms => Unshown::IsMissing,
            Duration::ZERO => Unshown::UntilRead,
            left => Unshown::For(left),
        }
    }

    /// Whether no list is to come that may show further records: one of this term has shown all, or there are none.
    fn are_all_known(&self) -> bool {
        !self.has_list || (self.is_listed && self.unshown() == Unshown::IsMissing)
    }

    /// Whether it was deleted before a list has shown all records.
    pub(super) fn was_deleted_unread(&self, key: &Uid) -> bool {
        self.deleted_unread.contains(key)
    }

    pub(super) fn deleted(&mut self, key: &Uid) {
        if !self.are_all_known() {
            self.deleted_unread.insert(key.clone());
        }
    }

    /// A complete list was begun at this moment.
    pub(super) fn complete_list(&mut self, begun: Instant) {
        self.is_listed = true;
        self.shows_earlier_terms |= begun >= self.settled_at();
        if self.are_all_known() {
            self.deleted_unread = HashSet::new();
        }
    }
}
