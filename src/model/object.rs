//! A pod as the API server shows it, reduced to what a record is made of.
//!
//! It is decoded straight from the answer's bytes; everything else in the object is skipped unread. Every member may
//! be missing or null, so that an object of another version of Kubernetes is still understood.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Reads null like a member that is not there.
fn lenient<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an object, or null like one without members. What is derived for a struct would take an array as well, and a
/// name for whatever stands in its place.
fn object<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);
    impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<T, E> {
            Ok(T::default())
        }

        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(members))
        }
    }
    deserializer.deserialize_any(Members(PhantomData))
}

/// Reads a pod.
///
/// # Errors
/// When the text is no object, or has a member of another type in it.
pub fn read(text: &str) -> Result<PodObject, serde_json::Error> {
    object(&mut serde_json::Deserializer::from_str(text))
}

/// Labels or annotations.
pub type Pairs = BTreeMap<String, String>;

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodObject {
    /// `metadata`.
    #[serde(deserialize_with = "object")]
    pub metadata: Metadata,
    /// `spec`.
    #[serde(deserialize_with = "object")]
    pub spec: Spec,
    /// `status`.
    #[serde(deserialize_with = "object")]
    pub status: Status,
}

/// `metadata` of a pod. Times are RFC 3339, as received.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Metadata {
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub generation: Option<i64>,
    pub creation_timestamp: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "lenient")]
    pub labels: Pairs,
    #[serde(deserialize_with = "lenient")]
    pub annotations: Pairs,
    #[serde(deserialize_with = "lenient")]
    pub owner_references: Vec<OwnerReference>,
}

/// One of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: Option<bool>,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Spec {
    pub node_name: Option<String>,
    pub host_network: Option<bool>,
    pub service_account_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub init_containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "lenient")]
    pub containers: Vec<ContainerSpec>,
    #[serde(deserialize_with = "lenient")]
    pub ephemeral_containers: Vec<ContainerSpec>,
}

/// One of a pod's containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct ContainerSpec {
    pub name: String,
    pub image: Option<String>,
    pub restart_policy: Option<String>,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Status {
    pub phase: Option<String>,
    pub reason: Option<String>,
    #[serde(rename = "hostIP")]
    pub host_ip: Option<String>,
    #[serde(rename = "hostIPs", deserialize_with = "lenient")]
    pub host_ips: Vec<Ip>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs", deserialize_with = "lenient")]
    pub pod_ips: Vec<Ip>,
    pub start_time: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "lenient")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "lenient")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "lenient")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// One of `status.podIPs` or `status.hostIPs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Ip {
    pub ip: Option<String>,
}

/// One of `status.conditions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub last_transition_time: Option<String>,
}

/// One of `status.containerStatuses`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct ContainerStatus {
    pub name: String,
    pub ready: Option<bool>,
    pub restart_count: Option<i64>,
    #[serde(rename = "imageID")]
    pub image_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub state: ContainerState,
}

/// `state` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct ContainerState {
    pub waiting: Option<Waiting>,
    pub terminated: Option<Terminated>,
}

/// `state.waiting` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Waiting {
    pub reason: Option<String>,
}

/// `state.terminated` of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the API's own, under its names")]
pub struct Terminated {
    pub reason: Option<String>,
    pub exit_code: Option<i64>,
    pub finished_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_missing_members_read_alike() {
        let null = r#"{"metadata":{"labels":null,"creationTimestamp":null},"spec":{"containers":null},"status":null}"#;
        let pod: PodObject = serde_json::from_str(null).unwrap();
        assert!(pod.metadata.labels.is_empty() && pod.spec.containers.is_empty());
        assert!(serde_json::from_str::<PodObject>("{}").is_ok());
    }

    #[test]
    fn a_member_of_another_type_is_an_error() {
        for bad in
            [r#"{"spec":{"containers":"none"}}"#, r#"{"metadata":["name","namespace","uid"]}"#, r#"{"status":"x"}"#]
        {
            assert!(serde_json::from_str::<PodObject>(bad).is_err(), "{bad}");
        }
    }
}
