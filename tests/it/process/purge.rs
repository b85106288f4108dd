//! `purge`: all records of one owner leave one registry, and no others.

use serde_json::json;

use super::{
    targets_command::{run, run_json, targets_file},
    world::{CLUSTER, Kube, ProcessHarness},
};
use crate::support::{Controller, RestRegistry, http_client, until};

const OURS: &str = "pod-registrar:c1:pod-registrar";

/// A registry with this number of our records and one of another owner.
async fn registry_with(ours: usize) -> RestRegistry {
    let registry = RestRegistry::start().await;
    for number in 0..ours {
        let id = format!("r-{number:03}");
        registry.insert(&id, json!({"id": id, "owner": OURS}));
    }
    registry.insert("theirs", json!({"id": "theirs", "owner": "pod-registrar:c1:other"}));
    registry
}

#[tokio::test]
async fn purge_without_consent_deletes_nothing() {
    let registry = registry_with(12).await;
    let (_folder, file) = targets_file(&registry.url, "");
    let command = ["purge", "systems", "--targets", &file, "--cluster-id", "c1"];
    let (code, text) = run(&command).await;
    assert!(code == 2 && text.contains("systems: 12 records of the cluster id c1"), "{code} {text}");
    assert!(text.contains("Add --yes") && text.contains("and 2 more"), "{text}");
    let (code, shown) = run_json(&command).await;
    let counts = (&shown["deleted"], shown["records"].as_array().unwrap().len());
    assert_eq!((code, counts), (2, (&json!(0), 12)), "{shown:#}");
    assert!(registry.requests().iter().all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn purge_deletes_only_our_records() {
    // From 50 records on, they are nearly all that there are, which needs an approval.
    for count in [3, 60] {
        let registry = registry_with(count).await;
        let (_folder, file) = targets_file(&registry.url, "");
        let command = ["purge", "--yes", "--targets", &file, "--cluster-id", "c1"];
        let (code, purged) = run_json(&command).await;
        assert_eq!((code, &purged["deleted"], &purged["left"]), (0, &json!(count), &json!([])), "{purged:#}");
        let left: Vec<_> = registry.records().into_keys().collect();
        assert_eq!((left, registry.findings()), (vec!["theirs".to_owned()], Vec::new()));
        let (code, text) = run(&command).await;
        assert!(code == 0 && text.contains("systems: 0 records"), "{code} {text}");
    }
}

#[tokio::test]
async fn purge_asks_for_no_approval_again() {
    let registry = registry_with(60).await;
    let (_folder, file) = targets_file(&registry.url, "");
    let (code, text) = run(&["purge", "--yes", "--targets", &file, "--cluster-id", "c1"]).await;
    assert!(code == 0 && text.contains("deletions are held; this command approves them"), "{code} {text}");
    assert!(!text.contains("ERROR") && !text.contains("pod-registrar approve"), "{text}");
}

#[tokio::test]
async fn purge_of_a_v1_registry_leaves_nothing() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..3);
    let kubeconfig = world.kube.kubeconfig.to_str().unwrap().to_owned();
    let mut controller = world.controller();
    world.equal().await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let command = ["purge", "--yes", "--kubeconfig", &kubeconfig, "--registry-url", world.registry_url()];
    let (code, purged) = run_json(&command).await;
    assert_eq!((code, &purged["cluster"], &purged["deleted"]), (0, &json!(CLUSTER), &json!(3)), "{purged:#}");
    // A controller writes them again.
    let _controller = world.controller();
    world.equal().await;
}

#[tokio::test]
async fn purge_refuses_to_run_beside_a_controller() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(&leases).json(&lease).send().await.unwrap().status(), 201);
    let (_folder, file) = targets_file(&registry.url, "");
    let flags = ["--lease", "default/registrar", "--lease-duration", "3s"];
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &flags);
    until("both are registered", || registry.records().len() == 2).await;
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let command = [&["purge", "--yes", "--kubeconfig", kubeconfig, "--targets", &file][..], &flags].concat();
    let (code, text) = run(&command).await;
    assert!(code == 1 && text.contains("another process holds the Lease default/registrar"), "{code} {text}");
    assert_eq!(registry.records().len(), 2);
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let (code, text) = run(&command).await;
    assert!(code == 0 && registry.records().is_empty(), "{code} {text}");
}

