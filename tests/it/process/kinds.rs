//! Several records per pod: the program, and the commands that look at such a target.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};

use super::{
    targets::statuses,
    targets_command::{run, run_json},
    world::{Kube, name},
};
use crate::support::{Controller, RestRegistry, SOON, eventually, until};

/// A machine, whose id the registry assigns, and its two ports.
const KINDS: &str = r#"
    kinds:
      port:
        of: machine
        each: "{{ ['eth0', 'eth1'] }}"
        id: "{{ pod.uid }}.{{ each }}"
        body: {name: "{{ each }}", machine: "{{ of.machine.remote }}", owner: "{{ mark }}"}
        put: {path: "systems/{{ id }}"}
        delete: {path: "systems/{{ id }}"}
        find: {path: "systems/{{ id }}", at: ""}
        list: {path: systems, items: /results, next: {url: /next}}
        item: {id: /id, mark: /owner, body: ""}
      machine:
        body: {name: "{{ pod.name }}", uid: "{{ id }}", owner: "{{ mark }}"}
        create: {path: machines, remote: /id}
        update: {path: "machines/{{ remote }}"}
        delete: {path: "machines/{{ remote }}"}
        find: {path: machines, query: {uid: "{{ id }}"}, at: /results/0}
        list: {path: machines, items: /results, next: {url: /next}}
        item: {id: /uid, remote: /id, mark: /owner, body: ""}
"#;

/// The same for a receiver that cannot be read.
const REMEMBERED: &str = r#"
    memory: MEMORY
    kinds:
      port:
        of: machine
        each: "{{ ['eth0', 'eth1'] }}"
        id: "{{ pod.uid }}.{{ each }}"
        body: {name: "{{ each }}", machine: "{{ of.machine.id }}"}
        put: {path: "systems/{{ id }}"}
        delete: {path: "systems/{{ id }}"}
      machine:
        body: {name: "{{ pod.name }}"}
        put: {path: "systems/{{ id }}"}
        delete: {path: "systems/{{ id }}"}
"#;

fn targets_file(kube: &Kube, registry: &RestRegistry) -> PathBuf {
    file_of(kube, registry, KINDS)
}

fn file_of(kube: &Kube, registry: &RestRegistry, members: &str) -> PathBuf {
    let path = kube.folder.path().join("targets.yaml");
    std::fs::write(&path, format!("targets:\n  - name: machines\n    url: {}{members}", registry.url)).unwrap();
    path
}

/// The deletions since the last call, in their order.
fn deletions(registry: &RestRegistry) -> Vec<String> {
    registry.requests().into_iter().filter(|line| line.starts_with("DELETE")).collect()
}

