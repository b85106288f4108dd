//! Delivering: filling batches and sending them.
//!
//! [`Delivery`] says which pod is next and how much may be sent. Each pod is decided about again here, so that its
//! newest state is sent.
//!
//! [`Delivery`]: crate::controller::delivery::Delivery

use super::EventLoop;
use crate::{
    controller::{
        delivery::{Batch, NextKey},
        queue::Lane,
    },
    model::{label::RecordLabel, moment::Moment, uid::Uid},
    reconcile::{
        decide::Action,
        deletion::Removal,
        ledger::{backlog::BacklogKind, entry::Known, pending::InFlight},
        outcome::OperationKind,
    },
    registry::{Capabilities, Encoded, RecordChange, Registry, RenderFailure},
};

/// Records that wait for others and are passed over while one batch is filled, at most.
const WAITING_PER_BATCH: usize = 500;

impl<R: Registry> EventLoop<R> {
    /// Sends batches as far as the limits allow.
    pub(super) fn deliver(&mut self, now: Moment) {
        let Some(epoch) = self.session.epoch() else { return };
        let Some(registry) = self.availability.capabilities().cloned() else { return };
        let gathers = self.has_more_to_do();
        while self.leads() {
            let slots = self.availability.write_slots(self.delivery.most_in_flight(), now);
            if self.requests.writes_in_flight() >= slots {
                return;
            }
            // Rendering many records takes long. The next turn continues.
            if self.comparison.is_turn_over() && self.requests.writes_in_flight() > 0 {
                return;
            }
            let mut batch = self.delivery.begin_batch(&registry, gathers, self.comparison.outbox(), now);
            self.fill(&mut batch, &registry, now);
            self.note_not_made(now);
            let Some(request) = self.delivery.finish(batch, epoch, self.comparison.outbox(), now) else { return };
            self.requests.write(request);
        }
    }

    fn fill(&mut self, batch: &mut Batch<R::Operation>, registry: &Capabilities, now: Moment) {
        let mut waiting = 0;
        while !batch.is_full() && waiting < WAITING_PER_BATCH {
            let (when, window) = (self.when(now), self.delivery.backlog_window());
            if self.delivery.lets_backfill_through(batch) {
                self.comparison.reconcile_backlog(BacklogKind::Backfill, window, when);
            }
            if self.delivery.lets_rewrites_through(batch, now) {
                self.comparison.reconcile_backlog(BacklogKind::Rewrite, window, when);
            }
            match self.delivery.next_key(batch, self.comparison.outbox(), now) {
                NextKey::Nothing => return,
                NextKey::Aside => {}
                NextKey::Take(uid, _) if self.comparison.waits_for_relative(&uid, when) => waiting += 1,
                NextKey::Take(uid, lane) => {
                    if let Some(operation) = self.operation(&uid, lane, registry, now) {
                        self.delivery.add(batch, operation, lane, self.comparison.outbox(), now);
                    }
                }
            }
        }
    }

    /// The operation to send for a pod, if it is still needed and can be made now.
    ///
    /// A `None` without a decision loses nothing, because the change stays pending and something else decides again:
    /// - The store has lost the pod or its content since the decision. The watch that changed the store reports it with
    ///   one of the next events. If the pod were queued again, the loop that fills the batch would take it again before
    ///   that event.
    /// - There is a version while the session is open, and nothing in here closes it. A new session reads the
    ///   inventory, and a full reconcile follows.
    /// - A record that cannot be made is parked.
    fn operation(
        &mut self,
        uid: &Uid,
        lane: Lane,
        registry: &Capabilities,
        now: Moment,
    ) -> Option<Encoded<R::Operation>> {
        let when = self.when(now);
        let projected = self.comparison.project_again(uid, when);
        let action = self.comparison.decision(uid, now);
        let attempt = self.comparison.attempt(uid, action);
        match action {
            Action::Put(desired) if self.delivery.allows(attempt, now) => {
                let pod = projected.or_else(|| self.comparison.pod_of(uid))?;
                if lane == Lane::Live && self.receipts.wants_new() && self.comparison.is_new(uid) {
                    self.receipts.sent_new(uid);
                }
                let content = pod.content.as_ref()?;
                let version = self.session.next_version()?;
                let encoded = self.requests.registry().encode(uid, version, RecordChange::Put(&pod, content));
                let in_flight = InFlight { kind: OperationKind::Put, result: Known::Registered(desired), version };
                let operation = self.made(uid, encoded, in_flight, now)?;
                self.delivery
                    .check_size(operation, registry, self.comparison.ledger_mut(), now)
                    .map_err(|effects| self.apply_delivery(effects, now))
                    .ok()
            }
            Action::Delete(removal) if self.delivery.allows(attempt, now) => {
                if removal == Removal::Inferred {
                    let RecordLabel { key: _, kind, id, uid, pod } = self.comparison.label(uid.clone());
                    let uid = uid.map(|uid| uid.to_string());
                    tracing::debug!(uid, kind, id, pod, "deleting the record of an absent pod");
                }
                let version = self.session.next_version()?;
                let encoded = self.requests.registry().encode(uid, version, RecordChange::Delete(removal));
                let in_flight = InFlight { kind: OperationKind::Delete, result: Known::Absent, version };
                self.made(uid, encoded, in_flight, now)
            }
            _ => {
                self.comparison.reconcile(uid, lane, when);
                None
            }
        }
    }

    /// The operation, if it could be made. Otherwise its record is parked.
    fn made(
        &mut self,
        uid: &Uid,
        encoded: Result<Encoded<R::Operation>, RenderFailure>,
        in_flight: InFlight,
        now: Moment,
    ) -> Option<Encoded<R::Operation>> {
        let parked = |failure| self.delivery.not_made(uid, in_flight, failure, self.comparison.ledger_mut(), now);
        encoded.map_err(parked).map_err(|effects| self.apply_delivery(effects, now)).ok()
    }
}
