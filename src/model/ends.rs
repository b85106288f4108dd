//! Ends that were watched while nothing was said to the registry, in bounded memory.
//!
//! A standby sees pods end all day, and the process that writes deregisters them. Only the newest ends can be unfinished
//! business, and one that was dropped here is found again as an absence.

use std::collections::{BTreeMap, HashMap};

use super::{Ended, Uid};

/// The newest ends, by UID and by age.
#[derive(Debug, Default)]
pub(super) struct Ends {
    by_uid: HashMap<Uid, (u64, Ended)>,
    by_age: BTreeMap<u64, Uid>,
    counter: u64,
}

impl Ends {
    /// Takes note of an end, and drops the oldest ones so that at most so many are kept.
    pub(super) fn insert(&mut self, uid: &Uid, why: Ended, most: usize) {
        self.remove(uid);
        self.counter += 1;
        self.by_uid.insert(uid.clone(), (self.counter, why));
        self.by_age.insert(self.counter, uid.clone());
        while self.by_age.len() > most {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.by_uid.remove(&oldest);
        }
    }

    /// Takes an end out, if it is known.
    pub(super) fn remove(&mut self, uid: &Uid) -> Option<Ended> {
        if self.by_uid.is_empty() {
            return None;
        }
        let (age, why) = self.by_uid.remove(uid)?;
        self.by_age.remove(&age);
        Some(why)
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.by_uid = HashMap::new();
        self.by_age = BTreeMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_dropped_first() {
        let mut ends = Ends::default();
        for n in 0..100 {
            ends.insert(&n.to_string().into(), Ended::Deleted, 10);
        }
        assert_eq!((ends.len(), ends.by_age.len()), (10, 10));
        assert_eq!(ends.remove(&"89".into()), None);
        assert_eq!(ends.remove(&"90".into()), Some(Ended::Deleted));
        assert_eq!((ends.len(), ends.by_age.len()), (9, 9));
    }

    #[test]
    fn one_that_ends_again_is_young_again() {
        let mut ends = Ends::default();
        for name in ["a", "b", "a", "c"] {
            ends.insert(&name.into(), Ended::DeletedOrLeftRule, 2);
        }
        assert_eq!(ends.remove(&"b".into()), None);
        assert_eq!((ends.remove(&"a".into()), ends.len()), (Some(Ended::DeletedOrLeftRule), 1));
    }
}
