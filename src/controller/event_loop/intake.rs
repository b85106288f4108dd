//! Intake: pod events change the ledger, and their pods are reconciled.

use tokio::sync::mpsc;

use super::EventLoop;
use crate::{
    controller::{queue::Lane, records::keys::Keys},
    model::{moment::Moment, uid::Uid},
    reconcile::{deletion::Deletion, pod_event::PodEvent},
    registry::Registry,
};

/// After events about this number of pods, requests are sent: enough to fill a batch.
const PODS_AT_ONCE: usize = 1_000;

impl<R: Registry> EventLoop<R> {
    /// Handles a pod event and the events that wait behind it.
    pub(super) fn observe(&mut self, first: PodEvent, more: &mut mpsc::Receiver<PodEvent>) {
        let now = self.clock.now();
        self.received_at = Some(now);
        self.records.begin_turn();
        let mut pods = pods_of(&first);
        self.observe_one(first, now);
        while pods < PODS_AT_ONCE && !self.records.is_turn_over() && self.list.is_none() {
            let Ok(event) = more.try_recv() else { break };
            pods += pods_of(&event);
            self.observe_one(event, now);
        }
    }

    fn observe_one(&mut self, event: PodEvent, now: Moment) {
        match event {
            PodEvent::Applied { uid, watch, at, .. } => {
                for key in self.show(&uid, watch, at, now).iter() {
                    self.reconcile_since(key, Lane::Live, at, now);
                }
            }
            PodEvent::Deletion { uid, why, at } => self.observe_deletion(&uid, why, at, now),
            PodEvent::Page { watch, uids, at } => {
                self.absences.lists.page_arrived();
                for uid in &uids {
                    // In a first list each record may need a write: these wait in the backlog, not in the queue.
                    for key in self.show(uid, watch, at, now).iter() {
                        if let Some(position) = self.ledger.position_of(key) {
                            self.reconcile_at(position, now);
                        }
                    }
                }
            }
            PodEvent::ListFailed { watch } => self.absences.list_failed(watch),
            PodEvent::Listed { watch, list } => self.begin_list(watch, list),
        }
    }

    /// A watch showed the pod. Returns the keys of its records. If the store has lost the pod, its deletion is one of
    /// the next events.
    fn show(&mut self, pod: &Uid, watch: usize, at: Moment, now: Moment) -> Keys {
        let keys = if !self.records.is_identity() {
            self.project(pod, at, now)
        } else if self.records.contains(pod) {
            Keys::One(pod.clone())
        } else {
            Keys::default()
        };
        for key in keys.iter() {
            self.ledger.pod_seen(key, watch, at);
            self.absences.pod_seen(key);
        }
        keys
    }

    fn observe_deletion(&mut self, pod: &Uid, why: Deletion, at: Moment, now: Moment) {
        // Otherwise a list has shown a newer state of it.
        if self.records.view().contains(pod) {
            return;
        }
        self.unknown_pods.pod_deleted(pod);
        let left = self.records.remove(pod);
        if !left.is_empty() {
            return self.leave(left, why, at, now);
        }
        // It was not selected, or left the store before it was projected. The registry may hold its record.
        let may_be_held = self.records.is_identity() || self.is_silent() || self.ledger.entry(pod).is_some();
        if may_be_held && self.records.keys_are_uids() {
            self.record_deleted(pod, why, at, now);
        }
    }

    /// No pod has this record any more, as a watch reported.
    pub(super) fn record_deleted(&mut self, key: &Uid, why: Deletion, at: Moment, now: Moment) {
        self.requests.registry().not_desired(key);
        if self.is_silent() {
            self.ledger.remember_deletion(key, why, self.deletions_kept());
            self.delivery.queue.remove(key);
            self.absences.set_awaiting(key, false);
            return;
        }
        self.ledger.deleted(key, why, at);
        self.reconcile_since(key, Lane::Delete, at, now);
    }

    /// Whether nothing is sent to the registry, and nothing is known of it.
    pub(super) fn is_silent(&self) -> bool {
        !self.session.is_open() && !self.ledger.is_seeded()
    }
}

/// The number of pods that an event is about.
fn pods_of(event: &PodEvent) -> usize {
    if let PodEvent::Page { uids, .. } = event { uids.len().max(1) } else { 1 }
}
