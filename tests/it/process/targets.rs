//! Several targets in one process: each registry is kept equal to the cluster, whatever the others do.

use std::{collections::BTreeMap, path::PathBuf};

use pod_registrar::model::ids::DEFAULT_OWNER;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    targets_command,
    world::{CLUSTER, Kube, name},
};
use crate::support::{Child, Controller, RegistryTask, RestRegistry, SOON, eventually, http_client, until};

const APPROVALS: [&str; 2] = ["--approval-lease", "default/registrar"];

/// A targets file with registries that speak protocol v1.
fn targets_file(kube: &Kube, targets: &[(&str, &str)]) -> PathBuf {
    let target = |(name, url): &(&str, &str)| json!({"name": name, "preset": "v1", "url": url});
    let path = kube.folder.path().join("targets.yaml");
    // JSON is YAML.
    let document = json!({"targets": targets.iter().map(target).collect::<Vec<_>>()});
    std::fs::write(&path, document.to_string()).unwrap();
    path
}

fn controller(kube: &Kube, targets: &[(&str, &str)], more: &[&str]) -> Controller {
    Controller::start_with_targets(&kube.kubeconfig, &targets_file(kube, targets), more)
}

/// The parts of `/status`, by target.
pub(super) async fn statuses(controller: &mut Controller) -> BTreeMap<String, Value> {
    let (status, text) = controller.page("/status").await;
    assert_eq!(status, 200, "{text}");
    let page: Value = serde_json::from_str(&text).unwrap();
    let targets = page["targets"].as_array().unwrap().iter();
    targets.map(|target| (target["name"].as_str().unwrap().to_owned(), target.clone())).collect()
}

