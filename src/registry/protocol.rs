//! The JSON of protocol v1 where it is not that of the [`registry`](crate::registry)'s own types.
//!
//! Members that a side does not know are ignored here; records themselves travel as raw JSON, so that what is
//! unknown in them is kept.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::session::Contender;
use crate::{
    model::{digest::Digest, ids::Version},
    reconcile::{outcome::StoredVersion, takeover::SessionLiveness},
};

/// The only protocol version there is.
pub const PROTOCOL: &str = "v1";
/// The version of the record's shape that this release writes.
pub const SCHEMA: u64 = 1;
/// The feature of a registry that takes batches.
pub const BATCH: &str = "batch";
/// The feature of a registry that gives the digests of its inventory's buckets.
pub const DIGEST_INVENTORY: &str = "digest-inventory";
/// What problem types start with; the problem's name follows.
pub const PROBLEM_PREFIX: &str = "urn:pod-registrar:problem:";

/// What a registry can do and how much it takes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesDocument {
    /// `v1`.
    pub protocol: String,
    /// Operations in one batch, at most.
    #[serde(default = "default_batch_items")]
    pub max_batch_items: usize,
    /// Bytes of one batch's body, at most.
    #[serde(default = "default_batch_bytes")]
    pub max_batch_bytes: usize,
    /// Bytes of one record, at most.
    #[serde(default = "default_record_bytes")]
    pub max_record_bytes: usize,
    /// [`BATCH`], [`DIGEST_INVENTORY`], and names that only people and other clients use.
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

/// The answer to [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatAccepted {
    /// The session.
    pub epoch: u64,
    /// When the session turns stale, RFC 3339.
    pub expires_at: String,
    /// Another writer that announced itself within the last 90 s, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contender: Option<Contender>,
}

/// One cluster and the installations that write for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    /// The cluster's id.
    pub id: String,
    /// The cluster's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Records of the cluster, over all owners; in the list of clusters only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u64>,
    /// Every writer that ever opened a session.
    #[serde(default)]
    pub owners: Vec<OwnerInfo>,
}

/// One installation and its current session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerInfo {
    /// The installation's name.
    pub owner: String,
    /// The epoch of its newest session.
    pub epoch: u64,
    /// The process that opened it.
    pub instance: String,
    /// The scope that the session named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The UID of the `kube-system` namespace that a session named last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// Another writer that announced itself within the last 90 s, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contender: Option<Contender>,
    /// How the session stands.
    pub state: SessionLiveness,
    /// When it turns or turned stale, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Whether the writer said it was in step.
    #[serde(default)]
    pub synced: bool,
    /// Records of this writer.
    #[serde(default)]
    pub pods: u64,
}

/// The list of clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterList {
    /// Every cluster that the caller may see.
    pub items: Vec<ClusterInfo>,
}

/// Why a pod's record is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The pod's object is gone.
    Deleted,
    /// The pod was not in a complete list.
    Absent,
    /// The pod is there and no longer selected.
    LeftRule,
    /// A DELETED event came while a selector was set, which cannot say which of the two it was.
    DeletedOrLeftRule,
}

impl Reason {
    /// As it is written in addresses and operations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Absent => "absent",
            Self::LeftRule => "left-rule",
            Self::DeletedOrLeftRule => "deleted-or-left-rule",
        }
    }
}

impl ObservedBy {
    /// As it is written in addresses and operations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::List => "list",
        }
    }
}

/// Where the end of a pod was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObservedBy {
    /// In an event.
    Watch,
    /// In a complete list.
    List,
}

/// The answer to a batch: one result an operation, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchResults {
    /// One a request item.
    pub results: Vec<ItemResult>,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemResult {
    /// The id that the operation named.
    pub id: String,
    /// The status that the operation would have had as a request of its own.
    pub status: u16,
    /// The digest that is stored now, after a put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Why it was refused.
    #[serde(default, deserialize_with = "if_it_fits", skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// When to try again, with status 429 or 503. What is not a number of seconds is as good as nothing: it must not put
    /// the other operations of the batch in doubt.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seconds_if_any")]
    pub retry_after_seconds: Option<u64>,
}

fn seconds_if_any<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    lenient(deserializer)
}

/// The answer to a single put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecordInfo {
    /// The record's id.
    pub id: String,
    /// Its digest.
    pub digest: Digest,
    /// Its version.
    pub version: Version,
}

/// A problem as RFC 9457 writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:pod-registrar:problem:` and a name.
    #[serde(default, rename = "type", deserialize_with = "text_if_any")]
    pub kind: String,
    /// What went wrong, in a few words.
    #[serde(default, deserialize_with = "if_it_fits", skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The HTTP status.
    #[serde(default, deserialize_with = "if_it_fits", skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What, where, and how to mend it.
    #[serde(default, deserialize_with = "if_it_fits", skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What is stored, with `stale-version`.
    #[serde(default, deserialize_with = "if_it_fits", skip_serializing_if = "Option::is_none")]
    pub current: Option<StoredVersion>,
}

impl Problem {
    /// The name behind [`PROBLEM_PREFIX`]; empty for a problem that is not the protocol's.
    pub fn name(&self) -> &str {
        self.kind.strip_prefix(PROBLEM_PREFIX).unwrap_or_default()
    }
}

/// A problem is known by its type: a member of another shape than ours makes it no other problem.
fn if_it_fits<'de, D: serde::Deserializer<'de>, T: serde::de::DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    lenient(deserializer)
}

/// RFC 9457 lets a problem be without a type.
fn text_if_any<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(lenient(deserializer)?.unwrap_or_default())
}

/// A value, if it has the right shape. Of any other the bytes are read and nothing is built: a list of many small values
/// would take many times its own size.
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
