//! Effects of the parts, and changes of leadership, applied to the other parts.

use super::EventLoop;
use crate::{
    controller::{
        absences, delivery,
        leadership::TermChange,
        queue::Lane,
        report::Fault,
        requests::Request,
        resync::{self, ResyncKind},
        session,
    },
    model::moment::Moment,
    reconcile::{
        election::{LeaderTerm, Leadership},
        trace::ChangeTrace,
    },
    registry::Registry,
    telemetry::metrics::labels::RequestKind as Kind,
};

impl<R: Registry> EventLoop<R> {
    pub(super) fn follow(&mut self, leadership: Leadership, now: Moment) {
        for change in self.term.follow(leadership, now) {
            match change {
                TermChange::Lost(term) => self.stand_by(term),
                TermChange::Gained(term) => self.lead(term, now),
            }
        }
    }

    /// The store is equal to the cluster already, so that only a session and the inventory are needed.
    fn lead(&mut self, term: LeaderTerm, now: Moment) {
        self.session.lead(now);
        self.availability.lead();
        self.reporter.set_leader(true);
        if let LeaderTerm::Elected(term) = term {
            tracing::info!(
                term,
                deletion_events = self.comparison.ledger().remembered_deletions(),
                "leadership gained; taking over"
            );
        }
    }

    fn stand_by(&mut self, term: LeaderTerm) {
        let pending = self.comparison.ledger().pending_count();
        tracing::warn!(?term, pending, "leadership lost; standing by while the next leader sends what is pending");
        // No write may arrive after another process can lead.
        self.requests.abandon_writes();
        self.requests.registry().end_term();
        self.session.stand_by();
        self.comparison.stand_by();
        self.delivery.stand_by();
        self.absences.stand_by();
        self.resync.stand_by();
        self.reporter.set_leader(false);
    }

    pub(super) fn apply_session(&mut self, effect: session::SessionEffect, now: Moment) {
        match effect {
            session::SessionEffect::Expect(records) => self.resync.expect(records),
            session::SessionEffect::Resync => self.resync.begin_session(now),
            session::SessionEffect::ExpectOtherWriter => {
                self.absences.expect_other_writer(now);
                self.withdraw_unapproved();
            }
            session::SessionEffect::OtherWriterSeen => {
                self.absences.other_writer_seen(now);
                self.withdraw_unapproved();
            }
            session::SessionEffect::NoOtherWriterReported => self.absences.no_other_writer_reported(now),
            session::SessionEffect::ScopeChanged => self.absences.scope_changed(),
            session::SessionEffect::NeedOperator => self.absences.need_operator(),
            session::SessionEffect::Fenced => {
                // Deletions that were inferred before the other writer came are void.
                self.comparison.ledger_mut().withdraw_confirmations();
                self.comparison.request_reconcile();
            }
            session::SessionEffect::End(error) => self.end = Some(error),
        }
    }

    /// Another writer may be alive: deletions that were released and not sent yet are held, except approved ones.
    fn withdraw_unapproved(&mut self) {
        if self.comparison.ledger_mut().withdraw_unapproved() {
            self.comparison.request_reconcile();
        }
    }

    pub(super) fn apply_resync(&mut self, effects: Vec<resync::ResyncEffect>, now: Moment) {
        for effect in effects {
            match effect {
                resync::ResyncEffect::ReconcileAll => self.comparison.request_reconcile(),
                resync::ResyncEffect::RequestFailed(failure) => {
                    _ = self.judge::<()>(Kind::Inventory, &Err(failure), now)
                }
                resync::ResyncEffect::Abandon => self.comparison.ledger_mut().abandon_reading(),
                resync::ResyncEffect::Done(kind) => {
                    self.absences.resynced(self.comparison.ledger().owned());
                    self.found_records(now);
                    self.resynced(kind, now);
                }
            }
        }
    }

    /// A resync is complete, also of a registry without an inventory.
    pub(super) fn resynced(&mut self, kind: ResyncKind, now: Moment) {
        if kind == ResyncKind::Regular {
            // The registry may have been upgraded.
            self.availability.ask_again();
        }
        if kind != ResyncKind::Early {
            self.comparison.ledger_mut().unpark();
        }
        if let Some(after) = self.requests.registry().inventory_again_after() {
            self.resync.repeat_after(after, now);
        }
        self.session.resynced();
        self.comparison.request_reconcile();
    }

    /// The number of our records in the registry is known.
    pub(super) fn found_records(&mut self, now: Moment) {
        if let Some(effect) = self.session.found_records(self.comparison.ledger().owned()) {
            self.apply_session(effect, now);
        }
    }

    pub(super) fn apply_absences(&mut self, effect: Option<absences::AbsenceEffect>, now: Moment) {
        match effect {
            None => {}
            Some(absences::AbsenceEffect::Send(Request::Names { about, uids }))
                if !self.availability.features().names =>
            {
                let effect = self.absences.unnamed(about, uids, now);
                self.apply_absences(Some(effect), now);
            }
            Some(absences::AbsenceEffect::Send(request)) => self.requests.send(request),
            Some(absences::AbsenceEffect::Ask(check)) => {
                let round = check.round();
                self.comparison.asked(&check);
                if !self.cluster.ask(check) {
                    let effect = self.absences.not_asked(round, now);
                    self.apply_absences(Some(effect), now);
                }
            }
            Some(absences::AbsenceEffect::Place(named)) => self.comparison.place(&named),
            Some(absences::AbsenceEffect::Reconcile) => self.comparison.request_reconcile(),
            Some(absences::AbsenceEffect::ReconcileAgain) => self.comparison.request_another_reconcile(),
            Some(absences::AbsenceEffect::NeedList) => {
                self.comparison.need_list();
                if self.comparison.ask_for_list(now) {
                    self.cluster.relist();
                }
            }
        }
    }

    pub(super) fn apply_delivery(&mut self, effects: Vec<delivery::DeliveryEffect>, now: Moment) {
        for effect in effects {
            match effect {
                delivery::DeliveryEffect::Acknowledged(uid, kind, trace) => {
                    if let Some(trace) = trace {
                        self.delivery.export(ChangeTrace { record: self.comparison.label(uid.clone()), ..*trace });
                    }
                    self.acknowledged(uid, kind, now);
                }
                delivery::DeliveryEffect::Settled(uid) => {
                    self.display.settled(&uid, self.comparison.ledger());
                    self.comparison.settled(&uid, self.when(now));
                }
                delivery::DeliveryEffect::Hastened(uid) => {
                    _ = self.comparison.reconcile(&uid, Lane::Live, self.when(now));
                }
                delivery::DeliveryEffect::Superseded(version) => self.session.superseded(version, now),
                delivery::DeliveryEffect::Uncertain(share) => self.resync.note_uncertain(share),
                delivery::DeliveryEffect::Dividing { refused } => self.availability.dividing(refused, now),
                delivery::DeliveryEffect::RequestFailed(failure) => {
                    _ = self.judge::<()>(Kind::Write, &Err(failure), now)
                }
                delivery::DeliveryEffect::Report(Fault::Record(failed)) => self.note(failed, now),
                delivery::DeliveryEffect::Report(Fault::Divided { items, bytes, error }) => {
                    self.reporter.divided(items, bytes, &error, now);
                }
            }
        }
    }
}
