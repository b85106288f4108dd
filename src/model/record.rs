//! A record: what the registry is told about one pod.
//!
//! The shape is protocol v1's, without `schema`, `version` and `digest`, which belong to the moment of sending.
//! Absent values and empty collections are left out, never null.
//!
//! The members of every object stand in the order of their names, as they do in RFC 8785: what serde writes is canonical
//! then, and is not sorted afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::RecordOwner;

/// Bytes of a usual record, which are set aside to write one.
const USUAL_BYTES: usize = 2_048;

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The cluster that the pod is in.
    pub cluster: ClusterName,
    /// Its containers, init containers first, in the pod's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// The installation that writes it.
    pub owner: String,
    /// Where it runs.
    #[serde(skip_serializing_if = "Placement::is_empty")]
    pub placement: Placement,
    /// Who the pod is.
    pub pod: PodName,
    /// The service account it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// How it is.
    pub state: PodState,
    /// When things happened to it.
    pub times: Times,
    /// The names of the members that were cut to keep the record small.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<TruncatedPart>,
    /// What the pod says it belongs to: its controller, and the Deployment behind a ReplicaSet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<WorkloadRef>,
}

impl Record {
    /// The record in RFC 8785 form. What serde writes is in it already: members are declared in the order of their names,
    /// numbers are integers, texts are escaped alike. Only the keys of labels and annotations may be out of order, as RFC
    /// 8785 compares UTF-16 units and a map compares bytes; the two agree on ASCII, and no API server lets other keys through.
    ///
    /// # Errors
    /// When a number in it is not finite, which none is.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let mut keys = self.pod.labels.keys().chain(self.pod.annotations.keys());
        if keys.all(|key| key.is_ascii()) {
            let mut bytes = Vec::with_capacity(USUAL_BYTES);
            serde_json::to_writer(&mut bytes, self)?;
            return Ok(bytes);
        }
        serde_json_canonicalizer::to_vec(self)
    }
}

/// A member that can be cut to keep a record small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TruncatedPart {
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

impl From<&RecordOwner> for ClusterName {
    fn from(writer: &RecordOwner) -> Self {
        Self { id: writer.cluster_id.clone(), name: writer.cluster_name.clone() }
    }
}

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodName {
    /// The annotations that the operator allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The labels that the operator allowed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The pod's name, which another pod may have had before.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The identity: never used again for another pod.
    pub uid: String,
}

/// An object that a pod belongs to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Its API group and version.
    pub api_version: String,
    /// Whether it was concluded from names instead of read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID; none where it was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// Where a pod runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Placement {
    /// The node's addresses.
    #[serde(rename = "hostIPs", skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<String>,
    /// Whether the pod uses the node's network.
    #[serde(rename = "hostNetwork", skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// The node's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The pod's addresses. Another pod may get them the moment this one ends.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<String>,
}

impl Placement {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PodState {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Lifecycle {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Terminating, Self::Finished];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Terminating => "terminating",
            Self::Finished => "finished",
        }
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The image that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether it is ready, once it has a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// How often it was started again, once it has a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// What it is there for.
    pub role: Role,
}

/// What a container is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its deletion was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_requested: Option<String>,
    /// Its last container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    /// It got its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<String>,
    /// Its node took it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
}
