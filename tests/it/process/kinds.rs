//! Several records per pod: the program, and the commands that look at such a target.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

use super::{
    targets::statuses,
    targets_command::{run, run_json},
    world::{Kube, name},
};
use crate::support::{Controller, RestRegistry, SOON, eventually};

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

fn targets_file(kube: &Kube, registry: &RestRegistry) -> PathBuf {
    let path = kube.folder.path().join("targets.yaml");
    std::fs::write(&path, format!("targets:\n  - name: machines\n    url: {}{KINDS}", registry.url)).unwrap();
    path
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
    let deletions: Vec<String> = registry.requests().into_iter().filter(|line| line.starts_with("DELETE")).collect();
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
