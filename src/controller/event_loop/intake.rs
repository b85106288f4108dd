//! Intake: pod events change the ledger, and their pods are reconciled.

use tokio::sync::mpsc;

use super::EventLoop;
use crate::{
    controller::queue::Lane,
    model::{moment::Moment, uid::Uid},
    reconcile::{
        deletion::Deletion,
        pod_event::{PodEvent, WatchList},
    },
    registry::Registry,
};

/// The number of pod events to handle before requests are sent: enough to fill a batch.
const EVENTS_AT_ONCE: usize = 1_000;

impl<R: Registry> EventLoop<R> {
    /// Handles a pod event and the events that wait behind it.
    pub(super) fn observe(&mut self, first: PodEvent, more: &mut mpsc::Receiver<PodEvent>) {
        let now = self.clock.now();
        self.received_at = Some(now);
        self.records.begin_turn();
        self.observe_one(first, now);
        for _ in 1..EVENTS_AT_ONCE {
            if self.records.is_turn_over() {
                break;
            }
            let Ok(event) = more.try_recv() else { break };
            self.observe_one(event, now);
        }
    }

    fn observe_one(&mut self, event: PodEvent, now: Moment) {
        if !self.records.is_identity() {
            return self.observe_projected(event, now);
        }
        match event {
            PodEvent::Applied { uid, watch, at, .. } => {
                // Otherwise it is gone again, and its deletion is one of the next events.
                if self.records.contains(&uid) {
                    self.ledger.pod_seen(&uid, watch, at);
                    self.absences.pod_seen(&uid);
                }
                self.reconcile_since(&uid, Lane::Live, at, now);
            }
            PodEvent::Deletion { uid, why, at } => self.observe_deletion(&uid, why, at, now),
            PodEvent::Page { watch, uids, at } => self.observe_page(watch, &uids, at, now),
            PodEvent::ListFailed { watch } => self.absences.list_failed(watch),
            PodEvent::Listed { watch, list } => self.observe_list(watch, list),
        }
    }

    fn observe_page(&mut self, watch: usize, uids: &[Uid], at: Moment, now: Moment) {
        self.absences.lists.page_arrived();
        for uid in uids {
            if self.records.contains(uid) {
                self.ledger.pod_seen(uid, watch, at);
                self.absences.pod_seen(uid);
                // In a first list each pod may need a write: these wait in the backlog, not in the queue.
                if let Some(position) = self.ledger.position_of(uid) {
                    self.reconcile_at(position, now);
                }
            }
        }
    }

    fn observe_deletion(&mut self, uid: &Uid, why: Deletion, at: Moment, now: Moment) {
        if self.records.contains(uid) {
            _ = self.reconcile_since(uid, Lane::Delete, at, now);
        } else {
            self.record_deleted(uid, why, at, now);
        }
    }

    /// No pod has this record any more, as a watch reported.
    pub(super) fn record_deleted(&mut self, key: &Uid, why: Deletion, at: Moment, now: Moment) {
        if self.is_silent() {
            self.ledger.remember_deletion(key, why, self.deletions_kept());
            self.delivery.queue.remove(key);
            self.absences.set_awaiting(key, false);
            return;
        }
        self.ledger.deleted(key, why, at);
        self.reconcile_since(key, Lane::Delete, at, now);
    }

    /// Requests a full reconcile, which follows once per turn: the lists of many watches may come together.
    fn observe_list(&mut self, watch: usize, list: WatchList) {
        self.records.view().each_of_watch(watch, |uid| self.ledger.pod_seen(uid, watch, list.begun));
        self.absences.listed(watch, list);
    }

    /// Whether nothing is sent to the registry, and nothing is known of it.
    pub(super) fn is_silent(&self) -> bool {
        !self.session.is_open() && !self.ledger.is_seeded()
    }
}
