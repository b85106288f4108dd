//! Searches the registry's change log for wrong deletions while it is written.
//!
//! A deletion is wrong if a consistent list that begins after the registry accepted it still contains the UID. A change
//! in the log was accepted, so a list that begins after reading it must not contain the UID. UIDs are never used again,
//! so a later list, because the API server was down, accuses no correct deletion.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::world::{ClusterHarness, in_time},
    support::{Reader, SOON, eventually},
};

/// Time between two readings of the change log.
const READ_EVERY: Duration = Duration::from_millis(200);

/// The running search. It stops when this is dropped.
pub(super) struct Audit {
    stop: CancellationToken,
    task: JoinHandle<Search>,
}

struct Search {
    reader: Reader,
    pods: Api<Pod>,
    cluster: String,
    since: u64,
    log: Log,
}

/// The changes that were read so far.
#[derive(Default)]
struct Log {
    changes: Vec<Value>,
    /// Deletions that were not compared with a list yet, by UID.
    unchecked: BTreeMap<String, Value>,
    checked: usize,
    wrong: Vec<Value>,
}

/// The counts of a search without findings.
pub(super) struct Found {
    changes: usize,
    deletions: usize,
    epochs: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deletions of {} changes in {} sessions were correct", self.deletions, self.changes, self.epochs)
    }
}

impl Audit {
    pub(super) fn start(world: &ClusterHarness) -> Self {
        let mut search = Search {
            reader: world.reader(),
            pods: world.api(),
            cluster: world.cluster.clone(),
            since: 0,
            log: Log::default(),
        };
        let stop = CancellationToken::new();
        let over = stop.clone();
        let task = tokio::spawn(async move {
            while over.run_until_cancelled(tokio::time::sleep(READ_EVERY)).await.is_some() {
                // The registry or the API server may be down; the next reading finds the rest.
                let _ = search.read().await;
            }
            search
        });
        Self { stop, task }
    }

    /// Reads the rest, and checks the whole log.
    pub(super) async fn finish(mut self) -> Found {
        self.stop.cancel();
        let mut search = (&mut self.task).await.unwrap();
        eventually("the rest of the change log", SOON, async || search.read().await).await;
        search.log.judge()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Search {
    async fn read(&mut self) -> Result<(), String> {
        let (new, since) = self.reader.changes_since(&self.cluster, self.since).await?;
        self.since = since;
        self.log.note(new)?;
        if self.log.unchecked.is_empty() {
            return Ok(());
        }
        // A list without a resource version is consistent.
        let there = in_time(self.pods.list_metadata(&ListParams::default())).await?;
        self.log.compare(&there.items.into_iter().filter_map(|pod| pod.metadata.uid).collect());
        Ok(())
    }
}

impl Log {
    fn note(&mut self, new: Vec<Value>) -> Result<(), String> {
        for change in new {
            if change["op"] == "delete" {
                self.unchecked.insert(change["id"].as_str().ok_or("no id")?.to_owned(), change.clone());
            }
            self.changes.push(change);
        }
        Ok(())
    }

    /// Compares the noted deletions with the UIDs of a list that began later.
    fn compare(&mut self, there: &BTreeSet<String>) {
        for (id, change) in std::mem::take(&mut self.unchecked) {
            self.checked += 1;
            if there.contains(&id) {
                self.wrong.push(change);
            }
        }
    }

    fn judge(self) -> Found {
        assert!(self.wrong.is_empty(), "deleted while they exist: {:#?}", self.wrong);
        assert!(self.unchecked.is_empty(), "not checked: {:#?}", self.unchecked);
        let mut epochs: Vec<u64> = self.changes.iter().map(|change| change["epoch"].as_u64().unwrap()).collect();
        assert!(epochs.is_sorted(), "a session wrote after it was superseded: {epochs:?}");
        epochs.dedup();
        self.no_return_in_a_session();
        Found { changes: self.changes.len(), deletions: self.checked, epochs: epochs.len() }
    }

    /// After an observed deletion, the same session puts the pod no more. The next writer may have seen less so far.
    fn no_return_in_a_session(&self) {
        let mut ended = BTreeSet::new();
        for change in &self.changes {
            let key = (change["epoch"].as_u64(), change["id"].as_str());
            if change["op"] == "delete" && change["observed"] == "watch" {
                ended.insert(key);
            } else {
                assert!(change["op"] != "put" || !ended.contains(&key), "written after its deletion: {change}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log(changes: &[(u64, &str, &str)], there: &[&str]) -> Log {
        let mut log = Log::default();
        let change =
            |(epoch, op, id): &(u64, &str, &str)| json!({"epoch": epoch, "op": op, "id": id, "observed": "watch"});
        log.note(changes.iter().map(change).collect()).unwrap();
        log.compare(&there.iter().map(ToString::to_string).collect());
        log
    }

    #[test]
    fn a_log_without_faults_is_counted() {
        let changes = [(1, "put", "a"), (1, "put", "b"), (1, "delete", "a"), (2, "put", "a"), (2, "delete", "a")];
        let found = log(&changes, &["b"]).judge();
        assert_eq!((found.changes, found.deletions, found.epochs), (5, 1, 2));
    }

    #[test]
    #[should_panic(expected = "deleted while they exist")]
    fn deletion_of_a_live_pod_is_found() {
        log(&[(1, "put", "a"), (1, "delete", "a")], &["a"]).judge();
    }

    #[test]
    #[should_panic(expected = "wrote after it was superseded")]
    fn write_of_an_earlier_session_is_found() {
        log(&[(2, "put", "a"), (1, "put", "b")], &[]).judge();
    }

    #[test]
    #[should_panic(expected = "written after its deletion")]
    fn put_after_an_observed_deletion_is_found() {
        log(&[(1, "put", "a"), (1, "delete", "a"), (1, "put", "a")], &[]).judge();
    }
}
