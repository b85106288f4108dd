//! What is said to a registry about the writer's session, and what it answers.

use serde::{Deserialize, Serialize};

use crate::reconcile::takeover::SessionLiveness;

/// The request that opens a session.
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
    pub state: SessionLiveness,
}

/// A heartbeat of a session.
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
    /// Whether the registry has been equal to the cluster since the last heartbeat, as far as the writer knows.
    #[serde(default)]
    pub synced: bool,
    /// How much the writer sees and still owes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<HeartbeatCounts>,
}

/// How much a writer sees and still owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatCounts {
    /// Pods in the writer's store.
    pub pods: u64,
    /// Keys that wait for an acknowledgement.
    pub pending: u64,
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