/// Waits for this number of machines, each with two ports.
async fn holds(controller: &mut Controller, registry: &RestRegistry, machines: usize) {
    eventually("the registry holds machines and their ports", SOON, async || {
        let (all, ports) = (registry.machines(), registry.records());
        let mut ports_of: BTreeMap<String, usize> = BTreeMap::new();
        ports.values().for_each(|port| *ports_of.entry(port["machine"].to_string()).or_default() += 1);
        let is_whole = all.keys().all(|id| ports_of.get(id) == Some(&2));
        let in_sync = statuses(controller).await["machines"]["inSync"] == true;
        match all.len() == machines && ports.len() == 2 * machines && is_whole && in_sync {
            true => Ok(()),
            false => Err(format!("{all:?} {ports:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn machines_and_ports_follow_their_pods() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..6);
    let file = targets_file(&kube, &registry);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    holds(&mut controller, &registry, 6).await;
    assert_eq!(registry.writes(), 18, "one write per record");
    let line = controller.log_line("the registry is equal to the cluster").await;
    assert!(line.contains("pods=6"), "not 18 records: {line}");
    kube.delete(0..2);
    holds(&mut controller, &registry, 4).await;
    let deletions = deletions(&registry);
    let machine = deletions.iter().position(|line| line.contains("machines")).unwrap();
    assert!(deletions[..machine].iter().filter(|line| line.contains("systems")).count() >= 2, "{deletions:?}");
    // A machine that was removed by hand has another id when it is back, and its ports follow.
    controller.terminate();
    controller.code().await;
    kube.delete(2..3);
    let machines = registry.machines();
    let id = machines.iter().find(|(_, machine)| machine["name"] == name(5).as_str()).unwrap().0.clone();
    registry.by_hand(|_, machines| _ = machines.remove(&id));
    let before = registry.writes();
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    holds(&mut controller, &registry, 3).await;
    assert_eq!((registry.writes() - before, registry.findings()), (3, vec![]), "only what differs is written");
    controller.terminate();
    controller.code().await;
}

/// Pods are deleted while no process runs, so that nothing says which ports belonged to which machine.
#[tokio::test]
async fn ports_leave_before_machines_after_downtime() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..5);
    let file = targets_file(&kube, &registry);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    holds(&mut controller, &registry, 5).await;
    controller.terminate();
    controller.code().await;
    kube.delete(0..3);
    registry.requests();
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    holds(&mut controller, &registry, 2).await;
    let deletions = deletions(&registry);
    let (ports, machines) = deletions.split_at(6);
    assert!(ports.iter().all(|line| line.contains("systems")) && machines.len() == 3, "{deletions:?}");
    controller.terminate();
    controller.code().await;
}

#[tokio::test]
async fn memory_delivers_deletions_of_all_kinds() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..3);
    let memory = kube.folder.path().join("memory.db");
    let file = file_of(&kube, &registry, &REMEMBERED.replace("MEMORY", &format!("\"{}\"", memory.display())));
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    until("machines and ports are registered", || registry.records().len() == 9).await;
    controller.terminate();
    controller.code().await;
    let gone = kube.uid(&name(1));
    kube.delete(1..2);
    let before = registry.writes();
    registry.requests();
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    until("those of the pod are gone", || registry.records().len() == 6).await;
    let deletions = deletions(&registry);
    assert_eq!(deletions.last(), Some(&format!("DELETE /systems/{gone}")), "{deletions:?}");
    assert_eq!((deletions.len(), registry.writes() - before), (3, 0), "nothing is written again");
    controller.terminate();
    controller.code().await;
}

#[tokio::test]
async fn purge_deletes_ports_before_machines() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    // From 50 records on, they are nearly all that there are, which needs an approval.
    kube.create(0..20);
    let path = targets_file(&kube, &registry);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    holds(&mut controller, &registry, 20).await;
    controller.terminate();
    controller.code().await;
    registry.requests();
    let (file, kubeconfig) = (path.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    let (code, purged) = run_json(&["purge", "--yes", "--targets", file, "--kubeconfig", kubeconfig]).await;
    assert_eq!((code, &purged["deleted"], &purged["left"]), (0, &json!(60), &json!([])), "{purged:#}");
    assert!(registry.machines().is_empty() && registry.records().is_empty());
    let shown = purged["records"].as_array().unwrap().iter().map(|record| record.as_str().unwrap());
    let machines = shown.clone().filter(|record| record.starts_with("machine ")).count();
    assert_eq!((machines, shown.filter(|record| record.starts_with("port ")).count()), (20, 40), "{purged:#}");
    let deletions = deletions(&registry);
    let (ports, machines) = deletions.split_at(40);
    assert!(ports.iter().all(|line| line.contains("systems")) && machines.len() == 20, "{deletions:?}");
}

/// A port that is not ours keeps its machine.
#[tokio::test]
async fn purge_ends_when_a_parent_is_refused() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let path = targets_file(&kube, &registry);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    holds(&mut controller, &registry, 2).await;
    controller.terminate();
    controller.code().await;
    let kept = registry.machines().into_keys().next().unwrap();
    let machine: Value = serde_json::from_str(&kept).unwrap();
    registry.insert("theirs", json!({"id": "theirs", "machine": machine, "owner": "pod-registrar:c1:other"}));
    registry.protects_parents("the machine has ports");
    let (file, kubeconfig) = (path.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    let (code, purged) = run_json(&["purge", "--yes", "--targets", file, "--kubeconfig", kubeconfig]).await;
    let left = purged["left"].as_array().unwrap();
    assert_eq!((code, &purged["deleted"], left.len()), (1, &json!(5), 1), "{purged:#}");
    let words = purged["refusals"][left[0].as_str().unwrap()].as_str().unwrap();
    assert!(words.contains("409") && words.contains("the machine has ports"), "{purged:#}");
    assert_eq!(registry.machines().into_keys().collect::<Vec<_>>(), [kept]);
}

#[tokio::test]
async fn rejected_record_is_shown_with_its_kind() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    registry.refuses("no such site");
    let file = targets_file(&kube, &registry);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    let line = controller.log_line("the registry rejected a record").await;
    let id = format!("id=\"{}.eth", kube.uid(&name(0)));
    assert!(line.contains("kind=\"port\"") && line.contains(&id), "{line}");
    eventually("both ports are parked", SOON, async || {
        let parked = statuses(&mut controller).await["machines"]["parked"].clone();
        let kinds: Vec<Value> = parked.as_array().unwrap().iter().map(|record| record["kind"].clone()).collect();
        if kinds == ["port", "port"] { Ok(()) } else { Err(format!("{parked:#}")) }
    })
    .await;
    controller.terminate();
    controller.code().await;
}

