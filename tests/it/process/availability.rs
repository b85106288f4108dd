//! A start without the API server, the registry or some rights: the process waits, and shows what is missing.

use std::net::TcpListener;

use pod_registrar::model::ids::DEFAULT_OWNER;

use super::world::{CLUSTER, Kube, ProcessHarness};
use crate::support::{
    Controller, RegistryTask, SOON,
    apiserver::{Fault, Kind},
    eventually, until,
};

#[tokio::test]
async fn refusals_at_startup_are_retried() {
    // Until the API server accepts the controller, the process is live and not ready.
    let world = ProcessHarness::start().await;
    world.kube.create(0..5);
    let api = &world.kube.api;
    for (kind, code) in [(Kind::Namespace, 403), (Kind::Namespace, 401), (Kind::List, 403), (Kind::List, 401)] {
        api.inject(Fault::status(kind, code).times(2));
    }
    let mut controller = world.controller();
    while api.pending_faults() > 0 {
        assert_eq!(controller.page("/livez").await.0, 200);
        assert_eq!(controller.page("/readyz").await.0, 503);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    world.equal().await;
    assert_eq!((controller.page("/readyz").await.0, controller.page("/livez").await.0), (200, 200));
    assert!(controller.is_running() && api.requests(Kind::Namespace) >= 5);
    for (text, fix) in [
        ("cluster identity not read", ["resourceNames: [kube-system], verbs: [get]", "--cluster-id"]),
        ("the right to read pods is missing", ["resources: [pods], verbs: [get, list, watch]", "a ClusterRole"]),
    ] {
        let lines: Vec<_> = controller.stderr().into_iter().filter(|line| line.contains(text)).collect();
        assert!(lines.len() == 1 && fix.iter().all(|part| lines[0].contains(part)), "{lines:?}");
    }
}

#[tokio::test]
async fn missing_registry_at_startup_is_waited_for() {
    let kube = Kube::start().await;
    kube.create(0..5);
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut controller = Controller::start(&kube.kubeconfig, &format!("http://{address}"), &[]);
    controller.log_line("request to the registry failed; pausing").await;
    until_ready(&mut controller).await;
    let live = controller.page("/livez").await;
    assert_eq!((live.0, live.1.as_str()), (200, "[+]loop ok\n"));
    assert_eq!(controller.figure("writer").await, 0.0);
    assert!(controller.figure("requests_total{operation=\"capabilities\",outcome=\"failed\"}").await >= 1.0);
    let registry = RegistryTask::start_at(&address.to_string());
    kube.equals(&registry.reader(), SOON).await;
    assert!(controller.is_running());
}

/// The watch decides about readiness, not the registry.
async fn until_ready(controller: &mut Controller) {
    eventually("ready", SOON, async || match controller.page("/readyz").await {
        (200, _) => Ok(()),
        (_, text) => Err(text),
    })
    .await;
}

#[tokio::test]
async fn controller_is_ready_after_its_first_list() {
    // It stays ready from then on.
    let world = ProcessHarness::start().await;
    let api = &world.kube.api;
    world.kube.create(0..5);
    api.inject(Fault::status(Kind::List, 500).always());
    let mut controller = world.controller();
    until("a list is requested", || api.requests(Kind::List) > 0).await;
    let (status, text) = controller.page("/readyz").await;
    assert_eq!((status, text.lines().next()), (503, Some("[-]watch failed: 0 of 1 have delivered a complete list")));
    assert!(world.registry().writer(CLUSTER, DEFAULT_OWNER).await.map_or(true, |writer| writer["pods"] == 0));
    api.clear_faults();
    world.equal().await;
    assert_eq!(controller.page("/readyz").await.0, 200);
    api.inject(Fault::status(Kind::Watch, 500).always());
    api.drop_watches();
    eventually("a failing watch", SOON, async || match controller.figure("watch_errors_total").await {
        0.0..2.0 => Err("few".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert_eq!(controller.page("/readyz").await.0, 200, "its view is still useful");
}

#[tokio::test]
async fn metrics_count_what_the_controller_did() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..12);
    let mut controller = world.controller();
    world.equal().await;
    controller.synced().await;
    world.kube.delete(0..2);
    world.equal().await;
    let expected = [
        ("pods", 10.0),
        ("records{state=\"registered\"}", 10.0),
        ("pending", 0.0),
        ("operations_total{operation=\"put\",outcome=\"done\"}", 12.0),
        ("operations_total{operation=\"delete\",outcome=\"done\"}", 2.0),
        ("requests_total{operation=\"session\",outcome=\"ok\"}", 2.0),
        ("change_to_acknowledgement_seconds_count", 14.0),
        ("relists_total{reason=\"start\"}", 1.0),
        ("watch_errors_total", 0.0),
        ("undecodable_pods_total", 0.0),
        ("writer", 1.0),
        ("fenced", 0.0),
        ("deletions_held", 0.0),
        (concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ];
    for (series, value) in expected {
        eventually(series, SOON, async || match controller.figure(series).await {
            found if found == value => Ok(()),
            found => Err(format!("{found}, expected {value}")),
        })
        .await;
    }
    assert!(controller.figure("first_complete_sync_seconds").await > 0.0);
    assert_eq!(controller.page("/nowhere").await.0, 404);
}

#[tokio::test]
async fn rejected_selectors_end_with_code_2() {
    let world = ProcessHarness::start().await;
    for selector in [["--label-selector", "app in (web"], ["--field-selector", "nosuch"]] {
        let mut controller = world.controller_with(&selector);
        assert_eq!(controller.code().await, 2, "{selector:?}");
        assert!(controller.logged("the API server rejects the selection of pods"), "{:?}", controller.stderr());
        assert!(controller.logged("correct --label-selector or --field-selector"), "{selector:?}");
    }
    world.kube.api.inject(Fault::status(Kind::List, 400).always());
    let mut unselected = world.controller();
    unselected.log_line("request for pods failed; retrying").await;
    assert!(unselected.is_running(), "without selectors no setting is to blame");
}
