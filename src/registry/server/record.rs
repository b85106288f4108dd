//! Checks a received record and extracts the columns that the store needs.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{json::Strict, problem::ProblemKind};
use crate::{
    model::{
        digest::{Buckets, Digest},
        ids::{INTEGER_LIMIT, Version, is_valid_id},
        record::{PodName, Record, Times},
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
struct Received {
    schema: u64,
    #[serde(flatten)]
    record: Record,
    #[serde(default, rename = "truncated")]
    _truncated: Vec<String>,
    version: VersionShape,
    digest: Option<String>,
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
    let received = Received::deserialize(&object).map_err(|error| schema(error.to_string()))?;
    check_values(&received, id).map_err(schema)?;
    let Received { record, version, digest, .. } = received;
    if record.cluster.id != address.cluster || record.owner != address.owner {
        let detail = "record: `cluster.id` and `owner` must be those of the address; `owner` is a query parameter, \
                      `pod-registrar` by default";
        return Err(ProblemKind::ForeignOwner.with(detail));
    }
    let digest = check_digest(&mut object, digest.as_deref()).map_err(schema)?;
    let PodName { namespace, name, .. } = record.pod;
    let node = record.placement.node.unwrap_or_default();
    Ok(ValidRecord {
        version: Version { epoch: version.epoch, seq: version.seq },
        digest,
        bucket: Buckets::By16Bits.of(id),
        lifecycle: record.state.lifecycle.into(),
        search: format!("{namespace}/{name}\n{id}\n{node}").to_lowercase(),
        namespace,
        name,
        body: Value::Object(object).to_string(),
    })
}

fn check_values(Received { schema, record, version, .. }: &Received, id: &str) -> Result<(), String> {
    if *schema == 0 {
        return Err("`schema` must be at least 1".to_owned());
    }
    let Record { owner, cluster, pod, times, .. } = record;
    for (name, text) in [("owner", owner), ("cluster.id", &cluster.id), ("pod.uid", &pod.uid)] {
        if !is_valid_id(text) {
            return Err(format!("`{name}` must be {VALID_ID}"));
        }
    }
    if pod.uid != id {
        return Err("`pod.uid` must be the id of the operation".to_owned());
    }
    if pod.namespace.is_empty() || pod.name.is_empty() {
        return Err("`pod.namespace` and `pod.name` must not be empty".to_owned());
    }
    check_version(version.epoch, version.seq)?;
    let Times { created, scheduled, started, deletion_requested, finished } = times;
    let optional = [scheduled, started, deletion_requested, finished];
    if !std::iter::once(created).chain(optional.into_iter().flatten()).all(|time| is_time(time)) {
        return Err("`times` must be RFC 3339 in UTC with milliseconds, such as 2026-11-23T10:00:00.000Z".to_owned());
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
