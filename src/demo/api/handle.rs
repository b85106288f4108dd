//! Reads and changes of the content from Rust, besides HTTP.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Api,
    object::JsonObject,
    pods::mark,
    status::{LEASES, StatusError},
    store::Snapshot,
};

/// A pod that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodWritten {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: u64,
}

impl From<&JsonObject> for PodWritten {
    fn from(pod: &JsonObject) -> Self {
        let (namespace, name) = pod.names();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: pod.uid.to_string(),
            resource_version: pod.resource_version,
        }
    }
}

impl Api {
    /// Creates a pod, by default in the namespace `default`. 409 if its name is taken.
    pub fn create(&self, pod: impl Into<Value>) -> Result<PodWritten, StatusError> {
        let pod = pod.into();
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default").to_owned();
        self.change(|state| Ok(PodWritten::from(&*state.create(&namespace, pod)?)))
    }

    /// Changes the document of a pod, except its identity and resource version. 404 if it does not exist.
    pub fn update(
        &self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<PodWritten, StatusError> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            let new = state.update(old, |document| {
                change(document);
                Ok(())
            })?;
            Ok(PodWritten::from(&*new))
        })
    }

    /// Sets the deletion timestamp of a pod, which stays until [`Api::delete`]. 404 if it does not exist.
    pub fn terminate(&self, namespace: &str, name: &str, grace_seconds: u64) -> Result<PodWritten, StatusError> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            Ok(PodWritten::from(&*mark(state, old, grace_seconds)?))
        })
    }

    /// Removes a pod at once. 404 if it does not exist.
    pub fn delete(&self, namespace: &str, name: &str) -> Result<PodWritten, StatusError> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            Ok(PodWritten::from(&*state.remove(&old)?))
        })
    }

    /// Replaces a pod by another one of the same name. Watches see one MODIFIED event with another UID.
    pub fn replace_in_place(&self, pod: impl Into<Value>) -> Result<PodWritten, StatusError> {
        let pod = pod.into();
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or("default").to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        self.change(|state| {
            let old = state.pod(&namespace, &name)?;
            Ok(PodWritten::from(&*state.replace_in_place(old, pod)?))
        })
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let pod = self.state().pod(namespace, name).ok()?;
        pod.document().ok()
    }

    /// The UIDs of all pods by `namespace/name`.
    pub fn uids(&self) -> BTreeMap<String, String> {
        self.snapshot().uids()
    }
}

impl Api {
    /// The server's time as in documents. It moves with tokio's clock.
    pub fn now(&self) -> String {
        self.state().now()
    }

    pub fn resource_version(&self) -> u64 {
        self.state().resource_version
    }

    pub fn snapshot(&self) -> Snapshot {
        self.state().snapshot()
    }

    /// Goes back to an earlier content and resource version, like a cluster whose etcd is restored from a backup.
    pub fn restore(&self, to: Snapshot) {
        self.change(|state| state.restore(to));
    }

    /// Compacts the history: a watch or a page from an earlier resource version gets a 410. Open watches continue.
    pub fn compact(&self) {
        self.change(|state| state.history.compact(state.resource_version));
    }

    pub fn lease(&self, namespace: &str, name: &str) -> Option<Value> {
        self.state().others.get(&LEASES, namespace, name).ok().cloned()
    }
}
