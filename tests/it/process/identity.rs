//! Another cluster behind the same address or the same settings.

use pod_registrar::model::ids::DEFAULT_OWNER;

use super::world::{CLUSTER, Kube, ProcessHarness};
use crate::support::{Controller, SOON, eventually, until};

#[tokio::test]
async fn another_cluster_behind_the_address_ends_the_process() {
    // The process ends with code 1, and deletes nothing.
    let world = ProcessHarness::start().await;
    world.kube.create(0..10);
    let mut controller = world.controller();
    world.equal().await;
    controller.kill();
    world.kube.delete(0..3);
    // The inventory waits, and with it the first inferred deletion.
    world.proxy.hold(|exchange| exchange.path.contains("pods:digest"));
    let begun = world.proxy.mark();
    let mut controller = world.controller();
    until("the inventory is requested", || {
        world.proxy.seen_since(begun).iter().any(|exchange| exchange.path.contains("pods:digest"))
    })
    .await;
    world.kube.api.set_cluster_uid("another-cluster");
    world.proxy.release();
    assert_eq!(controller.code().await, 1);
    let errors = controller.stderr().join("\n");
    assert!(errors.contains(CLUSTER) && errors.contains("another-cluster"), "{errors}");
    let seen = world.proxy.seen();
    let writes: Vec<_> = seen.iter().filter(|exchange| exchange.writes()).collect();
    let deleted = writes.iter().flat_map(|exchange| exchange.acknowledged()).filter(|(_, put, _)| !put);
    assert_eq!(deleted.count(), 0, "no deletion was sent");
    assert_eq!(world.registry().ids(CLUSTER, DEFAULT_OWNER).await.unwrap().len(), 10);
    let there = world.registry().ids("another-cluster", DEFAULT_OWNER).await.unwrap();
    assert!(there.is_empty(), "nothing was written for the other cluster");
}

/// The settings of one cluster were copied to another one, including `--cluster-id`.
#[tokio::test]
async fn copied_cluster_id_ends_the_second_controller() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..10);
    let _first = world.controller_with(&["--cluster-id", "shared"]);
    let there = async || world.registry().ids("shared", DEFAULT_OWNER).await.unwrap_or_default().len();
    eventually("all are registered", SOON, async || match there().await {
        10 => Ok(()),
        other => Err(format!("{other} records")),
    })
    .await;
    let other = Kube::start().await;
    other.api.set_cluster_uid("another-cluster");
    other.create(20..25);
    let mut second = Controller::start(&other.kubeconfig, world.registry_url(), &["--cluster-id", "shared"]);
    assert_eq!(second.code().await, 1);
    let errors = second.stderr().join("\n");
    let explained = [CLUSTER, "another-cluster", "--replaces-cluster-uid", "Give each cluster its own --cluster-id"];
    assert!(explained.iter().all(|part| errors.contains(part)), "{errors}");
    assert_eq!(there().await, 10, "nothing was written or deleted");
}
