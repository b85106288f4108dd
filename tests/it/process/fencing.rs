//! Two controllers with one cluster id: the one that opened its session later writes, and the other waits until it
//! ends.

use pod_registrar::model::ids::DEFAULT_OWNER;

use super::world::{CLUSTER, ProcessHarness, name};
use crate::support::{Controller, SOON, eventually, until};

#[tokio::test]
async fn fenced_controllers_late_writes_change_nothing() {
    // It takes over when the other controller has ended.
    let world = ProcessHarness::start().await;
    world.kube.create(0..3);
    let mut first = world.controller();
    first.synced().await;
    world.proxy.hold_writes();
    world.kube.label(&name(0), "late");
    let uid = world.kube.uid(&name(0));
    until("its write is in flight", || {
        world.proxy.seen().iter().any(|exchange| exchange.answer.is_none() && exchange.writes_about(&uid))
    })
    .await;

    // As after a restored registry. Otherwise the second controller waits until the first one misses a heartbeat.
    world.registry().close_session(CLUSTER, DEFAULT_OWNER, 1).await;
    let mut second = Controller::start(&world.kube.kubeconfig, world.registry_url(), &[]);
    second.synced().await;
    world.kube.delete(0..1);
    world.equal().await;
    world.proxy.release();
    shows(&mut first, "fenced", 1.0).await;
    world.equal().await;
    assert_eq!((first.page("/livez").await.0, first.page("/readyz").await.0), (200, 503));
    first.log_line("another process writes for this cluster id and owner").await;
    let mark = world.proxy.mark();
    world.kube.label(&name(1), "changed");
    world.equal().await;

    second.terminate();
    assert_eq!(second.code().await, 0);
    world.kube.create(3..4);
    shows(&mut first, "writer", 1.0).await;
    let regained = world.proxy.seen_since(mark);
    let opened = regained.iter().position(|exchange| exchange.method == "POST" && exchange.path.contains("/session"));
    assert!(!regained[..opened.unwrap()].iter().any(|exchange| exchange.writes()), "it wrote while it was fenced");
    world.equal().await;
    assert_eq!((first.figure("fenced").await, first.page("/readyz").await.0), (0.0, 200));
    let writer = world.registry().writer(CLUSTER, DEFAULT_OWNER).await.unwrap();
    assert_eq!((writer["epoch"].as_u64(), writer["state"].as_str()), (Some(3), Some("live")));
}

async fn shows(controller: &mut Controller, series: &str, value: f64) {
    eventually(series, SOON, async || match controller.figure(series).await {
        found if found == value => Ok(()),
        found => Err(format!("{found}")),
    })
    .await;
}
