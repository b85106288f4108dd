//! The requests and answers about a writer's session.
//!
//! The process that opened the newest session is the only one that may write. The session's epoch goes with each write.

use serde::{Deserialize, Serialize};

use crate::reconcile::takeover::ReportedSession;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenSession {
    /// The cluster's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The name of this process.
    pub instance: String,
    /// How long the session is shown as live without a heartbeat.
    pub ttl_seconds: u64,
    /// A hash of namespaces, selectors and rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The highest epoch that the client has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_epoch: Option<u64>,
    /// The UID of the namespace `kube-system`. A session without it keeps that of the session before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
}

/// The answer to [`OpenSession`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionOpened {
    pub epoch: u64,
    /// The time to live that the registry granted.
    pub ttl_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// The session that this one replaced, in the state that it had then.
    pub previous: Option<ReportedSession>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The session. With the epoch of a replaced session, the process announces itself as a contender.
    pub epoch: u64,
    /// The name of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// How long the session is shown as live from now on.
    pub ttl_seconds: u64,
    /// Whether the registry was equal to the cluster at some moment since the last heartbeat, to the writer's
    /// knowledge.
    #[serde(default)]
    pub synced: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<HeartbeatCounts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatCounts {
    /// Pods in the writer's store.
    pub pods: u64,
    /// Pods with a pending change.
    pub pending: u64,
}

/// A process whose session was replaced and that still sends heartbeats, or one that waits for the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contender {
    /// The epoch that its heartbeat named.
    pub epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The time of its last heartbeat, RFC 3339.
    pub seen_at: String,
}
