//! The members of a pod object that a record is made of.
//!
//! An object is decoded in one pass from the bytes of the answer, and all other members are skipped. Every member may
//! be missing or null, so objects of other Kubernetes versions are still understood. A member of another type is
//! reported and does not prevent the others from being read.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::lenient::{self, object};

/// Reads a pod, and the first value of an unexpected type in it, if there is one.
///
/// # Errors
/// The text is not valid JSON.
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

pub type Pairs = BTreeMap<String, String>;

object! {
    pub struct PodObject or null {
        kind: Option<String> = "kind",
        metadata: Metadata = "metadata",
        spec: Spec = "spec",
        status: Status = "status",
    }
}

object! {
    /// Times are RFC 3339, as received.
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
    pub struct OwnerReference {
        api_version: String = "apiVersion",
        kind: String = "kind",
        name: String = "name",
        uid: String = "uid",
        controller: Option<bool> = "controller",
    }
}

object! {
    pub struct Spec or null {
        node_name: Option<String> = "nodeName",
        host_network: Option<bool> = "hostNetwork",
        service_account_name: Option<String> = "serviceAccountName",
        readiness_gates: Vec<ReadinessGate> = "readinessGates",
        init_containers: Vec<ContainerSpec> = "initContainers",
        containers: Vec<ContainerSpec> = "containers",
        ephemeral_containers: Vec<ContainerSpec> = "ephemeralContainers",
    }
}

object! {
    pub struct ReadinessGate {
        condition_type: Option<String> = "conditionType",
    }
}

object! {
    pub struct ContainerSpec {
        name: String = "name",
        image: Option<String> = "image",
        restart_policy: Option<String> = "restartPolicy",
    }
}

object! {
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
    pub struct Ip {
        ip: Option<String> = "ip",
    }
}

object! {
    pub struct Condition {
        kind: String = "type",
        status: String = "status",
        last_transition_time: Option<String> = "lastTransitionTime",
    }
}

object! {
    pub struct ContainerStatus {
        name: String = "name",
        ready: Option<bool> = "ready",
        restart_count: Option<i64> = "restartCount",
        image_id: Option<String> = "imageID",
        state: ContainerState = "state",
    }
}

object! {
    pub struct ContainerState or null {
        waiting: Option<Waiting> = "waiting",
        terminated: Option<Terminated> = "terminated",
    }
}

object! {
    pub struct Waiting {
        reason: Option<String> = "reason",
    }
}

object! {
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
