//! `conformance` as a process: exit codes, formats, an interruption, and the example registry.

use std::{
    fs,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use super::example::Example;
use crate::{
    project,
    support::{Child, Proxy, RegistryProcess, RegistryTask, SOON, eventually, notice, until},
};

/// The row of the example's README that explains why a check finds something.
fn omission(check: &str) -> &'static str {
    match check {
        "previous" => "`previous`",
        "contender" => "`clusterUid`, `contender`",
        "stale-shown" => "the state `stale`",
        "closed-session-refused" => "the state `closed` for writes",
        "inventory-limit" | "inventory-page-unreadable" => "pages",
        "record-too-large" => "limits",
        "problem-detail" => "`detail` of problems",
        "refused-another-cluster" | "refused-another-owner" => "`foreign-owner`",
        "refused-wrong-digest" => "computing digests",
        "ttl-below-one" | "epoch-limit" | "schema-before-epoch" | "delete-parameters" => "checks of requests",
        "inventory-parameters" | "not-found" | "method-not-allowed" => "checks of requests",
        check if check.starts_with("digest-") => "computing digests",
        check if check.starts_with("refused-") => "checks of requests",
        check => panic!("the example breaks {check}, and its README does not say so"),
    }
}

/// Runs the command to its end. Returns its exit code, its report and its log.
async fn conformance(arguments: &[&str]) -> (i32, String, String) {
    let mut child = Child::start(&[&["conformance"][..], arguments].concat());
    // A run sends hundreds of requests, one after the other.
    let code = child.code_within(4 * SOON).await;
    (code, child.stdout().join("\n"), child.stderr().join("\n"))
}

#[tokio::test]
async fn reference_registry_passes_with_code_0() {
    let registry = RegistryTask::start();
    let (code, report, log) = conformance(&[&registry.url, "--output", "junit"]).await;
    assert!(code == 0 && report.contains(" failures=\"0\""), "{code} {report}");
    assert!(report.contains("<testcase classname=\"must\" name=\"epoch-grows\"/>"), "{report}");
    assert!(log.contains("cluster=\"conformance-") || log.contains("cluster=conformance-"), "{log}");
}

#[tokio::test]
async fn token_is_sent_and_its_rules_hold() {
    let folder = tempfile::tempdir().unwrap();
    let [tokens, token, other] = ["tokens", "token", "other"].map(|name| folder.path().join(name));
    fs::write(&tokens, "secret *\nother c\n").unwrap();
    fs::write(&token, "secret\n").unwrap();
    fs::write(&other, "other\n").unwrap();
    let registry = RegistryProcess::start_with(folder.path(), &["--tokens-file", tokens.to_str().unwrap()]).await;
    let files = ["--token-file", token.to_str().unwrap(), "--other-token-file", other.to_str().unwrap()];
    let more = ["--verbose", "--restart-command", "true"];
    let arguments = [&[registry.url.as_str()][..], &files, &more].concat();
    let (code, report, log) = conformance(&arguments).await;
    assert!(code == 0 && report.contains("PASSED   token-first") && report.contains("Skipped: 0."), "{code} {report}");
    assert!(!report.contains("secret") && !log.contains("secret"), "{report}\n{log}");
    let (code, report, _) = conformance(&[&registry.url]).await;
    assert!(code == 2 && report.contains("refuses the token"), "{code} {report}");
}

#[tokio::test]
async fn registry_that_does_not_answer_is_code_2() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, report, _) = conformance(&[&format!("http://{address}")]).await;
    assert!(code == 2 && report.contains("incomplete") && report.contains("nothing listens"), "{code} {report}");
    let (code, _, error) = conformance(&["http://127.0.0.1:1/v1"]).await;
    assert!(code == 2 && error.contains("remove /v1"), "{code} {error}");
}

/// The run did not end, which is another thing than a registry that never answers.
#[tokio::test]
async fn registry_that_stops_answering_is_code_1() {
    let registry = RegistryTask::start();
    let proxy = Proxy::start(&registry.url).await;
    let is_silent = AtomicBool::new(false);
    proxy.hold(move |exchange| {
        is_silent.fetch_or(exchange.path.contains("/pods/batch-"), Ordering::SeqCst) || is_silent.load(Ordering::SeqCst)
    });
    let (code, report, _) = conformance(&[&proxy.url, "--request-timeout", "2s"]).await;
    assert!(code == 1 && report.contains("incomplete: the registry stopped answering"), "{code} {report}");
    assert!(report.contains("Not removed: "), "{report}");
}

