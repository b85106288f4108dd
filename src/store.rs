//! The read side of the pods' stores, by UID.
//!
//! A reflector keys its store by an object's name. A pod's identity is its UID, and one name may belong to two pods one
//! after the other, so the store is told that the UID *is* the name: a list replaces pods by identity, and no pod can be
//! taken for another.

use std::{borrow::Cow, sync::Arc};

use kube_runtime::reflector::{Lookup, ObjectRef, Store};

use crate::model::{Pod, Uid};

impl Lookup for Pod {
    type DynamicType = ();

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(self.uid.to_string().into())
    }

    fn namespace(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn resource_version(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn uid(&self) -> Option<Cow<'_, str>> {
        None
    }
}

/// The pods that the watches show, over all of them. Cheap to clone.
#[derive(Clone)]
pub struct View {
    stores: Arc<[Store<Pod>]>,
}

impl View {
    /// A view of these stores, one a watch.
    pub fn new(stores: impl IntoIterator<Item = Store<Pod>>) -> Self {
        Self { stores: stores.into_iter().collect() }
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.stores.len()
    }

    /// The pod with this UID.
    pub fn get(&self, uid: &Uid) -> Option<Arc<Pod>> {
        let key = ObjectRef::new(&uid.text());
        self.stores.iter().find_map(|store| store.get(&key))
    }

    /// The pod with this UID, if this watch shows it.
    pub fn get_in(&self, watch: usize, uid: &Uid) -> Option<Arc<Pod>> {
        self.stores.get(watch)?.get(&ObjectRef::new(&uid.text()))
    }

    /// The pods of one watch.
    pub fn of_watch(&self, watch: usize) -> Vec<Arc<Pod>> {
        self.stores.get(watch).map(Store::state).unwrap_or_default()
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.stores.iter().map(Store::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
