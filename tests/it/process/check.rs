//! `check` and `explain`.

use serde_json::{Value, json};

use super::{
    targets_command::{run, run_json, targets_file},
    world::{CLUSTER, Kube, ProcessHarness, name},
};
use crate::support::{
    Child, Collector, Controller, RestRegistry, SOON,
    apiserver::{Fault, Kind},
    eventually,
};

/// The checks that had this result.
fn of(report: &Value, result: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == result);
    checks.map(|check| check["check"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn check_finds_everything_in_order() {
    let world = ProcessHarness::start().await;
    let kubeconfig = world.kube.kubeconfig.to_str().unwrap();
    let command = ["check", "--kubeconfig", kubeconfig, "--registry-url", world.registry_url()];
    let (code, report) = run_json(&command).await;
    assert_eq!((code, &report["ok"]), (0, &json!(true)), "{report:#}");
    let expected = [
        "API server",
        "cluster identity",
        "right to get, list, watch pods",
        "right to get namespaces kube-system",
        "registry default",
        "clock of registry default",
    ];
    assert!(expected.iter().all(|name| of(&report, "ok").iter().any(|ok| ok == name)), "{report:#}");
    assert!(of(&report, "skipped").contains(&"Lease".to_owned()), "{report:#}");
}

#[tokio::test]
async fn check_names_each_failure_with_its_fix() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    registry.needs("right-token-1");
    kube.api.inject(Fault::status(Kind::Namespace, 403).always());
    let (_folder, file) = targets_file(&registry.url, "");
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let command = ["check", "--kubeconfig", kubeconfig, "--targets", &file, "--lease", "ns/missing"];
    let (code, report) = run_json(&command).await;
    let failed = ["cluster identity", "Lease ns/missing", "registry systems"].map(str::to_owned);
    assert_eq!((code, of(&report, "failed")), (1, failed.to_vec()), "{report:#}");
    let (_, text) = run(&command).await;
    for fix in ["--cluster-id", "create it", "check the credential's file"] {
        assert!(text.contains(fix), "{fix}: {text}");
    }
    assert!(registry.requests().iter().all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn check_names_a_variable_that_run_refuses() {
    let world = ProcessHarness::start().await;
    let kubeconfig = world.kube.kubeconfig.to_str().unwrap();
    let variables = [("POD_REGISTRAR_LEASE_DURATION", "2s"), ("POD_REGISTRAR_REGISTRY_URL", world.registry_url())];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut check = Child::start_in(&["check", "--kubeconfig", kubeconfig, "--output", "json"], &environment);
    assert_eq!(check.code().await, 1);
    let report: Value = serde_json::from_str(&check.stdout().join("\n")).unwrap();
    assert_eq!(of(&report, "failed"), ["settings of run"], "{report:#}");
    assert!(report["checks"][0]["what"].as_str().unwrap().contains("POD_REGISTRAR_LEASE_DURATION"), "{report:#}");
}

#[tokio::test]
async fn check_sends_to_the_collector() {
    let (world, collector) = (ProcessHarness::start().await, Collector::start().await);
    let kubeconfig = world.kube.kubeconfig.to_str().unwrap();
    let check = async |endpoint: &str| {
        let command = ["check", "--kubeconfig", kubeconfig, "--registry-url", world.registry_url()];
        run_json(&[&command[..], &["--otlp-endpoint", endpoint, "--export-logs", "true"]].concat()).await
    };
    let (code, report) = check(&collector.url).await;
    let names = ["collector", "collector of log lines"].map(str::to_owned);
    assert!(code == 0 && names.iter().all(|name| of(&report, "ok").contains(name)), "{report:#}");
    assert!(collector.spans().is_empty() && collector.lines().is_empty() && collector.requests() == 2);
    collector.answers_with([401]);
    let (code, report) = check(&collector.url).await;
    assert_eq!((code, of(&report, "failed")), (1, names[..1].to_vec()), "{report:#}");
    assert!(report.to_string().contains("check --otlp-headers-file"), "{report:#}");
    // It speaks no TLS; and nothing listens.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [collector.url.replace("http:", "https:"), format!("http://{unused}")] {
        let (code, report) = check(&endpoint).await;
        assert_eq!((code, of(&report, "failed")), (1, names.to_vec()), "{report:#}");
    }
}

#[tokio::test]
async fn explain_shows_record_registry_and_next_step() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    let (_folder, file) = targets_file(&registry.url, "");
    let (kubeconfig, pod) = (kube.kubeconfig.to_str().unwrap(), format!("default/{}", name(0)));
    let command = ["explain", &pod, "--kubeconfig", kubeconfig, "--targets", &file];
    let (code, shown) = run_json(&command).await;
    let target = &shown["targets"][0];
    assert_eq!((code, &target["next"]), (0, &json!("put: the registry has no such record")), "{shown:#}");
    assert_eq!(target["record"]["name"], name(0));
    let (uid, mark) = (kube.uid(&name(0)), format!("pod-registrar:{CLUSTER}:pod-registrar"));
    registry.insert(&uid, json!({"id": uid, "name": "other", "owner": mark}));
    let (_, text) = run(&command).await;
    assert!(text.contains("put: the registry holds another record"), "{text}");
    assert!(text.contains(r#"/name should be "web-0000" and is "other""#), "{text}");
    let (code, text) = run(&["explain", "default/none", "--kubeconfig", kubeconfig, "--targets", &file]).await;
    assert!(code == 1 && text.contains("there is no pod default/none"), "{code} {text}");
}

#[tokio::test]
async fn explain_asks_the_running_controller() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..1);
    let mut controller = world.controller();
    world.equal().await;
    controller.synced().await;
    let line = controller.log_line("health and metrics are served").await;
    let admin = format!("http://{}", line.rsplit_once("address=").unwrap().1);
    let (kubeconfig, pod) = (world.kube.kubeconfig.to_str().unwrap(), format!("default/{}", name(0)));
    let command = ["explain", &pod, "--kubeconfig", kubeconfig, "--registry-url", world.registry_url()];
    let (code, text) = run(&[&command[..], &["--admin", &admin]].concat()).await;
    assert!(code == 0 && text.contains("  state:    registered"), "{code} {text}");
    assert!(text.contains("  next:     compared at the next resync, in "), "{text}");
    // The pod is deleted, and the registry does not answer: the deletion waits.
    world.proxy.hold_writes();
    let uid = world.kube.uid(&name(0));
    world.kube.delete(0..1);
    let command = [&command[..], &["--admin", &admin]].concat();
    let mut shown = Value::Null;
    eventually("the deletion is in flight", SOON, async || {
        let code;
        (code, shown) = run_json(&command).await;
        let state = &shown["targets"][0]["controller"]["state"];
        if (code, state) == (0, &json!("inFlight")) { Ok(()) } else { Err(format!("{code} {shown:#}")) }
    })
    .await;
    assert_eq!((&shown["uid"], &shown["exists"]), (&json!(uid), &json!(false)), "{shown:#}");
    let target = &shown["targets"][0];
    assert_eq!(target["registry"]["pod"]["name"], name(0), "the registry still holds it: {shown:#}");
    assert_eq!(target["controller"]["next"]["what"], "waits for the registry's answer", "{shown:#}");
    let (code, text) =
        run(&["explain", "default/none", "--admin", &admin, command[2], command[3], command[4], command[5]]).await;
    assert!(code == 1 && text.contains("there is no pod default/none; the controller does not see"), "{code} {text}");
}

#[tokio::test]
async fn write_refused_again_and_again_is_logged() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    registry.refuses("in use");
    let (_folder, file) = targets_file(&registry.url, "    outcome: [{status: 422, is: retry}]\n");
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &[]);
    let line = controller.log_line("the registry keeps refusing a write").await;
    assert!(line.contains("WARN") && line.contains("in use") && line.contains("failures=5"), "{line}");
}

