//! A record: what the registry holds about one pod.
//!
//! The shape is that of protocol v1 without `schema`, `version` and `digest`, which are added when the record is sent.
//! Absent values and empty collections are left out, never null.
//!
//! The fields of every struct are declared in the order of their JSON names, which is the order of RFC 8785. The output
//! of serde is therefore canonical without sorting.
//!
//! The reference registry reads the same types, and accepts records without the members that the protocol does not
//! require.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::ids::RecordOwner;

/// The capacity that [`Record::canonical`] reserves, in bytes. Most records fit.
const USUAL_BYTES: usize = 2_048;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub cluster: ClusterName,
    /// Init containers first, then in the order of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// The installation that writes the record.
    pub owner: String,
    #[serde(default, skip_serializing_if = "Placement::is_empty")]
    pub placement: Placement,
    pub pod: PodName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    pub state: PodState,
    pub times: Times,
    /// The parts that were cut to keep the record small. Other writers may cut other parts.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<TruncatedPart>,
    /// The controller of the pod, and the Deployment behind a ReplicaSet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<WorkloadRef>,
}

impl Record {
    /// The record in RFC 8785 form.
    ///
    /// # Errors
    /// None in practice: serialization fails only for numbers that are not finite, and a record has none.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        // The output of serde is canonical, except for the order of labels and annotations: RFC 8785 compares UTF-16
        // units and a `BTreeMap` compares bytes. The two agree on ASCII, and API servers accept no other keys.
        let mut keys = self.pod.labels.keys().chain(self.pod.annotations.keys());
        if keys.all(|key| key.is_ascii()) {
            let mut bytes = Vec::with_capacity(USUAL_BYTES);
            serde_json::to_writer(&mut bytes, self)?;
            return Ok(bytes);
        }
        serde_json_canonicalizer::to_vec(self)
    }
}

/// A part that can be cut to keep a record small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, VariantArray)]
#[serde(rename_all = "lowercase")]
pub enum TruncatedPart {
    Annotations,
    /// The addresses of the pod and of its node.
    Placement,
    Containers,
    Labels,
    Workload,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterName {
    /// The UID of `kube-system`, unless the operator sets another id.
    pub id: String,
    /// A name for people.
    #[serde(default)]
    pub name: String,
}

impl From<&RecordOwner> for ClusterName {
    fn from(writer: &RecordOwner) -> Self {
        Self { id: writer.cluster_id.clone(), name: writer.cluster_name.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodName {
    /// The annotations that the operator allows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The labels that the operator allows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Later pods may have the same name.
    pub name: String,
    pub namespace: String,
    /// Never used again for another pod.
    pub uid: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    #[serde(default)]
    pub api_version: String,
    /// Whether the name was derived from another name, instead of read from the API.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    pub kind: String,
    pub name: String,
    /// `None` if the object was derived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    #[serde(rename = "hostIPs", skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<String>,
    #[serde(rename = "hostNetwork", skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Another pod may get the same addresses as soon as this one ends.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<String>,
}

impl Placement {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodState {
    /// A summary of deletion and phase.
    pub lifecycle: Lifecycle,
    /// `status.phase` of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The condition `Ready`, if the pod has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// The reason for a waiting or failed state, for example `CrashLoopBackOff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Lifecycle {
    Pending,
    Active,
    Terminating,
    Finished,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// The image of the container's spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that runs, from the container's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    pub name: String,
    /// `None` until the container has a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// `None` until the container has a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    #[serde(default)]
    pub role: Role,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, VariantArray)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Init,
    /// An init container with restart policy `Always`.
    Sidecar,
    #[default]
    App,
    Ephemeral,
}

/// RFC 3339 times in UTC with milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    pub created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_requested: Option<String>,
    /// When the last container ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<String>,
    /// When the node accepted the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
}