async fn in_sync(controller: &mut Controller, target: &str) {
    eventually("the target is in sync", SOON, async || {
        let statuses = statuses(controller).await;
        if statuses[target]["inSync"] == true { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
}

/// A server that accepts connections and sends this answer, or none at all.
async fn server(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer {
                // The requests fit into one read.
                let _ = stream.read(&mut [0; 4_096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            open.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn lines_in_json_name_their_target() {
    let (kube, registry) = (Kube::start().await, RegistryTask::start());
    let mut controller = controller(&kube, &[("inventory", &registry.url)], &["--log-format", "json"]);
    let line = controller.log_line("session opened").await;
    let spans = &serde_json::from_str::<Value>(&line).unwrap()["spans"];
    assert_eq!(spans, &json!([{"target": "inventory", "name": "registry"}]), "{line}");
}

#[tokio::test]
async fn failing_targets_do_not_delay_another() {
    let (kube, registry) = (Kube::start().await, RegistryTask::start());
    kube.create(0..20);
    let hanging = server(None).await;
    let refusing = server(Some("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")).await;
    let lying = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{\"a\"")).await;
    let targets = [
        ("hangs", hanging.as_str()),
        ("works", &registry.url),
        ("refuses", &refusing),
        ("lies", &lying),
        ("is-gone", "http://127.0.0.1:9"),
    ];
    let mut controller = controller(&kube, &targets, &[]);
    in_sync(&mut controller, "works").await;
    kube.create(20..40);
    kube.delete(0..10);
    kube.equals(&registry.reader(), SOON).await;
    in_sync(&mut controller, "works").await;
    // A request to the hanging registry takes 10 s. Each acknowledgement took half of that at most.
    let acknowledged = controller.figure("change_to_acknowledgement_seconds_count{target=\"works\"}").await;
    let early = controller.figure("change_to_acknowledgement_seconds_bucket{le=\"5.0\",target=\"works\"}").await;
    assert!(acknowledged >= 50.0 && early == acknowledged, "{early} of {acknowledged}");
    let (status, text) = controller.page("/readyz").await;
    assert_eq!(status, 200, "{text}");
    let statuses = statuses(&mut controller).await;
    for (name, status) in &statuses {
        let works = name == "works";
        let registered = if works { 30 } else { 0 };
        let shown = (&status["kind"], &status["inSync"], &status["records"]["registered"], &status["stopped"]);
        assert_eq!(shown, (&json!("v1"), &json!(works), &json!(registered), &Value::Null), "{name}");
    }
    assert_eq!(statuses.len(), 5);
    until("the log names the target", || {
        let refused = |line: &String| line.contains("refuses the credential") && line.contains("refuses\"");
        controller.stderr().iter().any(refused)
    })
    .await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

#[tokio::test]
async fn removed_target_is_reported_once() {
    let (kube, registry) = (Kube::start().await, RegistryTask::start());
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(&leases).json(&lease).send().await.unwrap().status(), 201);
    let (kept, removed) = (("kept", registry.url.as_str()), ("removed", "http://127.0.0.1:9"));
    let flags = ["--lease", "default/registrar"];
    // The second run leads, so that the third one no longer knows of the target.
    for (targets, is_reported) in [(vec![kept, removed], false), (vec![kept], true), (vec![kept], false)] {
        let mut controller = controller(&kube, &targets, &flags);
        in_sync(&mut controller, "kept").await;
        let line = controller.stderr().into_iter().find(|line| line.contains("target was removed"));
        let reported = line.map(|line| line.contains("WARN") && line.contains("removed"));
        assert_eq!(reported, is_reported.then_some(true), "{targets:?}");
        controller.terminate();
        assert_eq!(controller.code().await, 0);
    }
}

#[tokio::test]
async fn hold_is_approved_for_its_target_alone() {
    let (kube, registries) = (Kube::start().await, [RegistryTask::start(), RegistryTask::start()]);
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(&leases).json(&lease).send().await.unwrap().status(), 201);
    kube.create(0..4);
    kube.label(&name(0), "other");
    let targets = [("a", registries[0].url.as_str()), ("b", registries[1].url.as_str())];
    let mut wide = controller(&kube, &targets, &APPROVALS);
    for registry in &registries {
        kube.equals(&registry.reader(), SOON).await;
    }
    wide.terminate();
    assert_eq!(wide.code().await, 0);
    let mut narrow = controller(&kube, &targets, &[&APPROVALS[..], &["--label-selector", "app=web"]].concat());
    let ids = eventually("both are held", SOON, async || {
        let statuses = statuses(&mut narrow).await;
        let id = |target: &str| statuses[target]["holds"][0]["id"].as_str().map(str::to_owned);
        id("a").zip(id("b")).ok_or_else(|| format!("{statuses:?}"))
    })
    .await;
    assert_ne!(ids.0, ids.1, "the same pod is held in both");
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let approve = ["approve", &ids.1, APPROVALS[0], APPROVALS[1], "--kubeconfig", kubeconfig];
    eventually("the Lease lists the hold", SOON, async || {
        let mut said = Child::start(&approve);
        if said.code().await == 0 { Ok(()) } else { Err(said.stderr().join("\n")) }
    })
    .await;
    let counts = async || {
        let mut counts = Vec::new();
        for registry in &registries {
            counts.push(registry.reader().ids(CLUSTER, DEFAULT_OWNER).await.unwrap().len());
        }
        counts
    };
    eventually("the record leaves", SOON, async || match counts().await.as_slice() {
        [4, 3] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    in_sync(&mut narrow, "b").await;
    assert_eq!(counts().await, [4, 3]);
    assert_eq!(statuses(&mut narrow).await["a"]["holds"].as_array().unwrap().len(), 1);
}

/// Another cluster writes to one of the registries under the same id.
#[tokio::test]
async fn target_of_another_cluster_stops_alone() {
    let (kube, other) = (Kube::start().await, Kube::start().await);
    let (taken, free) = (RegistryTask::start(), RegistryTask::start());
    other.api.set_cluster_uid("another-cluster");
    other.create(20..25);
    let _other = Controller::start(&other.kubeconfig, &taken.url, &["--cluster-id", "shared"]);
    let there = async || taken.reader().ids("shared", DEFAULT_OWNER).await.unwrap_or_default().len();
    eventually("the other cluster is registered", SOON, async || match there().await {
        5 => Ok(()),
        other => Err(format!("{other} records")),
    })
    .await;
    kube.create(0..10);
    let targets = [("taken", taken.url.as_str()), ("free", &free.url)];
    let mut controller = controller(&kube, &targets, &["--cluster-id", "shared"]);
    controller.log_line("a target stopped; the others go on").await;
    in_sync(&mut controller, "free").await;
    let statuses = statuses(&mut controller).await;
    let why = statuses["taken"]["stopped"].as_str().unwrap();
    assert!(why.contains("another-cluster") && statuses["free"]["stopped"].is_null(), "{statuses:?}");
    assert_eq!(there().await, 5, "nothing was written or deleted");
    let (status, text) = controller.page("/livez").await;
    assert_eq!(status, 200, "{text}");
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

/// Records of another tool, and of an installation with another owner.
#[tokio::test]
async fn records_of_other_writers_are_never_replaced() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..5);
    let taken = kube.uid(&name(0));
    let theirs = json!({"id": taken, "name": "of another tool"});
    registry.insert(&taken, theirs.clone());
    let file = kube.folder.path().join("targets.yaml");
    let document = json!({"targets": [{"name": "rest", "preset": "rest", "url": registry.url}]});
    std::fs::write(&file, document.to_string()).unwrap();
    let start = |more: &[&str]| {
        let more = [&["--resync-interval", "2s"][..], more].concat();
        Controller::start_with_targets(&kube.kubeconfig, &file, &more)
    };
    let figures = async |controller: &mut Controller| {
        let status = &statuses(controller).await["rest"]["records"];
        (status["registered"].clone(), status["parked"].clone())
    };
    let reaches = async |controller: &mut Controller, registered: u64, parked: u64| {
        eventually("records are registered or parked", 2 * SOON, async || {
            let figures = figures(controller).await;
            if figures == (json!(registered), json!(parked)) { Ok(()) } else { Err(format!("{figures:?}")) }
        })
        .await;
    };
    let mut first = start(&[]);
    reaches(&mut first, 4, 1).await;
    let before = registry.records();
    assert_eq!((before.len(), &before[&taken]), (5, &theirs));
    let mut second = start(&["--owner", "second"]);
    reaches(&mut second, 0, 5).await;
    assert_eq!(registry.records(), before);
    second.terminate();
    assert_eq!(second.code().await, 0);
    registry.by_hand(|systems, _| _ = systems.remove(&taken));
    reaches(&mut first, 5, 0).await;
    assert_eq!(registry.records()[&taken]["owner"], before[&kube.uid(&name(1))]["owner"]);
    first.terminate();
    assert_eq!(first.code().await, 0);
}

/// The same as `targets check` prints, once per target.
#[tokio::test]
async fn start_logs_which_guarantees_hold() {
    let kube = Kube::start().await;
    let file = kube.folder.path().join("targets.yaml");
    let writes = "body: {a: b}, put: {path: \"{{ id }}\"}, delete: {path: \"{{ id }}\"}";
    let text = format!(
        "targets:\n  - {{name: full, preset: etcd, url: http://127.0.0.1:9}}\n  \
         - {{name: bare, url: http://127.0.0.1:9, {writes}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    let message = "these guarantees hold";
    until("both targets are logged", || controller.stderr().iter().filter(|line| line.contains(message)).count() == 2)
        .await;
    let lines: Vec<String> = controller.stderr().into_iter().filter(|line| line.contains(message)).collect();
    assert!(lines[0].contains("full") && lines[0].matches("=\"yes\"").count() == 5, "{lines:?}");
    let bare = ["bare", "deleted_during_downtime=\"no\"", "drift_repaired=\"no\"", "late_writes_refused=\"partly\""];
    assert!(bare.iter().all(|part| lines[1].contains(part)), "{lines:?}");
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

/// The edit leaves the mark, and a member that the registry adds does not matter.
#[tokio::test]
async fn edit_by_hand_is_repaired_by_resync() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..3);
    let (_folder, file) = targets_command::targets_file(&registry.url, "");
    let resync = ["--resync-interval", "1s"];
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &resync);
    until("all records are written", || registry.records().len() == 3).await;
    in_sync(&mut controller, "systems").await;
    let written = registry.records();
    let ids: Vec<&String> = written.keys().collect();
    registry.requests();
    let change = |id: &str, member: &str, value: Value| {
        let mut record = written[id].clone();
        record[member] = value;
        registry.insert(id, record);
    };
    change(ids[0], "location", json!("row 7"));
    change(ids[1], "state", json!("edited"));
    until("the edit is repaired", || registry.records()[ids[1]] == written[ids[1]]).await;
    let writes = registry.requests().into_iter().filter(|request| !request.starts_with("GET "));
    assert_eq!(writes.collect::<Vec<_>>(), [format!("PUT /systems/{}", ids[1])]);
    assert_eq!(registry.records()[ids[0]]["location"], "row 7");
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

#[tokio::test]
async fn wrong_targets_file_exits_with_code_2() {
    // Neither the cluster nor a registry is asked before.
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = super::world::write_kubeconfig(folder.path(), "http://127.0.0.1:9");
    let file = folder.path().join("targets.yaml");
    let token = folder.path().join("no-token");
    let v1 = "targets:\n  - {name: a, preset: v1, url: http://127.0.0.1:9, ";
    let template = "targets:\n  - {name: a, url: http://127.0.0.1:9, body: {a: \"{{ pod.nam }}\"}, \
        put: {path: \"{{ id }}\"}, delete: {path: \"{{ id }}\"}}\n";
    for (text, parts) in [
        (format!("{v1}body: {{}}}}\n"), vec!["targets.yaml:2:52: ", "`body` is not used with preset `v1`"]),
        (format!("{v1}auth: {{bearer: {{tokenFile: {}}}}}}}\n", token.display()), vec!["target a: ", "no-token"]),
        (template.to_owned(), vec!["targets.yaml:2:", "pod.nam"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut controller = Controller::start_with_targets(&kubeconfig, &file, &["--cluster-id", "c"]);
        assert_eq!(controller.code().await, 2, "{:?}", controller.stderr());
        let errors = controller.stderr().join("\n");
        assert!(parts.iter().all(|part| errors.contains(part)), "{errors}");
    }
}

#[tokio::test]
async fn foreign_memory_is_reported_and_left_alone() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    let (file, memory) = (kube.folder.path().join("targets.yaml"), kube.folder.path().join("memory.db"));
    let target = json!({"name": "hook", "url": registry.url, "memory": memory, "exclusive": true,
        "body": {"name": "{{ pod.name }}"}, "put": {"path": "systems/{{ id }}"}, "delete": {"path": "systems/{{ id }}"}});
    std::fs::write(&file, json!({"targets": [target]}).to_string()).unwrap();
    std::fs::write(&memory, "notes of a person").unwrap();
    kube.create(0..3);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    let errors = |controller: &Controller| -> Vec<String> {
        controller.stderr().iter().filter(|line| line.contains("ERROR")).cloned().collect()
    };
    until("the memory is reported", || !errors(&controller).is_empty()).await;
    assert!(controller.stderr().iter().any(|line| line.contains("records are remembered in a file")));
    eventually("probes fail", SOON, async || {
        let (_, text) = controller.page("/metrics").await;
        let is_counted = |line: &&str| line.contains("\"capabilities\"") && line.contains("outcome=\"failed\"");
        let failed = text.lines().find(is_counted).and_then(|line| line.rsplit(' ').next());
        let failed: f64 = failed.and_then(|count| count.parse().ok()).unwrap_or_default();
        if failed >= 3.0 { Ok(()) } else { Err(failed.to_string()) }
    })
    .await;
    let reported = errors(&controller);
    assert!(reported.len() == 1 && reported[0].contains("was not written as a memory"), "{reported:#?}");
    assert_eq!((registry.writes(), std::fs::read_to_string(&memory).unwrap()), (0, "notes of a person".to_owned()));
    std::fs::remove_file(&memory).unwrap();
    in_sync(&mut controller, "hook").await;
    assert_eq!(registry.records().len(), 3);
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

#[tokio::test]
async fn deletions_that_downtime_loses_are_announced() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    let file = kube.folder.path().join("targets.yaml");
    let target = json!({"name": "hook", "url": registry.url,
        "body": {"name": "{{ pod.name }}"}, "put": {"path": "systems/{{ id }}"}, "delete": {"path": "systems/{{ id }}"}});
    std::fs::write(&file, json!({"targets": [target]}).to_string()).unwrap();
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    in_sync(&mut controller, "hook").await;
    let warns = |line: &&String| line.contains("WARN") && line.contains("stays in the registry");
    assert_eq!(controller.stderr().iter().filter(warns).count(), 1);
    controller.terminate();
    assert_eq!(controller.code().await, 0);
}

#[tokio::test]
async fn memory_follows_the_leader() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(&leases).json(&lease).send().await.unwrap().status(), 201);
    let (file, memory) = (kube.folder.path().join("targets.yaml"), kube.folder.path().join("memory.db"));
    let target = json!({"name": "hook", "url": registry.url, "memory": memory, "exclusive": true,
        "body": {"name": "{{ pod.name }}"}, "put": {"path": "systems/{{ id }}"}, "delete": {"path": "systems/{{ id }}"}});
    std::fs::write(&file, json!({"targets": [target]}).to_string()).unwrap();
    let flags = ["--lease", "default/registrar", "--lease-duration", "3s"];
    let start = || Controller::start_with_targets(&kube.kubeconfig, &file, &flags);
    kube.create(0..20);
    let mut leader = start();
    in_sync(&mut leader, "hook").await;
    let mut standby = start();
    until("the standby has listed", || standby.stderr().iter().any(|line| line.contains("pods listed"))).await;
    // The leader dies with the lock of the memory, and the standby goes on with the file.
    leader.kill();
    kube.delete(0..3);
    in_sync(&mut standby, "hook").await;
    until("the deletions are delivered", || registry.records().len() == 17).await;
    assert_eq!(registry.writes(), 20, "each record was put once, and three were deleted");
    let lines = standby.stderr();
    assert!(lines.iter().any(|line| line.contains("memory file read") && line.contains("records=20")), "{lines:#?}");
    standby.terminate();
    assert_eq!(standby.code().await, 0);
}
