//! The pods of all watches, packed: one writer per watch, and a view over all of them.
//!
//! kube-runtime's watcher fills it; the store of its reflector is not used. That store identifies pods by name, which
//! later pods may have, too, and it needs more for its keys and pointers than a whole packed pod takes. Here a list
//! needs no second store: it marks the pods that it shows, while events go on (see the table in `pods.rs`).

pub mod packed;

mod pods;

use std::{ops::Range, sync::Arc};

use parking_lot::RwLock;

use pods::Pods;

use crate::model::{
    pod::{Pod, StoredPod},
    uid::Uid,
};

/// The pods of one watch, for the informer that writes them.
#[derive(Debug, Default)]
pub struct StoreWriter {
    pods: Arc<RwLock<Pods>>,
}

impl StoreWriter {
    pub fn store(&self) -> WatchStore {
        WatchStore { pods: self.pods.clone() }
    }

    pub fn get(&self, uid: &Uid) -> Option<Pod> {
        self.pods.read().expand(uid)
    }

    /// Begins a list. Until it ends, the store holds the pods from before and the pods of the list. Pass the version of
    /// the list if events are applied in the meantime: later versions that they show then outlive the list.
    pub fn begin_list(&mut self, version: Option<&str>) {
        self.pods.write().begin_list(version);
    }

    /// Puts a pod of the list. Returns whether that changed the store.
    pub fn list_item(&mut self, pod: &Pod) -> bool {
        self.pods.write().put_listed(pod)
    }

    /// Completes the list: removes the pods that it did not show.
    pub fn end_list(&mut self) {
        self.pods.write().end_list();
    }

    /// Puts a pod that an event shows, unless a list has shown a newer version of it. Returns the other pod that had
    /// its name until now and is removed: it no longer exists, even if no deletion event came.
    pub fn apply(&mut self, pod: &Pod) -> Option<Uid> {
        let mut pods = self.pods.write();
        let before = pods.put(pod)?;
        pods.remove(&before);
        Some(before)
    }

    /// The number of pods.
    pub fn count(&self) -> usize {
        self.pods.read().len()
    }

    /// Removes a pod after a deletion event of this version. Returns false if a list has shown a newer version: the pod
    /// then stays.
    pub fn remove(&mut self, uid: &Uid, version: &str) -> bool {
        self.pods.write().end(uid, version)
    }
}

/// The pods of one watch, for readers.
#[derive(Clone, Debug)]
pub struct WatchStore {
    pods: Arc<RwLock<Pods>>,
}

/// The pods of all watches. Cheap to clone.
#[derive(Clone)]
pub struct View {
    stores: Arc<[WatchStore]>,
}

impl View {
    /// Expects one store per watch.
    pub fn new(stores: impl IntoIterator<Item = WatchStore>) -> Self {
        Self { stores: stores.into_iter().collect() }
    }

    /// The number of watches.
    pub fn watches(&self) -> usize {
        self.stores.len()
    }

    /// Expands a pod and its record.
    pub fn get(&self, uid: &Uid) -> Option<Pod> {
        self.stores.iter().find_map(|store| store.pods.read().expand(uid))
    }

    pub fn contains(&self, uid: &Uid) -> bool {
        self.shown(uid).is_some()
    }

    pub fn shown(&self, uid: &Uid) -> Option<StoredPod> {
        self.stores.iter().find_map(|store| store.pods.read().shown(uid))
    }

    pub fn shown_in(&self, watch: usize, uid: &Uid) -> Option<StoredPod> {
        self.stores.get(watch)?.pods.read().shown(uid)
    }

    /// What one watch shows of a pod, or any watch if `None` is given. The namespace of a pod never changes, so the
    /// watch that showed it once is the only one that can.
    pub fn shown_by(&self, watch: Option<usize>, uid: &Uid) -> Option<StoredPod> {
        watch.map_or_else(|| self.shown(uid), |watch| self.shown_in(watch, uid))
    }

    /// Visits each pod of one watch. The writer of that watch is blocked in the meantime.
    pub fn each_of_watch(&self, watch: usize, visit: impl FnMut(&Uid)) {
        if let Some(store) = self.stores.get(watch) {
            store.pods.read().uids().for_each(visit);
        }
    }

    /// The number of pods of one watch.
    pub fn len_of_watch(&self, watch: usize) -> usize {
        self.stores.get(watch).map_or(0, |store| store.pods.read().len())
    }

    /// Visits the pods of one watch at these positions. There may be fewer. The writer is blocked in the meantime.
    pub fn each_at(&self, watch: usize, positions: Range<usize>, visit: impl FnMut(&Uid)) {
        if let Some(store) = self.stores.get(watch) {
            let pods = store.pods.read();
            positions.rev().filter_map(|position| pods.uid_at(position)).for_each(visit);
        }
    }

    pub fn named(&self, watch: usize) -> Vec<(Uid, String)> {
        let Some(store) = self.stores.get(watch) else { return Vec::new() };
        store.pods.read().named().map(|(uid, name)| (uid.clone(), name)).collect()
    }

    /// The pod with this name. Otherwise the newest one that had it and was removed lately.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Uid> {
        let full_name = format!("{namespace}/{name}");
        let present = || self.stores.iter().find_map(|store| store.pods.read().find(namespace, name).cloned());
        let departed = || self.stores.iter().find_map(|store| store.pods.read().find_departed(&full_name).cloned());
        present().or_else(departed)
    }

    /// The namespace and name of a pod that was removed lately.
    pub fn departed(&self, uid: &Uid) -> Option<String> {
        self.stores.iter().find_map(|store| store.pods.read().departed(uid).map(str::to_owned))
    }

    pub fn len(&self) -> usize {
        self.stores.iter().map(|store| store.pods.read().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory of the pods in bytes, without what the allocator adds. Visits every pod.
    pub fn memory(&self) -> usize {
        self.stores.iter().map(|store| store.pods.read().memory()).sum()
    }
}

#[cfg(test)]
mod tests;
