//! Decisions: [`decide`] says what to do about a record, and the ledger and the queue follow.
//!
//! This is the only caller of [`decide`] that sends, so that every deletion and every write is decided here; the
//! command `explain` calls it to print the next step. A deletion is sent only if all of this holds:
//!
//! | condition | checked by | observed | inferred |
//! | --- | --- | --- | --- |
//! | a watch reported the deletion, and no pod in the store has the record | `intake`, `projection`, [`wanted`] | yes | |
//! | a complete list lacks the pod and began after it was last seen: the list of its watch, or the lists of all watches if none has shown it | `controller::lists`, [`wanted`] | | yes |
//! | the record belongs to no pod whose key is unknown, if no watch has shown its pod | `controller::records` | | yes |
//! | the inventory was read in this term | [`decide`] | | yes |
//! | the absence guard confirmed the absence, or an operator approved the deletion | [`reconcile::absence`] | | yes |
//! | no other writer may be alive, or an operator approved the deletion | [`reconcile::absence`], `event_loop::apply` | | yes |
//! | the session is open, the circuit breaker lets a write through, fewer than 100 deletions are in the queue, and the limit of 100 per second allows it; few absences do not need that limit | `event_loop::turn`, [`reconcile::absence`] | | yes |
//! | no absent record of a deeper kind is left to be deleted, but for those that failed | `relatives` | | yes |
//! | the registry is not known to lack the record | [`decide`] | yes | yes |
//! | no request about the pod is in flight, and its backoff is over | [`decide`] | yes | yes |
//! | this process leads, and the limits of writes let it through | `event_loop::deliver`, the table in `controller::delivery` | yes | yes |
//! | the decision is the same when the batch is filled | `event_loop::deliver` | yes | yes |
//!
//! [`reconcile::absence`]: crate::reconcile::absence

use super::{Comparison, When};
use crate::{
    controller::queue::Lane,
    model::{moment::Moment, uid::Uid},
    reconcile::{
        absence::ReleasedDeletion,
        decide::{Action, decide, wanted},
        ledger::{
            backlog::BacklogKind,
            entry::{Known, LedgerEntry},
            pending::{AttemptKind, Pending},
        },
    },
    registry::Registry,
};

impl<R: Registry> Comparison<R> {
    /// What to do about a record, from the store as it is now.
    pub(in crate::controller) fn decision(&self, uid: &Uid, now: Moment) -> Action {
        self.decision_with(uid, self.ledger.entry(uid), self.ledger.pending(uid), now)
    }

    /// The same for a record with this ledger entry.
    fn decision_with(&self, uid: &Uid, entry: Option<&LedgerEntry>, pending: Option<&Pending>, now: Moment) -> Action {
        let watch = entry.and_then(LedgerEntry::watch);
        let shown = self.records.shown_to_decide(uid, entry, pending);
        let list_begun = if shown.is_none() { self.lists.begun(watch) } else { None };
        let wanted = wanted(shown, entry, pending, list_begun);
        decide(wanted, self.ledger.known_by(uid, entry), pending, now)
    }

    /// The kind of attempt that a decision needs. It may have become a retry while it was queued as a first attempt.
    pub(in crate::controller) fn attempt(&self, uid: &Uid, action: Action) -> AttemptKind {
        match action {
            Action::Put(desired) => self.ledger.attempt(uid, Known::Registered(desired)),
            Action::Delete(_) => self.ledger.attempt(uid, Known::Absent),
            _ => AttemptKind::First,
        }
    }

    /// Decides about a record and applies the decision.
    pub(in crate::controller) fn reconcile(&mut self, uid: &Uid, lane: Lane, when: When) -> Action {
        self.reconcile_since(uid, lane, when.now, when)
    }

    /// The same after a change that was seen at `since`.
    pub(super) fn reconcile_since(&mut self, uid: &Uid, lane: Lane, since: Moment, when: When) -> Action {
        let action = self.decision(uid, when.now);
        self.apply_decision(uid, action, lane, since, when);
        action
    }