#[tokio::test]
async fn explain_names_a_parked_record() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    registry.refuses("no such site");
    let (_folder, file) = targets_file(&registry.url, "    id: \"{{ pod.namespace }}.{{ pod.name }}\"\n");
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &[]);
    let line = controller.log_line("the registry rejected a record").await;
    let id = format!("default.{}", name(0));
    assert!(line.contains(&format!("id=\"{id}\"")) && line.contains(&format!("pod=\"default/{}\"", name(0))), "{line}");
    let line = controller.log_line("health and metrics are served").await;
    let admin = format!("http://{}", line.rsplit_once("address=").unwrap().1);
    let (kubeconfig, pod) = (kube.kubeconfig.to_str().unwrap(), format!("default/{}", name(0)));
    let command = ["explain", &pod, "--kubeconfig", kubeconfig, "--targets", &file, "--admin", &admin];
    let (code, shown) = run_json(&command).await;
    let state = &shown["targets"][0]["controller"];
    assert_eq!((code, &state["state"], &state["id"]), (0, &json!("parked"), &json!(id)), "{shown:#}");
    assert_eq!(state["lastAnswer"]["outcome"], "rejected");
    assert!(state["lastAnswer"]["cause"].as_str().unwrap().contains("no such site"), "{shown:#}");
    let (_, text) = run(&command).await;
    let answer = text.lines().find(|line| line.starts_with("  answer:   rejected ")).unwrap_or_default();
    assert!(answer.contains("s ago: status 422") && answer.ends_with("no such site"), "{text}");
    let seconds = state["next"]["inSeconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && state["next"]["what"].as_str().unwrap().contains("next resync"), "{shown:#}");
}

#[tokio::test]
async fn run_records_exchanges_without_credentials() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..2);
    registry.needs("secret-token-1");
    let (folder, _) = targets_file(&registry.url, "");
    let (token, recorded) = (folder.path().join("token"), folder.path().join("exchanges.ndjson"));
    std::fs::write(&token, "secret-token-1").unwrap();
    let auth = format!("    auth: {{bearer: {{tokenFile: {}}}}}\n", token.display());
    let (_folder, file) = targets_file(&registry.url, &auth);
    let more = ["--record", recorded.to_str().unwrap()];
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &more);
    crate::support::until("both records are written", || registry.records().len() == 2).await;
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let text = std::fs::read_to_string(&recorded).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let puts = lines.iter().filter(|line| line["exchange"]["method"] == "PUT");
    assert_eq!(puts.count(), 2, "{text}");
    assert!(!text.contains("secret-token-1"), "{text}");
    assert!(lines.iter().all(|line| line["target"] == "systems"), "{text}");
}
