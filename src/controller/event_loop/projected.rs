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

use super::EventLoop;
use crate::{
    controller::{
        absences::{Absences, survey::Survey},
        queue::Lane,
        records::{Left, ListedRecords, StalePod, keys::Keys},
        report::RecordFault,
    },
    model::{label::RecordLabel, moment::Moment, pod::Pod, uid::Uid},
    reconcile::{deletion::Deletion, ledger::entry::LedgerEntry},
    registry::Registry,
};

impl<R: Registry> EventLoop<R> {
    /// Projects a pod as the store has it, and decides about the records that it had. Returns the keys of its records.
    /// If the store has lost the pod, its deletion is one of the next events.
    pub(super) fn project(&mut self, pod: &Uid, at: Moment, now: Moment) -> Keys {
        let stored = self.records.view().get(pod);
        stored.map(|stored| self.project_stored(&stored, at, now)).unwrap_or_default()
    }

    fn project_stored(&mut self, stored: &Pod, at: Moment, now: Moment) -> Keys {
        let projection = self.requests.registry().project(stored);
        for (key, cause) in projection.failures() {
            let label = RecordLabel {
                uid: Some(stored.uid.clone()),
                pod: Some(stored.full_name()),
                ..RecordLabel::of_key(key.unwrap_or(&stored.uid).clone())
            };
            self.reporter.note(&label, RecordFault::NotMade, cause, now);
        }
        let projected = self.records.project(stored, projection);
        // As with a selector of the watch, the pod may exist.
        self.leave(projected.left, Deletion::DeletedOrLeftSelection, at, now);
        projected.keys
    }

    pub(super) fn leave(&mut self, left: Vec<Left>, why: Deletion, at: Moment, now: Moment) {
        // Children stand behind their parents, and are deleted first.
        for left in left.into_iter().rev() {
            match left {
                Left::Free(key) => self.record_deleted(&key, why, at, now),
                Left::Passed { key, to } => {
                    let watch = self.ledger.entry(&key).and_then(LedgerEntry::watch);
                    self.records.project_soon(StalePod { uid: to, watch, goes_on: false });
                }
            }
        }
    }

    /// Projects the pod of a record again before it is sent. Returns the pod if it has the record.
    pub(super) fn project_again(&mut self, key: &Uid, now: Moment) -> Option<Pod> {
        if self.records.is_identity() {
            return None;
        }
        let pod = self.records.view().get(self.records.owner_of(key)?)?;
        let watch = self.ledger.entry(key).and_then(LedgerEntry::watch);
        let projected = self.project_stored(&pod, now, now);
        if projected.contains(key) {
            return (self.records.owner_of(key) == Some(&pod.uid)).then_some(pod);
        }
        projected.iter().for_each(|key| self.decide_about(key, watch, now));
        None
    }

    /// Projects pods that the registry may see otherwise than before.
    pub(super) fn project_stale(&mut self, now: Moment) {
        self.records.begin_turn();
        while let Some(StalePod { uid, watch, goes_on }) = self.records.next_stale() {
            for key in self.project(&uid, now, now).iter() {
                self.decide_about(key, watch, now);
                if goes_on {
                    // The rest of a pod that was begun goes before the backlog.
                    self.reconcile(key, Lane::Live, now);
                }
            }
        }
        if self.records.take_resolved() {
            self.absences.request_reconcile();
        }
    }

    /// Projects the pods again whose records refer to what the registry has just answered about.
    pub(super) fn project_moved(&mut self) {
        if self.requests.registry().take_prepared_change() {
            self.records.project_all();
        }
        for key in self.requests.registry().take_moved() {
            let watch = self.ledger.entry(&key).and_then(LedgerEntry::watch);
            for uid in self.records.pods_of(&key) {
                self.records.project_soon(StalePod { uid, watch, goes_on: true });
            }
        }
    }

    /// Decides about the record of a pod that `watch` has shown before.
    fn decide_about(&mut self, key: &Uid, watch: Option<usize>, now: Moment) {
        let is_placed = self.ledger.entry(key).is_some_and(|entry| entry.watch().is_some());
        if let Some(watch) = watch.filter(|_| !is_placed) {
            self.ledger.pod_seen(key, watch, now);
        }
        if let Some(position) = self.ledger.position_of(key) {
            self.reconcile_at(position, now);
        }
    }

    /// Notes which of the absent pods exist. The previous session says whether the settings changed since; without
    /// sessions, the excluded pods do.
    pub(super) fn note_out_of_scope(&self, survey: &mut Survey) {
        let settings_changed = self.absences.guard.is_scope_changed();
        if settings_changed || !self.availability.features().sessions {
            Absences::note_out_of_scope(survey, |absent| self.records.out_of_scope(absent, settings_changed));
        }
    }

    /// Takes a list whose unknown pods had time to be reported by a watch.
    pub(super) fn unknown_pods_due(&mut self, now: Moment) {
        let Some((round, mut listed)) = self.unknown_pods.take_due(now) else { return };
        let unknown = std::mem::take(&mut listed.unknown);
        let again = self.records.listed(unknown);
        listed.keys.extend(again.keys);
        listed.excluded.extend(again.excluded);
        if !again.unknown.is_empty() {
            // Each absent record may belong to one of these pods.
            listed.keys.extend(self.records.absent_keys(&self.ledger));
        }
        self.second_listed(round, listed, now);
    }

    pub(super) fn second_listed(&mut self, round: u64, listed: ListedRecords, now: Moment) {
        let effect = self.absences.second_list(round, listed, now);
        self.apply_absences(effect, now);
    }
}
