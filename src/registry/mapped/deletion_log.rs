//! Which records the command `purge` deleted, and which ones the registry refuses to delete, for its report.
//!
//! The log is kept in memory, and only while `purge` runs. A client that has one looks each record up again before its
//! deletion: the operator was asked before, and the record may have another owner by now. The controller has no log. It
//! trusts the owner mark that a list of its term showed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::model::uid::Uid;

/// How often the registry has to refuse a deletion until it is taken for its last word.
const REFUSALS: u32 = 2;

/// What became of the records. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DeletionLog(Arc<Mutex<Deletions>>);

#[derive(Debug, Default)]
struct Deletions {
    /// The records whose deletion was sent, or was not needed any more.
    done: HashSet<Uid>,
    refused: HashMap<Uid, Refusal>,
    /// Grows with each record that is deleted, because another one may be free then.
    ended: u64,
}

/// The registry does not delete a record for now.
#[derive(Debug)]
struct Refusal {
    /// The registry's words.
    cause: String,
    /// How often it was refused since the last record was deleted, whose number this is.
    count: u32,
    since: u64,
}

impl DeletionLog {
    /// The deletion is about to be sent. Its answer may be lost.
    pub(super) fn note(&self, key: &Uid) {
        self.0.lock().done.insert(key.clone());
    }

    /// The record is gone.
    pub(super) fn end(&self, key: &Uid) {
        let mut log = self.0.lock();
        log.refused.remove(key);
        log.done.insert(key.clone());
        log.ended += 1;
    }

    /// The record belongs to another owner.
    pub(super) fn strike_out(&self, key: &Uid) {
        let mut log = self.0.lock();
        log.refused.remove(key);
        log.done.remove(key);
    }

    /// The registry did not delete the record.
    pub(super) fn refuse(&self, key: &Uid, cause: &str) {
        let mut log = self.0.lock();
        let ended = log.ended;
        let refusal = log.refused.remove(key).filter(|refusal| refusal.since == ended);
        let count = refusal.map_or(0, |refusal| refusal.count) + 1;
        log.refused.insert(key.clone(), Refusal { cause: cause.to_owned(), count, since: ended });
    }

    /// Whether a record that is gone was deleted by this process.
    pub fn has(&self, key: &Uid) -> bool {
        self.0.lock().done.contains(key)
    }

    pub fn count(&self) -> usize {
        self.0.lock().done.len()
    }

    /// Why the registry does not delete a record, in its own words.
    pub fn refusal(&self, key: &Uid) -> Option<String> {
        self.0.lock().refused.get(key).map(|refusal| refusal.cause.clone())
    }

    /// The number of records that the registry refused again since it last deleted one.
    pub fn refused(&self) -> usize {
        let log = self.0.lock();
        log.refused.values().filter(|refusal| refusal.since == log.ended && refusal.count >= REFUSALS).count()
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

        pub(crate) fn with_refusal(self, key: &str, cause: &str) -> Self {
            self.refuse(&Uid::from(key), cause);
            self
        }
    }

    #[test]
    fn refusals_count_again_after_a_deletion() {
        let log = DeletionLog::default().with_refusal("parent", "in use");
        assert_eq!(log.refused(), 0, "a child may still go");
        let log = log.with_refusal("parent", "still in use");
        assert_eq!((log.refused(), log.refusal(&"parent".into()).as_deref()), (1, Some("still in use")));
        log.end(&"child".into());
        let log = log.with_refusal("parent", "in use");
        assert_eq!(log.refused(), 0, "it was refused once since");
        log.note(&"parent".into());
        assert!(log.refusal(&"parent".into()).is_some(), "it is only sent");
        log.end(&"parent".into());
        assert_eq!((log.refusal(&"parent".into()), log.count()), (None, 2));
    }
}
