//! The pods of one watch, in few bytes each.
//!
//! The store keeps a [`Packed`] pod and, to decide by, the fingerprint of its record: 16 bytes of the digest. The digest is
//! computed once for each event and once more for each record that is sent, because the record is then built again from
//! the packed pod. Keeping its canonical form instead would take many times the memory.
//!
//! Names are found as UIDs are, by an index of positions: at most one pod has a name, the one that was shown last. Pods
//! without a readable name are not in that index.
//!
//! A list replaces what was there without a second store. It may come in while events go on:
//!
//! | at the list's version | the newest event of the pod | then the store holds |
//! | --- | --- | --- |
//! | there | none, or of an older version, also if it arrives after the item | what the list shows |
//! | there | shows a newer version | what the event shows |
//! | there | an end after the list's version | nothing: the informer passes over the item |
//! | not there | none, or of an older version | nothing, from the end of the list on |
//! | not there | shows a newer version | what the event shows |

use std::{
    cmp::Ordering,
    hash::{BuildHasher, Hasher, RandomState},
};

use hashbrown::{HashTable, hash_table::Entry};

use super::packed::{names::NameTable, pod::Packed};
use crate::model::{
    ids::compare_resource_versions,
    pod::{Pod, RecordContent, StoredPod},
    uid::Uid,
    uid_map::UidMap,
};

/// An index that is smaller than this is not worth shrinking.
const INDEX_AT_LEAST: usize = 64;

/// The pods of one watch.
#[derive(Debug, Default)]
pub(super) struct Pods {
    kept: UidMap<Kept>,
    names: NameTable,
    by_name: ByName,
    /// The number of the newest list that was begun.
    list: u32,
    /// Its version, if events go on while it comes in.
    version: Option<Box<str>>,
}

#[derive(Debug)]
struct Kept {
    shown: StoredPod,
    packed: Packed,
    /// The newest list that showed the pod.
    list: u32,
}

impl Pods {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What is decided by, of a pod that is there.
    pub(super) fn shown(&self, uid: &Uid) -> Option<StoredPod> {
        self.kept.get(uid).map(|kept| kept.shown)
    }

    /// A pod with its record.
    pub(super) fn expand(&self, uid: &Uid) -> Option<Pod> {
        let kept = self.kept.get(uid)?;
        let pod = kept.packed.expand(&uid.text(), &self.names);
        Some(Pod {
            uid: uid.clone(),
            namespace: pod.namespace.into(),
            name: pod.name.into(),
            resource_version: pod.resource_version.into(),
            generation: pod.generation,
            // It had a canonical form before it was packed.
            content: pod.record.and_then(|record| RecordContent::of(record).ok()),
        })
    }

    /// All of them, in an order that depends on what happened alone.
    pub(super) fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.kept.iter().map(|(uid, _)| uid)
    }

    /// All of them with their names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&Uid, String)> {
        self.kept.iter().map(|(uid, kept)| (uid, kept.packed.name(&self.names).into_owned()))
    }

    /// Puts in a pod that an event shows, unless a newer version is there: a watch may lag behind a list. Says which other
    /// pod had its name.
    pub(super) fn put(&mut self, pod: &Pod) -> Option<Uid> {
        if self.is_newer(&pod.uid, &pod.resource_version) {
            return None;
        }
        let list = self.kept.get(&pod.uid).map_or(self.list.wrapping_sub(1), |kept| kept.list);
        let other = self.put_as_of(pod, list)?;
        if self.is_newer(&other, &pod.resource_version) {
            // It had the name later, and keeps it. The end of this pod is still to come.
            let position = self.kept.position_of(&other)?;
            self.by_name.insert(&pod.namespace, &pod.name, position, &self.kept, &self.names);
            return None;
        }
        Some(other)
    }

    /// Whether a pod is there in a newer version than this one.
    fn is_newer(&self, uid: &Uid, version: &str) -> bool {
        self.kept.get(uid).is_some_and(|kept| is_after(&kept.packed.resource_version(), version))
    }

    /// Puts in a pod that the newest list shows, unless an event has shown a version after the list's. Says whether that
    /// changed anything. The pod's own version in the list is no measure: in a restored cluster it may be a lower one.
    pub(super) fn put_listed(&mut self, pod: &Pod) -> bool {
        let (list, mut shown) = (self.list, None);
        if let Some(kept) = self.kept.get_mut(&pod.uid) {
            if self.version.as_deref().is_some_and(|list| is_after(&kept.packed.resource_version(), list)) {
                kept.list = list;
                return false;
            }
            shown = Some(kept.shown);
        }
        self.put_as_of(pod, list);
        shown != Some(pod.shown())
    }

    fn put_as_of(&mut self, pod: &Pod, list: u32) -> Option<Uid> {
        let names = &mut self.names;
        let record = pod.content.as_ref().map(|content| &content.record);
        let packed = Packed::pack(&pod.namespace, &pod.name, &pod.resource_version, pod.generation, record, names);
        let new = Kept { shown: pod.shown(), packed, list };
        if let Some(before) = self.kept.insert(&pod.uid, new) {
            let renamed = !before.packed.is_named(&pod.namespace, &pod.name, names);
            // A pod keeps its name as long as it lives. One that does not is no reason to be found under both.
            if renamed && let Some(position) = self.kept.position_of(&pod.uid) {
                let (namespace, name) = (before.packed.namespace(names), before.packed.name(names));
                self.by_name.remove(namespace, &name, position);
            }
            before.packed.release(names);
        }
        if pod.namespace.is_empty() || pod.name.is_empty() {
            // Pods whose names cannot be read do not succeed each other.
            return None;
        }
        let position = self.kept.position_of(&pod.uid)?;
        let other = self.by_name.insert(&pod.namespace, &pod.name, position, &self.kept, &self.names)?;
        self.kept.at(other).map(|(uid, _)| uid.clone())
    }

    /// Takes out a pod whose end an event shows, unless a newer version is there. Says whether it is out.
    pub(super) fn end(&mut self, uid: &Uid, version: &str) -> bool {
        let is_over = !self.is_newer(uid, version);
        if is_over {
            self.remove(uid);
        }
        is_over
    }

    /// Takes a pod out.
    pub(super) fn remove(&mut self, uid: &Uid) {
        if let Some(position) = self.kept.position_of(uid) {
            self.remove_at(position);
        }
    }

    fn remove_at(&mut self, position: usize) {
        if let Some((_, kept)) = self.kept.at(position) {
            let (namespace, name) = (kept.packed.namespace(&self.names), kept.packed.name(&self.names));
            self.by_name.remove(namespace, &name, position);
        }
        let Some(removed) = self.kept.remove_at(position) else { return };
        removed.value.packed.release(&mut self.names);
        if let (Some(from), Some((_, moved))) = (removed.moved_from, self.kept.at(position)) {
            let (namespace, name) = (moved.packed.namespace(&self.names), moved.packed.name(&self.names));
            self.by_name.moved(namespace, &name, from, position);
        }
        self.by_name.shrink(&self.kept, &self.names);
    }

    /// A list begins: what it does not show goes at its end. With its version, what events show of later versions stays.
    pub(super) fn begin_list(&mut self, version: Option<&str>) {
        self.list = self.list.wrapping_add(1);
        self.version = version.map(Into::into);
    }

    /// The list is complete.
    pub(super) fn end_list(&mut self) {
        let version = self.version.take();
        let is_gone = |kept: &Kept, list| {
            let is_newer = |version: &str| is_after(&kept.packed.resource_version(), version);
            kept.list != list && !version.as_deref().is_some_and(is_newer)
        };
        // From the highest position down: what moves into a gap was looked at already.
        for position in (0..self.kept.len()).rev() {
            if self.kept.at(position).is_some_and(|(_, kept)| is_gone(kept, self.list)) {
                self.remove_at(position);
            }
        }
    }

    /// Whether nothing is left of pods that are gone.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.kept.is_empty() && self.names.is_empty() && self.by_name.positions.is_empty()
    }

    /// The bytes that they take, but for what the allocator adds.
    pub(super) fn memory(&self) -> usize {
        let packed: usize = self.kept.iter().map(|(_, kept)| kept.packed.bytes()).sum();
        self.kept.memory() + packed + self.names.bytes() + self.by_name.positions.allocation_size()
    }
}

