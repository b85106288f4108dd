//! The controller without the registry, and then without the API server: known changes wait, and unknown ones are no
//! deletions.

use pod_registrar::model::ids::DEFAULT_OWNER;

use super::world::{CLUSTER, Kube, name, write_kubeconfig};
use crate::support::{Controller, FaultyProxy, RegistryTask, SOON, eventually};

#[tokio::test]
async fn partitions_delay_changes_and_delete_nothing() {
    // Changes wait without the registry, and the view becomes old without the API server.
    let (kube, registry) = (Kube::start().await, RegistryTask::start());
    kube.create(0..20);
    let address = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let to_cluster = FaultyProxy::start(address(&kube.api.url())).await;
    let to_registry = FaultyProxy::start(address(&registry.url)).await;
    let kubeconfig = write_kubeconfig(kube.folder.path(), &format!("http://{}", to_cluster.address));
    let url = format!("http://{}", to_registry.address);
    let mut controller = Controller::start(&kubeconfig, &url, &["--request-timeout", "2s"]);
    let reader = registry.reader();
    kube.equals(&reader, SOON).await;
    controller.synced().await;

    to_registry.cut();
    kube.create(20..25);
    kube.delete(0..2);
    kube.label(&name(10), "changed");
    shows(&mut controller, "pending", |pending| pending == 8.0).await;
    assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
    let before = reader.changes(CLUSTER).await.unwrap();
    assert_eq!(before.len(), 20, "nothing reaches the registry");
    to_registry.repair();
    kube.equals(&reader, SOON).await;
    assert_eq!(reader.changes(CLUSTER).await.unwrap().len() - before.len(), 8, "one write per change");

    to_cluster.cut();
    kube.create(25..27);
    kube.delete(2..6);
    shows(&mut controller, "watch_silence_seconds", |silence| silence >= 4.0).await;
    assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
    assert_eq!(reader.ids(CLUSTER, DEFAULT_OWNER).await.unwrap().len(), 23, "what is not observed is not deleted");
    assert!(controller.is_running());
    to_cluster.repair();
    kube.equals(&reader, SOON * 2).await;
    shows(&mut controller, "watch_silence_seconds", |silence| silence < 4.0).await;
}

async fn shows(controller: &mut Controller, series: &str, enough: impl Fn(f64) -> bool) {
    eventually(series, SOON, async || match controller.figure(series).await {
        found if enough(found) => Ok(()),
        found => Err(format!("{found}")),
    })
    .await;
}
