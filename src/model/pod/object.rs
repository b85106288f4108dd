//! A pod as the API server shows it, reduced to what a record is made of.
//!
//! It is decoded straight from the answer's bytes, in one pass; everything else in the object is skipped unread. Every
//! member may be missing or null, so that an object of another version of Kubernetes is still understood, and one of
//! another type is noted and does not keep what stands beside it from being read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::lenient::{self, object};

/// Reads a pod, and why it is not one: it is no object, or has a member of another type in it.
///
/// # Errors
/// When it is no JSON.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(PodObject, Option<String>), D::Error> {
    let (pod, type_error) = lenient::read(deserializer)?;
    Ok((pod, type_error.cause()))
}

impl<'de> Deserialize<'de> for PodObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match read(deserializer)? {
            (pod, None) => Ok(pod),
            (_, Some(cause)) => Err(D::Error::custom(cause)),
        }
    }
}

/// Labels or annotations.
pub type Pairs = BTreeMap<String, String>;

object! {
    /// A pod.
    pub struct PodObject or null {
        kind: Option<String> = "kind",
        metadata: Metadata = "metadata",
        spec: Spec = "spec",
        status: Status = "status",
    }
}

object! {
    /// `metadata` of a pod. Times are RFC 3339, as received.
    pub struct Metadata or null {
        name: Option<String> = "name",
        namespace: Option<String> = "namespace",
        uid: Option<String> = "uid",
        resource_version: Option<String> = "resourceVersion",
        generation: Option<i64> = "generation",
        creation_timestamp: Option<String> = "creationTimestamp",
        deletion_timestamp: Option<String> = "deletionTimestamp",
        deletion_grace_period_seconds: Option<i64> = "deletionGracePeriodSeconds",
        labels: Pairs = "labels",
        annotations: Pairs = "annotations",
        owner_references: Vec<OwnerReference> = "ownerReferences",
    }
}

object! {
    /// One of `metadata.ownerReferences`.
    pub struct OwnerReference {
        api_version: String = "apiVersion",
        kind: String = "kind",
        name: String = "name",
        uid: String = "uid",
        controller: Option<bool> = "controller",
    }
}

object! {
    /// `spec` of a pod.
    pub struct Spec or null {
        node_name: Option<String> = "nodeName",
        host_network: Option<bool> = "hostNetwork",
        service_account_name: Option<String> = "serviceAccountName",
        init_containers: Vec<ContainerSpec> = "initContainers",
        containers: Vec<ContainerSpec> = "containers",
        ephemeral_containers: Vec<ContainerSpec> = "ephemeralContainers",
    }
}

object! {
    /// One of a pod's containers.
    pub struct ContainerSpec {
        name: String = "name",
        image: Option<String> = "image",
        restart_policy: Option<String> = "restartPolicy",
    }
}

object! {
    /// `status` of a pod.
    pub struct Status or null {
        phase: Option<String> = "phase",
        reason: Option<String> = "reason",
        host_ip: Option<String> = "hostIP",
        host_ips: Vec<Ip> = "hostIPs",
        pod_ip: Option<String> = "podIP",
        pod_ips: Vec<Ip> = "podIPs",
        start_time: Option<String> = "startTime",
        conditions: Vec<Condition> = "conditions",
        init_container_statuses: Vec<ContainerStatus> = "initContainerStatuses",
        container_statuses: Vec<ContainerStatus> = "containerStatuses",
        ephemeral_container_statuses: Vec<ContainerStatus> = "ephemeralContainerStatuses",
    }
}

object! {
    /// One of `status.podIPs` or `status.hostIPs`.
    pub struct Ip {
        ip: Option<String> = "ip",
    }
}

object! {
    /// One of `status.conditions`.
    pub struct Condition {
        kind: String = "type",
        status: String = "status",
        last_transition_time: Option<String> = "lastTransitionTime",
    }
}

object! {
    /// One of `status.containerStatuses`.
    pub struct ContainerStatus {
        name: String = "name",
        ready: Option<bool> = "ready",
        restart_count: Option<i64> = "restartCount",
        image_id: Option<String> = "imageID",
        state: ContainerState = "state",
    }
}

object! {
    /// `state` of a container.
    pub struct ContainerState or null {
        waiting: Option<Waiting> = "waiting",
        terminated: Option<Terminated> = "terminated",
    }
}

object! {
    /// `state.waiting` of a container.
    pub struct Waiting {
        reason: Option<String> = "reason",
    }
}

object! {
    /// `state.terminated` of a container.
    pub struct Terminated {
        reason: Option<String> = "reason",
        exit_code: Option<i64> = "exitCode",
        finished_at: Option<String> = "finishedAt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_missing_members_decode_alike() {
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
