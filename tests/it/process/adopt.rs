//! `adopt`: records that others made become those of our pods, and all others stay as they are.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::{
    targets_command::{run, run_json, targets_file},
    world::{CLUSTER, Kube, name},
};
use crate::support::{Controller, RestRegistry, until};

/// A registry that assigns ids. People entered some of its records by name.
const MACHINES: &str = r#"
targets:
  - name: machines
    url: URL
    body: {uid: "{{ pod.uid }}", name: "{{ pod.name }}", owner: "{{ mark }}", digest: "{{ digest }}"}
    create: {path: machines, remote: /id}
    update: {path: "machines/{{ remote }}"}
    delete: {path: "machines/{{ remote }}"}
    find: {path: machines, query: {uid: "{{ id }}"}, at: /results/0}
    adopt: {path: machines, query: {name: "{{ body.name }}"}, at: /results/0}
    list: {path: machines, query: {size: 40}, items: /results, next: {url: /next}}
    item: {id: /uid, remote: /id, mark: /owner, digest: /digest}
"#;

fn mark() -> String {
    format!("pod-registrar:{CLUSTER}:pod-registrar")
}

fn machines_file(kube: &Kube, registry: &RestRegistry) -> PathBuf {
    let path = kube.folder.path().join("targets.yaml");
    fs::write(&path, MACHINES.replace("URL", &registry.url)).unwrap();
    path
}

#[tokio::test]
async fn adopted_records_keep_their_ids() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..4);
    let by_hand = registry.insert_machine(json!({"name": name(0), "room": "7"}));
    let by_a_tool = registry.insert_machine(json!({"name": name(1), "owner": "terraform"}));
    registry.insert_machine(json!({"name": "printer"}));
    let file = machines_file(&kube, &registry);
    let (file, kubeconfig) = (file.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    let command = ["adopt", "--targets", file, "--kubeconfig", kubeconfig];
    let (code, plan) = run_json(&command).await;
    let shown = (&plan["records"][0]["pod"], &plan["records"][0]["record"]["room"], &plan["without"]);
    assert_eq!((code, shown), (2, (&json!("default/web-0000"), &json!("7"), &json!(2))), "{plan:#}");
    assert_eq!(plan["leftOut"][0]["pod"], "default/web-0001", "{plan:#}");
    assert!(plan["leftOut"][0]["reason"].as_str().unwrap().contains("--from \"terraform\""), "{plan:#}");
    assert_eq!(registry.writes(), 0);
    let (code, text) = run(&[&command[..], &["--yes"]].concat()).await;
    assert!(code == 0 && text.contains("machines: 1 of 1 records adopted"), "{code} {text}");
    let (code, text) = run(&[&command[..], &["--yes", "--from", "terraform"]].concat()).await;
    assert!(code == 0 && text.contains("machines: 1 of 1 records adopted"), "{code} {text}");
    // What others wrote into the record stays.
    let record = |id: &Value| registry.machines()[&id.to_string()].clone();
    assert_eq!((&record(&by_hand)["owner"], &record(&by_hand)["room"]), (&json!(mark()), &json!("7")));
    assert_eq!(record(&by_a_tool)["uid"], kube.uid(&name(1)));
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &[]);
    until("the others are created", || registry.machines().len() == 5).await;
    controller.terminate();
    assert_eq!((controller.code().await, registry.findings()), (0, Vec::new()));
    // Two adoptions and two creations.
    assert_eq!(registry.writes(), 4);
    let (code, text) = run(&command).await;
    assert!(code == 0 && text.contains("machines: 0 records to adopt, 4 pods with a record"), "{code} {text}");
}

/// The steps of docs/migration.md.
#[tokio::test]
async fn records_of_a_job_are_taken_over() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..3);
    for number in 0..3 {
        registry.insert_machine(json!({"name": name(number)}));
    }
    let left = registry.insert_machine(json!({"name": "a pod that is gone"}));
    let path = machines_file(&kube, &registry);
    let flags = ["--targets", path.to_str().unwrap(), "--kubeconfig", kube.kubeconfig.to_str().unwrap()];
    let (code, plan) = run_json(&[&["plan"][..], &flags].concat()).await;
    assert_eq!(code, 3, "{plan:#}");
    let (code, text) = run(&[&["adopt", "--yes"][..], &flags].concat()).await;
    assert!(code == 0 && text.contains("machines: 3 of 3 records adopted"), "{code} {text}");
    assert_eq!(run(&[&["plan"][..], &flags].concat()).await.0, 0);
    // Nothing is left to write for the controller, and the record of the job stays.
    let writes = registry.writes();
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    controller.ready().await;
    controller.terminate();
    assert_eq!((controller.code().await, registry.writes()), (0, writes));
    assert!(registry.machines().contains_key(&left.to_string()));
    // Back again: no record of ours is left, and the other one is.
    let (code, text) = run(&[&["purge", "--yes"][..], &flags].concat()).await;
    assert_eq!((code, registry.machines().len()), (0, 1), "{text}");
}

