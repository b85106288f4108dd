//! Pods that a second list shows and this process has not seen.
//!
//! If the keys of records are not UIDs, any absent record may belong to such a pod. Mostly it was created or deleted
//! while the list was read, and its event is still to come or has come already. So the list counts only after some
//! time, and if pods are unknown even then, none of the absences counts.

use std::{collections::HashSet, time::Duration};

use super::records::ListedRecords;
use crate::{
    model::{moment::Moment, uid::Uid, uid_map::UidMap},
    reconcile::absence::check::Check,
};

/// How long a list waits for the events of its unknown pods.
const WAIT: Duration = Duration::from_secs(10);
/// Deleted pods that are remembered, at most.
const DELETED_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct UnknownPods {
    /// Pods deleted since a list was asked for.
    deleted: Option<UidMap<()>>,
    waiting: Option<Waiting>,
}

struct Waiting {
    round: u64,
    listed: ListedRecords,
    until: Moment,
}

impl UnknownPods {
    /// The cluster was asked.
    pub(super) fn asked(&mut self, keys_are_uids: bool, check: &Check) {
        let is_list = matches!(check, Check::Whole { .. } | Check::List { .. } | Check::Find { .. });
        if is_list && !keys_are_uids {
            (self.deleted, self.waiting) = (Some(UidMap::default()), None);
        }
    }

    pub(super) fn pod_deleted(&mut self, pod: &Uid) {
        if let Some(deleted) = self.deleted.as_mut().filter(|deleted| deleted.len() < DELETED_MAX) {
            deleted.insert(pod, ());
        }
    }

    /// Takes a list. Returns it if all its pods are known.
    #[must_use]
    pub(super) fn listed(&mut self, round: u64, mut listed: ListedRecords, now: Moment) -> Option<ListedRecords> {
        self.drop_deleted(&mut listed.unknown);
        if listed.unknown.is_empty() {
            (self.deleted, self.waiting) = (None, None);
            return Some(listed);
        }
        self.waiting = Some(Waiting { round, listed, until: now + WAIT });
        None
    }

    fn drop_deleted(&self, pods: &mut HashSet<Uid>) {
        if let Some(deleted) = &self.deleted {
            pods.retain(|pod| !deleted.contains(pod));
        }
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.waiting.as_ref().map(|waiting| waiting.until)
    }

    /// The list that has waited, with its round. Its unknown pods are those that were not deleted since.
    #[must_use]
    pub(super) fn take_due(&mut self, now: Moment) -> Option<(u64, ListedRecords)> {
        let Waiting { round, mut listed, .. } = self.waiting.take_if(|waiting| now >= waiting.until)?;
        self.drop_deleted(&mut listed.unknown);
        self.deleted = None;
        Some((round, listed))
    }
}
