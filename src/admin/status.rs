//! The status of the controller: as JSON at `/status`, as a page at `/`, and in a terminal by `pod-registrar status`.
//! `docs/operations.md` explains its members.
//!
//! It is read leniently, because the command may be of another version than the controller: members that are missing
//! have their defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The members in `all` are those of all targets together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDocument {
    pub version: String,
    /// The wall clock of the process, as in RFC 3339.
    pub time: String,
    pub instance: String,
    pub cluster: Option<ShownCluster>,
    pub owner: Option<String>,
    pub leader: Option<ShownLeader>,
    pub pods: i64,
    pub watch_silence_seconds: Vec<f64>,
    /// The first watches whose requests fail now.
    pub watch_failures: Vec<ShownWatchFailure>,
    /// Work of the process for all targets.
    pub work: Vec<ShownWork>,
    #[serde(flatten)]
    pub all: ShownState,
    pub targets: Vec<ShownTarget>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownCluster {
    pub id: String,
    pub name: String,
}

/// Who leads, by the Lease. None without one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownLeader {
    /// As `NAMESPACE/NAME`.
    pub lease: String,
    /// The instance that holds it. Empty if nobody does, or before it is read.
    pub holder: String,
}

/// Why the requests of a watch fail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownWatchFailure {
    /// `*` stands for all namespaces.
    pub namespace: String,
    pub cause: String,
}

/// The members that a target has and the process, too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownState {
    pub session: ShownSession,
    pub in_sync: bool,
    pub first_complete_sync_seconds: Option<f64>,
    /// The number of records by state.
    pub records: BTreeMap<String, i64>,
    pub oldest_pending_seconds: f64,
    pub holds: Vec<ShownHold>,
    pub failed_renders: ShownFailedRenders,
    pub failed_resync: Option<ShownFailedResync>,
    /// Records that the registry returns otherwise than they were sent, and that are left so.
    pub left_differing: usize,
}

impl ShownState {
    /// The number of records in this state.
    pub fn count(&self, state: &str) -> i64 {
        self.records.get(state).copied().unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownSession {
    pub state: String,
    pub epoch: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownTarget {
    pub name: String,
    pub kind: String,
    /// Why its loop ended while the process went on.
    pub stopped: Option<String>,
    /// Why requests to the registry fail at the moment.
    pub outage: Option<String>,
    /// Time since the registry was compared with the cluster.
    pub compared_seconds_ago: Option<f64>,
    pub backlog: ShownBacklog,
    pub parked: Vec<ShownRefusedRecord>,
    /// The record whose change the registry refused most often, while it keeps doing so.
    pub refused: Option<ShownRefusedRecord>,
    pub changes: Vec<ShownChange>,
    pub work: Vec<ShownWork>,
    #[serde(flatten)]
    pub state: ShownState,
}

/// Deletions that wait for an approval, or for the return of their pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownHold {
    pub id: String,
    pub target: String,
    pub deletions: usize,
    pub because: String,
    /// The first of them.
    pub records: Vec<ShownRecord>,
    /// The command that approves them. None if no Lease is set for approvals.
    pub approve: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownRecord {
    pub id: String,
    /// The name of its kind, if its target has several.
    pub kind: Option<String>,
    /// The UID of its pod.
    pub uid: Option<String>,
    /// The namespace and name of its pod, as `NAMESPACE/NAME`.
    pub pod: Option<String>,
}

impl ShownRecord {
    /// The name of the pod if it is known, or else the id.
    pub fn name(&self) -> &str {
        self.pod.as_deref().unwrap_or(&self.id)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownFailedRenders {
    pub count: usize,
    /// The first of them.
    pub pods: Vec<ShownFailedRender>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownFailedRender {
    pub uid: String,
    pub pod: String,
    pub cause: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShownFailedResync {
    pub seconds: u64,
    pub tries: u32,
    pub cause: String,
}

/// Changes that wait, by the reason. [`crate::admin::summary`] has the words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownBacklog {
    pub in_flight: usize,
    pub retrying: usize,
    pub deletions: usize,
    pub changed: usize,
    pub missing: usize,
    pub differing: usize,
}

/// A record that the registry rejected, or whose change it keeps refusing, with its words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownRefusedRecord {
    #[serde(flatten)]
    pub record: ShownRecord,
    pub cause: Option<String>,
    pub seconds_ago: Option<f64>,
}

/// A change that the registry acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownChange {
    /// `put` or `delete`.
    pub change: String,
    #[serde(flatten)]
    pub record: ShownRecord,
    pub seconds_ago: f64,
}

/// Work that can take minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShownWork {
    /// `list`, `resync`, `fullReconcile` or `writes`.
    pub what: String,
    pub done: u64,
    /// None if it is not known.
    pub total: Option<u64>,
    /// Time since it began.
    pub seconds: f64,
    /// Time for the rest at the rate so far. None if it is not known.
    pub remaining_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_of_another_version_is_read() {
        let older =
            r#"{"inSync": true, "pods": 3, "unknown": [1], "targets": [{"name": "a", "records": {"parked": 2}}]}"#;
        let status: StatusDocument = serde_json::from_str(older).unwrap();
        assert_eq!((status.all.in_sync, status.pods, status.leader), (true, 3, None));
        assert_eq!((&*status.targets[0].name, status.targets[0].state.count("parked")), ("a", 2));
        assert_eq!(status.targets[0].state.count("held"), 0);
    }

    #[test]
    fn status_is_read_as_it_is_written() {
        let target = ShownTarget {
            name: "a".into(),
            changes: vec![ShownChange {
                record: ShownRecord { pod: Some("shop/web".into()), ..ShownRecord::default() },
                ..ShownChange::default()
            }],
            ..ShownTarget::default()
        };
        let status =
            StatusDocument { leader: Some(ShownLeader::default()), targets: vec![target], ..StatusDocument::default() };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<StatusDocument>(&text).unwrap(), status);
    }
}
