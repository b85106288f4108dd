//! What concerned a pod lately, in bounded memory.
//!
//! This is a cache of two generations: when `young` reaches the limit it becomes `old`, and the former `old` is
//! dropped. Entries need no timestamps.

use super::{uid::Uid, uid_map::UidMap};

/// Holds at least the newest `at_least` entries, and fewer than twice as many.
#[derive(Debug)]
pub struct Recent<T> {
    young: UidMap<T>,
    old: UidMap<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { young: UidMap::default(), old: UidMap::default() }
    }
}

impl<T> Recent<T> {
    pub fn insert(&mut self, uid: &Uid, value: T, at_least: usize) {
        self.old.remove(uid);
        self.young.insert(uid, value);
        if self.young.len() >= at_least.max(1) {
            self.old = std::mem::take(&mut self.young);
        }
    }

    pub fn get(&self, uid: &Uid) -> Option<&T> {
        self.young.get(uid).or_else(|| self.old.get(uid))
    }

    pub fn remove(&mut self, uid: &Uid) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.young.remove(uid).or_else(|| self.old.remove(uid))
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The oldest generation first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Uid, &T)> {
        self.old.iter().chain(self.young.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_entries_are_always_remembered() {
        // Fewer than twice the bound are kept.
        let mut recent = Recent::default();
        for n in 0..100 {
            recent.insert(&n.to_string().into(), n, 10);
            assert!(recent.len() < 20, "{} are kept", recent.len());
            for newest in (0..=n).rev().take(10) {
                let uid = newest.to_string().as_str().into();
                assert!(recent.young.contains(&uid) != recent.old.contains(&uid), "{newest} of {n}, once");
            }
        }
        assert_eq!(recent.remove(&"80".into()), None);
        assert_eq!((recent.remove(&"95".into()), recent.remove(&"95".into())), (Some(95), None));
    }

    #[test]
    fn repeated_entry_counts_as_new() {
        let mut recent = Recent::default();
        for (n, name) in ["a", "b", "c", "a", "d", "e"].into_iter().enumerate() {
            recent.insert(&name.into(), n, 3);
        }
        assert_eq!((recent.len(), recent.remove(&"b".into())), (3, None));
        assert_eq!(recent.remove(&"a".into()), Some(3));
    }
}
