//! Which records the command `purge` deleted, for its report.
//!
//! The log is kept in memory, and only while `purge` runs. A client that has one looks each record up again before its
//! deletion: the operator was asked before, and the record may have another owner by now. The controller has no log. It
//! trusts the owner mark that a list of its term showed.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;

use crate::model::uid::Uid;

/// The records whose deletion was sent, or was not needed any more. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DeletionLog(Arc<Mutex<HashSet<Uid>>>);

impl DeletionLog {
    pub(super) fn note(&self, key: &Uid) {
        self.0.lock().insert(key.clone());
    }

    /// The record belongs to another owner.
    pub(super) fn strike_out(&self, key: &Uid) {
        self.0.lock().remove(key);
    }

    /// Whether a record that is gone was deleted by this process.
    pub fn has(&self, key: &Uid) -> bool {
        self.0.lock().contains(key)
    }

    pub fn count(&self) -> usize {
        self.0.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl DeletionLog {
        pub(crate) fn of(keys: &[&str]) -> Self {
            let log = Self::default();
            keys.iter().for_each(|key| log.note(&Uid::from(*key)));
            log
        }
    }
}
