//! A faulty connection to the API server, and a registry that is killed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::world::{ClusterHarness, in_cluster};
use crate::support::{FaultyProxy, SOON, eventually};

/// A copy of a kubeconfig whose server is reached through a proxy that can be made faulty.
pub(super) async fn behind(world: &ClusterHarness, kubeconfig: &Path, name: &str) -> (FaultyProxy, PathBuf) {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let mut document: Value = serde_json::to_value(kubeconfig).unwrap();
    let server = document["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let proxy = FaultyProxy::start(server.strip_prefix("https://").expect("an https address").to_owned()).await;
    document["clusters"][0]["cluster"]["server"] = format!("https://{}", proxy.address).into();
    let path = world.folder.path().join(format!("{name}.kubeconfig"));
    std::fs::write(&path, document.to_string()).unwrap();
    (proxy, path)
}

#[tokio::test]
async fn repeatedly_broken_watch_misses_nothing() {
    in_cluster(async |world| {
        let (proxy, kubeconfig) = behind(world, &world.kubeconfig, "faulty").await;
        let mut controller = world.controller_with(&kubeconfig, &[]);
        for name in ["a", "b", "c"] {
            world.create(name).await;
        }
        world.equal().await;
        for round in 0..3 {
            let failures = controller.figure("watch_errors_total").await;
            proxy.cut();
            world.delete(["a", "b", "c"][round]).await;
            world.create(&format!("d{round}")).await;
            world.label(&format!("d{round}"), "changed").await;
            eventually("a failed watch", SOON, async || match controller.figure("watch_errors_total").await {
                now if now > failures => Ok(()),
                now => Err(format!("{now} failures")),
            })
            .await;
            assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
            proxy.repair();
            world.equal().await;
        }
        let changes = world.reader().changes(&world.cluster).await.unwrap();
        assert_eq!(changes.iter().filter(|change| change["op"] == "delete").count(), 3);
    })
    .await;
}

#[tokio::test]
async fn registry_killed_under_churn_catches_up() {
    in_cluster(async |world| {
        let mut controller = world.controller();
        for number in 0..40 {
            world.create(&format!("pod-{number}")).await;
            if number % 3 == 1 {
                world.delete(&format!("pod-{}", number - 1)).await;
            }
            if number % 3 == 2 {
                world.label(&format!("pod-{number}"), "changed").await;
            }
            match number % 10 {
                3 => world.registry.kill(),
                7 => world.registry.start_again().await,
                _ => {}
            }
        }
        world.equal_within(Duration::from_secs(60)).await;
        assert!(controller.is_running());
    })
    .await;
}
