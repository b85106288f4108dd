//! Released deletions of records that belong to others, until the registry has answered.

use std::collections::BTreeMap;

use crate::model::uid::Uid;

/// By the number of records that stand above them.
#[derive(Debug, Default)]
pub(super) struct LeavingRecords(BTreeMap<usize, Vec<Uid>>);

impl LeavingRecords {
    /// The deletion of a record was released.
    pub(super) fn note(&mut self, uid: &Uid, depth: usize) {
        // No other record waits for one that belongs to none.
        if depth > 0 {
            self.0.entry(depth).or_default().push(uid.clone());
        }
    }

    /// How deep the deepest record stands that is still leaving. Forgets those that are not.
    pub(super) fn deepest(&mut self, is_leaving: &dyn Fn(&Uid) -> bool) -> Option<usize> {
        while let Some(mut deepest) = self.0.last_entry() {
            let uids = deepest.get_mut();
            while let Some(uid) = uids.last() {
                if is_leaving(uid) {
                    return Some(*deepest.key());
                }
                uids.pop();
            }
            deepest.remove();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deepest_record_counts_until_it_left() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(Uid::from);
        let mut leaving = LeavingRecords::default();
        for (uid, depth) in [(&a, 1), (&b, 2), (&c, 2), (&d, 0)] {
            leaving.note(uid, depth);
        }
        assert_eq!(leaving.deepest(&|_| true), Some(2));
        assert_eq!(leaving.deepest(&|uid| *uid != c), Some(2), "the other one is left");
        assert_eq!(leaving.deepest(&|uid| *uid != b), Some(1));
        assert_eq!(leaving.deepest(&|_| false), None);
        assert_eq!(leaving.deepest(&|_| true), None, "they are forgotten");
    }
}
