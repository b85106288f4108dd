//! Reconciling: [`decide`] says what to do about a pod, and the ledger and the queue are brought to that.
//!
//! This is the only caller of [`decide`]: every deletion and every write is decided here.

use super::EventLoop;
use crate::{
    controller::{absences::Survey, queue::Lane},
    model::{moment::Moment, uid::Uid},
    reconcile::{
        decide::{Action, decide, wanted},
        ledger::{
            backlog::BacklogKind,
            entry::{Known, LedgerEntry},
            pending::Pending,
        },
    },
    registry::Registry,
};

impl<R: Registry> EventLoop<R> {
    /// What to do about a pod, from the store as it is now.
    pub(super) fn decision(&self, uid: &Uid, now: Moment) -> Action {
        self.decision_with(uid, self.ledger.entry(uid), self.ledger.pending(uid), now)
    }

    /// The same, with what the ledger has of the pod.
    fn decision_with(&self, uid: &Uid, entry: Option<&LedgerEntry>, pending: Option<&Pending>, now: Moment) -> Action {
        let watch = entry.and_then(LedgerEntry::watch);
        let shown = self.view.shown_by(watch, uid);
        let list_begun = if shown.is_none() { self.absences.lists().begun(watch) } else { None };
        let wanted = wanted(shown, entry, pending, list_begun);
        decide(wanted, self.ledger.known_by(uid, entry), pending, now)
    }

    /// Decides about a pod and brings it to where the decision says it belongs.
    pub(super) fn reconcile(&mut self, uid: &Uid, lane: Lane, now: Moment) -> Action {
        self.reconcile_since(uid, lane, now, now)
    }

    /// The same, about a change that was seen at `since`.
    pub(super) fn reconcile_since(&mut self, uid: &Uid, lane: Lane, since: Moment, now: Moment) -> Action {
        let action = self.decision(uid, now);
        self.apply_decision(uid, action, lane, since);
        action
    }

    /// Decides about a pod whose operation is over. A list may have shown it absent in the meantime: the absence guard does
    /// not know of it yet, and the next list may be hours away.
    pub(super) fn reconcile_settled(&mut self, uid: &Uid, now: Moment) {
        if self.reconcile(uid, Lane::Live, now) == Action::AwaitConfirmation {
            self.absences.request_reconcile();
        }
    }

    /// Brings a pod to where a decision says it belongs. What is pending from now on has been so since `since`.
    fn apply_decision(&mut self, uid: &Uid, action: Action, lane: Lane, since: Moment) {
        self.absences.set_awaiting(uid, action == Action::AwaitList);
        match action {
            Action::UpToDate => {
                self.delivery.remove(uid);
                self.ledger.clear_pending(uid);
            }
            Action::Forget => {
                self.delivery.remove(uid);
                self.ledger.forget(uid);
            }
            Action::Put(desired) => {
                self.ledger.mark_pending(uid, since);
                let attempt = self.ledger.attempt(uid, Known::Registered(desired));
                self.delivery.queue_put(uid, attempt, lane);
            }
            Action::Delete(_) => {
                self.ledger.mark_pending(uid, since);
                self.delivery.queue_deletion(uid, self.ledger.attempt(uid, Known::Absent));
            }
            Action::Wait(until) => self.delivery.delay(uid, until),
            Action::InFlight => self.ledger.changed_in_flight(uid, since),
            // The inventory will name it, if the registry holds it. A standby would gather these forever.
            Action::AwaitInventory if self.is_silent() && !self.view.contains(uid) => {
                self.delivery.remove(uid);
                self.ledger.forget(uid);
            }
            Action::AwaitInventory | Action::AwaitConfirmation | Action::AwaitList | Action::Parked => {
                self.delivery.remove(uid);
            }
        }
        self.ledger.clear_mark(uid);
    }

    /// Decides about pods whose backoff is over, and about deletions that were confirmed.
    pub(super) fn reconcile_due(&mut self, now: Moment) {
        for uid in self.delivery.take_due(now) {
            self.reconcile(&uid, Lane::Live, now);
        }
        // What is confirmed while another writer has the session waits for a new look.
        if !self.session.is_open() {
            return;
        }
        for (uid, removal) in self.absences.release(now) {
            // The confirmation is for an absence: if the pod is back, nothing is deleted.
            if self.decision(&uid, now) == Action::AwaitConfirmation {
                self.ledger.confirm(&uid, removal, now);
                self.reconcile(&uid, Lane::Delete, now);
            }
        }
    }

    /// Decides about every pod: those that a watch showed, those that the registry may hold, and those that wait for a
    /// list.
    ///
    /// Pending records without work are only marked and counted, as they may be as many as there are pods. They have their
    /// turn when their lane of the queue is empty.
    pub(super) fn reconcile_all(&mut self, now: Moment) {
        let mut survey = Survey::default();
        let outside = self.absences.awaiting_outside(&self.ledger);
        self.ledger.begin_backlog(now);
        // From the highest position down, so that none is passed over when others are forgotten.
        for position in (0..self.ledger.entry_count()).rev() {
            if let Some((uid, action)) = self.reconcile_at(position, now) {
                self.absences.note(&mut survey, uid, action, &self.ledger);
            }
        }
        for uid in outside {
            let action = self.reconcile(&uid, Lane::Backfill, now);
            self.absences.note(&mut survey, uid, action, &self.ledger);
        }
        self.ledger.restart_backlog();
        let may_ask = self.session.is_open() && self.availability.lets_through(now);
        let effect = self.absences.derive(survey, may_ask, &self.ledger, now);
        self.apply_absences(effect, now);
    }

    /// Decides about the pod at a position of the ledger. Returns none if nothing is to be done.
    pub(super) fn reconcile_at(&mut self, position: usize, now: Moment) -> Option<(Uid, Action)> {
        let (uid, entry) = self.ledger.entry_at(position)?;
        let pending = self.ledger.pending(uid);
        let action = self.decision_with(uid, Some(entry), pending, now);
        match action {
            Action::Put(_) if pending.is_none() => {
                self.absences.set_awaiting(uid, false);
                self.ledger.defer(position, now);
                return None;
            }
            // Nearly all pods are here: the queue has nothing without work.
            Action::UpToDate if pending.is_none() && !entry.is_deferred() && !self.absences.is_awaiting(uid) => {
                return None;
            }
            _ => {}
        }
        let uid = uid.clone();
        self.apply_decision(&uid, action, Lane::Backfill, now);
        Some((uid, action))
    }

    /// Takes pods from the backlog into the queue, as many as it is to hold, when their lane is empty.
    pub(super) fn reconcile_backlog(&mut self, walk: BacklogKind, now: Moment) {
        let lane = Lane::of(walk);
        if !self.delivery.is_empty(lane) {
            return;
        }
        while self.delivery.has_room(lane) {
            let Some(uid) = self.ledger.next_in_backlog(walk) else { break };
            self.reconcile(&uid, lane, now);
        }
    }
}
