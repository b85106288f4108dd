//! The commands that look at one target of a targets file.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::world::{CLUSTER, Kube, name};
use crate::support::{Child, RestRegistry};

/// A folder with a targets file. The target `systems` has these members besides its name and preset.
pub(super) fn targets_file(url: &str, members: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.yaml");
    let text = format!("targets:\n  - name: systems\n    preset: rest\n    url: {url}\n{members}");
    fs::write(&path, text).unwrap();
    (folder, path.to_str().unwrap().to_owned())
}

/// Runs the program to its end. Returns its exit code, and its output.
pub(super) async fn run(arguments: &[&str]) -> (i32, String) {
    let mut child = Child::start(arguments);
    let code = child.code().await;
    (code, [child.stdout(), child.stderr()].concat().join("\n"))
}

/// The JSON that the program prints.
pub(super) async fn run_json(arguments: &[&str]) -> (i32, Value) {
    let mut child = Child::start(&[arguments, &["--output", "json"]].concat());
    let code = child.code().await;
    let text = child.stdout().join("\n");
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{:?}", child.stderr())))
}

fn token(folder: &Path, token: &str) -> String {
    let path = folder.join("token");
    fs::write(&path, token).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn target_is_shown_with_origins() {
    let (_folder, file) = targets_file("http://registry.example", "    vars: {collection: pods}\n");
    let (code, text) = run(&["targets", "show", "systems", "--targets", &file]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("preset rest") && text.contains("targets.yaml:5"), "{text}");
    let (_, shown) = run_json(&["targets", "show", "systems", "--targets", &file]).await;
    assert_eq!(shown["target"]["vars"]["collection"], "pods");
    assert_eq!(shown["origins"]["/vars/collection"], format!("{file}:5"));
    let (code, text) = run(&["targets", "show", "cmdb", "--targets", &file]).await;
    assert!(code == 2 && text.contains("use one of: systems"), "{code} {text}");
}

#[tokio::test]
async fn wrong_file_is_refused_with_its_line() {
    let (_folder, file) = targets_file("http://registry.example", "    putt: {}\n");
    let (code, text) = run(&["targets", "show", "systems", "--targets", &file]).await;
    assert!(code == 2 && text.contains("targets.yaml:5:5") && text.contains("write `put`"), "{code} {text}");
}

#[tokio::test]
async fn samples_are_rendered_without_a_network() {
    // The credential is hidden, and its file is not even read.
    let auth = "    auth: {bearer: {tokenFile: /no/such/file}}\n";
    let (_folder, file) = targets_file("http://registry.example", auth);
    let command = ["targets", "render", "systems", "--targets", &file, "--cluster-id", "c1"];
    let (code, text) = run(&command).await;
    assert_eq!(code, 0, "{text}");
    let put = "PUT http://registry.example/systems/5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33";
    assert!(text.contains(put) && text.contains("Authorization: Bearer ***"), "{text}");
    assert!(text.contains("GET http://registry.example/systems?owner=pod-registrar%3Ac1%3A"), "{text}");
    let (_, shown) = run_json(&[&command[..], &["shop/web"]].concat()).await;
    assert_eq!(shown["pods"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["pods"][0]["body"]["state"], "pending");
    let (code, text) = run(&[&command[..], &["shop/other"]].concat()).await;
    assert!(code == 1 && text.contains("there is no pod shop/other"), "{code} {text}");
}

#[tokio::test]
async fn pods_of_file_and_cluster_are_rendered() {
    let kube = Kube::start().await;
    kube.create(0..2);
    let (folder, file) = targets_file("http://registry.example", "");
    let pods = folder.path().join("pods.json");
    let object = kube.api.pod("default", &name(0)).unwrap();
    fs::write(&pods, json!({"kind": "List", "items": [object, {"metadata": {"name": "x"}}]}).to_string()).unwrap();
    let command = ["targets", "render", "systems", "--targets", &file];
    let (code, shown) = run_json(&[&command[..], &["--pods-file", pods.to_str().unwrap()]].concat()).await;
    assert_eq!((code, &shown["pods"][0]["body"]["name"]), (0, &json!(name(0))), "{shown}");
    assert!(shown["pods"][1]["error"].as_str().unwrap().contains("metadata.uid"), "{shown}");
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let (code, shown) = run_json(&[&command[..], &["--from-cluster", "--kubeconfig", kubeconfig]].concat()).await;
    assert_eq!((code, shown["pods"].as_array().unwrap().len()), (0, 2), "{shown}");
    assert!(shown["mark"].as_str().unwrap().contains(CLUSTER), "{shown}");
}

#[tokio::test]
async fn check_counts_records_and_changes_nothing() {
    let registry = RestRegistry::start().await;
    let mark = "pod-registrar:c1:pod-registrar";
    for id in ["a", "b", "c", "d"] {
        registry.insert(id, json!({"id": id, "owner": mark}));
    }
    registry.insert("e", json!({"id": "e", "owner": "other"}));
    let (_folder, file) = targets_file(&registry.url, "");
    let command = ["targets", "check", "systems", "--targets", &file, "--cluster-id", "c1"];
    let (code, text) = run(&command).await;
    assert!(code == 0 && text.contains("5 records on 2 pages: 4 of ours, 1 of others"), "{code} {text}");
    let (_, shown) = run_json(&command).await;
    assert_eq!((&shown["list"]["ours"], &shown["list"]["foreign"]), (&json!(4), &json!(1)), "{shown}");
    assert_eq!((&shown["record"]["id"], &shown["readAs"]["mark"]), (&json!("a"), &json!("ours")), "{shown}");
    assert_eq!(shown["guarantees"][1]["holds"], "yes", "{shown}");
    assert!(registry.requests().iter().all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn refused_credential_fails_the_check() {
    let registry = RestRegistry::start().await;
    registry.needs("right-token-1");
    let (folder, _) = targets_file(&registry.url, "");
    let auth = format!("    auth: {{bearer: {{tokenFile: {}}}}}\n", token(folder.path(), "wrong-token-1"));
    let (_folder, file) = targets_file(&registry.url, &auth);
    let (code, text) = run(&["targets", "check", "systems", "--targets", &file, "--cluster-id", "c1"]).await;
    assert!(code == 1 && text.contains("status 401") && !text.contains("wrong-token-1"), "{code} {text}");
    token(folder.path(), "right-token-1");
    let (code, text) = run(&["targets", "check", "systems", "--targets", &file, "--cluster-id", "c1"]).await;
    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn try_needs_consent_and_leaves_nothing() {
    let registry = RestRegistry::start().await;
    let (_folder, file) = targets_file(&registry.url, "");
    let command = ["targets", "try", "systems", "--targets", &file];
    let (code, text) = run(&command).await;
    assert!(code == 2 && text.contains("With --yes") && registry.requests().is_empty(), "{code} {text}");
    let (code, shown) = run_json(&[&command[..], &["--yes"]].concat()).await;
    let steps: Vec<&str> = shown["steps"].as_array().unwrap().iter().filter_map(|step| step["step"].as_str()).collect();
    let expected = ["prepare", "put", "list", "find", "put again", "list", "find", "delete", "delete again", "list"];
    assert_eq!((code, steps), (0, expected.to_vec()), "{shown:#}");
    assert!(registry.records().is_empty());
    let writes: Vec<String> = registry.requests().into_iter().filter(|request| !request.starts_with("GET ")).collect();
    assert_eq!(writes.len(), 3, "{writes:?}");
}

#[tokio::test]
async fn try_writes_two_records_in_a_batch() {
    let registry = RestRegistry::start().await;
    let batch = r#"    batch:
      - path: bulk
        lines: true
        put: [{id: "{{ id }}", put: "{{ body }}"}]
        delete: [{id: "{{ id }}", delete: true}]
        max: {records: 10}
        results: {items: /results, id: /id, status: /status}
"#;
    let (_folder, file) = targets_file(&registry.url, batch);
    let command = ["targets", "try", "systems", "--yes", "--targets", &file];
    let (code, shown) = run_json(&command).await;
    let steps: Vec<&str> = shown["steps"].as_array().unwrap().iter().filter_map(|step| step["step"].as_str()).collect();
    let of_batch = ["batch put", "list", "find", "list", "find", "batch delete", "list", "list"];
    assert!(code == 0 && steps.ends_with(&of_batch), "{shown:#}");
    let lines: Vec<usize> = registry.bulks().iter().map(|(_, lines)| *lines).collect();
    assert_eq!((lines, registry.records().len()), (vec![2, 2], 0));
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("items: /results", "items: /result")).unwrap();
    let (code, shown) = run_json(&command).await;
    assert!(code == 1 && shown.to_string().contains("no list where `results.items` reads it"), "{shown:#}");
    assert!(registry.records().is_empty(), "the records are deleted after a failure too");
}

#[tokio::test]
async fn try_says_if_no_update_was_tested() {
    let registry = RestRegistry::start().await;
    let body = "    body: {node: null, addresses: null}\n";
    let (_folder, file) = targets_file(&registry.url, body);
    let (code, shown) = run_json(&["targets", "try", "systems", "--yes", "--targets", &file]).await;
    let again = shown["steps"].as_array().unwrap().iter().find(|step| step["step"] == "put again").unwrap();
    let says = "the body does not change with the pod's state; an update was not tested";
    assert_eq!((code, &again["what"]), (0, &json!(says)), "{shown:#}");
}

#[tokio::test]
async fn try_waits_for_lists_that_lag() {
    let registry = RestRegistry::start().await;
    registry.lags(Duration::from_millis(300));
    let members = r#"    limits: {timeout: 500ms}
    put: null
    body: {uid: "{{ id }}"}
    create: {path: machines, remote: /id}
    update: {path: "machines/{{ remote }}"}
    delete: {path: "machines/{{ remote }}"}
    find: {path: machines, query: {uid: "{{ id }}"}, at: /results/0}
    list: {path: machines, query: {size: "100"}, items: /results, next: {url: /next}, lag: 400ms}
    item: {id: /uid, remote: /id}
"#;
    let (_folder, file) = targets_file(&registry.url, members);
    let command = ["targets", "try", "systems", "--yes", "--targets", &file];
    let (code, shown) = run_json(&command).await;
    let says: Vec<&str> = shown["steps"].as_array().unwrap().iter().filter_map(|step| step["what"].as_str()).collect();
    let equal = "it equals what was sent";
    assert_eq!(
        (code, says),
        (0, vec!["", "", equal, equal, "", equal, equal, "", "", "the record is gone"]),
        "{shown:#}"
    );
    assert!(registry.machines().is_empty());
    // It lags for longer than the file says.
    registry.lags(Duration::from_secs(60));
    let (code, shown) = run_json(&command).await;
    assert!(code == 1 && shown.to_string().contains("the list does not show the record"), "{shown:#}");
    assert!(registry.machines().is_empty(), "the record is deleted after a failure too");
}

/// Records of pods that `select` excludes need not render.
#[tokio::test]
async fn try_needs_no_record_of_excluded_pods() {
    let registry = RestRegistry::start().await;
    let members = "    select: {labelSelector: never=selected, when: \"{{ placement.podIPs | length == 2 }}\"}\n    \
        body: {address: \"{{ placement.podIPs[1] }}\"}\n";
    let (_folder, file) = targets_file(&registry.url, members);
    let (code, shown) = run_json(&["targets", "try", "systems", "--yes", "--targets", &file]).await;
    assert_eq!((code, registry.records().len()), (0, 0), "{shown:#}");
    fs::write(&file, "targets: [{name: dns, preset: skydns, url: http://registry.example}]").unwrap();
    let (code, text) = run(&["targets", "try", "dns", "--targets", &file]).await;
    assert!(code == 2 && text.contains("With --yes"), "{code} {text}");
    let (code, text) = run(&["targets", "try", "dns", "--yes", "--targets", &file]).await;
    assert!(code == 1 && text.contains("prepare: failed"), "{code} {text}");
}

#[tokio::test]
async fn try_shows_what_came_back_otherwise() {
    let registry = RestRegistry::start().await;
    registry.shouts();
    let (_folder, file) = targets_file(&registry.url, "");
    let (code, shown) = run_json(&["targets", "try", "systems", "--yes", "--targets", &file]).await;
    assert_eq!(code, 1, "{shown:#}");
    let list = shown["steps"].as_array().unwrap().iter().find(|step| step["step"] == "list").unwrap();
    let difference = json!({"pointer": "/name", "sent": "pod-registrar-try", "cameBack": "POD-REGISTRAR-TRY"});
    assert_eq!(list["differences"], json!([difference]), "{list:#}");
    assert!(registry.records().is_empty(), "the record is deleted after a failure too");
}
