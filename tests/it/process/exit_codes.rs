//! How the process ends.

use pod_registrar::model::ids::DEFAULT_OWNER;

use super::world::{CLUSTER, Kube, ProcessHarness};
use crate::support::{
    Controller, RegistryTask, SOON,
    apiserver::{Fault, Kind},
    eventually, until,
};

/// A controller whose first writes wait in the proxy.
async fn stuck(world: &ProcessHarness) -> Controller {
    world.kube.create(0..20);
    world.proxy.hold_writes();
    let controller = world.controller();
    until("a write is in flight", || world.proxy.seen().iter().any(|exchange| exchange.writes())).await;
    controller
}

#[tokio::test]
async fn sigterm_finishes_requests_and_ends_with_code_0() {
    // The session is closed.
    let world = ProcessHarness::start().await;
    let mut controller = stuck(&world).await;
    let under_way = world.proxy.seen().iter().filter(|exchange| exchange.writes()).count();
    controller.terminate();
    controller.log_line("stopping").await;
    assert!(controller.is_running(), "it waits for the writes in flight");
    world.proxy.release();
    assert_eq!(controller.code().await, 0);
    assert!(controller.logged("session closed"));
    let seen = world.proxy.seen();
    let writes: Vec<_> = seen.iter().filter(|exchange| exchange.writes()).collect();
    assert_eq!(writes.len(), under_way, "no other write is sent");
    assert!(writes.iter().all(|exchange| exchange.answer.as_ref().is_some_and(|(status, _)| *status < 300)));
    let acknowledged: usize = writes.iter().map(|exchange| exchange.acknowledged().len()).sum();
    let writer = world.registry().writer(CLUSTER, DEFAULT_OWNER).await.unwrap();
    assert_eq!((writer["state"].as_str(), writer["pods"].as_u64()), (Some("closed"), Some(acknowledged as u64)));
    assert!(controller.stdout().is_empty());
}

#[tokio::test]
async fn sigterm_during_startup_ends_with_code_0() {
    // The registry or the cluster has not answered yet.
    let world = ProcessHarness::start().await;
    world.kube.api.inject(Fault::hang(Kind::Namespace).always());
    let mut controller = world.controller();
    until("the cluster is asked", || world.kube.api.requests(Kind::Namespace) > 0).await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);

    let world = ProcessHarness::start().await;
    world.proxy.hold(|_| true);
    let mut controller = world.controller();
    until("the registry is asked", || !world.proxy.seen().is_empty()).await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

#[tokio::test]
async fn second_signal_ends_at_once_with_code_130() {
    let world = ProcessHarness::start().await;
    let mut controller = stuck(&world).await;
    controller.terminate();
    controller.log_line("stopping").await;
    assert!(controller.is_running(), "it waits for the registry");
    controller.terminate();
    assert_eq!(controller.code().await, 130);
    assert!(world.registry().ids(CLUSTER, DEFAULT_OWNER).await.unwrap().is_empty());
}

#[tokio::test]
async fn sigterm_during_an_outage_ends_with_code_0() {
    // Many changes are pending, and the next start finds all of them.
    let kube = Kube::start().await;
    kube.create(0..2_000);
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut controller = Controller::start(&kube.kubeconfig, &format!("http://{address}"), &[]);
    eventually("it is ready, and everything is pending", SOON, async || {
        match (controller.page("/readyz").await.0, controller.figure("pods").await) {
            (200, 2_000.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    kube.delete(0..3);
    let registry = RegistryTask::start_at(&address.to_string());
    let _controller = Controller::start(&kube.kubeconfig, &registry.url, &[]);
    kube.equals(&registry.reader(), SOON * 2).await;
}
