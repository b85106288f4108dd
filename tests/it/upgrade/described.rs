//! A targets file that both versions read: a registry that can be listed, and a receiver whose records a memory has.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;

use super::world::{LEASE, Replica, create_lease};
use crate::{
    process::world::{Kube, name},
    support::{RestRegistry, SOON, Version, eventually},
};

struct Receivers {
    listed: RestRegistry,
    remembered: RestRegistry,
}

impl Receivers {
    async fn start() -> Self {
        Self { listed: RestRegistry::start().await, remembered: RestRegistry::start().await }
    }

    fn targets_file(&self, kube: &Kube) -> PathBuf {
        let (path, memory) = (kube.folder.path().join("targets.yaml"), kube.folder.path().join("memory.db"));
        let hook = json!({"name": "hook", "url": self.remembered.url, "memory": memory, "exclusive": true,
            "body": {"name": "{{ pod.name }}", "app": "{{ pod.labels.app }}"},
            "put": {"path": "systems/{{ id }}"}, "delete": {"path": "systems/{{ id }}"}});
        let inventory = json!({"name": "inventory", "preset": "rest", "url": self.listed.url,
            "body": {"app": "{{ pod.labels.app }}"}});
        fs::write(&path, json!({"targets": [inventory, hook]}).to_string()).unwrap();
        path
    }

    /// Waits until both have the records of all pods and no others.
    async fn equal(&self, kube: &Kube) {
        eventually("both receivers equal the cluster", 2 * SOON, async || {
            let wanted = kube.uids();
            for records in [self.listed.records(), self.remembered.records()] {
                if !records.keys().eq(&wanted) {
                    return Err(format!("{:?}", records.keys()));
                }
            }
            Ok(())
        })
        .await;
    }

    fn writes(&self) -> [usize; 2] {
        [&self.listed, &self.remembered].map(RestRegistry::writes)
    }
}

/// Each version runs after the other, and pods are deleted while neither does.
#[tokio::test]
async fn targets_and_memory_survive_an_upgrade_and_downgrade() {
    let Some(previous) = Version::previous() else { return };
    if !previous.has("run", "--targets").await {
        return;
    }
    let current = Version::current();
    let (kube, receivers) = (Kube::start().await, Receivers::start().await);
    create_lease(&kube).await;
    let file = receivers.targets_file(&kube);
    let flags = ["--targets", file.to_str().unwrap(), "--lease", LEASE];
    kube.create(0..8);
    for (turn, version) in [&previous, &current, &previous, &current].into_iter().enumerate() {
        let before = receivers.writes();
        let replica = Replica::start(version, &kube, &format!("turn-{turn}"), &flags).await;
        receivers.equal(&kube).await;
        if turn > 0 {
            // The records of the deleted pods are removed, and no other is written.
            assert_eq!(receivers.writes(), before);
        }
        let next = 8 + turn;
        kube.create(next..next + 1);
        kube.label(&name(next - 1), &format!("of-{turn}"));
        receivers.equal(&kube).await;
        let written = before.map(|writes| if turn == 0 { 8 + 2 } else { writes + 2 });
        eventually("the changes are written", Duration::from_secs(30), async || match receivers.writes() {
            found if found == written => Ok(()),
            found => Err(format!("{found:?}, not {written:?}")),
        })
        .await;
        replica.stop().await;
        kube.delete(turn..turn + 1);
    }
    assert_eq!((receivers.listed.findings(), receivers.remembered.findings()), (Vec::new(), Vec::new()));
}
