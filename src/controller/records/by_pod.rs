//! Records whose keys are the UIDs of their pods.

use std::ops::Range;

use super::{Keys, Left, Projected};
use crate::{
    model::{pod::StoredPod, uid::Uid, uid_map::UidMap},
    registry::Projection,
};

/// The desired records. Pods that are not selected have no row.
#[derive(Default)]
pub(super) struct PodRecords {
    rows: UidMap<StoredPod>,
}

impl PodRecords {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn shown(&self, pod: &Uid) -> Option<StoredPod> {
        self.rows.get(pod).copied()
    }

    pub(super) fn project(&mut self, pod: &Uid, projection: &Projection) -> Projected {
        let shown = match projection {
            Projection::NotSelected(_) => {
                return Projected { keys: Keys::default(), left: self.remove(pod).into_iter().collect() };
            }
            Projection::Record { fingerprint, .. } => StoredPod::Record(*fingerprint),
            // A registry whose keys are UIDs has one record per pod.
            Projection::Records(_) | Projection::Unreadable | Projection::Failed { .. } => StoredPod::Unreadable,
        };
        self.rows.insert(pod, shown);
        Projected { keys: Keys::One(pod.clone()), left: Vec::new() }
    }

    pub(super) fn remove(&mut self, pod: &Uid) -> Option<Left> {
        self.rows.remove(pod).map(|_| Left::Free(pod.clone()))
    }

    /// Removes the pods at these positions that do not exist.
    pub(super) fn retain_in(&mut self, positions: Range<usize>, exists: impl Fn(&Uid) -> bool) {
        self.rows.retain_in(positions, |pod, _| exists(pod));
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.rows.memory()
    }
}
