//! The content of the server: pods, the other objects, and the resource version that all of them share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    history::{History, HistoryEntry},
    object::JsonObject,
    status::{Named, PODS, Resource, StatusError},
};

/// The content at one time, for comparisons and for [`super::Api::restore`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) resource_version: u64,
    pub(super) pods: BTreeMap<Arc<str>, Arc<JsonObject>>,
    others: Others,
}

impl Snapshot {
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// The UIDs of all pods by `namespace/name`.
    pub fn uids(&self) -> BTreeMap<String, String> {
        self.pods.iter().map(|(key, pod)| (key.to_string(), pod.uid.to_string())).collect()
    }
}

/// The content, behind the lock of [`super::Api`], which wakes the watches after a change.
#[derive(Debug)]
pub(super) struct ApiState {
    pub(super) resource_version: u64,
    pub(super) pods: BTreeMap<Arc<str>, Arc<JsonObject>>,
    pub(super) history: History,
    pub(super) history_limit: usize,
    pub(super) others: Others,
    /// Counts calls of `restore`. A watch ends when it changes.
    pub(super) generation: u64,
    pub(super) random: fastrand::Rng,
    clock: Clock,
}

/// Namespaces, leases and events: documents by plural, namespace and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Others(pub(super) BTreeMap<(&'static str, String, String), Value>);

impl Others {
    pub(super) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<&Value, StatusError> {
        let found = self.0.get(&(resource.plural, namespace.to_owned(), name.to_owned()));
        found.ok_or_else(|| StatusError::not_found(resource, name))
    }

    /// All documents of a type, in one namespace or in all.
    pub(super) fn all<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Value> + use<'a> {
        let plural = resource.plural;
        self.0
            .iter()
            .filter(move |((of, within, _), _)| *of == plural && namespace.is_none_or(|wanted| wanted == within))
            .map(|(_, document)| document)
    }
}

/// Wall-clock time that moves with tokio's clock, so that paused tests control it.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: Timestamp,
    since: Instant,
}

pub(super) fn key(namespace: &str, name: &str) -> Arc<str> {
    format!("{namespace}/{name}").into()
}

impl ApiState {
    pub(super) fn new(seed: u64, history_limit: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // A real cluster makes thousands of changes before its first pod runs.
        let resource_version = random.u64(1_000..10_000);
        let mut state = Self {
            resource_version,
            pods: BTreeMap::new(),
            history: History::new(history_limit, resource_version),
            history_limit,
            others: Others::default(),
            generation: 0,
            random,
            clock: Clock { wall: Timestamp::now(), since: Instant::now() },
        };
        for namespace in ["default", "kube-system"] {
            state.ensure_namespace(namespace);
        }
        state
    }

    /// The time as in documents.
    pub(super) fn now(&self) -> String {
        self.in_seconds(0)
    }

