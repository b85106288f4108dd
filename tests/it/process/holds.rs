//! Deletions that a change of settings would cause wait for the operator, who approves exactly what is shown.

use serde_json::{Value, json};

use super::world::{CLUSTER, ProcessHarness, name};
use crate::support::{Child, Controller, SOON, eventually, http_client, until};
use pod_registrar::model::ids::DEFAULT_OWNER;

const LEASE: [&str; 2] = ["--approval-lease", "default/registrar"];

/// Creates an empty Lease, as the deployment does.
pub(super) async fn lease(world: &ProcessHarness) -> String {
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", world.kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    let answer = http_client().post(&leases).json(&lease).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    leases
}

async fn held(controller: &mut Controller) -> Vec<Value> {
    let (status, text) = controller.page("/status").await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["holds"].as_array().unwrap().clone()
}

async fn records(world: &ProcessHarness) -> usize {
    world.registry().ids(CLUSTER, DEFAULT_OWNER).await.unwrap().len()
}

async fn approve(world: &ProcessHarness, hold: &str, lease: &str) -> (i32, String) {
    let kubeconfig = world.kube.kubeconfig.to_str().unwrap().to_owned();
    let mut said = Child::start(&["approve", hold, "--approval-lease", lease, "--kubeconfig", &kubeconfig]);
    let code = said.code().await;
    (code, [said.stdout(), said.stderr()].concat().join("\n"))
}

#[tokio::test]
async fn approval_releases_records_of_narrowed_settings() {
    let world = ProcessHarness::start().await;
    lease(&world).await;
    world.kube.create(0..6);
    for number in 0..3 {
        world.kube.label(&name(number), "other");
    }
    let mut wide = world.controller_with(&LEASE);
    world.equal().await;
    wide.terminate();
    assert_eq!(wide.code().await, 0);

    let mut narrow = world.controller_with(&[&LEASE[..], &["--label-selector", "app=web"]].concat());
    let hold = eventually("a hold", SOON, async || match held(&mut narrow).await.as_slice() {
        [hold] => Ok(hold.clone()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(hold["deletions"], 3);
    eventually("the figure", SOON, async || match narrow.figure("deletions_held").await {
        3.0 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    let id = hold["id"].as_str().unwrap();
    assert_eq!(hold["approve"], json!(format!("pod-registrar approve {id} --approval-lease default/registrar")));
    narrow.log_line("deletions are held").await;
    let events = format!("{}/apis/events.k8s.io/v1/namespaces/default/events", world.kube.api.url());
    eventually("the Event", SOON, async || {
        let events: Value = http_client().get(&events).send().await.unwrap().json().await.unwrap();
        let note = events["items"][0]["note"].as_str().unwrap_or_default();
        if note.contains(id) { Ok(()) } else { Err(events.to_string()) }
    })
    .await;

    let (code, said) = approve(&world, "0123456789ab", "default/registrar").await;
    assert!(code == 1 && said.contains(&format!("it lists {id} (3 deletions)")), "{code} {said}");
    let (code, said) = approve(&world, id, "default/other").await;
    assert!(code == 1 && said.contains("cannot read the Lease default/other"), "{code} {said}");
    let (code, said) = approve(&world, "all", "default/registrar").await;
    assert!(code == 2 && said.contains("HOLD") && said.contains("\"all\" is not the name of a hold"), "{code} {said}");
    world.kube.create(6..7);
    eventually("live changes go on", SOON, async || match records(&world).await {
        7 => Ok(()),
        other => Err(format!("{other} records")),
    })
    .await;

    let (code, said) = approve(&world, id, "default/registrar").await;
    assert!(code == 0 && said.contains(&format!("approved {id}")), "{code} {said}");
    eventually("they leave", SOON, async || match records(&world).await {
        4 => Ok(()),
        other => Err(format!("{other} records")),
    })
    .await;
    let changes = world.registry().changes(CLUSTER).await.unwrap();
    let removed: Vec<_> = changes.iter().filter(|change| change["op"] == "delete").collect();
    assert!(removed.len() == 3 && removed.iter().all(|change| change["reason"] == "left-rule"), "{removed:?}");
    until("our settings are declared", || narrow.logged("declaring the current ones")).await;
    until("the approval is used up", || {
        let lease = world.kube.api.lease("default", "registrar").unwrap();
        lease["metadata"]["annotations"]["pod-registrar/approved-holds"] == ""
    })
    .await;
}

/// The hold has changed between reading and approval: the approval covers only what its id stands for.
#[tokio::test]
async fn former_hold_name_approves_what_is_left() {
    let world = ProcessHarness::start().await;
    lease(&world).await;
    world.kube.create(0..6);
    (0..3).for_each(|number| world.kube.label(&name(number), "other"));
    let mut wide = world.controller_with(&LEASE);
    world.equal().await;
    wide.terminate();
    assert_eq!(wide.code().await, 0);
    let mut narrow = world.controller_with(&[&LEASE[..], &["--label-selector", "app=web"]].concat());
    let read = holds_this_many(&mut narrow, 3).await;
    world.kube.label(&name(2), "web");
    let renamed = holds_this_many(&mut narrow, 2).await;
    assert_ne!(read, renamed);
    eventually("the approval is taken", SOON, async || match approve(&world, &read, "default/registrar").await {
        (0, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    eventually("two are deregistered, and the third stays", SOON, async || match records(&world).await {
        4 => Ok(()),
        other => Err(format!("{other} records")),
    })
    .await;
    let ids = world.registry().ids(CLUSTER, DEFAULT_OWNER).await.unwrap();
    assert!(ids.contains(&world.kube.uid(&name(2))), "it is selected again");
}

/// Waits for one hold with this many deletions, and returns its id.
async fn holds_this_many(controller: &mut Controller, deletions: u64) -> String {
    eventually("a hold", SOON, async || match held(controller).await.as_slice() {
        [hold] if hold["deletions"] == deletions => Ok(hold["id"].as_str().unwrap().to_owned()),
        other => Err(format!("{other:?}")),
    })
    .await
}