#[tokio::test]
async fn record_found_for_two_pods_is_left() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    registry.insert_machine(json!({"name": "web", "app": "web"}));
    let file = machines_file(&kube, &registry);
    let text = fs::read_to_string(&file).unwrap().replace("name: \"{{ body.name }}\"", "name: web");
    fs::write(&file, text).unwrap();
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let command = ["adopt", "--yes", "--targets", file.to_str().unwrap(), "--kubeconfig", kubeconfig];
    let (code, text) = run(&command).await;
    assert!(code == 0 && text.contains("the same record is found for several pods"), "{code} {text}");
    assert_eq!(registry.writes(), 0);
}

#[tokio::test]
async fn record_under_our_id_is_adopted() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let id = |number| format!("default.{}", name(number));
    registry.insert(&id(0), json!({"id": id(0)}));
    registry.insert(&id(1), json!({"id": id(1), "owner": "someone"}));
    let members = "    id: \"{{ pod.namespace }}.{{ pod.name }}\"\n";
    let (_folder, file) = targets_file(&registry.url, members);
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let (code, text) = run(&["adopt", "--yes", "--targets", &file, "--kubeconfig", kubeconfig]).await;
    assert!(code == 0 && text.contains("systems: 1 of 1 records adopted"), "{code} {text}");
    let records = registry.records();
    assert_eq!((&records[&id(0)]["owner"], &records[&id(1)]["owner"]), (&json!(mark()), &json!("someone")));
}

#[tokio::test]
async fn adopt_needs_a_described_registry() {
    let (code, text) = run(&["adopt", "--registry-url", "http://registry.example"]).await;
    assert!(code == 2 && text.contains("there is nothing to adopt"), "{code} {text}");
    let adopt = "    adopt: {path: systems, at: /results/0}\n";
    let (_folder, file) = targets_file("http://registry.example", adopt);
    let (code, text) = run(&["adopt", "--targets", &file]).await;
    assert!(code == 2 && text.contains("targets.yaml:5:12") && text.contains("has no `update`"), "{code} {text}");
}

#[tokio::test]
async fn adoption_without_an_answer_is_read_again() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    let by_hand = registry.insert_machine(json!({"name": name(0)}));
    let file = machines_file(&kube, &registry);
    let (file, kubeconfig) = (file.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    let command = ["adopt", "--yes", "--targets", file, "--kubeconfig", kubeconfig];
    registry.loses_answers_to("PATCH");
    let (code, text) = run(&command).await;
    assert!(code == 0 && text.contains("machines: 1 of 1 records adopted"), "{code} {text}");
    assert_eq!(registry.machines()[&by_hand.to_string()]["owner"], mark());
}

#[tokio::test]
async fn adoption_that_nothing_shows_is_unknown() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let by_hand = [0, 1].map(|number| registry.insert_machine(json!({"name": name(number)})));
    let file = machines_file(&kube, &registry);
    let (file, kubeconfig) = (file.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    registry.loses_answers_to("PATCH");
    // The write arrives later than it is read again, and another program takes the second record in between.
    let (mut has_begun, second) = (false, by_hand[1].to_string());
    let first = by_hand[0].to_string();
    registry.before_requests(move |line, _, machines| {
        has_begun |= line.starts_with("PATCH ");
        if has_begun && line.starts_with("GET ") {
            machines.get_mut(&first).unwrap()["owner"] = Value::Null;
            machines.get_mut(&second).unwrap()["owner"] = json!("terraform");
        }
    });
    let (code, plan) = run_json(&["adopt", "--yes", "--targets", file, "--kubeconfig", kubeconfig]).await;
    let results: Vec<&Value> = plan["records"].as_array().unwrap().iter().map(|record| &record["adopted"]).collect();
    assert_eq!((code, results), (1, vec![&Value::Null, &json!(false)]), "{plan:#}");
    let error = plan["records"][1]["error"].as_str().unwrap();
    assert!(error.contains("another record in its place by now"), "{plan:#}");
    assert_eq!(registry.machines()[&by_hand[1].to_string()]["owner"], "terraform");
}

#[tokio::test]
async fn adopt_refuses_targets_that_find_nothing() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let memory = kube.folder.path().join("memory.db");
    let members = format!("    memory: \"{}\"\n    list: null\n", memory.display());
    let blind = "    find: null\n    item: null\n    exclusive: true\n";
    let (_folder, file) = targets_file(&registry.url, &format!("{members}{blind}"));
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let (code, text) = run(&["adopt", "--yes", "--targets", &file, "--kubeconfig", kubeconfig]).await;
    assert!(code == 2 && text.contains("the target systems has neither `adopt` nor `find`"), "{code} {text}");
    // With a lookup, the memory has what was adopted.
    let id = kube.uid(&name(0));
    registry.insert(&id, json!({"id": id}));
    let (_folder, file) = targets_file(&registry.url, &members);
    let (code, text) = run(&["adopt", "--yes", "--targets", &file, "--kubeconfig", kubeconfig]).await;
    assert!(code == 0 && text.contains("systems: 1 of 1 records adopted"), "{code} {text}");
    let (code, text) = run(&["purge", "--targets", &file, "--kubeconfig", kubeconfig]).await;
    assert!(code == 2 && text.contains("systems: 1 records") && text.contains(&id), "{code} {text}");
}