    pub(super) fn in_seconds(&self, seconds: u64) -> String {
        let later = self.clock.since.elapsed() + Duration::from_secs(seconds);
        let now = self.clock.wall.checked_add(later).unwrap_or(self.clock.wall);
        now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// A random UID, version 4.
    pub(super) fn new_uid(&mut self) -> String {
        let bits = (self.random.u128(..) & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    pub(super) fn next_version(&mut self) -> u64 {
        self.resource_version += 1;
        self.resource_version
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { resource_version: self.resource_version, pods: self.pods.clone(), others: self.others.clone() }
    }

    /// Goes back to an earlier content, like a cluster that is restored from a backup. The history is lost, and all
    /// watches end.
    pub(super) fn restore(&mut self, to: Snapshot) {
        self.pods = to.pods;
        self.others = to.others;
        self.resource_version = to.resource_version;
        self.history = History::new(self.history_limit, to.resource_version);
        self.generation += 1;
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<JsonObject>, StatusError> {
        let pod = self.pods.get(&*key(namespace, name)).cloned();
        pod.ok_or_else(|| StatusError::not_found(&PODS, name))
    }

    /// Adds a pod. Sets its resource version, and its UID and time of creation unless the document has them.
    pub(super) fn create(&mut self, namespace: &str, mut document: Value) -> Result<Arc<JsonObject>, StatusError> {
        let name = self.name_of(&mut document)?;
        let key = key(namespace, &name);
        if self.pods.contains_key(&key) {
            return Err(StatusError::already_exists(&PODS, &name));
        }
        let object = self.freeze_new(key, namespace, &mut document)?;
        self.put(None, object.clone());
        Ok(object)
    }

    /// Replaces a pod by another one of the same name, in one change: watches never see the deletion.
    pub(super) fn replace_in_place(
        &mut self,
        old: Arc<JsonObject>,
        mut document: Value,
    ) -> Result<Arc<JsonObject>, StatusError> {
        let namespace = old.names().0.to_owned();
        let object = self.freeze_new(old.key.clone(), &namespace, &mut document)?;
        self.put(Some(old), object.clone());
        Ok(object)
    }

    /// Changes a pod, except its identity. As on a real server, a write without a difference is no event.
    pub(super) fn update(
        &mut self,
        old: Arc<JsonObject>,
        change: impl FnOnce(&mut Value) -> Result<(), StatusError>,
    ) -> Result<Arc<JsonObject>, StatusError> {
        let mut document = old.document()?;
        let kept = ["name", "namespace", "uid", "creationTimestamp", "resourceVersion"];
        let before = kept.map(|member| document["metadata"][member].clone());
        change(&mut document)?;
        for (member, value) in kept.into_iter().zip(before) {
            document["metadata"][member] = value;
        }
        let changed = JsonObject::new(old.key.clone(), old.resource_version, &document)?;
        if changed.item() == old.item() {
            return Ok(old);
        }
        let object = Arc::new(changed.at(self.next_version())?);
        self.put(Some(old), object.clone());
        Ok(object)
    }

    pub(super) fn remove(&mut self, old: &Arc<JsonObject>) -> Result<Arc<JsonObject>, StatusError> {
        let version = self.next_version();
        let object = Arc::new(old.at(version)?);
        self.pods.remove(&old.key);
        self.history.push(HistoryEntry {
            resource_version: version,
            before: Some(old.clone()),
            object: object.clone(),
            deleted: true,
        });
        Ok(object)
    }

    fn put(&mut self, before: Option<Arc<JsonObject>>, object: Arc<JsonObject>) {
        self.pods.insert(object.key.clone(), object.clone());
        let resource_version = object.resource_version;
        self.history.push(HistoryEntry { resource_version, before, object, deleted: false });
    }

    /// The name in a document, or a new one with its `generateName`.
    fn name_of(&mut self, document: &mut Value) -> Result<String, StatusError> {
        if !document.is_object() {
            return Err(StatusError::bad_request("the object provided is unrecognized: a pod is an object".to_owned()));
        }
        let text = |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let name = match (text("/metadata/name"), text("/metadata/generateName")) {
            ("", "") => {
                let why = "Required value: name or generateName is required";
                return Err(StatusError::invalid(&PODS, Named::Kind, "", "metadata.name", why));
            }
            ("", prefix) => format!("{prefix}{}", random_suffix(&mut self.random)),
            (name, _) => name.to_owned(),
        };
        document["metadata"]["name"] = name.as_str().into();
        Ok(name)
    }

    fn freeze_new(
        &mut self,
        key: Arc<str>,
        namespace: &str,
        document: &mut Value,
    ) -> Result<Arc<JsonObject>, StatusError> {
        self.ensure_namespace(namespace);
        let version = self.next_version();
        let (uid, now) = (self.new_uid(), self.now());
        let metadata = &mut document["metadata"];
        metadata["namespace"] = namespace.into();
        metadata["resourceVersion"] = version.to_string().into();
        for (member, value) in [("uid", Value::from(uid)), ("creationTimestamp", now.into()), ("generation", json!(1))]
        {
            if metadata.get(member).is_none_or(Value::is_null) {
                metadata[member] = value;
            }
        }
        Ok(Arc::new(JsonObject::new(key, version, document)?))
    }
}

/// Five random characters from the alphabet that the API server uses for `generateName`.
pub(in crate::demo) fn random_suffix(random: &mut fastrand::Rng) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).filter_map(|_| random.choice(LETTERS)).map(|&c| char::from(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> ApiState {
        ApiState::new(1, 100)
    }

    #[test]
    fn uids_are_of_version_four_and_differ() {
        let mut state = state();
        let (a, b) = (state.new_uid(), state.new_uid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&a.as_bytes()[19]));
    }

    #[test]
    fn change_keeps_the_uid_and_raises_the_version() {
        // A write that changes nothing keeps the version.
        let mut state = state();
        let pod = state.create("shop", json!({"metadata": {"generateName": "web-"}})).unwrap();
        assert_eq!(pod.names().1.len(), "web-".len() + 5);
        let same = state.update(pod.clone(), |_| Ok(())).unwrap();
        assert_eq!(same.resource_version, pod.resource_version);
        let changed = state
            .update(pod.clone(), |document| {
                document["metadata"]["uid"] = "forged".into();
                document["metadata"]["labels"] = json!({"a": "b"});
                Ok(())
            })
            .unwrap();
        assert_eq!(changed.uid, pod.uid);
        assert!(changed.resource_version > pod.resource_version);
        assert_eq!(changed.labels["a"].as_ref(), "b");
    }

    #[test]
    fn removed_pod_leaves_a_newer_version() {
        // That version holds the pod's last state.
        let mut state = state();
        let pod = state.create("shop", json!({"metadata": {"name": "web"}})).unwrap();
        assert_eq!(state.create("shop", json!({"metadata": {"name": "web"}})).unwrap_err().code(), 409);
        let gone = state.remove(&pod).unwrap();
        assert!(gone.resource_version > pod.resource_version);
        let document = gone.document().unwrap();
        assert_eq!(document["metadata"]["resourceVersion"], gone.resource_version.to_string());
        assert_eq!(state.pod("shop", "web").unwrap_err().code(), 404);
    }
}
