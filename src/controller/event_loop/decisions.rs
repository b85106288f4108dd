//! Decisions: [`decide`] says what to do about a pod, and the ledger and the queue follow.
//!
//! This is the only caller of [`decide`] that sends, so that every deletion and every write is decided here; the
//! command `explain` calls it to print the next step. A deletion is sent only if all of this holds:
//!
//! | condition | checked by | observed | inferred |
//! | --- | --- | --- | --- |
//! | a watch reported the deletion, and no pod in the store has the record | `intake`, `projected`, [`wanted`] | yes | |
//! | a complete list lacks the pod and began after it was last seen: the list of its watch, or the lists of all watches if none has shown it | `controller::lists`, [`wanted`] | | yes |
//! | the record belongs to no pod whose key is unknown, if no watch has shown its pod | `controller::records` | | yes |
//! | the inventory was read in this term | [`decide`] | | yes |
//! | the absence guard confirmed the absence, or an operator approved the deletion | [`reconcile::absence`] | | yes |
//! | no other writer may be alive, or an operator approved the deletion | [`reconcile::absence`], `apply` | | yes |
//! | the session is open, the circuit breaker lets a write through, fewer than 100 deletions are in the queue, and the limit of 100 per second allows it; few absences do not need that limit | [`EventLoop::reconcile_due`], [`reconcile::absence`] | | yes |
//! | no absent record of a deeper kind is left to be deleted, but for those that failed | `order` | | yes |
//! | the registry is not known to lack the record | [`decide`] | yes | yes |
//! | no request about the pod is in flight, and its backoff is over | [`decide`] | yes | yes |
//! | this process leads, and the limits of writes let it through | `deliver`, the table in `controller::delivery` | yes | yes |
//! | the decision is the same when the batch is filled | `deliver` | yes | yes |
//!
//! [`reconcile::absence`]: crate::reconcile::absence

