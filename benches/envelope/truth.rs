//! Compares the registry with the cluster.

use std::collections::HashMap;

use serde::Serialize;

use super::error::{Error, Result};

/// How the registry differs from the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Truth {
    pub(crate) right: u64,
    /// Pods without a record.
    pub(crate) lost: u64,
    /// Records without a pod.
    pub(crate) invented: u64,
    /// Records of an earlier version of their pod.
    pub(crate) wrong: u64,
    /// Records that were sent although the registry already had them.
    pub(crate) twice: u64,
}

impl Truth {
    /// Compares the living pods and their versions with the registered ones. A version is None if the registry does not
    /// report it.
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

    /// Whether every pod has its record, and no other record is there.
    pub(crate) fn is_equal(self) -> bool {
        (self.lost, self.invented, self.wrong) == (0, 0, 0)
    }

    /// # Errors
    /// When a record was lost, invented, outdated or sent twice.
    pub(crate) fn require(self) -> Result<()> {
        let Self { lost, invented, wrong, twice, .. } = self;
        if self.is_equal() && twice == 0 { Ok(()) } else { Err(Error::Untrue { lost, invented, wrong, twice }) }
    }
}
