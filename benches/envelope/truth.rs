//! Whether the registry tells the truth about the cluster.

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
