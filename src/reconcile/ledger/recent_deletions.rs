//! Deletions that a standby observed, in bounded memory.
//!
//! The leader removes the records of these pods. Only the newest deletions may still be pending when the leader fails;
//! an older one is found again as an absence.
//!
//! This is a cache of two generations: when `young` reaches the limit it becomes `old`, and the former `old` is
//! dropped. Entries need no timestamps.

use crate::{
    model::{uid::Uid, uid_map::UidMap},
    reconcile::deletion::Deletion,
};

/// Holds at least the newest `at_least` deletions, and fewer than twice as many.
#[derive(Debug, Default)]
pub(super) struct RecentDeletions {
    young: UidMap<Deletion>,
    old: UidMap<Deletion>,
}

impl RecentDeletions {
    pub(super) fn insert(&mut self, uid: &Uid, why: Deletion, at_least: usize) {
        self.old.remove(uid);
        self.young.insert(uid, why);
        if self.young.len() >= at_least.max(1) {
            self.old = std::mem::take(&mut self.young);
        }
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<Deletion> {
        if self.len() == 0 {
            return None;
        }
        self.young.remove(uid).or_else(|| self.old.remove(uid))
    }

    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Takes all of them out.
    pub(super) fn take(&mut self) -> Vec<(Uid, Deletion)> {
        let Self { young, old } = std::mem::take(self);
        old.iter().chain(young.iter()).map(|(uid, why)| (uid.clone(), *why)).collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_deletions_are_always_remembered() {
        // Fewer than twice the bound are kept.
        let mut deletions = RecentDeletions::default();
        for n in 0..100 {
            deletions.insert(&n.to_string().into(), Deletion::Deleted, 10);
            assert!(deletions.len() < 20, "{} are kept", deletions.len());
            for newest in (0..=n).rev().take(10) {
                let uid = newest.to_string().as_str().into();
                assert!(deletions.young.contains(&uid) != deletions.old.contains(&uid), "{newest} of {n}, once");
            }
        }
        assert_eq!(deletions.remove(&"80".into()), None);
        assert_eq!((deletions.remove(&"95".into()), deletions.remove(&"95".into())), (Some(Deletion::Deleted), None));
    }

    #[test]
    fn repeated_deletion_counts_as_new() {
        let mut deletions = RecentDeletions::default();
        for name in ["a", "b", "c", "a", "d", "e"] {
            deletions.insert(&name.into(), Deletion::DeletedOrLeftSelection, 3);
        }
        assert_eq!((deletions.len(), deletions.remove(&"b".into())), (3, None));
        assert_eq!(deletions.remove(&"a".into()), Some(Deletion::DeletedOrLeftSelection));
    }
}
