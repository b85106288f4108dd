//! Effects of the parts, and changes of leadership: what each means for the other parts.

use super::EventLoop;
use crate::{
    controller::{
        absences,
        comparison::{self, Compared},
        delivery,
        effects::Effects,
        leadership::Change,
        queue::Lane,
        session,
    },
    model::moment::Moment,
    reconcile::election::Leadership,
    registry::Registry,
    telemetry::metrics::labels::Request as Kind,
};

/// Observed deletions to remember while nothing is sent to the registry, at least.
const DELETIONS_AT_LEAST: usize = 10_000;

impl<R: Registry> EventLoop<R> {
    /// Follows the Lease.
    pub(super) fn follow(&mut self, leadership: Leadership, now: Moment) {
        for change in self.term.follow(leadership, now) {
            match change {
                Change::Lost { term } => self.stand_by(term),
                Change::Gained { term } => self.lead(term, now),
            }
        }
    }

    /// The store is equal to the cluster already: all that it takes is a session and the inventory.
    fn lead(&mut self, term: u64, now: Moment) {
        self.session.lead(now);
        self.availability.lead();
        self.reporter.set_leader(true);
        if term > 0 {
            tracing::info!(term, remembered = self.ledger.remembered(), "leadership gained; taking over");
        }
    }

    fn stand_by(&mut self, term: u64) {
        let pending = self.ledger.owed();
        tracing::warn!(term, pending, "leadership lost; standing by while the next leader sends what is pending");
        // No write may arrive after another process can lead.
        self.requests.abandon_writes();
        self.session.stand_by();
        self.ledger.step_down(self.deletions_kept());
        self.ledger.abandon_reading();
        self.delivery.stand_by();
        self.absences.stand_by();
        self.comparison.stand_by();
        self.reporter.set_leader(false);
    }

    /// How many observed deletions are remembered while nothing is sent to the registry, at least: more than there are in
    /// the time of a takeover, and few enough that a standby of a million pods is as small as their leader.
    pub(super) fn deletions_kept(&self) -> usize {
        (self.view.len() / 4).max(DELETIONS_AT_LEAST)
    }

    pub(super) fn apply_session(&mut self, effect: session::Effect, now: Moment) {
        match effect {
            session::Effect::Expect { records } => self.comparison.expect(records),
            session::Effect::Compare => self.comparison.begin_session(now),
            session::Effect::ExpectRival => self.absences.expect_rival(now),
            session::Effect::RivalSeen => self.absences.rival_seen(now),
            session::Effect::NoRivalReported => self.absences.no_rival_reported(now),
            session::Effect::SettingsChanged => self.absences.settings_changed(),
            session::Effect::NeedPerson => self.absences.need_person(),
            session::Effect::Fenced => {
                // Nothing is inferred any more from what was seen before the other writer came.
                self.ledger.withdraw_approvals();
                self.absences.request_reconcile();
            }
            session::Effect::End(error) => self.end = Some(error),
        }
    }

    pub(super) fn apply_comparison(&mut self, effects: Effects<comparison::Effect>, now: Moment) {
        for effect in effects {
            match effect {
                comparison::Effect::ReconcileAll => self.reconcile_all(now),
                comparison::Effect::RequestFailed(failure) => _ = self.judge::<()>(Kind::Inventory, &Err(failure), now),
                comparison::Effect::Abandon => self.ledger.abandon_reading(),
                comparison::Effect::Compared(compared) => self.compared(compared, now),
            }
        }
    }

    fn compared(&mut self, compared: Compared, now: Moment) {
        if compared == Compared::Resync {
            // The registry may have been upgraded.
            self.availability.ask_again();
        }
        if compared != Compared::ReadBack {
            self.ledger.unpark();
        }
        self.absences.compared(self.ledger.owned());
        self.found_records(now);
        self.session.compared();
        self.reconcile_all(now);
    }

    /// The number of our records that the registry holds is known.
    pub(super) fn found_records(&mut self, now: Moment) {
        if let Some(effect) = self.session.found_records(self.ledger.owned()) {
            self.apply_session(effect, now);
        }
    }

    pub(super) fn apply_absences(&mut self, effect: Option<absences::Effect>, now: Moment) {
        match effect {
            None => {}
            Some(absences::Effect::Send(request)) => self.requests.send(request),
            Some(absences::Effect::Ask(inquiry)) => {
                let round = inquiry.round();
                if self.questions.try_send(inquiry).is_err() {
                    self.absences.not_asked(round, now);
                }
            }
            Some(absences::Effect::Relist) => self.relist.send_modify(|asked| *asked += 1),
        }
    }

    pub(super) fn apply_delivery(&mut self, effects: Effects<delivery::Effect>, now: Moment) {
        for effect in effects {
            match effect {
                delivery::Effect::Settled(uid) => self.reconcile_settled(&uid, now),
                delivery::Effect::Hastened(uid) => _ = self.reconcile(&uid, Lane::Live, now),
                delivery::Effect::Outrun(version) => self.session.outrun(version, now),
                delivery::Effect::Uncertain(share) => self.comparison.note_uncertain(share),
                delivery::Effect::Dividing { refused } => self.availability.dividing(refused, now),
                delivery::Effect::RequestFailed(failure) => _ = self.judge::<()>(Kind::Write, &Err(failure), now),
                delivery::Effect::Report(notice) => self.reporter.note(notice, now),
            }
        }
    }
}
