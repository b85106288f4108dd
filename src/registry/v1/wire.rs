//! The JSON shapes of protocol v1, as both sides read and write them.
//!
//! Members that a side does not know are ignored here; records themselves travel as raw JSON, so that what is
//! unknown in them is kept.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{Digest, Version};

/// The only protocol version there is.
pub const PROTOCOL: &str = "v1";
/// The version of the record's shape that this release writes.
pub const SCHEMA: u64 = 1;
/// What problem types start with; the problem's name follows.
pub const PROBLEM_PREFIX: &str = "urn:pod-registrar:problem:";

/// What a registry can do and how much it takes at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
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
    /// `batch`, `digest-inventory`, `sessions`, `tombstones`, `changes`.
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

/// Body of the request that opens a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenSession {
    /// The cluster's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Which process this is.
    pub instance: String,
    /// For how long the session is shown as live without a heartbeat.
    pub ttl_seconds: u64,
    /// A hash of namespaces, selectors and rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The highest epoch that the client has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_epoch: Option<u64>,
    /// The UID of the `kube-system` namespace. A session without it keeps that of the session before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
}

/// The answer to [`OpenSession`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionOpened {
    /// The session's epoch; every write of the session carries it.
    pub epoch: u64,
    /// The ttl that the registry granted.
    pub ttl_seconds: u64,
    /// The session before this one, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSession>,
}

/// The session that a new one replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviousSession {
    /// Its epoch.
    pub epoch: u64,
    /// The process that held it.
    pub instance: String,
    /// Its scope, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The UID of its `kube-system` namespace, if it named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// How it stood when it was replaced.
    pub state: SessionState,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// Its heartbeat is not older than its ttl.
    Live,
    /// Its heartbeat is overdue. Its writes are still accepted.
    Stale,
    /// Its writer stopped as asked.
    Closed,
}

/// Body of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The session. With an epoch that another session replaced, the writer announces itself as a contender.
    pub epoch: u64,
    /// Which process this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// For how long the session is shown as live from now on.
    pub ttl_seconds: u64,
    /// Whether the registry has equalled the cluster since the last heartbeat, as far as the writer knows.
    #[serde(default)]
    pub synced: bool,
    /// How much the writer sees and still owes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// How much a writer sees and still owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Pods in the writer's store.
    pub pods: u64,
    /// Keys that wait for an acknowledgement.
    pub pending: u64,
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

/// A writer whose session was replaced, and that still sends heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contender {
    /// The epoch of its session.
    pub epoch: u64,
    /// The process, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When it announced itself last, RFC 3339.
    pub seen_at: String,
}

/// One cluster and the installations that write for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
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
    pub owners: Vec<Owner>,
}

/// One installation and its current session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
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
    pub state: SessionState,
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
pub struct Clusters {
    /// Every cluster that the caller may see.
    pub items: Vec<Cluster>,
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

impl Observed {
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
pub enum Observed {
    /// In an event.
    Watch,
    /// In a complete list.
    List,
}

/// One operation of a batch, as a client writes it. A server reads operations as raw JSON, item by item, so that
/// one that is malformed spoils no other.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Create or replace a record.
    Put {
        /// The pod's UID.
        id: String,
        /// The record.
        record: Box<RawValue>,
    },
    /// Remove a record.
    Delete {
        /// The pod's UID.
        id: String,
        /// Orders this against other operations on the id.
        version: Version,
        /// Why.
        reason: Reason,
        /// How it is known.
        observed: Observed,
    },
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
pub struct Stored {
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
    pub current: Option<Current>,
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

/// What the registry holds where an operation came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The epoch of the stored version.
    pub epoch: u64,
    /// The counter of the stored version.
    pub seq: u64,
    /// The digest of the stored record; none where a delete is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A page of an inventory with `view=digest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryPage {
    /// Records ordered by id.
    pub items: Vec<InventoryItem>,
    /// The next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many records the whole reading has.
    pub count: u64,
    /// The last change that this read has seen.
    pub as_of: u64,
}

/// A record without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryItem {
    /// The record's id.
    pub id: String,
    /// Its digest.
    pub digest: Digest,
    /// Its version.
    pub version: Version,
}

/// The inventory as bucket digests, from one consistent read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketDigests {
    /// One a bucket.
    pub buckets: Vec<BucketDigest>,
    /// Records over all buckets.
    pub count: u64,
    /// The last change that this read has seen.
    pub as_of: u64,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDigest {
    /// Records in it.
    pub count: u64,
    /// The xor of their digests, 64 hexadecimal digits without a prefix.
    #[serde(serialize_with = "bare_hex")]
    pub digest: Digest,
}

fn bare_hex<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_known_by_its_type_whatever_else_is_in_it() {
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
