//! Which pods are registered: several namespaces, each with its own watch, and selectors.

use std::collections::BTreeSet;

use pod_registrar::demo::pod::pod;

use super::world::{CLUSTER, ProcessHarness};
use crate::support::{
    SOON,
    apiserver::{Fault, Kind, Request},
    eventually,
};

/// Waits until the records of the owner are exactly these `namespace/name`s.
async fn holds(world: &ProcessHarness, owner: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    eventually("the registry holds the scope", SOON, async || {
        let records = world.registry().records(CLUSTER, owner).await?;
        let name = |record: &serde_json::Value| {
            let text = |member: &str| record["pod"][member].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("namespace"), text("name"))
        };
        let held: BTreeSet<String> = records.values().map(name).collect();
        if held == expected { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
}

fn create(world: &ProcessHarness, namespace: &str, name: &str) {
    world.kube.api.create(pod(name).namespace(namespace).label("app", name).running()).unwrap();
}

#[tokio::test]
async fn several_namespaces_are_watched_and_others_are_not() {
    let world = ProcessHarness::start().await;
    for (namespace, name) in [("a", "one"), ("a", "two"), ("b", "three"), ("c", "four")] {
        create(&world, namespace, name);
    }
    let flags = ["--namespace", "a", "--namespace", "b", "--namespace", "empty", "--owner", "platform"];
    let mut controller = world.controller_with(&flags);
    holds(&world, "platform", &["a/one", "a/two", "b/three"]).await;
    world.kube.api.delete("a", "one").unwrap();
    create(&world, "b", "five");
    holds(&world, "platform", &["a/two", "b/three", "b/five"]).await;
    controller.kill();
    world.kube.api.delete("b", "three").unwrap();
    world.kube.api.delete("a", "two").unwrap();
    create(&world, "a", "two");
    let _controller = world.controller_with(&flags);
    holds(&world, "platform", &["a/two", "b/five"]).await;
}

#[tokio::test]
async fn deselected_pod_leaves_the_registry() {
    let world = ProcessHarness::start().await;
    for name in ["one", "two"] {
        create(&world, "a", name);
    }
    let _controller = world.controller_with(&["--label-selector", "app in (one,two)", "--exclude-namespace", "b"]);
    create(&world, "b", "one");
    holds(&world, "pod-registrar", &["a/one", "a/two"]).await;
    let relabel = |to: &str| world.kube.api.update("a", "one", |pod| pod["metadata"]["labels"]["app"] = to.into());
    relabel("other").unwrap();
    holds(&world, "pod-registrar", &["a/two"]).await;
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    assert_eq!(changes.last().unwrap()["reason"], "deleted-or-left-rule");
    relabel("one").unwrap();
    holds(&world, "pod-registrar", &["a/one", "a/two"]).await;
}

#[tokio::test]
async fn forbidden_namespace_stops_only_itself() {
    let world = ProcessHarness::start().await;
    for (namespace, name) in [("a", "one"), ("a", "two"), ("b", "three"), ("b", "four"), ("c", "five")] {
        create(&world, namespace, name);
    }
    let flags = ["--namespace", "a,b,c"];
    let mut controller = world.controller_with(&flags);
    holds(&world, "pod-registrar", &["a/one", "a/two", "b/three", "b/four", "c/five"]).await;
    controller.kill();
    world.kube.api.delete("a", "one").unwrap();
    world.kube.api.delete("b", "three").unwrap();
    for kind in [Kind::List, Kind::Watch] {
        let of_b = |request: &Request| request.path.contains("/namespaces/b/");
        world.kube.api.inject(Fault::status(kind, 403).always().when(of_b));
    }
    let controller = world.controller_with(&flags);
    create(&world, "c", "six");
    // The outdated record of the healthy namespace is removed, that of the forbidden one stays.
    holds(&world, "pod-registrar", &["a/two", "b/three", "b/four", "c/five", "c/six"]).await;
    assert!(controller.logged("namespace=\"b\""), "{:?}", controller.stderr());
    world.kube.api.clear_faults();
    holds(&world, "pod-registrar", &["a/two", "b/four", "c/five", "c/six"]).await;
}

#[tokio::test]
async fn withdrawn_right_is_named() {
    let world = ProcessHarness::start().await;
    create(&world, "a", "one");
    let mut controller = world.controller_with(&["--namespace", "a"]);
    holds(&world, "pod-registrar", &["a/one"]).await;
    for kind in [Kind::List, Kind::Watch] {
        world.kube.api.inject(Fault::status(kind, 403).always());
    }
    // The first failure is a closed watch.
    world.kube.api.drop_watches();
    let line = controller.log_line("the right to read pods is missing").await;
    assert!(line.contains("in the namespace a") && line.contains("verbs: [get, list, watch]"), "{line}");
}