#[tokio::test]
async fn purge_needs_the_name_of_one_target() {
    let registry = registry_with(1).await;
    let more = format!("  - {{name: other, preset: rest, url: {}/other}}\n", registry.url);
    let (_folder, file) = targets_file(&registry.url, &more);
    let command = ["purge", "--yes", "--targets", &file, "--cluster-id", "c1"];
    let (code, text) = run(&command).await;
    assert!(code == 2 && text.contains("name one of the targets in the file: systems, other"), "{code} {text}");
    let (code, text) = run(&[&command[..], &["third"]].concat()).await;
    assert!(code == 2 && text.contains("use one of: systems, other"), "{code} {text}");
}

#[tokio::test]
async fn purge_leaves_records_that_others_took() {
    let registry = registry_with(4).await;
    // Another program takes one of them while the deletions begin.
    registry.before_requests(|line, systems, _| {
        if line.starts_with("DELETE ") || line.starts_with("GET /systems/") {
            systems.entry("r-001".to_owned()).and_modify(|record| record["owner"] = json!("other"));
        }
    });
    let (_folder, file) = targets_file(&registry.url, "");
    let command = ["purge", "--yes", "--targets", &file, "--cluster-id", "c1"];
    let (code, purged) = run_json(&command).await;
    let counts = (&purged["deleted"], &purged["left"], &purged["others"]);
    assert_eq!((code, counts), (0, (&json!(3), &json!([]), &json!(["r-001"]))), "{purged:#}");
    assert_eq!(registry.records().into_keys().collect::<Vec<_>>(), ["r-001", "theirs"]);
}

#[tokio::test]
async fn purge_deletes_what_the_memory_has() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..3);
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("memory.db");
    let members = format!("    memory: \"{}\"\n    list: null\n    exclusive: true\n", memory.display());
    let (_folder, file) = targets_file(&registry.url, &members);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &[]);
    until("all are registered", || registry.records().len() == 3).await;
    registry.insert("theirs", json!({"id": "theirs"}));
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let command = ["purge", "--yes", "--kubeconfig", kubeconfig, "--targets", &file];
    let (code, text) = run(&command).await;
    assert!(code == 1 && text.contains("another process uses the memory"), "{code} {text}");
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    // Another machine has no such file.
    let elsewhere = folder.path().join("elsewhere.db");
    std::fs::rename(&memory, &elsewhere).unwrap();
    let (code, text) = run(&command).await;
    assert!(code == 1 && text.contains("there is no memory") && registry.records().len() == 4, "{code} {text}");
    std::fs::rename(&elsewhere, &memory).unwrap();
    let (code, purged) = run_json(&command).await;
    assert_eq!((code, &purged["deleted"], &purged["left"]), (0, &json!(3), &json!([])), "{purged:#}");
    assert_eq!(registry.records().into_keys().collect::<Vec<_>>(), ["theirs"]);
    let (code, text) = run(&command).await;
    assert!(code == 0 && text.contains("systems: 0 records"), "{code} {text}");
}

#[tokio::test]
async fn purge_refuses_what_shows_no_owners() {
    let registry = registry_with(2).await;
    for (members, why) in [
        ("    list: null\n", "has neither `list` nor `memory`"),
        ("    item: {mark: null}\n    find: null\n", "has a `list` without `item.mark`"),
    ] {
        let (_folder, file) = targets_file(&registry.url, members);
        let (code, text) = run(&["purge", "--yes", "--targets", &file, "--cluster-id", "c1"]).await;
        assert!(code == 2 && text.contains("the target systems") && text.contains(why), "{code} {text}");
    }
    assert_eq!(registry.records().len(), 3);
}
