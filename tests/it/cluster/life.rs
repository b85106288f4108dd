//! The life of one pod, and of many pods.

use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::json;

use super::world::{in_cluster, uid_of};
use crate::support::{eventually, seed};

#[tokio::test]
async fn a_pod_is_registered_changed_and_deregistered() {
    in_cluster(async |world| {
        let mut controller = world.controller();
        let pod = world.create("web").await;
        world.running(1).await;
        world.equal().await;
        let record = &world.records().await[&uid_of(&pod)];
        assert_eq!(record["cluster"]["id"], json!(world.cluster));
        assert_eq!(record["owner"], json!(world.owner));
        assert_eq!(record["state"], json!({"lifecycle": "active", "phase": "Running", "ready": true}));
        assert_eq!(record["containers"][0]["image"], "registry.example.com/app:1");
        assert_eq!(record["serviceAccount"], "default");
        let created = pod.metadata.creation_timestamp.as_ref().unwrap().0.to_string();
        let registered = record["times"]["created"].as_str().unwrap();
        assert_eq!(registered.split('.').next(), created.strip_suffix('Z'), "in seconds, as the API server reports it");

        world.label("web", "changed").await;
        world.equal().await;
        assert_eq!(world.records().await[&uid_of(&pod)]["pod"]["labels"], json!({"app": "changed"}));

        world.delete("web").await;
        world.equal().await;
        assert!(world.records().await.is_empty());
        let changes = world.reader().changes(&world.cluster).await.unwrap();
        let last = changes.last().unwrap();
        assert_eq!(
            (&last["op"], &last["reason"], &last["observed"]),
            (&json!("delete"), &json!("deleted"), &json!("watch"))
        );
        controller.terminate();
        assert_eq!(controller.code().await, 0);
    })
    .await;
}

#[tokio::test]
async fn registry_equals_the_cluster_after_quick_churn() {
    in_cluster(async |world| {
        let mut random = fastrand::Rng::with_seed(seed());
        let mut controller = world.controller();
        let fates: Vec<(usize, u8)> = (0..400).map(|number| (number, random.u8(..4))).collect();
        let (world, at_once) = (&*world, 16);
        stream::iter(fates)
            .for_each_concurrent(at_once, async |(number, fate)| {
                let name = format!("pod-{number:03}");
                world.create(&name).await;
                if fate > 0 {
                    world.label(&name, &format!("v{number}")).await;
                }
                if fate > 1 {
                    world.delete(&name).await;
                }
                if fate > 2 {
                    // Another pod under the same name.
                    world.create(&name).await;
                }
            })
            .await;
        world.equal_within(Duration::from_secs(60)).await;
        eventually("nothing is pending", Duration::from_secs(30), async || match controller.figure("pending").await {
            0.0 => Ok(()),
            pending => Err(format!("{pending} pending")),
        })
        .await;
        world.equal().await;
    })
    .await;
}