use super::EventLoop;
use crate::{
    controller::{absences::survey::Survey, queue::Lane},
    model::{moment::Moment, uid::Uid},
    reconcile::{
        absence::{RELEASED_PER_SECOND, ReleasedDeletion},
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

    /// The same for a pod with this ledger entry.
    fn decision_with(&self, uid: &Uid, entry: Option<&LedgerEntry>, pending: Option<&Pending>, now: Moment) -> Action {
        let watch = entry.and_then(LedgerEntry::watch);
        let shown = self.records.shown_to_decide(uid, entry, pending);
        let list_begun = if shown.is_none() { self.absences.lists.begun(watch) } else { None };
        let wanted = wanted(shown, entry, pending, list_begun);
        decide(wanted, self.ledger.known_by(uid, entry), pending, now)
    }

    /// Decides about a pod and applies the decision.
    pub(super) fn reconcile(&mut self, uid: &Uid, lane: Lane, now: Moment) -> Action {
        self.reconcile_since(uid, lane, now, now)
    }

    /// The same after a change that was seen at `since`.
    pub(super) fn reconcile_since(&mut self, uid: &Uid, lane: Lane, since: Moment, now: Moment) -> Action {
        let action = self.decision(uid, now);
        self.apply_decision(uid, action, lane, since);
        action
    }

    /// Reconciles a pod whose operation is over.
    pub(super) fn reconcile_settled(&mut self, uid: &Uid, now: Moment) {
        if self.reconcile(uid, Lane::Live, now) == Action::AwaitConfirmation {
            // A list showed the pod to be absent during the operation. The guard does not know of it, and the next list
            // may be hours away.
            self.absences.request_another_reconcile();
        }
    }

    /// Applies a decision. A pod that becomes pending counts as pending since `since`.
    fn apply_decision(&mut self, uid: &Uid, action: Action, lane: Lane, since: Moment) {
        self.absences.set_awaiting(uid, action == Action::AwaitList);
        match action {
            Action::UpToDate => {
                self.delivery.queue.remove(uid);
                self.ledger.clear_pending(uid);
            }
            Action::Forget => {
                self.delivery.queue.remove(uid);
                self.ledger.forget(uid);
                self.records.families.forget(uid);
            }
            Action::Put(desired) => {
                self.ledger.mark_pending(uid, since);
                let attempt = self.ledger.attempt(uid, Known::Registered(desired));
                self.delivery.queue.push(uid, Lane::of_record(attempt, lane));
            }
            Action::Delete(_) => {
                self.ledger.mark_pending(uid, since);
                self.delivery.queue.push(uid, Lane::of_deletion(self.ledger.attempt(uid, Known::Absent)));
            }
            Action::Wait(until) => self.delivery.queue.delay(uid, until),
            Action::InFlight => self.ledger.changed_in_flight(uid, since),
            // The inventory will list it if the registry holds it. A standby would collect these forever.
            Action::AwaitInventory if self.is_silent() && !self.records.contains(uid) => {
                self.delivery.queue.remove(uid);
                self.ledger.forget(uid);
            }
            Action::AwaitInventory | Action::AwaitConfirmation | Action::AwaitList | Action::Parked => {
                self.delivery.queue.remove(uid);
            }
        }
        self.ledger.leave_backlog(uid);
    }

    /// Reconciles the pods whose backoff is over, and those whose absence is confirmed.
    pub(super) fn reconcile_due(&mut self, now: Moment) {
        for uid in self.delivery.queue.due(now) {
            self.reconcile(&uid, Lane::Live, now);
        }
        if !self.may_release(now) {
            return;
        }
        for ReleasedDeletion { uid, removal, approved } in self.release(now) {
            // Otherwise the pod is back.
            if self.decision(&uid, now) == Action::AwaitConfirmation {
                self.ledger.confirm(&uid, removal, approved, now);
                self.reconcile(&uid, Lane::Delete, now);
            }
        }
    }

    /// Whether confirmed deletions may enter the queue. While another writer has the session, none may. The queue sends
    /// at full rate, so those that gather in it during an outage would leave together afterwards.
    fn may_release(&self, now: Moment) -> bool {
        self.session.is_open()
            && self.availability.lets_through(now)
            && self.delivery.queue.ready(Lane::Delete) < RELEASED_PER_SECOND as usize
    }

    /// A full reconcile: decides about each pod that a watch showed, that the registry may hold, or that waits for a
    /// list, as far as `left` ledger entries go. The next turns continue.
    ///
    /// Records that become pending are only marked as backlog, as they may be as many as there are pods. They enter the
    /// queue when their lane is empty.
    pub(super) fn reconcile_all(&mut self, left: &mut usize, now: Moment) {
        if self.absences.take_reconcile() {
            self.ledger.begin_backlog(now);
            self.absences.begin_reconcile(self.ledger.entry_count(), now);
        }
        while let Some(positions) = self.absences.next_portion(left) {
            // From the highest position down: the last pod takes the position of a forgotten one, and is done already.
            for position in positions.rev() {
                if let Some((uid, action)) = self.reconcile_at(position, now) {
                    self.absences.note(uid, action, &self.ledger);
                }
            }
        }
        if let Some(survey) = self.absences.take_survey() {
            self.reconciled_all(survey, now);
        }
    }

    /// A full reconcile is complete, but for the pods without a ledger entry.
    fn reconciled_all(&mut self, mut survey: Survey, now: Moment) {
        for uid in self.absences.awaiting_outside(&self.ledger) {
            let action = self.reconcile(&uid, Lane::Backfill, now);
            survey.note(uid, action, &self.absences.lists, &self.ledger);
        }
        self.ledger.restart_backlog();
        self.note_out_of_scope(&mut survey);
        let may_ask = self.session.is_open() && self.availability.lets_through(now);
        let effect = self.absences.derive(survey, may_ask, &self.ledger, now);
        self.apply_absences(effect, now);
    }

    /// Decides about the pod at a position of the ledger. Returns none if the pod is up to date or joins the backlog.
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
            // Nearly all pods are here, and none of them is in the queue.
            Action::UpToDate if pending.is_none() && !entry.is_deferred() && !self.absences.is_awaiting(uid) => {
                return None;
            }
            _ => {}
        }
        let uid = uid.clone();
        self.apply_decision(&uid, action, Lane::Backfill, now);
        Some((uid, action))
    }

    /// Fills a lane of the queue from the backlog when it is empty.
    pub(super) fn reconcile_backlog(&mut self, kind: BacklogKind, now: Moment) {
        let lane = Lane::of(kind);
        if self.delivery.queue.ready(lane) > 0 {
            return;
        }
        while self.delivery.has_room(lane) {
            let Some(uid) = self.ledger.next_in_backlog(kind) else { break };
            self.reconcile(&uid, lane, now);
        }
    }
}