    /// The operation on a record is over: decides about it, and about those that wait for it.
    pub(in crate::controller) fn settled(&mut self, uid: &Uid, when: When) {
        // Before its links are forgotten.
        self.wake_relatives(uid, when);
        if self.reconcile(uid, Lane::Live, when) == Action::AwaitConfirmation {
            // A list showed the pod to be absent during the operation. The guard does not know of it, and the next list
            // may be hours away.
            self.request_another_reconcile();
        }
    }

    /// Applies a decision. A record that becomes pending counts as pending since `since`.
    fn apply_decision(&mut self, uid: &Uid, action: Action, lane: Lane, since: Moment, when: When) {
        self.set_awaiting(uid, action == Action::AwaitList);
        match action {
            Action::UpToDate => {
                self.queue.remove(uid);
                self.ledger.clear_pending(uid);
            }
            Action::Forget => {
                self.queue.remove(uid);
                self.ledger.forget(uid);
                self.records.families.forget(uid);
            }
            Action::Put(desired) => {
                self.ledger.mark_pending(uid, since);
                let attempt = self.ledger.attempt(uid, Known::Registered(desired));
                self.queue.push(uid, Lane::of_record(attempt, lane));
            }
            Action::Delete(_) => {
                self.ledger.mark_pending(uid, since);
                self.queue.push(uid, Lane::of_deletion(self.ledger.attempt(uid, Known::Absent)));
            }
            Action::Wait(until) => self.queue.delay(uid, until),
            Action::InFlight => self.ledger.changed_in_flight(uid, since),
            // The inventory will list it if the registry holds it. A standby would collect these forever.
            Action::AwaitInventory if self.is_silent(when) && !self.records.contains(uid) => {
                self.queue.remove(uid);
                self.ledger.forget(uid);
            }
            Action::AwaitInventory | Action::AwaitConfirmation | Action::AwaitList | Action::Parked => {
                self.queue.remove(uid);
            }
        }
        self.ledger.leave_backlog(uid);
    }

    /// Notes whether this record waits for a list.
    pub(super) fn set_awaiting(&mut self, uid: &Uid, awaits_list: bool) {
        if awaits_list {
            self.awaiting_list.insert(uid, ());
        } else {
            self.awaiting_list.remove(uid);
        }
    }

    /// Reconciles the records whose backoff is over.
    pub(in crate::controller) fn reconcile_due(&mut self, when: When) {
        for uid in self.queue.due(when.now) {
            self.reconcile(&uid, Lane::Live, when);
        }
    }

    /// The absence guard lets a deletion go.
    pub(in crate::controller) fn release(&mut self, released: ReleasedDeletion, when: When) {
        let ReleasedDeletion { uid, removal, approved } = released;
        // Otherwise the pod is back.
        if self.decision(&uid, when.now) == Action::AwaitConfirmation {
            self.ledger.confirm(&uid, removal, approved, when.now);
            self.reconcile(&uid, Lane::Delete, when);
        }
    }

    /// Decides about the record at a position of the ledger. Returns none if it is up to date or joins the backlog.
    pub(super) fn reconcile_at(&mut self, position: usize, when: When) -> Option<(Uid, Action)> {
        let (uid, entry) = self.ledger.entry_at(position)?;
        let pending = self.ledger.pending(uid);
        let action = self.decision_with(uid, Some(entry), pending, when.now);
        match action {
            Action::Put(_) if pending.is_none() => {
                self.awaiting_list.remove(uid);
                self.ledger.defer(position, when.now);
                return None;
            }
            // Nearly all records are here, and none of them is in the queue.
            Action::UpToDate if pending.is_none() && !entry.is_deferred() && !self.awaiting_list.contains(uid) => {
                return None;
            }
            _ => {}
        }
        let uid = uid.clone();
        self.apply_decision(&uid, action, Lane::Backfill, when.now, when);
        Some((uid, action))
    }

    /// Fills a lane of the queue with up to `most` keys from the backlog when it is empty.
    pub(in crate::controller) fn reconcile_backlog(&mut self, kind: BacklogKind, most: usize, when: When) {
        let lane = Lane::of(kind);
        if self.queue.ready(lane) > 0 {
            return;
        }
        while self.queue.ready(lane) < most {
            let Some(uid) = self.ledger.next_in_backlog(kind) else { break };
            self.reconcile(&uid, lane, when);
        }
    }
}
