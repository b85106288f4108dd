//! Ends that were watched while nothing was said to the registry, in bounded memory.
//!
//! A standby sees pods end all day, and the process that writes deregisters them. Only the newest ends can be unfinished
//! business, and one that was dropped here is found again as an absence.
//!
//! They are kept by generation: none has an age of its own, which would take as much again. When the young ones are as
//! many as are to be kept, they are the old ones, and what was old is dropped.

use super::ledger::pending::Deletion;
use crate::model::{uid::Uid, uid_map::UidMap};

/// The newest ends: so many at least as they are inserted with, and not quite twice as many at most.
#[derive(Debug, Default)]
pub(super) struct RecentDeletions {
    young: UidMap<Deletion>,
    old: UidMap<Deletion>,
}

impl RecentDeletions {
    /// Takes note of an end, and drops the oldest ones but so many.
    pub(super) fn insert(&mut self, uid: &Uid, why: Deletion, at_least: usize) {
        self.old.remove(uid);
        self.young.insert(uid, why);
        if self.young.len() >= at_least.max(1) {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Takes an end out, if it is known.
    pub(super) fn remove(&mut self, uid: &Uid) -> Option<Deletion> {
        if self.len() == 0 {
            return None;
        }
        self.young.remove(uid).or_else(|| self.old.remove(uid))
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<(Uid, Deletion)> {
        let Self { young, old } = std::mem::take(self);
        old.iter().chain(young.iter()).map(|(uid, why)| (uid.clone(), *why)).collect()
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_deletions_are_always_remembered() {
        // The oldest are dropped soon: fewer than twice the bound are kept.
        let mut ends = RecentDeletions::default();
        for n in 0..100 {
            ends.insert(&n.to_string().into(), Deletion::Deleted, 10);
            assert!(ends.len() < 20, "{} are kept", ends.len());
            for newest in (0..=n).rev().take(10) {
                let uid = newest.to_string().as_str().into();
                assert!(ends.young.contains(&uid) != ends.old.contains(&uid), "{newest} of {n}, once");
            }
        }
        assert_eq!(ends.remove(&"80".into()), None);
        assert_eq!((ends.remove(&"95".into()), ends.remove(&"95".into())), (Some(Deletion::Deleted), None));
    }

    #[test]
    fn repeated_deletion_counts_as_new() {
        let mut ends = RecentDeletions::default();
        for name in ["a", "b", "c", "a", "d", "e"] {
            ends.insert(&name.into(), Deletion::DeletedOrLeftRule, 3);
        }
        assert_eq!((ends.len(), ends.remove(&"b".into())), (3, None));
        assert_eq!(ends.remove(&"a".into()), Some(Deletion::DeletedOrLeftRule));
    }
}
