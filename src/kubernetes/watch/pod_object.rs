//! A pod from a list or an event, decoded leniently into the fields that a record needs.
//!
//! An undecodable object must neither end the watch nor look like a deleted pod. So decoding skips invalid fields,
//! keeps the reason, and always reads the identity.

use k8s_openapi::{
    Metadata, NamespaceResourceScope, Resource, api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, Deserializer};

use crate::{
    connect::failures::one_line,
    model::pod::object::{self, PodObject},
};

/// Characters of a reason. It quotes parts of the object.
const CAUSE_CHARS: usize = 300;

/// A pod from a list or an event.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The fields that the watcher needs: name, namespace, UID and resource version.
    meta: ObjectMeta,
    /// The pod, or why it cannot be decoded.
    pub pod: Result<PodObject, String>,
}

impl Watched {
    /// Moves the pod out; the identity stays.
    pub fn take_pod(&mut self) -> Result<PodObject, String> {
        std::mem::replace(&mut self.pod, Err(String::new()))
    }

    pub fn uid(&self) -> Option<&str> {
        self.meta.uid.as_deref().filter(|uid| !uid.is_empty())
    }

    /// Empty if it is missing, as are the name and the resource version.
    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    pub fn resource_version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (pod, cause) = object::read(deserializer)?;
        let mut meta = identity_of(&pod);
        // The items of a PodList have no kind, those of a list of metadata are PartialObjectMetadata.
        if let Some(kind) = pod.kind.as_ref().filter(|kind| !matches!(kind.as_str(), "Pod" | "PartialObjectMetadata")) {
            meta = ObjectMeta { resource_version: meta.resource_version, ..ObjectMeta::default() };
            let cause = one_line(&format!("it is a {kind} instead of a Pod"), CAUSE_CHARS);
            return Ok(Self { meta, pod: Err(cause) });
        }
        Ok(Self { meta, pod: cause.map_or(Ok(pod), |cause| Err(one_line(&cause, CAUSE_CHARS))) })
    }
}

fn identity_of(pod: &PodObject) -> ObjectMeta {
    let metadata = &pod.metadata;
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        ..ObjectMeta::default()
    }
}

impl Resource for Watched {
    const API_VERSION: &'static str = Pod::API_VERSION;
    const GROUP: &'static str = Pod::GROUP;
    const KIND: &'static str = Pod::KIND;
    const VERSION: &'static str = Pod::VERSION;
    const URL_PATH_SEGMENT: &'static str = Pod::URL_PATH_SEGMENT;
    type Scope = NamespaceResourceScope;
}

impl Metadata for Watched {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.meta
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ObjectList, WatchEvent};

    const BAD: &str =
        r#"{"metadata":{"uid":"u","namespace":"n","name":"p","resourceVersion":"7"},"spec":{"containers":"none"}}"#;

    #[test]
    fn undecodable_item_keeps_its_list_and_identity() {
        let good = r#"{"metadata":{"uid":"v","name":"q","labels":{"a":"b"}}}"#;
        let list = format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{BAD},{good}]}}"#
        );
        let list: ObjectList<Watched> = serde_json::from_str(&list).unwrap();
        let [bad, good] = list.items.as_slice() else { panic!() };
        assert!(bad.pod.as_ref().is_err_and(|why| why.contains("invalid type")));
        assert_eq!((bad.uid(), bad.namespace(), bad.name(), bad.resource_version()), (Some("u"), "n", "p", "7"));
        assert_eq!(good.pod.as_ref().unwrap().metadata.labels["a"], "b");
    }

    #[test]
    fn object_of_another_kind_is_not_a_pod() {
        let secret = r#"{"kind":"Secret","metadata":{"uid":"u","namespace":"n","name":"p","resourceVersion":"7"}}"#;
        let watched: Watched = serde_json::from_str(secret).unwrap();
        assert!(watched.pod.is_err_and(|cause| cause.contains("Secret")));
        let metadata: Watched = serde_json::from_str(&secret.replace("Secret", "PartialObjectMetadata")).unwrap();
        assert_eq!(metadata.uid(), Some("u"));
        assert_eq!(
            (watched.meta.uid, watched.meta.name, watched.meta.resource_version.as_deref()),
            (None, None, Some("7"))
        );
    }

    #[test]
    fn undecodable_event_is_still_an_event() {
        let line = format!(r#"{{"type":"DELETED","object":{BAD}}}"#);
        let WatchEvent::<Watched>::Deleted(pod) = serde_json::from_str(&line).unwrap() else { panic!() };
        assert_eq!(pod.uid(), Some("u"));
    }
}
