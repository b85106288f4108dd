//! Pods of workloads, and deletions while no controller is running.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Pod, ReplicationController},
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::world::{ClusterHarness, in_cluster, object, pod_spec, uid_of};
use crate::support::{SOON, eventually};

#[tokio::test]
async fn pods_deleted_during_downtime_leave_the_registry() {
    in_cluster(async |world| {
        for name in ["a", "b", "c"] {
            world.create(name).await;
        }
        world.running(3).await;
        let mut controller = world.controller();
        world.equal().await;
        controller.kill();
        world.delete("a").await;
        world.label("b", "changed").await;
        world.create("d").await;
        let _controller = world.controller();
        world.equal().await;
        let changes = world.reader().changes(&world.cluster).await.unwrap();
        let deletes: Vec<_> = changes.iter().filter(|change| change["op"] == "delete").collect();
        assert_eq!(deletes.len(), 1, "{deletes:?}");
        assert_eq!((&deletes[0]["name"], &deletes[0]["reason"]), (&json!("a"), &json!("absent")));
    })
    .await;
}

/// Deletes a pod of a StatefulSet, and waits until another one has its name.
async fn recreated(world: &ClusterHarness, name: &str) -> (String, String) {
    let old = uid_of(&world.api::<Pod>().get(name).await.unwrap());
    world.delete(name).await;
    let new = eventually("another pod under the name", SOON, async || match world.api::<Pod>().get_opt(name).await {
        Ok(Some(pod)) if uid_of(&pod) != old => Ok(uid_of(&pod)),
        other => Err(format!("{:?}", other.map(|pod| pod.map(|pod| pod.metadata.uid)))),
    })
    .await;
    (old, new)
}

#[tokio::test]
async fn recreated_statefulset_pod_is_another_record() {
    in_cluster(async |world| {
        let set: StatefulSet = object(json!({
            "metadata": {"name": "db"},
            "spec": {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}}, "spec": pod_spec()}},
        }));
        world.api().create(&PostParams::default(), &set).await.unwrap();
        world.running(2).await;
        let mut controller = world.controller();
        world.equal().await;
        let mut lives = vec![recreated(world, "db-0").await];
        world.running(2).await;
        world.equal().await;
        controller.kill();
        lives.push(recreated(world, "db-0").await);
        lives.push(recreated(world, "db-1").await);
        let _controller = world.controller();
        world.equal().await;
        let (records, changes) = (world.records().await, world.reader().changes(&world.cluster).await.unwrap());
        let deleted = |id: &str| changes.iter().filter(|change| change["op"] == "delete" && change["id"] == id).count();
        for (old, _) in &lives {
            assert!(!records.contains_key(old) && deleted(old) == 1, "{old} in {changes:?}");
        }
        let owner = records.values().map(|record| &record["workload"][0]);
        assert!(owner.clone().count() == 2 && owner.clone().all(|o| o["kind"] == "StatefulSet" && o["name"] == "db"));
    })
    .await;
}

async fn scale(world: &ClusterHarness, replicas: usize) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    world.api::<ReplicationController>().patch_scale("rc", &PatchParams::default(), &patch).await.unwrap();
    world.running(replicas).await;
}

#[tokio::test]
async fn replicationcontroller_scaled_to_zero_leaves_nothing_behind() {
    in_cluster(async |world| {
        let controller: ReplicationController = object(json!({
            "metadata": {"name": "rc"},
            "spec": {"replicas": 5, "selector": {"app": "rc"},
                "template": {"metadata": {"labels": {"app": "rc"}}, "spec": pod_spec()}},
        }));
        world.api().create(&PostParams::default(), &controller).await.unwrap();
        world.running(5).await;
        let mut controller = world.controller();
        world.equal().await;
        scale(world, 0).await;
        world.equal().await;
        assert!(world.records().await.is_empty());

        // While no controller runs: an empty list is guarded, then confirmed.
        scale(world, 5).await;
        world.equal().await;
        controller.kill();
        scale(world, 0).await;
        let _controller = world.controller();
        world.equal().await;
        assert!(world.records().await.is_empty());
    })
    .await;
}
