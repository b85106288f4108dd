//! The handle: changes and reads from Rust, beside HTTP.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Api,
    object::JsonObject,
    pods::mark,
    status::{LEASES, StatusError},
    store::Snapshot,
};

/// A change of a pod that the server made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodWritten {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The resource version of the change.
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

/// Pods.
impl Api {
    /// Adds a pod (in `default` if it names no namespace), or fails as the server would: 409 if the name is taken.
    pub fn create(&self, pod: impl Into<Value>) -> Result<PodWritten, StatusError> {
        let pod = pod.into();
        let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default").to_owned();
        self.change(|state| Ok(PodWritten::from(&*state.create(&namespace, pod)?)))
    }

    /// Changes a pod's document. Its identity and its resource version are the server's. 404 if there is none.
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

    /// Begins to delete a pod that has time to end: it is marked, and stays until [`Api::delete`]. 404 if there is none.
    pub fn terminate(&self, namespace: &str, name: &str, grace_seconds: u64) -> Result<PodWritten, StatusError> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            Ok(PodWritten::from(&*mark(state, old, grace_seconds)?))
        })
    }

    /// Removes a pod at once. 404 if there is none.
    pub fn delete(&self, namespace: &str, name: &str) -> Result<PodWritten, StatusError> {
        self.change(|state| {
            let old = state.pod(namespace, name)?;
            Ok(PodWritten::from(&*state.remove(&old)?))
        })
    }

    /// Puts another pod in the place of one with the same name; watches see ONE MODIFIED event with another UID.
    pub fn replace_in_place(&self, pod: impl Into<Value>) -> Result<PodWritten, StatusError> {
        let pod = pod.into();
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or("default").to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        self.change(|state| {
            let old = state.pod(&namespace, &name)?;
            Ok(PodWritten::from(&*state.replace_in_place(old, pod)?))
        })
    }

    /// A pod's document.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let pod = self.state().pod(namespace, name).ok()?;
        pod.document().ok()
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

    /// The present content, for [`Api::restore`].
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

    /// A lease's document.
    pub fn lease(&self, namespace: &str, name: &str) -> Option<Value> {
        self.state().others.get(&LEASES, namespace, name).ok().cloned()
    }
}
