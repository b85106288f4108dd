//! What a controller finds after a restart.

use std::time::Duration;

use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};

use super::world::{CLUSTER, ProcessHarness, name};
use crate::support::{
    SOON,
    apiserver::{Fault, Kind},
    eventually, until,
};

#[tokio::test]
async fn a_restart_without_changes_writes_nothing() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..300);
    let mut controller = world.controller();
    world.equal().await;
    controller.kill();
    let (changes, mark) = (world.registry().changes(CLUSTER).await.unwrap(), world.proxy.mark());
    let mut controller = world.controller();
    controller.synced().await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    assert_eq!(world.registry().changes(CLUSTER).await.unwrap(), changes);
    let seen = world.proxy.seen_since(mark);
    let wrote: Vec<_> = seen.iter().filter(|exchange| exchange.writes()).map(|exchange| &exchange.path).collect();
    assert!(wrote.is_empty(), "{wrote:?}");
    let asked: Vec<_> = seen.iter().filter(|e| e.path.contains("view=")).map(|e| &e.path).collect();
    assert!(asked.is_empty(), "the bucket digests are enough: {asked:?}");
}

#[tokio::test]
async fn pods_deleted_during_downtime_leave_the_registry() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..30);
    let mut controller = world.controller();
    world.equal().await;
    controller.kill();
    world.kube.delete(0..7);
    world.kube.create(30..35);
    world.kube.label(&name(20), "changed");
    let before = world.registry().changes(CLUSTER).await.unwrap().len();
    let mut controller = world.controller();
    world.equal().await;
    controller.synced().await;
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    assert_eq!(changes.len() - before, 7 + 5 + 1, "one change for each, and no more");
    let deletes = changes.iter().filter(|change| change["op"] == "delete");
    assert!(deletes.clone().count() == 7 && deletes.clone().all(|change| change["reason"] == "absent"));
}

#[tokio::test]
async fn mass_deletion_during_downtime_leaves_within_a_minute() {
    // A third of the pods was deleted.
    let world = ProcessHarness::start().await;
    world.kube.create(0..3_000);
    let mut controller = world.controller();
    world.kube.equals(&world.registry(), Duration::from_secs(60)).await;
    controller.kill();
    world.kube.delete(500..1_500);
    let mut controller = world.controller();
    let held = "deletions_held";
    eventually("they are held", Duration::from_secs(30), async || match controller.figure(held).await {
        1_000.0 => Ok(()),
        other => Err(format!("{held} {other}")),
    })
    .await;
    assert_eq!(world.registry().ids(CLUSTER, DEFAULT_OWNER).await.unwrap().len(), 3_000, "none is deregistered yet");
    // A few more are deleted without an event; only the second list shows it.
    world.kube.without_watches(|| world.kube.delete(2_000..2_005)).await;
    world.kube.equals(&world.registry(), Duration::from_secs(60)).await;
    controller.log_line("absent pods are confirmed to be gone").await;
}

#[tokio::test]
async fn pod_deleted_during_its_put_leaves_the_registry() {
    // No event reported the deletion.
    let world = ProcessHarness::start().await;
    let mut controller = world.controller();
    controller.synced().await;
    world.proxy.hold_writes();
    world.kube.create(0..3);
    let uids = world.kube.uids();
    until("all are in flight", || uids.iter().all(|uid| world.proxy.seen().iter().any(|e| e.writes_about(uid)))).await;
    let lists = world.kube.api.requests(Kind::List);
    world.kube.without_watches(|| world.kube.delete(0..2)).await;
    eventually("the pods are listed again", SOON, async || match controller.figure("pods").await {
        1.0 if world.kube.api.requests(Kind::List) > lists => Ok(()),
        pods => Err(format!("{pods} pods")),
    })
    .await;
    world.proxy.release();
    world.equal().await;
}

#[tokio::test]
async fn controller_is_in_sync_after_inferred_deletions() {
    // It is in sync only after the absent pods are deregistered.
    let world = ProcessHarness::start().await;
    world.kube.create(0..10);
    let mut controller = world.controller();
    world.equal().await;
    controller.kill();
    world.kube.delete(0..3);
    // The identity of the cluster is read at the start, and again before an inferred deletion is sent.
    world.kube.api.inject(Fault::hang(Kind::Namespace).skip(1));
    let mut controller = world.controller();
    until("the identity is requested again", || world.kube.api.pending_faults() == 0).await;
    assert_eq!(controller.figure("first_complete_sync_seconds").await, 0.0);
    assert!(!controller.logged("the registry is equal to the cluster"));
}

#[tokio::test]
async fn recreated_statefulset_pod_is_another_record() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..3);
    let db = || pod("db-0").owner("StatefulSet", "db", "5d3f8f5e-55c1-4a43-a0f0-0d6b4e5c9c01").running();
    world.kube.api.create(db()).unwrap();
    let mut controller = world.controller();
    world.equal().await;
    let first = world.kube.uid("db-0");
    controller.kill();
    world.kube.api.delete("default", "db-0").unwrap();
    world.kube.api.create(db()).unwrap();
    let second = world.kube.uid("db-0");
    let mut controller = world.controller();
    world.equal().await;
    // A restart of the container while the controller runs comes as one MODIFIED event.
    controller.synced().await;
    world.kube.api.replace_in_place(db()).unwrap();
    let third = world.kube.uid("db-0");
    world.equal().await;
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    let of = |id: &str| -> Vec<_> {
        let own = changes.iter().filter(|change| change["id"] == id);
        own.map(|change| change["op"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (of(&first), of(&second), of(&third)),
        (vec!["put".into(), "delete".into()], vec!["put".into(), "delete".into()], vec!["put".into()])
    );
    until("it still runs", || controller.is_running()).await;
}
