//! Pods of a registry that sees them otherwise than the store does.
//!
//! A pod is projected when an event names it, when it is sent, and after the registry was prepared for a term. What
//! that changes is noted in `records`, and the records that the pod has and had are decided about.
//!
//! | the pod | its record |
//! | --- | --- |
//! | has another fingerprint | is sent |
//! | has another key, or is not selected any more | is deleted, as after a deletion event, unless another pod has it |
//! | was never selected by this process | is absent if the registry holds it: the settings changed, or else it did |
//! | cannot be read, or its record cannot be made | stays as it is |
//!
//! A pod with several records has each of them by this table. Those that refer to what the registry assigns to another
//! record are projected again when the registry has answered.

use super::{Comparison, NotMade, When, full_reconcile::Survey};
use crate::{
    controller::{
        queue::Lane,
        records::{Left, StalePod, keys::Keys},
    },
    model::{label::RecordLabel, moment::Moment, pod::Pod, uid::Uid},
    reconcile::{deletion::Deletion, ledger::entry::LedgerEntry},
    registry::Registry,
};

impl<R: Registry> Comparison<R> {
    /// Projects a pod as the store has it, and decides about the records that it had. Returns the keys of its records.
    /// If the store has lost the pod, its deletion is one of the next events.
    pub(super) fn project(&mut self, pod: &Uid, at: Moment, when: When) -> Keys {
        let stored = self.records.view().get(pod);
        stored.map(|stored| self.project_stored(&stored, at, when)).unwrap_or_default()
    }

    fn project_stored(&mut self, stored: &Pod, at: Moment, when: When) -> Keys {
        let projection = self.registry.project(stored);
        for (key, cause) in projection.failures() {
            let label = RecordLabel {
                uid: Some(stored.uid.clone()),
                pod: Some(stored.full_name()),
                ..RecordLabel::of_key(key.unwrap_or(&stored.uid).clone())
            };
            self.not_made.push(NotMade { label, cause: cause.to_owned() });
        }
        let projected = self.records.project(stored, projection);
        // As with a selector of the watch, the pod may exist.
        self.leave(projected.left, Deletion::DeletedOrLeftSelection, at, when);
        projected.keys
    }

    pub(super) fn leave(&mut self, left: Vec<Left>, why: Deletion, at: Moment, when: When) {
        // Children stand behind their parents, and are deleted first.
        for left in left.into_iter().rev() {
            match left {
                Left::Free(key) => self.record_deleted(&key, why, at, when),
                Left::Passed { key, to } => {
                    let watch = self.ledger.entry(&key).and_then(LedgerEntry::watch);
                    self.records.project_soon(StalePod { uid: to, watch, goes_on: false });
                }
            }
        }
    }

    /// Projects the pod of a record again before it is sent. Returns the pod if it has the record.
    pub(in crate::controller) fn project_again(&mut self, key: &Uid, when: When) -> Option<Pod> {
        if self.records.is_identity() {
            return None;
        }
        let pod = self.records.view().get(self.records.owner_of(key)?)?;
        let watch = self.ledger.entry(key).and_then(LedgerEntry::watch);
        let projected = self.project_stored(&pod, when.now, when);
        if projected.contains(key) {
            return (self.records.owner_of(key) == Some(&pod.uid)).then_some(pod);
        }
        projected.iter().for_each(|key| self.decide_about(key, watch, when));
        None
    }

    /// Projects all pods again.
    pub(in crate::controller) fn project_all(&mut self) {
        self.records.project_all();
    }

    /// Projects pods that the registry may see otherwise than before.
    pub(in crate::controller) fn project_stale(&mut self, when: When) {
        self.records.begin_turn();
        while let Some(StalePod { uid, watch, goes_on }) = self.records.next_stale() {
            for key in self.project(&uid, when.now, when).iter() {
                self.decide_about(key, watch, when);
                if goes_on {
                    // The rest of a pod that was begun goes before the backlog.
                    self.reconcile(key, Lane::Live, when);
                }
            }
        }
        if self.records.take_resolved() {
            self.request_reconcile();
        }
    }

    /// Projects the pods again whose records refer to what the registry has just answered about.
    pub(in crate::controller) fn project_moved(&mut self) {
        if self.registry.take_prepared_change() {
            self.records.project_all();
        }
        for key in self.registry.take_moved() {
            let watch = self.ledger.entry(&key).and_then(LedgerEntry::watch);
            for uid in self.records.pods_of(&key) {
                self.records.project_soon(StalePod { uid, watch, goes_on: true });
            }
        }
    }

    /// Decides about the record of a pod that `watch` has shown before.
    fn decide_about(&mut self, key: &Uid, watch: Option<usize>, when: When) {
        let is_placed = self.ledger.entry(key).is_some_and(|entry| entry.watch().is_some());
        if let Some(watch) = watch.filter(|_| !is_placed) {
            self.ledger.pod_seen(key, watch, when.now);
        }
        if let Some(position) = self.ledger.position_of(key) {
            self.reconcile_at(position, when);
        }
    }

    /// Notes which of the absent pods exist, and are not selected any more.
    pub(in crate::controller) fn note_out_of_scope(&self, survey: &mut Survey, settings_changed: bool) {
        survey.out_of_scope = self.records.out_of_scope(&survey.absent, settings_changed);
    }
}