/// The command of the run asks this test to restart the registry: it waits until the file is gone.
async fn restarted(forgets: bool) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = RegistryProcess::start(folder.path()).await;
    let asked = folder.path().join("asked");
    let file = asked.display();
    let command = format!("echo restarting; touch '{file}'; while [ -e '{file}' ]; do sleep 0.1; done");
    let url = registry.url.clone();
    let restart = async {
        eventually("the restart is asked for", 4 * SOON, async || {
            if asked.exists() { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
        registry.kill();
        if forgets {
            fs::remove_file(&registry.database).unwrap();
        }
        registry.start_again().await;
        fs::remove_file(&asked).unwrap();
    };
    let arguments = [&url, "--restart-command", &command, "--verbose"];
    let ((code, report, log), ()) = tokio::join!(conformance(&arguments), restart);
    assert!(!report.contains("restarting") && log.contains("restarting"), "{report}\n{log}");
    (code, report)
}

#[tokio::test]
async fn restart_of_the_reference_registry_forgets_nothing() {
    let (code, report) = restarted(false).await;
    assert!(code == 0 && !report.contains("BROKEN"), "{code} {report}");
    for rule in ["session", "epoch", "records", "versions", "tombstones", "changes", "numbers"] {
        assert!(report.contains(&format!("PASSED   restart-keeps-{rule}")), "{rule}: {report}");
    }
}

#[tokio::test]
async fn registry_that_forgets_at_restart_is_found() {
    let (code, report) = restarted(true).await;
    let broken = ["must  restart-keeps-session", "must  restart-keeps-epoch", "should  restart-keeps-records"];
    for rule in broken.into_iter().chain(["must  restart-keeps-changes", "must  restart-keeps-numbers"]) {
        assert!(code == 1 && report.contains(&format!("BROKEN {rule}")), "{rule}: {code} {report}");
    }
}

#[tokio::test]
async fn failed_restart_command_ends_the_run() {
    let registry = RegistryTask::start();
    let (code, report, _) = conformance(&[&registry.url, "--restart-command", "exit 3"]).await;
    assert!(code == 1 && report.contains("incomplete: the restart command failed: exit status: 3"), "{code} {report}");
}

#[tokio::test]
async fn interrupted_run_removes_its_records() {
    let registry = RegistryTask::start();
    let proxy = Proxy::start(&registry.url).await;
    // By then, several records exist.
    proxy.hold(|exchange| exchange.path.contains("/pods/batch-"));
    let mut command = Child::start(&["conformance", proxy.url.as_str()]);
    let line = command.log_line("under a cluster id of its own").await;
    let cluster = line.split("cluster=").nth(1).unwrap().trim().trim_matches('"').to_owned();
    let is_held = || proxy.seen().iter().any(|exchange| exchange.path.contains("/pods/batch-"));
    until("a request is held", is_held).await;
    assert!(!registry.reader().ids(&cluster, "pod-registrar").await.unwrap().is_empty());
    command.terminate();
    command.log_line("stopping").await;
    proxy.release();
    assert_eq!(command.code().await, 1);
    assert!(command.stdout().iter().any(|line| line == "The run is incomplete: it was interrupted."));
    assert!(registry.reader().ids(&cluster, "pod-registrar").await.unwrap().is_empty());
}

#[tokio::test]
async fn example_registry_breaks_what_it_omits() {
    let Some(example) = Example::start() else { return notice("skipped: python3 is missing") };
    let (code, report, _) = conformance(&[&example.url, "--output", "json"]).await;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((code, &report["leftovers"]), (1, &Value::Null), "{report:#}");
    let readme = project::text("docs/examples/README.md");
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["result"] == "broken");
    for check in checks.filter_map(|check| check["id"].as_str()) {
        let row = format!("| {} |", omission(check));
        assert!(readme.contains(&row), "{check}: {row}");
    }
    assert_eq!(report["incomplete"], Value::Null);
}
