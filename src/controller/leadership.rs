//! Whether this process leads, by what the Lease says.

use crate::{
    model::moment::Moment,
    reconcile::election::{LeaderTerm, Leadership},
};

/// The term in which this process leads. Without leader election there is one term, which does not end.
pub(super) struct Term {
    current: Option<LeaderTerm>,
    until: Option<Moment>,
}

/// A change of leadership.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TermChange {
    Lost(LeaderTerm),
    Gained(LeaderTerm),
}

impl Term {
    pub(super) fn none() -> Self {
        Self { current: None, until: None }
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.until
    }

    pub(super) fn current(&self) -> Option<LeaderTerm> {
        self.current
    }

    /// Whether this process may write. `now` has to be read for this call: the process may have been suspended in the
    /// middle of a turn, while its term ended.
    pub(super) fn leads(&self, now: Moment) -> bool {
        self.current.is_some() && self.until.is_none_or(|until| now < until)
    }

    #[must_use]
    pub(super) fn follow(&mut self, leadership: Leadership, now: Moment) -> Vec<TermChange> {
        let mut changes = Vec::new();
        let term = leadership.term(now);
        self.until = leadership.until();
        if term != self.current {
            if let Some(term) = self.current {
                changes.push(TermChange::Lost(term));
            }
            if let Some(term) = term {
                changes.push(TermChange::Gained(term));
            }
            self.current = term;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_term_ends_the_one_before() {
        let at = Moment::from_secs;
        let leader = |term| Leadership::Leader { term, until: at(10) };
        let mut term = Term::none();
        let mut changes = |leadership, now| term.follow(leadership, now).into_iter().collect::<Vec<_>>();
        assert_eq!(changes(leader(1), at(1)), [TermChange::Gained(LeaderTerm::Elected(1))]);
        assert_eq!(changes(leader(1), at(2)), []);
        assert_eq!(
            changes(leader(3), at(3)),
            [TermChange::Lost(LeaderTerm::Elected(1)), TermChange::Gained(LeaderTerm::Elected(3))]
        );
        assert_eq!(
            changes(leader(3), at(10)),
            [TermChange::Lost(LeaderTerm::Elected(3))],
            "it ends without news from the Lease"
        );
        assert!(!term.leads(at(4)));
    }
}
