//! The handle: changes from Rust, scripted faults, and what was asked.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use serde_json::Value;

use super::{
    Api, Fault, Kind, Request, Snapshot,
    object::Object,
    pods::mark,
    status::{Failure, LEASES},
};

/// A change of a pod that the server made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The resource version of the change.
    pub resource_version: u64,
}

impl From<&Object> for Written {
    fn from(pod: &Object) -> Self {
        let (namespace, name) = pod.names();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod.uid.to_string(),
            resource_version: pod.resource_version,
        }
    }
}

/// Pods.
impl Api {
    /// Adds a pod (in `default` if it names no namespace), or fails as the server would: 409 if the name is taken.
    pub fn create(&self, pod: impl Into<Value>) -> Result<Written, Failure> {
        let pod = pod.into();
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default").to_owned();
        self.change(|state| Ok(Written::from(&*state.create(&namespace, pod)?)))
    }

    /// Changes a pod's document. Its identity and its resource version are the server's. 404 if there is none.
    pub fn update(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> Result<Written, Failure> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            let new = state.update(old, |document| {
                change(document);
                Ok(())
            })?;
            Ok(Written::from(&*new))
        })
    }

    /// Begins to delete a pod that has time to end: it is marked, and stays until [`Api::delete`]. 404 if there is none.
    pub fn terminate(&self, namespace: &str, name: &str, grace_seconds: u64) -> Result<Written, Failure> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            Ok(Written::from(&*mark(state, old, grace_seconds)?))
        })
    }

    /// Takes a pod away, at once. 404 if there is none.
    pub fn delete(&self, namespace: &str, name: &str) -> Result<Written, Failure> {
        self.remove(namespace, name, false)
    }

    /// Takes a pod away without any watch being told: an event that the server lost.
    pub fn delete_silently(&self, namespace: &str, name: &str) -> Result<Written, Failure> {
        self.remove(namespace, name, true)
    }

    /// Does something of which no watch is ever told, whatever it is: events that the server lost.
    pub fn silently<T>(&self, something: impl FnOnce(&Self) -> T) -> T {
        self.state().hushed = true;
        let done = something(self);
        self.state().hushed = false;
        done
    }

    fn remove(&self, namespace: &str, name: &str, silent: bool) -> Result<Written, Failure> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            Ok(Written::from(&*state.remove(&old, silent)?))
        })
    }

    /// Puts another pod in the place of one with the same name; watches see ONE MODIFIED event with another UID.
    pub fn replace_in_place(&self, pod: impl Into<Value>) -> Result<Written, Failure> {
        let pod = pod.into();
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or("default").to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        self.change(|state| {
            let old = state.pod(&namespace, &name)?;
            Ok(Written::from(&*state.replace_in_place(old, pod)?))
        })
    }

    /// A pod's document.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let pod = self.state().pod(namespace, name).ok()?;
        pod.document().ok()
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.state().pods.len()
    }

    /// Whether there are no pods.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The UIDs of all pods, by `namespace/name`.
    pub fn uids(&self) -> BTreeMap<String, String> {
        self.snapshot().uids()
    }
}

/// The server's past and identity.
impl Api {
    /// The server's time, as documents write it. It moves with tokio's clock.
    pub fn now(&self) -> String {
        self.state().now()
    }

    /// The newest resource version.
    pub fn resource_version(&self) -> u64 {
        self.state().resource_version
    }

    /// Sets the counter. The past is forgotten and every watch ends, as after a restore.
    pub fn set_resource_version(&self, to: u64) {
        self.change(|state| state.set_resource_version(to));
    }

    /// Everything of this moment, for [`Api::restore`] or [`Fault::stale_list`].
    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot()
    }

    /// Goes back to an earlier moment, its leases and its resource version included, as a cluster whose etcd was restored from a backup.
    pub fn restore(&self, to: Snapshot) {
        self.change(|state| state.restore(to));
    }

    /// Forgets the past: a watch or a list's next page from an earlier resource version fails with 410. Open watches go on.
    pub fn compact(&self) {
        self.change(|state| state.history.compact(state.resource_version));
    }

    /// Ends every open watch, as a server that restarts.
    pub fn drop_watches(&self) {
        self.change(|state| state.generation += 1);
    }

    /// Adds a namespace, if it is not there yet.
    pub fn create_namespace(&self, name: &str) {
        self.change(|state| state.ensure_namespace(name));
    }

    /// Sets the cluster's identity: the UID of the namespace `kube-system`.
    pub fn set_cluster_uid(&self, uid: &str) {
        self.change(|state| state.set_namespace_uid("kube-system", uid));
    }

    /// A lease's document.
    pub fn lease(&self, namespace: &str, name: &str) -> Option<Value> {
        self.state().others.get(&LEASES, namespace, name).ok().cloned()
    }

    /// Changes a lease, as another candidate would. 404 if there is none.
    pub fn edit_lease(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> Result<(), Failure> {
        self.change(|state| {
            let mut lease = state.others.get(&LEASES, namespace, name)?.clone();
            change(&mut lease);
            state.replace_other(&LEASES, namespace, name, lease).map(|_| ())
        })
    }
}

/// Faults, and what was asked.
impl Api {
    /// Adds a fault to the script.
    pub fn inject(&self, fault: Fault) {
        self.shared.script.lock().push(fault);
    }

    /// Drops all faults that have not struck.
    pub fn clear_faults(&self) {
        self.shared.script.lock().clear();
    }

    /// How many faults are still to strike.
    pub fn pending_faults(&self) -> usize {
        self.shared.script.lock().len()
    }

    /// From now on shows the pods of a name in a shape that no decoder accepts, in lists, watches and gets.
    pub fn spoil(&self, name: &str) {
        self.shared.spoiled.lock().insert(name);
    }

    /// Shows the pods of a name well again.
    pub fn unspoil(&self, name: &str) {
        self.shared.spoiled.lock().remove(name);
    }

    /// How many requests of a kind have arrived.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.shared.traffic.lock().count(kind)
    }

    /// The newest requests (a few thousand), oldest first.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.traffic.lock().recent()
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.shared.open_watches.load(Ordering::SeqCst)
    }
}
