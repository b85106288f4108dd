//! A view of the cluster that is incomplete, old or missing.

use std::time::Duration;

use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};

use super::world::{CLUSTER, ProcessHarness};
use crate::support::{
    Controller, SOON,
    apiserver::{Fault, Kind, Request},
    eventually, until,
};

/// A registry with the records of this many pods, and no controller.
async fn registered(count: usize) -> ProcessHarness {
    let world = ProcessHarness::start().await;
    world.kube.create(0..count);
    let mut controller = world.controller();
    world.equal().await;
    controller.kill();
    world
}

async fn records(world: &ProcessHarness) -> usize {
    world.registry().ids(CLUSTER, DEFAULT_OWNER).await.unwrap().len()
}

/// The number of deletions in the registry's change log.
async fn deletions(world: &ProcessHarness) -> usize {
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    changes.iter().filter(|change| change["op"] == "delete").count()
}

/// Waits until this many deletions are held.
async fn holds(controller: &mut Controller, count: f64) {
    eventually("they are held", SOON, async || match controller.figure("deletions_held").await {
        held if held == count => Ok(()),
        held => Err(format!("{held}")),
    })
    .await;
}

#[tokio::test]
async fn kill_during_the_first_list_writes_nothing() {
    let world = registered(40).await;
    for after in [0, 1, 17, 39] {
        let (mark, lists) = (world.proxy.mark(), world.kube.api.requests(Kind::List));
        world.kube.api.inject(Fault::stall(Kind::List, after));
        let mut controller = world.controller();
        until("the list comes in", || world.kube.api.requests(Kind::List) > lists).await;
        controller.log_line("registry found").await;
        until("the list is stuck", || world.kube.api.pending_faults() == 0).await;
        assert!(!controller.logged("pods listed"));
        controller.kill();
        let wrote = world.proxy.seen_since(mark).iter().filter(|exchange| exchange.writes()).count();
        assert_eq!(wrote, 0, "after {after} pods");
    }
    assert_eq!(deletions(&world).await, 0);
    let _controller = world.controller();
    world.equal().await;
    assert_eq!(deletions(&world).await, 0);
}

#[tokio::test]
async fn empty_first_list_deletes_nothing() {
    let world = registered(20).await;
    // The first list is repeated when the registry's inventory is known, and is empty as well.
    world.kube.api.inject(Fault::empty_list().times(2));
    let mut controller = world.controller();
    holds(&mut controller, 20.0).await;
    // The second list, ten seconds later, shows all pods; the view is listed again.
    holds(&mut controller, 0.0).await;
    assert_eq!((records(&world).await, deletions(&world).await), (20, 0));
    let line = "many pods are absent; waiting for a second list before deleting";
    assert!(controller.logged(line), "{:?}", controller.stderr());
    world.equal().await;
}

#[tokio::test]
async fn list_lacking_a_page_deletes_nothing() {
    let world = registered(1_020).await;
    // Only the last page is missing: too few pods for the absence guard.
    world.kube.api.inject(Fault::missing_page().when(Request::is_continued).times(2));
    let mut controller = world.controller();
    holds(&mut controller, 20.0).await;
    holds(&mut controller, 0.0).await;
    assert_eq!((records(&world).await, deletions(&world).await), (1_020, 0));
    world.equal().await;
}

#[tokio::test]
async fn live_pods_deselected_by_settings_are_held() {
    let world = ProcessHarness::start().await;
    for number in 0..200 {
        let half = if number % 2 == 0 { "even" } else { "odd" };
        world.kube.api.create(pod(format!("p-{number}")).label("app", half).running()).unwrap();
    }
    let mut controller = world.controller();
    world.equal().await;
    controller.kill();
    let mut controller = world.controller_with(&["--label-selector", "app=even"]);
    holds(&mut controller, 100.0).await;
    let begun = world.proxy.mark();
    world.kube.api.create(pod("new").label("app", "even").running()).unwrap();
    until("puts pass", || {
        let acknowledged =
            world.proxy.seen_since(begun).iter().flat_map(|seen| seen.acknowledged()).collect::<Vec<_>>();
        acknowledged.iter().any(|(id, put, _)| *put && *id == world.kube.uid("new"))
    })
    .await;
    controller.log_line("deletions are held until their pods are back").await;
    holds(&mut controller, 100.0).await;
    assert_eq!((records(&world).await, deletions(&world).await), (201, 0));
}

#[tokio::test]
async fn regular_relist_repairs_missed_events() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..20);
    let mut controller = world.controller_with(&["--relist-interval", "2s"]);
    world.equal().await;
    world.kube.api.silently(|_| {
        world.kube.delete(0..3);
        world.kube.create(20..25);
        world.kube.label("web-0010", "changed");
    });
    world.equal().await;
    assert_eq!((controller.figure("watch_errors_total").await, deletions(&world).await), (0.0, 3));
}

#[tokio::test]
async fn stale_view_fails_neither_liveness_nor_readiness() {
    // A log line and a metric show it instead.
    let world = ProcessHarness::start().await;
    world.kube.create(0..5);
    let mut controller = world.controller();
    world.equal().await;
    controller.synced().await;
    world.kube.api.inject(Fault::stall(Kind::Watch, 0).always());
    world.kube.api.drop_watches();
    world.kube.delete(0..1);
    world.kube.create(5..7);
    let within = Duration::from_secs(45);
    eventually("it is logged", within, async || {
        assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
        let logged = controller.logged("the view of the cluster is old");
        if logged { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let silence = controller.figure("watch_silence_seconds").await;
    assert!((30.0..45.0).contains(&silence), "{silence}");
    world.kube.api.clear_faults();
    world.equal().await;
    controller.log_line("the view of the cluster is up to date again").await;
    let lines = controller.stderr();
    let logged = lines.iter().filter(|line| line.contains("the view of the cluster is old"));
    assert_eq!(logged.count(), 1, "{lines:#?}");
    assert_eq!((controller.page("/livez").await.0, controller.is_running()), (200, true));
    assert_eq!(deletions(&world).await, 1);
}
