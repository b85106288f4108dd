//! Whether the registry tells the truth about the cluster.

use std::collections::HashMap;

use super::error::{Error, Result};

/// How the registry differs from the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Records that are right.
    pub(crate) right: u64,
    /// Pods without a record.
    pub(crate) lost: u64,
    /// Records without a pod.
    pub(crate) invented: u64,
    /// Records that do not tell the pod's newest state.
    pub(crate) wrong: u64,
}

impl Truth {
    /// Of the pods that are there, each with its version, and those of which something is registered, with the version of
    /// which it tells where that is known.
    pub(crate) fn of(living: &HashMap<u128, u64>, registered: impl Iterator<Item = (u128, Option<u64>)>) -> Self {
        let mut truth = Self::default();
        for (uid, version) in registered {
            match living.get(&uid) {
                None => truth.invented += 1,
                Some(newest) if version.is_some_and(|version| version != *newest) => truth.wrong += 1,
                Some(_) => truth.right += 1,
            }
        }
        truth.lost = living.len() as u64 - truth.right - truth.wrong;
        truth
    }

    /// Whether nothing differs.
    pub(crate) fn holds(self) -> bool {
        (self.lost, self.invented, self.wrong) == (0, 0, 0)
    }

    /// Fails if something differs.
    pub(crate) fn require(self) -> Result<()> {
        let Self { lost, invented, wrong, .. } = self;
        if self.holds() { Ok(()) } else { Err(Error::Untrue { lost, invented, wrong }) }
    }
}
