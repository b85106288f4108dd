//! A record: what the registry is told about one pod.
//!
//! The shape is protocol v1's, without `schema`, `version` and `digest`, which belong to the moment of sending.
//! Absent values and empty collections are left out, never null.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Writer;

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The installation that writes it.
    pub owner: String,
    /// The cluster that the pod is in.
    pub cluster: ClusterName,
    /// Who the pod is.
    pub pod: PodName,
    /// What the pod says it belongs to: its controller, and the Deployment behind a ReplicaSet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<Workload>,
    /// Where it runs.
    #[serde(skip_serializing_if = "Placement::is_empty")]
    pub placement: Placement,
    /// How it is.
    pub state: State,
    /// Its containers, init containers first, in the pod's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// The service account it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// When things happened to it.
    pub times: Times,
    /// The names of the members that were cut to keep the record small.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<Part>,
}

/// A member that can be cut to keep a record small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The pod's annotations.
    Annotations,
    /// Its addresses and its node's.
    Placement,
    /// Its containers.
    Containers,
    /// The pod's labels.
    Labels,
    /// What it belongs to.
    Workload,
}

/// The cluster that a pod is in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterName {
    /// The UID of `kube-system`, or what the operator set.
    pub id: String,
    /// A name for people.
    pub name: String,
}

impl From<&Writer> for ClusterName {
    fn from(writer: &Writer) -> Self {
        Self { id: writer.cluster_id.clone(), name: writer.cluster_name.clone() }
    }
}

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodName {
    /// The identity: never used again for another pod.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, which another pod may have had before.
    pub name: String,
    /// The labels that the operator allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The annotations that the operator allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An object that a pod belongs to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its API group and version.
    pub api_version: String,
    /// Its name.
    pub name: String,
    /// Its UID; none where it was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Whether it was concluded from names instead of read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
}

/// Where a pod runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Placement {
    /// The node's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node's addresses.
    #[serde(rename = "hostIPs", skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<String>,
    /// The pod's addresses. Another pod may get them the moment this one ends.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<String>,
    /// Whether the pod uses the node's network.
    #[serde(rename = "hostNetwork", skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
}

impl Placement {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// The one word to go by.
    pub lifecycle: Lifecycle,
    /// The API's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Its condition `Ready`, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Why it is not as one would wish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where in its life a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Not started.
    Pending,
    /// Started.
    Active,
    /// Its deletion was requested.
    Terminating,
    /// Succeeded or failed.
    Finished,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// What it is there for.
    pub role: Role,
    /// The image that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Whether it is ready, once it has a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// How often it was started again, once it has a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
}

/// What a container is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs to its end before the others start.
    Init,
    /// An init container that goes on running.
    Sidecar,
    /// The pod's purpose.
    App,
    /// Added to a running pod by a person.
    Ephemeral,
}

/// When things happened to a pod: RFC 3339, UTC, milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Its object was made.
    pub created: String,
    /// It got its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<String>,
    /// Its node took it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Its deletion was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_requested: Option<String>,
    /// Its last container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
}
