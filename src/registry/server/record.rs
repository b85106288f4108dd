//! Checks a received record and extracts the columns that the store needs.

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

pub(crate) const MAX_RECORD_BYTES: usize = 64 << 10;
/// The rule for ids, for the details of problems.
pub(super) const VALID_ID: &str = "1 to 128 of [A-Za-z0-9._~:@-], the first a letter or digit";

/// The writer that the address of a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The cluster's id.
    pub(crate) cluster: String,
    pub(crate) owner: String,
}

/// A record that follows the protocol and names the writer of its address.
#[derive(Debug)]
pub(crate) struct ValidRecord {
    pub(crate) version: Version,
    /// The digest as it was computed here.
    pub(crate) digest: Digest,
    /// The first 16 bits of sha256(id).
    pub(crate) bucket: usize,
    pub(crate) lifecycle: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The text that searches match: namespace/name, id and node in lower case.
    pub(crate) search: String,
    /// The record as JSON, with its digest and unknown members.
    pub(crate) body: String,
}

/// The known members with their types. Fields with `_` are only checked. Unknown members are kept in the body.
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

/// Checks a record that was sent to `address` and `id`. If several rules are broken, `too-large` precedes `schema`, and
/// `schema` precedes `foreign-owner`.
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
        let detail = "record: `cluster.id` and `owner` must be those of the address; `owner` is a query parameter, \
                      `pod-registrar` by default";
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
        return Err("`schema` must be at least 1".to_owned());
    }
    for (name, text) in [("owner", &shape.owner), ("cluster.id", &shape.cluster.id), ("pod.uid", &shape.pod.uid)] {
        if !is_valid_id(text) {
            return Err(format!("`{name}` must be {VALID_ID}"));
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
                "`times.{name}` must be RFC 3339 in UTC with milliseconds, such as 2026-11-23T10:00:00.000Z"
            ));
        }
    }
    Ok(())
}

/// Both numbers of a version start at 1, and every JSON implementation can represent them exactly.
pub(crate) fn check_version(epoch: u64, seq: u64) -> Result<(), String> {
    let range = 1..INTEGER_LIMIT;
    if range.contains(&epoch) && range.contains(&seq) {
        Ok(())
    } else {
        Err("`epoch` and `seq` must be integers from 1 to 2^53 - 1".to_owned())
    }
}

/// Computes the digest, compares it with the sent one if there is one, and adds it to the record.
fn check_digest(object: &mut Map<String, Value>, sent: Option<&str>) -> Result<Digest, String> {
    let digest = Digest::of_record(object).map_err(|error| error.to_string())?;
    let text = digest.to_string();
    if sent.is_some_and(|sent| sent != text) {
        return Err(format!(
            "`digest` is wrong, it must be {text}: sha256 over the RFC 8785 form without schema, version and digest"
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