#[tokio::test]
async fn adopted_machine_takes_its_ports_along() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    let id = registry.insert_machine(json!({"name": name(0), "room": "7"}));
    let port = format!("{}.eth0", kube.uid(&name(0)));
    registry.insert(&port, json!({"id": port, "name": "entered by hand"}));
    let update = "        update: {path: \"machines";
    let adopt = "        adopt: {path: machines, query: {name: \"{{ body.name }}\"}, at: /results/0}\n";
    let path = file_of(&kube, &registry, &KINDS.replace(update, &format!("{adopt}{update}")));
    let (file, kubeconfig) = (path.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    let command = ["adopt", "--targets", file, "--kubeconfig", kubeconfig];
    let (code, plan) = run_json(&command).await;
    let kinds: Vec<&Value> = plan["records"].as_array().unwrap().iter().map(|record| &record["kind"]).collect();
    // The second machine is missing, so its ports are as well.
    assert_eq!((code, kinds, &plan["without"]), (2, vec![&json!("machine"), &json!("port")], &json!(4)), "{plan:#}");
    assert_eq!(plan["records"][1]["body"]["machine"], id, "{plan:#}");
    let (code, text) = run(&[&command[..], &["--yes"]].concat()).await;
    assert!(code == 0 && text.contains("machines: 2 of 2 records adopted"), "{code} {text}");
    assert_eq!(registry.machines()[&id.to_string()]["room"], "7", "what others wrote stays");
    assert_eq!(registry.records()[&port]["machine"], id);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    holds(&mut controller, &registry, 2).await;
    controller.terminate();
    assert_eq!((controller.code().await, registry.findings()), (0, Vec::new()));
    // Two adoptions, the other port, and the records of the second pod.
    assert_eq!(registry.writes(), 6);
    let (code, text) = run(&command).await;
    assert!(code == 0 && text.contains("0 records to adopt, 6 records of pods exist"), "{code} {text}");
}

#[tokio::test]
async fn commands_show_each_kind() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    let path = targets_file(&kube, &registry);
    let (file, kubeconfig) = (path.to_str().unwrap(), kube.kubeconfig.to_str().unwrap());
    let (code, text) = run(&["targets", "render", "machines", "web-7d4b9c6f5d-x2x8q", "--targets", file]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("  kind: port") && text.contains("  machine create"), "{text}");
    assert!(text.contains(r#""machine":"REMOTE","name":"eth0""#), "{text}");
    let (code, text) = run(&["targets", "try", "machines", "--yes", "--targets", file]).await;
    assert_eq!(code, 0, "{text}");
    let steps: Vec<&str> = text.lines().filter(|line| line.contains(": ok")).collect();
    let place = |step: &str| steps.iter().position(|line| line.starts_with(step)).unwrap_or_else(|| panic!("{text}"));
    assert!(place("machine put") < place("port put") && place("port delete") < place("machine delete"), "{text}");
    assert!(registry.machines().is_empty() && registry.records().is_empty(), "nothing is left");
    let plan = ["plan", "--kubeconfig", kubeconfig, "--targets", file];
    let (code, shown) = run_json(&plan).await;
    let reasons = |shown: &Value| -> Vec<String> {
        let puts = shown["targets"][0]["put"].as_array().unwrap().iter();
        puts.map(|put| put["reason"].as_str().unwrap().to_owned()).collect()
    };
    let mut expected = vec!["no record".to_owned()];
    expected.extend(vec!["the record that it belongs to is missing".to_owned(); 2]);
    assert_eq!((code, reasons(&shown)), (3, expected), "{shown}");
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    holds(&mut controller, &registry, 1).await;
    assert_eq!(run_json(&plan).await.0, 0);
    let pod = format!("default/{}", name(0));
    let (code, text) = run(&["explain", &pod, "--kubeconfig", kubeconfig, "--targets", file]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("kind:     machine") && text.contains("kind:     port"), "{text}");
    assert_eq!(text.matches("nothing: the registry holds the record").count(), 3, "{text}");
    let (code, text) = run(&["targets", "check", "machines", "--kubeconfig", kubeconfig, "--targets", file]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("machine: list") && text.contains("port: list"), "{text}");
    controller.terminate();
    controller.code().await;
}
