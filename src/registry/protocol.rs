//! The JSON documents of protocol v1, for both the client and the reference registry. `docs/protocol-v1.md` describes
//! them.
//!
//! Unknown members are ignored here. Records are raw JSON instead, so that their unknown members are kept. The
//! documents about sessions and inventories are in [`session`](super::session) and [`inventory`](super::inventory).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strum::IntoStaticStr;

use super::session::Contender;
use crate::{
    model::{digest::Digest, ids::Version},
    reconcile::{outcome::StoredVersion, takeover::ReportedSession},
};

pub const PROTOCOL: &str = "v1";
/// The version of the record schema that this release writes.
pub const SCHEMA: u64 = 1;
/// The feature: the registry accepts batches.
pub const BATCH: &str = "batch";
/// The feature: the registry returns the digests of its inventory's buckets.
pub const DIGEST_INVENTORY: &str = "digest-inventory";
/// A problem's type is this prefix and the problem's name.
pub const PROBLEM_PREFIX: &str = "urn:pod-registrar:problem:";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesDocument {
    pub protocol: String,
    #[serde(default = "default_batch_items")]
    pub max_batch_items: usize,
    #[serde(default = "default_batch_bytes")]
    pub max_batch_bytes: usize,
    #[serde(default = "default_record_bytes")]
    pub max_record_bytes: usize,
    /// [`BATCH`], [`DIGEST_INVENTORY`], and others that the controller does not use.
    #[serde(default)]
    pub features: Vec<String>,
}

fn default_batch_items() -> usize {
    500
}

fn default_batch_bytes() -> usize {
    4 << 20
}

fn default_record_bytes() -> usize {
    64 << 10
}

/// The answer to a [`Heartbeat`](super::session::Heartbeat).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatAccepted {
    pub epoch: u64,
    /// When the session becomes stale, RFC 3339.
    pub expires_at: String,
    /// A process that announced itself within the last 90 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contender: Option<Contender>,
}

/// One cluster and the installations that write for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Records of all owners. Only the list of clusters has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
    /// Every installation that ever opened a session.
    #[serde(default)]
    pub owners: Vec<OwnerInfo>,
}

/// One installation and its current session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerInfo {
    pub owner: String,
    /// The newest session. Its cluster UID is from the last session that named one.
    #[serde(flatten)]
    pub session: ReportedSession,
    /// A process that announced itself within the last 90 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contender: Option<Contender>,
    /// When the session becomes or became stale, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The `synced` of the last heartbeat.
    #[serde(default)]
    pub synced: bool,
    /// Records of this installation.
    #[serde(default)]
    pub pods: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterList {
    pub items: Vec<ClusterInfo>,
}

/// Where the deletion of a pod was observed: in an event of the watch, or in a complete list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ObservedBy {
    Watch,
    List,
}

/// The answer to a batch: one result per operation, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchResults {
    pub results: Vec<ItemResult>,
}

/// The result of one operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemResult {
    pub id: String,
    /// The status that the operation would have had as a request of its own.
    pub status: u16,
    /// The stored digest, after a put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// When to try again, with status 429 or 503. A value of another type is ignored, so that it does not make the
    /// other operations of the batch uncertain.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// The answer to a request for the inventory. With `view=full`, the items are whole records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryAnswer<T = ListedRecord> {
    /// Ordered by id.
    pub items: Vec<T>,
    /// The token of the next page. The last page has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Records of all pages.
    pub count: u64,
    /// The number of the last change that this page includes.
    pub as_of: u64,
}

/// A record without its body. Also the answer to a single put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRecord {
    pub id: String,
    pub digest: Digest,
    pub version: Version,
}

/// A problem document of RFC 9457. Members of a wrong type are ignored, since `kind` alone identifies a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// [`PROBLEM_PREFIX`] and a name. Empty if the problem has no type, which RFC 9457 allows.
    #[serde(default, rename = "type", deserialize_with = "lenient_text")]
    pub kind: String,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What is wrong and how to fix it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The stored version, with `stale-version` and `tombstoned`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub current: Option<StoredVersion>,
}

impl Problem {
    /// The name after [`PROBLEM_PREFIX`]. Empty for a problem of another origin.
    pub fn name(&self) -> &str {
        self.kind.strip_prefix(PROBLEM_PREFIX).unwrap_or_default()
    }
}

fn lenient_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(lenient(deserializer)?.unwrap_or_default())
}

/// Reads a value if it has the right type. Otherwise it skips the bytes and builds nothing, since a list of many small
/// values would take many times its own size in memory.
fn lenient<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_known_by_its_type_alone() {
        let text = r#"{"type":"urn:pod-registrar:problem:stale-epoch","status":"409","current":{"epoch":3},"x":[]}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!((problem.name(), problem.status, problem.current), ("stale-epoch", None, None));
        for text in ["{}", r#"{"type":null,"status":422}"#, r#"{"type":7}"#] {
            assert_eq!(serde_json::from_str::<Problem>(text).unwrap().name(), "", "{text}");
        }
        let result = r#"{"id":"a","status":422,"problem":"no"}"#;
        assert_eq!(serde_json::from_str::<ItemResult>(result).unwrap().problem, None);
    }
}
