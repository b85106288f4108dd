//! The packed pods of one watch.
//!
//! For each pod the store keeps a [`Packed`] pod and the fingerprint of its record, which decisions use. The digest is
//! computed once per event and again for each record that is sent, because that record is expanded from the packed pod.
//! Keeping the canonical bytes instead would take many times the memory.
//!
//! An index finds pods by name. A name belongs to the pod that was shown last; pods without a readable name are not in
//! the index.
//!
//! A list replaces the contents without a second store. Events may go on in the meantime:
//!
//! | at the list's version | newest event of the pod | the store then holds |
//! | --- | --- | --- |
//! | exists | none, or an older version, even if it arrives after the item | the pod of the list |
//! | exists | a newer version | the pod of the event |
//! | exists | a deletion after the list's version | nothing: the informer skips the item |
//! | does not exist | none, or an older version | nothing, once the list is complete |
//! | does not exist | a newer version | the pod of the event |

use std::{
    cmp::Ordering,
    hash::{BuildHasher, Hasher, RandomState},
};

use hashbrown::{HashTable, hash_table::Entry};

use super::packed::{names::NameTable, pod::Packed};
use crate::model::{
    ids::compare_resource_versions,
    pod::{Pod, StoredPod},
    recent::Recent,
    uid::Uid,
    uid_map::UidMap,
};

/// Smaller indexes are not shrunk.
const MIN_INDEX: usize = 64;
/// Removed pods whose names are kept, at least.
const DEPARTED_KEPT: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Pods {
    kept: UidMap<Kept>,
    names: NameTable,
    by_name: ByName,
    /// The namespaces and names of pods that were removed lately.
    departed: Recent<Box<str>>,
    /// Counts the lists that were begun.
    list: u32,
    /// The version of the current list, if events go on during it.
    version: Option<Box<str>>,
}

#[derive(Debug)]
struct Kept {
    shown: StoredPod,
    packed: Packed,
    /// The number of the newest list that showed the pod.
    list: u32,
}

impl Pods {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The fingerprint of the record of this pod, if the pod exists.
    pub(super) fn shown(&self, uid: &Uid) -> Option<StoredPod> {
        self.kept.get(uid).map(|kept| kept.shown)
    }

    pub(super) fn expand(&self, uid: &Uid) -> Option<Pod> {
        let kept = self.kept.get(uid)?;
        Some(kept.packed.expand(uid, &self.names))
    }

    /// All UIDs, in an order that depends only on earlier inserts and removals.
    pub(super) fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.kept.iter().map(|(uid, _)| uid)
    }

    /// The UID at a position below [`Self::len`]. Positions follow the rule of [`UidMap`].
    pub(super) fn uid_at(&self, position: usize) -> Option<&Uid> {
        self.kept.at(position).map(|(uid, _)| uid)
    }

    pub(super) fn named(&self) -> impl Iterator<Item = (&Uid, String)> {
        self.kept.iter().map(|(uid, kept)| (uid, kept.packed.name(&self.names).into_owned()))
    }

    /// The pod with this name.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Option<&Uid> {
        let position = self.by_name.find(namespace, name, &self.kept, &self.names)?;
        self.kept.at(position).map(|(uid, _)| uid)
    }

    /// The namespace and name of a pod that was removed lately.
    pub(super) fn departed(&self, uid: &Uid) -> Option<&str> {
        self.departed.get(uid).map(|name| &**name)
    }

    /// The newest pod that was removed lately and had this namespace and name.
    pub(super) fn find_departed(&self, full_name: &str) -> Option<&Uid> {
        self.departed.iter().rev().find(|(_, name)| ***name == *full_name).map(|(uid, _)| uid)
    }

    /// Puts a pod that an event shows, unless the store holds a newer version: a watch may lag behind a list. Returns
    /// the other pod that had its name.
    pub(super) fn put(&mut self, pod: &Pod) -> Option<Uid> {
        if self.is_newer(&pod.uid, &pod.resource_version) {
            return None;
        }
        let list = self.kept.get(&pod.uid).map_or(self.list.wrapping_sub(1), |kept| kept.list);
        let other = self.put_as_of(pod, list)?;
        if self.is_newer(&other, &pod.resource_version) {
            // The other pod got the name later and keeps it. A deletion event for this pod is still to come.
            let position = self.kept.position_of(&other)?;
            self.by_name.insert(&pod.namespace, &pod.name, position, &self.kept, &self.names);
            return None;
        }
        Some(other)
    }

    /// Whether the store holds the pod in a newer version than this one.
    fn is_newer(&self, uid: &Uid, version: &str) -> bool {
        self.kept.get(uid).is_some_and(|kept| is_after(&kept.packed.resource_version(), version))
    }

    /// Puts a pod of the newest list, unless an event has shown a version after the list's. Returns whether that
    /// changed the store. The pod's own version in the list is not compared: in a restored cluster it may be lower.
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
        let new = Kept { shown: pod.shown(), packed: Packed::pack(pod, names), list };
        if let Some(before) = self.kept.insert(&pod.uid, new) {
            let renamed = !before.packed.is_named(&pod.namespace, &pod.name, names);
            // Pods never change their names. If one does, it must not be found under both.
            if renamed && let Some(position) = self.kept.position_of(&pod.uid) {
                let (namespace, name) = (before.packed.namespace(names), before.packed.name(names));
                self.by_name.remove(namespace, &name, position);
            }
            before.packed.release(names);
        }
        if pod.namespace.is_empty() || pod.name.is_empty() {
            // Pods without a readable name do not replace each other.
            return None;
        }
        let position = self.kept.position_of(&pod.uid)?;
        let other = self.by_name.insert(&pod.namespace, &pod.name, position, &self.kept, &self.names)?;
        self.kept.at(other).map(|(uid, _)| uid.clone())
    }

    /// Removes a pod after a deletion event, unless the store holds a newer version. Returns whether the pod is
    /// removed.
    pub(super) fn end(&mut self, uid: &Uid, version: &str) -> bool {
        let removed = !self.is_newer(uid, version);
        if removed {
            self.remove(uid);
        }
        removed
    }

    pub(super) fn remove(&mut self, uid: &Uid) {
        if let Some(position) = self.kept.position_of(uid) {
            self.remove_at(position);
        }
    }

    fn remove_at(&mut self, position: usize) {
        if let Some((uid, kept)) = self.kept.at(position) {
            let (namespace, name) = (kept.packed.namespace(&self.names), kept.packed.name(&self.names));
            self.by_name.remove(namespace, &name, position);
            self.departed.insert(uid, format!("{namespace}/{name}").into(), DEPARTED_KEPT);
        }
        let Some(removed) = self.kept.remove_at(position) else { return };
        removed.value.packed.release(&mut self.names);
        if let (Some(from), Some((_, moved))) = (removed.moved_from, self.kept.at(position)) {
            let (namespace, name) = (moved.packed.namespace(&self.names), moved.packed.name(&self.names));
            self.by_name.moved(namespace, &name, from, position);
        }
        self.by_name.shrink(&self.kept, &self.names);
    }

    /// Begins a list, whose end removes the pods that it does not show. With a version, pods that events show in later
    /// versions stay.
    pub(super) fn begin_list(&mut self, version: Option<&str>) {
        self.list = self.list.wrapping_add(1);
        self.version = version.map(Into::into);
    }

    pub(super) fn end_list(&mut self) {
        let version = self.version.take();
        let is_gone = |kept: &Kept, list| {
            let is_newer = |version: &str| is_after(&kept.packed.resource_version(), version);
            kept.list != list && !version.as_deref().is_some_and(is_newer)
        };
        // From the highest position down: a pod that moves into a gap was checked already.
        for position in (0..self.kept.len()).rev() {
            if self.kept.at(position).is_some_and(|(_, kept)| is_gone(kept, self.list)) {
                self.remove_at(position);
            }
        }
    }

    /// Whether the store is empty and nothing is left of removed pods.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.kept.is_empty() && self.names.is_empty() && self.by_name.positions.is_empty()
    }

    /// The memory in bytes, without what the allocator adds.
    pub(super) fn memory(&self) -> usize {
        let packed: usize = self.kept.iter().map(|(_, kept)| kept.packed.bytes()).sum();
        self.kept.memory() + packed + self.names.bytes() + self.by_name.positions.allocation_size()
    }
}

