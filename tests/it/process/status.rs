//! The status page and the command `status`, which show the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    holds::lease,
    targets_command::{run, run_json, targets_file},
    world::{Kube, ProcessHarness, name},
};
use crate::support::{
    Child, Controller, RestRegistry, SOON,
    apiserver::{Fault, Kind},
    eventually, http_client, until,
};

/// The address of a controller's admin pages.
async fn address(controller: &mut Controller) -> String {
    let line = controller.log_line("health and metrics are served").await;
    line.rsplit_once("address=").unwrap().1.to_owned()
}

#[tokio::test]
async fn page_and_command_show_a_synced_registry() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..3);
    let mut controller = world.controller();
    world.equal().await;
    controller.synced().await;
    let admin = address(&mut controller).await;
    let url = format!("http://{admin}");
    let (code, status) = run_json(&["status", &url]).await;
    assert_eq!((code, &status["inSync"], &status["leader"]), (0, &json!(true), &Value::Null), "{status:#}");
    // The changes are named once per second.
    eventually("the last changes", SOON, async || {
        let (code, text) = run(&["status", &url]).await;
        let is_shown = text.starts_with("The registry is equal to the cluster.") && text.contains(&name(2));
        if code == 0 && is_shown { Ok(()) } else { Err(format!("{code} {text}")) }
    })
    .await;
    // Its port is that of the settings.
    let (code, text) = run(&["status", "--admin-addr", &admin]).await;
    assert!(code == 0 && text.contains("default   equal  3 "), "{code} {text}");
    let page = http_client().get(&url).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let text = page.text().await.unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
    assert!(text.contains("The registry is equal to the cluster.") && text.contains(&name(2)), "{text}");
}

#[tokio::test]
async fn leader_is_named_by_its_lease() {
    let world = ProcessHarness::start().await;
    lease(&world).await;
    let mut controller = world.controller_with(&["--lease", "default/registrar"]);
    controller.synced().await;
    let url = format!("http://{}", address(&mut controller).await);
    let (code, status) = run_json(&["status", &url]).await;
    let expected = json!({"lease": "default/registrar", "holder": status["instance"]});
    assert_eq!((code, &status["leader"]), (0, &expected), "{status:#}");
    let (_, text) = run(&["status", &url]).await;
    assert!(text.contains("this process, by the Lease default/registrar"), "{text}");
}

#[tokio::test]
async fn list_that_takes_long_is_shown() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..40);
    world.kube.api.inject(Fault::stall(Kind::List, 17));
    let mut controller = world.controller();
    let url = format!("http://{}", address(&mut controller).await);
    eventually("the list is under way", SOON, async || {
        let (code, status) = run_json(&["status", &url]).await;
        let work = &status["work"][0];
        let is_shown = work["what"] == "list" && work["total"].is_null() && work["remainingSeconds"].is_null();
        if code == 3 && is_shown { Ok(()) } else { Err(format!("{code} {status:#}")) }
    })
    .await;
    let (_, page) = controller.page("/").await;
    assert!(page.contains("<progress aria-label=\"Listing the pods\"></progress>"), "{page}");
}

#[tokio::test]
async fn rejected_record_is_shown_with_its_words() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    kube.create(0..1);
    registry.refuses("no <such> site");
    let (_folder, file) = targets_file(&registry.url, "");
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, file.as_ref(), &[]);
    let url = format!("http://{}", address(&mut controller).await);
    eventually("the record is parked", SOON, async || {
        let (code, text) = run(&["status", &url]).await;
        let is_shown = text.contains("1 record is rejected") && text.contains("no <such> site");
        if code == 3 && is_shown { Ok(()) } else { Err(format!("{code} {text}")) }
    })
    .await;
    let (_, page) = controller.page("/").await;
    assert!(page.contains("no &lt;such&gt; site") && page.contains("class=\"wrong\""), "{page}");
}

#[tokio::test]
async fn registry_that_fails_is_not_in_sync() {
    // Nothing is pending, so only heartbeats notice it.
    let world = ProcessHarness::start().await;
    world.kube.create(0..2);
    let mut controller = world.controller_with(&["--request-timeout", "1s"]);
    controller.synced().await;
    let url = format!("http://{}", address(&mut controller).await);
    world.proxy.hold(|_| true);
    eventually("the outage is shown", SOON, async || {
        let (code, status) = run_json(&["status", &url]).await;
        let target = &status["targets"][0];
        let is_shown = (&status["inSync"], &target["inSync"]) == (&json!(false), &json!(false));
        if code == 3 && is_shown && target["outage"].is_string() { Ok(()) } else { Err(format!("{code} {status:#}")) }
    })
    .await;
    world.proxy.release();
    eventually("the registry is equal again", SOON, async || {
        let (code, text) = run(&["status", &url]).await;
        if code == 0 { Ok(()) } else { Err(format!("{code} {text}")) }
    })
    .await;
}

#[tokio::test]
async fn watched_status_is_shown_until_a_signal() {
    let world = ProcessHarness::start().await;
    let mut controller = world.controller();
    controller.synced().await;
    let url = format!("http://{}", address(&mut controller).await);
    let mut watching = Child::start(&["status", &url, "--watch", "--output", "json"]);
    until("two documents", || watching.stdout().len() >= 2).await;
    // A controller that is away may come back.
    controller.kill();
    until("the error", || watching.stdout().iter().any(|line| line.contains("does not answer"))).await;
    watching.terminate();
    assert_eq!(watching.code_within(Duration::from_secs(5)).await, 0);
    let first: Value = serde_json::from_str(&watching.stdout()[0]).unwrap();
    assert!(first["targets"].is_array(), "{first:#}");
}

#[tokio::test]
async fn status_without_a_controller_fails() {
    let (code, text) = run(&["status", "http://127.0.0.1:1"]).await;
    assert!(code == 1 && text.contains("does not answer at http://127.0.0.1:1"), "{code} {text}");
    let world = ProcessHarness::start().await;
    let (code, text) = run(&["status", world.registry_url()]).await;
    assert!(code == 1 && text.contains("check the address"), "{code} {text}");
}
