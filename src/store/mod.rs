//! The pods that the watches show, by UID: one writer a watch, and a view over all of them.
//!
//! The watcher is kube-runtime's; its reflector's store is not used. For a pod that store keeps a key of 104 bytes in a
//! table that is a third to a half empty, the UID as text, and a counted pointer: some 250 bytes before anything of the
//! pod, twice that while a list comes in, and it knows pods by their names, which they may have one after another. Here
//! a pod takes about 180 bytes with everything that its record is made of, and a list needs no second store: it marks what it
//! shows, beside the events of the watch that is running (the table in `pods.rs` says which of the two counts).

pub mod packed;

mod pods;

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use pods::Pods;

use crate::model::{
    pod::{Pod, StoredPod},
    uid::Uid,
};

/// The pods of one watch, for the one that watches.
#[derive(Debug, Default)]
pub struct StoreWriter {
    pods: Arc<RwLock<Pods>>,
}

impl StoreWriter {
    /// The read side.
    pub fn store(&self) -> WatchStore {
        WatchStore { pods: self.pods.clone() }
    }

    fn change(&self) -> RwLockWriteGuard<'_, Pods> {
        self.pods.write()
    }

    /// A pod with its record, if it is there.
    pub fn get(&self, uid: &Uid) -> Option<Pod> {
        self.store().read().expand(uid)
    }

    /// A list begins. Until it ends, the store holds what was there before and what the list shows. Name the list's
    /// version if events are applied while it comes in: what they show of later versions then outlives the list.
    pub fn begin_list(&mut self, version: Option<&str>) {
        self.change().begin_list(version);
    }

    /// The list shows this pod. Says whether that changed anything.
    pub fn list_item(&mut self, pod: &Pod) -> bool {
        self.change().put_listed(pod)
    }

    /// The list is complete: the store forgets the pods that it did not show.
    pub fn end_list(&mut self) {
        self.change().end_list();
    }

    /// An event shows this pod. It changes nothing if a list has shown a newer version. Says which other pod had its name until now; that one is gone, whether or not its end was
    /// shown.
    pub fn apply(&mut self, pod: &Pod) -> Option<Uid> {
        let mut pods = self.change();
        let before = pods.put(pod)?;
        pods.remove(&before);
        Some(before)
    }

    /// An event shows the end of this pod at this version. False if a list has shown a newer version of it: then the pod
    /// stays.
    pub fn remove(&mut self, uid: &Uid, version: &str) -> bool {
        self.change().end(uid, version)
    }
}

/// The pods of one watch, for those who read.
#[derive(Clone, Debug)]
pub struct WatchStore {
    pods: Arc<RwLock<Pods>>,
}

impl WatchStore {
    fn read(&self) -> RwLockReadGuard<'_, Pods> {
        self.pods.read()
    }
}

/// The pods that the watches show, over all of them. Cheap to clone.
#[derive(Clone)]
pub struct View {
    stores: Arc<[WatchStore]>,
}

impl View {
    /// A view of these stores, one a watch.
    pub fn new(stores: impl IntoIterator<Item = WatchStore>) -> Self {
        Self { stores: stores.into_iter().collect() }
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.stores.len()
    }

    /// The pod with this UID, and its record.
    pub fn get(&self, uid: &Uid) -> Option<Pod> {
        self.stores.iter().find_map(|store| store.read().expand(uid))
    }

    /// Whether there is a pod with this UID.
    pub fn contains(&self, uid: &Uid) -> bool {
        self.shown(uid).is_some()
    }

    /// What is shown of the pod with this UID.
    pub fn shown(&self, uid: &Uid) -> Option<StoredPod> {
        self.stores.iter().find_map(|store| store.read().shown(uid))
    }

    /// The same, if this watch shows it.
    pub fn shown_in(&self, watch: usize, uid: &Uid) -> Option<StoredPod> {
        self.stores.get(watch)?.read().shown(uid)
    }

    /// What is shown of a pod: by its watch, if one is known to have shown it, or by any. A pod does not change its
    /// namespace, so that no other watch shows it later.
    pub fn shown_by(&self, watch: Option<usize>, uid: &Uid) -> Option<StoredPod> {
        watch.map_or_else(|| self.shown(uid), |watch| self.shown_in(watch, uid))
    }

    /// Calls `visit` with each pod of one watch. The watch waits meanwhile.
    pub fn each_of_watch(&self, watch: usize, visit: impl FnMut(&Uid)) {
        if let Some(store) = self.stores.get(watch) {
            store.read().uids().for_each(visit);
        }
    }

    /// The pods of one watch with their names.
    pub fn named(&self, watch: usize) -> Vec<(Uid, String)> {
        let Some(store) = self.stores.get(watch) else { return Vec::new() };
        store.read().named().map(|(uid, name)| (uid.clone(), name)).collect()
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.stores.iter().map(|store| store.read().len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the pods take in memory, but for what an allocator adds. Looks at each of them.
    pub fn memory(&self) -> usize {
        self.stores.iter().map(|store| store.read().memory()).sum()
    }
}

#[cfg(test)]
mod tests;
