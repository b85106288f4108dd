//! Leading and following: what the loop does when it may write, and when it may no longer.

use super::{queue::Queue, registrar::Registrar, requests::Request};
use crate::{
    model::{Ability, Failure, Leadership, Moment, session::Declared},
    registry::{Registry, SessionOpened},
};

/// So many watched ends are always worth remembering while nothing is said to the registry.
const ENDS_AT_LEAST: usize = 10_000;

impl<R: Registry> Registrar<R> {
    /// Whether this process may write at this very moment. The clock is read anew: a process that was stopped in the middle
    /// of a turn must not go on with a leadership that is over.
    pub(super) fn leads(&self) -> bool {
        self.term.is_some() && self.clock.now() < self.leads_until
    }

    /// Whether this process could do a leader's work.
    pub(super) fn ability(&self, now: Moment) -> Ability {
        match () {
            () if !self.absences.lists().has_page() => Ability::WithoutPods,
            () if self.term.is_some() && self.availability.is_cut_off(now) => Ability::CutOff,
            () => Ability::Able,
        }
    }

    /// Whether nothing is said to the registry yet or any more, and nothing known of it.
    pub(super) fn is_silent(&self) -> bool {
        self.session.epoch().is_none() && !self.ledger.is_seeded()
    }

    /// How many watched ends are remembered in silence, at least: more than end in the time of a takeover, and few enough
    /// that a standby of a million pods is as small as their leader.
    pub(super) fn ends_kept(&self) -> usize {
        (self.view.len() / 4).max(ENDS_AT_LEAST)
    }

    /// Becomes what the lease makes of this process.
    pub(super) fn follow_lease(&mut self, leadership: Leadership, now: Moment) {
        let term = leadership.term(now);
        self.leads_until = leadership.until();
        if term == self.term {
            return;
        }
        if self.term.is_some() {
            self.lose(now);
        }
        if let Some(term) = term {
            self.gain(term, now);
        }
    }

    /// A session is opened at once. The store is in step with the cluster already, so that an inventory is all it takes.
    fn gain(&mut self, term: u64, now: Moment) {
        self.term = Some(term);
        self.session.lead(now);
        self.availability.lead();
        self.reporter.set_leader(true);
        if term > 0 {
            tracing::info!(term, remembered = self.ledger.remembered(), "leadership gained, this process takes over");
        }
    }

    fn lose(&mut self, now: Moment) {
        let owed = self.ledger.owed();
        tracing::warn!(
            term = self.term,
            owed,
            "leadership lost, this process stands by; what is owed is the next leader's"
        );
        self.term = None;
        // No request that writes may arrive after another process can lead: what is not answered yet is given up.
        self.requests.abandon_writes();
        self.writes_in_flight = 0;
        self.session.follow();
        self.ledger.step_down(self.ends_kept());
        self.queue = Queue::default();
        self.absences.stand_by(now);
        self.declared = Declared::Unknown;
        self.comparison.stand_by();
        self.ledger.abandon_reading();
        self.reporter.set_leader(false);
    }

    /// A session was opened in a term that is over. It is closed: it may have taken the next leader's place.
    pub(super) fn opened_too_late(&mut self, result: &Result<SessionOpened, Failure>) {
        let Ok(SessionOpened { epoch, .. }) = result else { return };
        let epoch = *epoch;
        tracing::info!(epoch, "a session was opened after the leadership was lost, it is closed");
        self.requests.send(Request::CloseSession { epoch });
    }
}
