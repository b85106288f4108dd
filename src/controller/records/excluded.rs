//! Pods that the settings of the registry do not select, and that this process has never seen selected.
//!
//! If the registry holds the record of such a pod, either the settings changed, or the pod did while no process was
//! running. A registry without sessions does not say which. The settings count as changed if the namespace or a label
//! excludes the pod, because these hardly change, or if there are many such pods.

use std::{collections::HashSet, ops::Range};

use crate::{
    model::{uid::Uid, uid_map::UidMap},
    registry::Excluded,
};

/// Up to this number of pods may have changed while no process was running.
const CHANGED_BY_THEMSELVES: usize = 50;

#[derive(Default)]
pub(super) struct ExcludedPods {
    /// None for a pod that this process has seen selected.
    pods: UidMap<Option<Excluded>>,
}

impl ExcludedPods {
    /// Notes that the pod is excluded, or selected. `had_record` says whether it was selected before.
    pub(super) fn note(&mut self, pod: &Uid, excluded: Option<Excluded>, had_record: bool) {
        let Some(excluded) = excluded else { return self.remove(pod) };
        if had_record {
            self.pods.insert(pod, None);
        } else if self.pods.get(pod).is_none_or(Option::is_some) {
            self.pods.insert(pod, Some(excluded));
        }
    }

    pub(super) fn remove(&mut self, pod: &Uid) {
        self.pods.remove(pod);
    }

    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn retain_in(&mut self, positions: Range<usize>, exists: impl Fn(&Uid) -> bool) {
        self.pods.retain_in(positions, |pod, _| exists(pod));
    }

    pub(super) fn contains(&self, pod: &Uid) -> bool {
        self.pods.contains(pod)
    }

    /// The keys that the records of an excluded pod would have.
    pub(super) fn keys_of(&self, pod: &Uid) -> &[Uid] {
        self.pods.get(pod).and_then(Option::as_ref).map(|excluded| &*excluded.keys).unwrap_or_default()
    }

    /// Those of these absent keys that a change of settings excludes.
    pub(super) fn out_of_scope(&self, absent: &HashSet<Uid>, settings_changed: bool) -> HashSet<Uid> {
        if absent.is_empty() {
            return HashSet::new();
        }
        let (mut all, mut by_scope) = (HashSet::new(), HashSet::new());
        for excluded in self.pods.iter().filter_map(|(_, excluded)| excluded.as_ref()) {
            for key in excluded.keys.iter().filter(|key| absent.contains(*key)) {
                all.insert(key.clone());
                if excluded.by_scope {
                    by_scope.insert(key.clone());
                }
            }
        }
        if settings_changed || all.len() > CHANGED_BY_THEMSELVES { all } else { by_scope }
    }
}
