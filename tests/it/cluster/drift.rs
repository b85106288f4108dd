//! A registry that differs from what was written to it, and other owners in it.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::Value;

use super::world::{ClusterHarness, in_cluster};
use crate::support::{Controller, SOON, eventually};

/// Changes the tables of the registry directly.
fn edit(world: &ClusterHarness, sql: &str) {
    let connection = Connection::open(&world.registry.database).unwrap();
    connection.busy_timeout(SOON).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn resync_repairs_deleted_edited_and_invented_records() {
    in_cluster(async |world| {
        for name in ["lost", "edited", "kept"] {
            world.create(name).await;
        }
        world.running(3).await;
        let mut controller = world.controller_with(&world.kubeconfig, &["--resync-interval", "1s"]);
        world.equal().await;
        let before = world.records().await;
        let id = |name: &str| before.iter().find(|(_, record)| record["pod"]["name"] == name).unwrap().0.clone();
        let (lost, edited, kept) = (id("lost"), id("edited"), id("kept"));
        edit(
            world,
            &format!(
                "BEGIN IMMEDIATE;
                 DELETE FROM records WHERE id = '{lost}';
                 DELETE FROM bodies WHERE id = '{lost}';
                 UPDATE records SET digest = zeroblob(32), name = 'other' WHERE id = '{edited}';
                 UPDATE bodies SET body = json_set(body, '$.pod.name', 'other') WHERE id = '{edited}';
                 INSERT INTO records SELECT writer, 'invented', epoch, seq, digest, 0, lifecycle, namespace, 'invented', ''
                   FROM records WHERE id = '{kept}';
                 INSERT INTO bodies SELECT writer, 'invented', replace(body, '{kept}', 'invented')
                   FROM bodies WHERE id = '{kept}';
                 COMMIT;"
            ),
        );
        eventually("the records are repaired", SOON, async || {
            let now: Vec<_> = world.records().await.into_values().map(without_version).collect();
            let then: Vec<_> = before.clone().into_values().map(without_version).collect();
            if now == then { Ok(()) } else { Err(format!("{now:#?}")) }
        })
        .await;
        assert_eq!(world.records().await[&kept]["version"], before[&kept]["version"], "a correct record is not written again");
        for kind in ["missing", "differing", "extra"] {
            let repaired = controller.figure(&format!("drift_repaired_total{{kind=\"{kind}\"}}")).await;
            assert!(repaired >= 1.0, "{kind}: {repaired}");
        }
    })
    .await;
}

fn without_version(mut record: Value) -> Value {
    record["version"].take();
    record
}

/// Starts a controller for the same pods with another owner, and waits until it has written them.
async fn neighbour(world: &ClusterHarness, cluster: &str, owner: &str) -> (Controller, BTreeMap<String, Value>) {
    let own = ["--namespace", &world.namespace, "--cluster-id", cluster, "--owner", owner];
    let mut controller = Controller::start(&world.kubeconfig, &world.registry.url, &own);
    controller.synced().await;
    let records = world.reader().records(cluster, owner).await.unwrap();
    assert_eq!(records.len(), 5);
    controller.kill();
    (controller, records)
}

#[tokio::test]
async fn records_of_other_clusters_or_owners_stay_untouched() {
    in_cluster(async |world| {
        for number in 0..5 {
            world.create(&format!("pod-{number}")).await;
        }
        world.running(5).await;
        let other_cluster = format!("other-{}", world.cluster);
        let (_c, theirs) = neighbour(world, &other_cluster, &world.owner).await;
        let (_o, beside) = neighbour(world, &world.cluster, "other-owner").await;
        let mut controller = world.controller_with(&world.kubeconfig, &["--resync-interval", "1s"]);
        world.equal().await;
        for number in 0..3 {
            world.delete(&format!("pod-{number}")).await;
        }
        world.label("pod-4", "changed").await;
        world.equal().await;
        controller.kill();
        world.delete("pod-3").await;
        let mut controller = world.controller_with(&world.kubeconfig, &["--resync-interval", "1s"]);
        world.equal().await;
        controller.synced().await;
        // After a few more resyncs.
        let compared = "requests_total{operation=\"inventory\",outcome=\"ok\"}";
        let start = controller.figure(compared).await;
        eventually("more resyncs", SOON, async || match controller.figure(compared).await {
            now if now >= start + 2.0 => Ok(()),
            now => Err(format!("{now}")),
        })
        .await;
        assert_eq!(world.reader().records(&other_cluster, &world.owner).await.unwrap(), theirs);
        assert_eq!(world.reader().records(&world.cluster, "other-owner").await.unwrap(), beside);
        assert_eq!(world.records().await.len(), 1);
    })
    .await;
}