/// Whether a resource version is certainly newer than another.
fn is_after(version: &str, other: &str) -> bool {
    compare_resource_versions(version, other) == Some(Ordering::Greater)
}

/// The position of the pod that has a name, by the hash of the name.
#[derive(Debug, Default)]
struct ByName {
    positions: HashTable<u32>,
    hasher: RandomState,
}

impl ByName {
    fn hash(&self, namespace: &str, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(namespace.as_bytes());
        // Separates the two: no name contains a zero byte.
        hasher.write_u8(0);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    fn hash_at(&self, position: u32, kept: &UidMap<Kept>, names: &NameTable) -> u64 {
        let Some((_, kept)) = kept.at(position as usize) else { return 0 };
        self.hash(kept.packed.namespace(names), &kept.packed.name(names))
    }

    /// Gives the name to the pod at a position. Returns the position of another pod that had it.
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

    /// The position of the pod that has the name.
    fn find(&self, namespace: &str, name: &str, kept: &UidMap<Kept>, names: &NameTable) -> Option<usize> {
        let is_it = |place: &u32| {
            kept.at(*place as usize).is_some_and(|(_, kept)| kept.packed.is_named(namespace, name, names))
        };
        self.positions.find(self.hash(namespace, name), is_it).map(|place| *place as usize)
    }

    /// Takes the name from the pod at this position.
    fn remove(&mut self, namespace: &str, name: &str, position: usize) {
        let (hash, place) = (self.hash(namespace, name), to_place(position));
        if let Ok(found) = self.positions.find_entry(hash, |other| *other == place) {
            found.remove();
        }
    }

    fn moved(&mut self, namespace: &str, name: &str, from: usize, to: usize) {
        let (hash, from) = (self.hash(namespace, name), to_place(from));
        if let Some(found) = self.positions.find_mut(hash, |other| *other == from) {
            *found = to_place(to);
        }
    }

    /// Shrinks an index that is less than a quarter full, with room to grow.
    fn shrink(&mut self, kept: &UidMap<Kept>, names: &NameTable) {
        let len = self.positions.len();
        if self.positions.capacity() > MIN_INDEX.max(4 * len) {
            let mut positions = std::mem::take(&mut self.positions);
            positions.shrink_to(2 * len, |place| self.hash_at(*place, kept, names));
            self.positions = positions;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "four billion pods do not fit into memory")]
fn to_place(position: usize) -> u32 {
    position as u32
}
