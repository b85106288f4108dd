//! Checks a record as it is received and keeps of it what the store needs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{json::Strict, problem::ProblemKind};
use crate::{
    model::{
        digest::{Buckets, Digest},
        ids::{INTEGER_LIMIT, Version, is_valid_id},
        record::{Lifecycle, Role},
    },
    registry::protocol::Problem,
};

/// Bytes of one record as received, at most.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 10;

/// The address that a record was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The cluster's id.
    pub(crate) cluster: String,
    /// The installation's name.
    pub(crate) owner: String,
}

/// A record that follows the protocol and belongs where it was sent.
#[derive(Debug)]
pub(crate) struct ValidRecord {
    /// Its version.
    pub(crate) version: Version,
    /// Its digest, computed here.
    pub(crate) digest: Digest,
    /// The first 16 bits of sha256(id).
    pub(crate) bucket: usize,
    /// `pending`, `active`, `terminating` or `finished`.
    pub(crate) lifecycle: &'static str,
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod's name.
    pub(crate) name: String,
    /// What a search looks at: namespace/name, id and node in lower case.
    pub(crate) search: String,
    /// The record as JSON with its digest, unknown members included.
    pub(crate) body: String,
}

/// The members that are known, with their types. Unknown ones are kept in the body and not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema: u64,
    owner: String,
    cluster: ClusterShape,
    pod: PodShape,
    #[serde(default, rename = "workload")]
    _workload: Vec<WorkloadShape>,
    #[serde(default)]
    placement: PlacementShape,
    state: StateShape,
    #[serde(default, rename = "containers")]
    _containers: Vec<ContainerShape>,
    #[serde(rename = "serviceAccount")]
    _service_account: Option<String>,
    times: BTreeMap<String, Value>,
    #[serde(default, rename = "truncated")]
    _truncated: Vec<String>,
    version: VersionShape,
    digest: Option<String>,
}

#[derive(Deserialize)]
struct ClusterShape {
    id: String,
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Deserialize)]
struct PodShape {
    uid: String,
    namespace: String,
    name: String,
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WorkloadShape {
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "uid")]
    _uid: Option<String>,
    #[serde(rename = "derived")]
    _derived: Option<bool>,
}

#[derive(Deserialize, Default)]
struct PlacementShape {
    node: Option<String>,
    #[serde(default, rename = "hostIPs")]
    _host_ips: Vec<String>,
    #[serde(default, rename = "podIPs")]
    _pod_ips: Vec<String>,
    #[serde(rename = "hostNetwork")]
    _host_network: Option<bool>,
}

#[derive(Deserialize)]
struct StateShape {
    lifecycle: Lifecycle,
    #[serde(rename = "phase")]
    _phase: Option<String>,
    #[serde(rename = "ready")]
    _ready: Option<bool>,
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

#[derive(Deserialize)]
struct ContainerShape {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "role")]
    _role: Option<Role>,
    #[serde(rename = "image")]
    _image: Option<String>,
    #[serde(rename = "imageId")]
    _image_id: Option<String>,
    #[serde(rename = "ready")]
    _ready: Option<bool>,
    #[serde(rename = "restarts")]
    _restarts: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionShape {
    epoch: u64,
    seq: u64,
    #[serde(rename = "resourceVersion")]
    _resource_version: Option<String>,
    #[serde(rename = "generation")]
    _generation: Option<u64>,
}

/// Checks a record that was sent to `address` and `id`.
///
/// # Errors
/// `too-large`, `schema` or `foreign-owner`, in this order of precedence.
pub(crate) fn check(text: &str, address: &Address, id: &str) -> Result<ValidRecord, Box<Problem>> {
    if text.len() > MAX_RECORD_BYTES {
        let detail = format!("the record has {} bytes, the limit is {MAX_RECORD_BYTES}", text.len());
        return Err(ProblemKind::TooLarge.with(detail));
    }
    let schema = |detail: String| ProblemKind::Schema.with(format!("record: {detail}"));
    let Strict(value) = serde_json::from_str(text).map_err(|error| schema(error.to_string()))?;
    let Value::Object(mut object) = value else { return Err(schema("expected an object".to_owned())) };
    let shape = Shape::deserialize(&object).map_err(|error| schema(error.to_string()))?;
    check_values(&shape, id).map_err(schema)?;
    if shape.cluster.id != address.cluster || shape.owner != address.owner {
        let detail = "`cluster.id` and `owner` must be those of the address; `owner` is a query parameter, \
                      left out for `pod-registrar`";
        return Err(ProblemKind::ForeignOwner.with(detail));
    }
    let digest = check_digest(&mut object, shape.digest.as_deref()).map_err(schema)?;
    let node = shape.placement.node.unwrap_or_default();
    Ok(ValidRecord {
        version: Version { epoch: shape.version.epoch, seq: shape.version.seq },
        digest,
        bucket: Buckets::By16Bits.of(id),
        lifecycle: shape.state.lifecycle.as_str(),
        search: format!("{}/{}\n{id}\n{node}", shape.pod.namespace, shape.pod.name).to_lowercase(),
        namespace: shape.pod.namespace,
        name: shape.pod.name,
        body: Value::Object(object).to_string(),
    })
}

fn check_values(shape: &Shape, id: &str) -> Result<(), String> {
    if shape.schema == 0 {
        return Err("`schema` counts from 1".to_owned());
    }
    for (name, text) in [("owner", &shape.owner), ("cluster.id", &shape.cluster.id), ("pod.uid", &shape.pod.uid)] {
        if !is_valid_id(text) {
            return Err(format!("`{name}` must be 1 to 128 of [A-Za-z0-9._~:@-], the first alphanumeric"));
        }
    }
    if shape.pod.uid != id {
        return Err("`pod.uid` must be the id of the operation".to_owned());
    }
    if shape.pod.namespace.is_empty() || shape.pod.name.is_empty() {
        return Err("`pod.namespace` and `pod.name` must not be empty".to_owned());
    }
    check_version(shape.version.epoch, shape.version.seq)?;
    if !shape.times.contains_key("created") {
        return Err("`times.created` is missing".to_owned());
    }
    for name in ["created", "scheduled", "started", "deletionRequested", "finished"] {
        if shape.times.get(name).is_some_and(|time| !time.as_str().is_some_and(is_time)) {
            return Err(format!(
                "`times.{name}` must be RFC 3339 in UTC with milliseconds, as 2026-11-23T10:00:00.000Z"
            ));
        }
    }
    Ok(())
}

/// Both counters of a version start at 1 and stay exact in every JSON implementation.
pub(crate) fn check_version(epoch: u64, seq: u64) -> Result<(), String> {
    let range = 1..INTEGER_LIMIT;
    if range.contains(&epoch) && range.contains(&seq) {
        Ok(())
    } else {
        Err("`epoch` and `seq` are integers from 1 and below 2^53".to_owned())
    }
}

/// Computes the digest, compares it with the one that was sent, and writes it into the record.
fn check_digest(object: &mut Map<String, Value>, sent: Option<&str>) -> Result<Digest, String> {
    let digest = Digest::of_record(object).map_err(|error| error.to_string())?;
    let text = digest.to_string();
    if sent.is_some_and(|sent| sent != text) {
        return Err(format!(
            "`digest` is wrong, this record's is {text}: sha256 over the RFC 8785 form without schema, version and digest"
        ));
    }
    object.insert("digest".to_owned(), text.into());
    Ok(digest)
}

fn is_time(text: &str) -> bool {
    text.len() == 24
        && text.ends_with('Z')
        && text.as_bytes()[19] == b'.'
        && text.as_bytes()[10] == b'T'
        && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests;
