//! `plan`, before, beside and after a controller.

use serde_json::{Value, json};

use super::{
    targets_command::{run, run_json, targets_file},
    world::{CLUSTER, Kube, ProcessHarness, name},
};
use crate::support::RestRegistry;

/// The pods or ids of planned changes.
fn named(changes: &Value, member: &str) -> Vec<String> {
    changes.as_array().unwrap().iter().map(|change| change[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn plan_of_v1_agrees_with_the_controller() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..3);
    let kubeconfig = world.kube.kubeconfig.to_str().unwrap().to_owned();
    let command = ["plan", "--kubeconfig", &kubeconfig, "--registry-url", world.registry_url()];
    let (code, plan) = run_json(&command).await;
    let put = &plan["targets"][0]["put"];
    assert_eq!(
        (code, named(put, "pod")),
        (3, vec!["default/web-0000", "default/web-0001", "default/web-0002"].into_iter().map(str::to_owned).collect())
    );
    let mut controller = world.controller();
    world.equal().await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let (code, plan) = run_json(&command).await;
    assert_eq!((code, &plan["inSync"]), (0, &json!(true)), "{plan:#}");
    let deleted = world.kube.uid(&name(0));
    world.kube.delete(0..1);
    world.kube.label(&name(1), "changed");
    let (code, text) = run(&command).await;
    assert!(code == 3 && text.contains("the record differs") && text.contains(&deleted), "{code} {text}");
    assert!(text.contains("default: 2 pods, 3 records; 1 to put, 1 to delete"), "{text}");
    let (code, text) = run(&[&command[..], &["--namespace", "other"]].concat()).await;
    assert!(code == 3 && text.contains("3 to delete"), "{code} {text}");
}

#[tokio::test]
async fn plan_of_a_target_changes_nothing() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let mark = format!("pod-registrar:{CLUSTER}:pod-registrar");
    registry.insert("gone", json!({"id": "gone", "owner": mark}));
    registry.insert("theirs", json!({"id": "theirs", "owner": "others"}));
    let uid = kube.uid(&name(1));
    registry.insert(&uid, json!({"id": uid, "owner": mark}));
    let (_folder, file) = targets_file(&registry.url, "    select: {when: \"{{ pod.name != 'web-0002' }}\"}\n");
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let command = ["plan", "--kubeconfig", kubeconfig, "--targets", &file];
    let (code, plan) = run_json(&command).await;
    let target = &plan["targets"][0];
    assert_eq!((code, named(&target["delete"], "id")), (3, vec!["gone".to_owned()]), "{plan:#}");
    assert_eq!(named(&target["put"], "reason"), ["no record", "the record differs"], "{plan:#}");
    assert!(registry.requests().iter().all(|request| request.starts_with("GET ")));
    // A target whose registry does not answer fails, and does not look in sync.
    let (_folder, file) = targets_file("http://127.0.0.1:9", "");
    let (code, text) = run(&["plan", "--kubeconfig", kubeconfig, "--targets", &file]).await;
    assert!(code == 1 && text.contains("systems: the registry cannot be reached"), "{code} {text}");
}

#[tokio::test]
async fn target_without_list_hides_no_plan() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let unlisted = |name: &str| format!("  - {{name: {name}, preset: rest, url: {}, list: null}}\n", registry.url);
    let (_folder, file) = targets_file(&registry.url, &unlisted("blind"));
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let (code, plan) = run_json(&["plan", "--kubeconfig", kubeconfig, "--targets", &file]).await;
    let compared: Vec<_> = plan["targets"].as_array().unwrap().iter().map(|target| &target["compared"]).collect();
    assert_eq!((code, compared), (3, vec![&json!(true), &json!(false)]), "{plan:#}");
    assert!(plan["targets"][1]["error"].as_str().unwrap().contains("cannot be compared"), "{plan:#}");
    // Nothing at all was compared.
    std::fs::write(&file, format!("targets:\n{}", unlisted("blind"))).unwrap();
    let (code, text) = run(&["plan", "--kubeconfig", kubeconfig, "--targets", &file]).await;
    assert!(code == 1 && text.contains("blind: cannot be compared"), "{code} {text}");
}

#[tokio::test]
async fn plan_needs_one_kind_of_registry() {
    let (_folder, file) = targets_file("http://registry.example", "");
    let (code, text) = run(&["plan", "--registry-url", "http://registry.example", "--targets", &file]).await;
    assert!(code == 2 && text.contains("cannot be combined"), "{code} {text}");
    let (code, text) = run(&["plan"]).await;
    assert!(code == 2 && text.contains("--registry-url is missing"), "{code} {text}");
}
