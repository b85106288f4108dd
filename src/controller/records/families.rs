//! Which records belong to which.
//!
//! A record that changes its parent belongs to both until the registry holds it as it should be: before that, the
//! parent that it leaves still has it there.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    model::{uid::Uid, uid_map::UidMap},
    registry::ParentRecord,
};

pub(in crate::controller) struct Families {
    /// The parents of each record, the present one last.
    parents: UidMap<Vec<ParentRecord>>,
    /// Pairs of a parent and a child. One set takes much less memory than a set per parent.
    children: BTreeSet<(Uid, Uid)>,
    /// No UID is less.
    least: Uid,
}

impl Default for Families {
    fn default() -> Self {
        let least = Uid::from("00000000-0000-0000-0000-000000000000");
        Self { parents: UidMap::default(), children: BTreeSet::new(), least }
    }
}

/// A record and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::controller) struct Link<'a> {
    pub(in crate::controller) key: &'a Uid,
    /// Whether the registry removes the child together with the parent.
    pub(in crate::controller) cascade: bool,
    /// Whether the child has another parent by now, which the registry may not know.
    pub(in crate::controller) is_former: bool,
}

impl Families {
    pub(in crate::controller) fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// A record should have this parent.
    pub(super) fn note(&mut self, child: &Uid, parent: &ParentRecord) {
        let parents = self.parents.get_or_insert_with(child, || Vec::with_capacity(1));
        if parents.last() == Some(parent) {
            return;
        }
        parents.retain(|known| known.key != parent.key);
        parents.push(parent.clone());
        self.children.insert((parent.key.clone(), child.clone()));
    }

    /// The registry is known to hold the record below this parent. One that a pod has named stays the present one.
    pub(in crate::controller) fn note_held(&mut self, child: &Uid, parent: &ParentRecord) {
        let parents = self.parents.get_or_insert_with(child, || Vec::with_capacity(1));
        if !parents.iter().any(|known| known.key == parent.key) {
            parents.insert(0, parent.clone());
            self.children.insert((parent.key.clone(), child.clone()));
        }
    }

    /// The registry holds the record as it should be, or does not hold it.
    pub(super) fn settle(&mut self, child: &Uid) {
        let Some(parents) = self.parents.get_mut(child) else { return };
        let former = parents.len().saturating_sub(1);
        for parent in parents.drain(..former) {
            self.children.remove(&(parent.key, child.clone()));
        }
    }

    /// Neither the cluster nor the registry has the record.
    pub(in crate::controller) fn forget(&mut self, child: &Uid) {
        for parent in self.parents.remove(child).unwrap_or_default() {
            self.children.remove(&(parent.key, child.clone()));
        }
    }

    /// The number of records that belong to others.
    pub(super) fn len(&self) -> usize {
        self.parents.len()
    }

    /// Forgets the records at these positions that do not exist.
    pub(super) fn retain_in(&mut self, positions: Range<usize>, exists: impl Fn(&Uid) -> bool) {
        let keys = positions.rev().filter_map(|position| self.parents.at(position)).map(|(key, _)| key);
        let gone: Vec<Uid> = keys.filter(|key| !exists(key)).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    /// The parents of a record, the present one last.
    pub(in crate::controller) fn parents_of<'a>(&'a self, child: &Uid) -> impl DoubleEndedIterator<Item = Link<'a>> {
        let parents = self.parents.get(child).map(Vec::as_slice).unwrap_or_default();
        let last = parents.len().saturating_sub(1);
        let link = move |(at, parent): (usize, &'a ParentRecord)| Link {
            key: &parent.key,
            cascade: parent.cascade,
            is_former: at < last,
        };
        parents.iter().enumerate().map(link)
    }

    pub(in crate::controller) fn children_of<'a>(&'a self, parent: &'a Uid) -> impl Iterator<Item = Link<'a>> {
        let pairs = self.children.range((parent.clone(), self.least.clone())..);
        let children = pairs.take_while(move |(of, _)| of == parent).map(|(_, child)| child);
        children.filter_map(move |child| {
            let link = self.parents_of(child).find(|link| link.key == parent)?;
            Some(Link { key: child, ..link })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(key: &str, cascade: bool) -> ParentRecord {
        ParentRecord { key: Uid::from(key), cascade }
    }

    #[test]
    fn moved_record_belongs_to_both_until_settled() {
        let (mut families, [child, a, b]) = (Families::default(), ["c", "a", "b"].map(Uid::from));
        families.note(&child, &parent("a", true));
        families.note(&child, &parent("b", false));
        families.note(&child, &parent("b", false));
        let link = |key, cascade, is_former| Link { key, cascade, is_former };
        assert_eq!(families.parents_of(&child).collect::<Vec<_>>(), [link(&a, true, true), link(&b, false, false)]);
        assert_eq!(families.children_of(&a).collect::<Vec<_>>(), [link(&child, true, true)]);
        families.settle(&child);
        assert_eq!(families.children_of(&a).count(), 0);
        assert_eq!(families.children_of(&b).collect::<Vec<_>>(), [link(&child, false, false)]);
        families.retain_in(0..families.len(), |_| true);
        assert!(!families.is_empty());
        families.retain_in(0..families.len(), |_| false);
        assert!(families.is_empty() && families.children.is_empty());
    }

    #[test]
    fn held_parent_is_a_former_one() {
        let (mut families, [child, a, b]) = (Families::default(), ["c", "a", "b"].map(Uid::from));
        families.note_held(&child, &parent("a", true));
        families.note_held(&child, &parent("a", true));
        let link = |key, cascade, is_former| Link { key, cascade, is_former };
        assert_eq!(families.parents_of(&child).collect::<Vec<_>>(), [link(&a, true, false)]);
        families.note(&child, &parent("b", false));
        families.note_held(&child, &parent("a", true));
        assert_eq!(families.parents_of(&child).collect::<Vec<_>>(), [link(&a, true, true), link(&b, false, false)]);
        // The pod may be seen first.
        families.forget(&child);
        families.note(&child, &parent("b", false));
        families.note_held(&child, &parent("a", true));
        assert_eq!(families.parents_of(&child).collect::<Vec<_>>(), [link(&a, true, true), link(&b, false, false)]);
    }

    #[test]
    fn record_returns_to_its_former_parent() {
        let (mut families, [child, a]) = (Families::default(), ["c", "a"].map(Uid::from));
        for key in ["a", "b", "a"] {
            families.note(&child, &parent(key, false));
        }
        assert_eq!(families.parents_of(&child).next_back().map(|link| link.key), Some(&a));
        families.forget(&child);
        assert!(families.is_empty() && families.children.is_empty());
    }
}
