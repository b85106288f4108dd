//! Intake: pod events change the ledger, and the records of their pods are reconciled.

use super::{Comparison, When, list_intake::ListIntake};
use crate::{
    controller::{absences::Absences, queue::Lane, records::keys::Keys},
    model::{moment::Moment, uid::Uid},
    reconcile::{deletion::Deletion, pod_event::PodEvent},
    registry::Registry,
};

impl<R: Registry> Comparison<R> {
    /// Whether a list is being taken in. The events after it have to wait.
    pub(in crate::controller) fn takes_list(&self) -> bool {
        self.list.is_some()
    }

    /// Handles a pod event. If a pod is back that `absences` is about, a full reconcile follows.
    pub(in crate::controller) fn observe(&mut self, event: PodEvent, absences: &Absences, when: When) {
        match event {
            PodEvent::Applied { uid, watch, at, .. } => {
                for key in self.show(&uid, watch, at, absences, when).iter() {
                    self.reconcile_since(key, Lane::Live, at, when);
                }
            }
            PodEvent::Deletion { uid, why, at } => self.observe_deletion(&uid, why, at, when),
            PodEvent::Page { watch, uids, at } => {
                self.lists.page_arrived();
                for uid in &uids {
                    // In a first list each record may need a write: these wait in the backlog, not in the queue.
                    for key in self.show(uid, watch, at, absences, when).iter() {
                        if let Some(position) = self.ledger.position_of(key) {
                            self.reconcile_at(position, when);
                        }
                    }
                }
            }
            PodEvent::ListFailed { watch } => {
                if self.lists.failed(watch) {
                    self.request_reconcile();
                }
            }
            // A full reconcile follows once it is taken in.
            PodEvent::Listed { watch, list } => self.list = Some(ListIntake::begin(watch, list, &self.records)),
        }
    }

    /// Continues with the list that is being taken in, as far as `left` pods go.
    pub(in crate::controller) fn continue_list(&mut self, left: &mut usize) {
        let Some(list) = &mut self.list else { return };
        if let Some((watch, list)) = list.go_on(left, &mut self.records, &mut self.ledger) {
            self.list = None;
            self.lists.listed(watch, list);
            self.request_reconcile();
        }
    }

    /// A watch showed the pod. Returns the keys of its records. If the store has lost the pod, its deletion is one of
    /// the next events.
    fn show(&mut self, pod: &Uid, watch: usize, at: Moment, absences: &Absences, when: When) -> Keys {
        let keys = if !self.records.is_identity() {
            self.project(pod, at, when)
        } else if self.records.contains(pod) {
            Keys::One(pod.clone())
        } else {
            Keys::default()
        };
        for key in keys.iter() {
            self.ledger.pod_seen(key, watch, at);
            self.full_reconcile.leave_out(key);
            if absences.are_about(key) {
                self.request_another_reconcile();
            }
        }
        keys
    }

    fn observe_deletion(&mut self, pod: &Uid, why: Deletion, at: Moment, when: When) {
        // Otherwise a list has shown a newer state of it.
        if self.records.view().contains(pod) {
            return;
        }
        self.unknown_pods.pod_deleted(pod);
        let left = self.records.remove(pod);
        if !left.is_empty() {
            return self.leave(left, why, at, when);
        }
        // It was not selected, or left the store before it was projected. The registry may hold its record.
        let may_be_held = self.records.is_identity() || self.is_silent(when) || self.ledger.entry(pod).is_some();
        if may_be_held && self.records.keys_are_uids() {
            self.record_deleted(pod, why, at, when);
        }
    }

    /// No pod has this record any more, as a watch reported.
    pub(super) fn record_deleted(&mut self, key: &Uid, why: Deletion, at: Moment, when: When) {
        self.registry.not_desired(key);
        if self.is_silent(when) {
            self.ledger.remember_deletion(key, why, self.deletions_kept());
            self.queue.remove(key);
            self.awaiting_list.remove(key);
            return;
        }
        self.ledger.deleted(key, why, at);
        self.reconcile_since(key, Lane::Delete, at, when);
    }
}