/// Whether a resource version is known to be newer than another.
fn is_after(version: &str, other: &str) -> bool {
    compare_resource_versions(version, other) == Some(Ordering::Greater)
}

/// The position of the pod that has a name.
#[derive(Debug, Default)]
struct ByName {
    positions: HashTable<u32>,
    hasher: RandomState,
}

impl ByName {
    fn hash(&self, namespace: &str, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(namespace.as_bytes());
        // No name has it in it.
        hasher.write_u8(0);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    fn hash_at(&self, position: u32, kept: &UidMap<Kept>, names: &NameTable) -> u64 {
        let Some((_, kept)) = kept.at(position as usize) else { return 0 };
        self.hash(kept.packed.namespace(names), &kept.packed.name(names))
    }

    /// Notes who has the name. Says who had it until now, if that is another.
    fn insert(
        &mut self,
        namespace: &str,
        name: &str,
        position: usize,
        kept: &UidMap<Kept>,
        names: &NameTable,
    ) -> Option<usize> {
        let place = to_place(position);
        let hash = self.hash(namespace, name);
        let is_it = |place: &u32| {
            kept.at(*place as usize).is_some_and(|(_, kept)| kept.packed.is_named(namespace, name, names))
        };
        let mut positions = std::mem::take(&mut self.positions);
        let before = match positions.entry(hash, is_it, |place| self.hash_at(*place, kept, names)) {
            Entry::Occupied(mut found) => Some(std::mem::replace(found.get_mut(), place)),
            Entry::Vacant(vacant) => {
                vacant.insert(place);
                None
            }
        };
        self.positions = positions;
        before.filter(|before| *before != place).map(|before| before as usize)
    }

    /// The pod at this position is no longer called so.
    fn remove(&mut self, namespace: &str, name: &str, position: usize) {
        let (hash, place) = (self.hash(namespace, name), to_place(position));
        if let Ok(found) = self.positions.find_entry(hash, |other| *other == place) {
            found.remove();
        }
    }

    /// A pod has another position.
    fn moved(&mut self, namespace: &str, name: &str, from: usize, to: usize) {
        let (hash, from) = (self.hash(namespace, name), to_place(from));
        if let Some(found) = self.positions.find_mut(hash, |other| *other == from) {
            *found = to_place(to);
        }
    }

    /// Once less than a quarter is used it is made smaller, with room to grow again.
    fn shrink(&mut self, kept: &UidMap<Kept>, names: &NameTable) {
        let len = self.positions.len();
        if self.positions.capacity() > INDEX_AT_LEAST.max(4 * len) {
            let mut positions = std::mem::take(&mut self.positions);
            positions.shrink_to(2 * len, |place| self.hash_at(*place, kept, names));
            self.positions = positions;
        }
    }
}

/// A position as the index keeps it.
#[expect(clippy::cast_possible_truncation, reason = "memory ends long before four thousand million pods")]
fn to_place(position: usize) -> u32 {
    position as u32
}
