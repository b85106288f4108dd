//! The command `demo`: all parts in one process, with its defaults.

use std::fs;

use crate::support::{Child, RegistryProcess, SOON, eventually, http_client, until};

#[tokio::test]
async fn demo_shows_pods_and_ends_with_code_0() {
    // Pods are created, changed and deleted, and the demo ends when its time is over.
    let arguments =
        ["demo", "--pods", "15", "--churn", "10", "--seed", "7", "--duration", "5s", "--listen", "127.0.0.1:0"];
    let mut demo = Child::start(&arguments);
    assert_eq!(demo.code().await, 0);
    let shown = demo.stdout();
    assert!(shown[0].starts_with("The registry's page:      http://127.0.0.1:"), "{shown:?}");
    for verb in ["registered", "changed", "deregistered"] {
        let lines = shown.iter().filter(|line| line.starts_with(&format!("{verb} ")));
        assert!(lines.count() > 0, "{verb} is not in {shown:#?}");
    }
    assert!(demo.logged("session closed"));
}

#[tokio::test]
async fn demo_writes_to_another_registry() {
    let folder = tempfile::tempdir().unwrap();
    let [tokens, token] = ["tokens", "token"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    fs::write(&tokens, "secret *\n").unwrap();
    fs::write(&token, "secret\n").unwrap();
    let registry = RegistryProcess::start_with(folder.path(), &["--tokens-file", &tokens]).await;
    let mut demo =
        Child::start(&["demo", "--pods", "5", "--registry-url", &registry.url, "--registry-token-file", &token]);
    demo.log_line("registry compared").await;
    until("the addresses are printed", || demo.stdout().len() == 3).await;
    let shown = demo.stdout();
    assert!(
        shown[0].ends_with(&format!(" {}/", registry.url))
            && shown[2].starts_with("The controller's page:    http://127.0.0.1:"),
        "{shown:?}"
    );
    assert!(shown[1].starts_with("The cluster's API server: http://127.0.0.1:"), "{shown:?}");
    demo.terminate();
    assert_eq!(demo.code().await, 0);
    assert!(demo.logged("session closed"));
}

#[tokio::test]
async fn demo_ends_on_sigterm() {
    let mut demo = Child::start(&["demo", "--pods", "5", "--listen", "127.0.0.1:0"]);
    demo.log_line("session opened").await;
    demo.terminate();
    assert_eq!(demo.code().await, 0);
}

#[tokio::test]
async fn demo_shows_a_second_registry() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = folder.path().join("targets.yaml");
    let example = include_str!("../../../docs/examples/demo-targets.yaml");
    fs::write(&path, example.replace(":7071/", &format!(":{port}/"))).unwrap();
    let (inventory, file) = (format!("127.0.0.1:{port}"), path.to_str().unwrap());
    let mut demo = Child::start(&[
        "demo",
        "--pods",
        "12",
        "--churn",
        "0",
        "--listen",
        "127.0.0.1:0",
        "--inventory-listen",
        &inventory,
        "--targets",
        file,
    ]);
    until("the addresses are printed", || demo.stdout().len() >= 3).await;
    assert!(demo.stdout()[1].ends_with(&format!("http://{inventory}/")), "{:?}", demo.stdout());
    eventually("the inventory has all pods", SOON, async || {
        let page = http_client().get(format!("http://{inventory}/api/systems?limit=100")).send().await.unwrap();
        let page: serde_json::Value = page.json().await.unwrap();
        if page["total"] == 12 { Ok(()) } else { Err(page["total"].to_string()) }
    })
    .await;
    demo.terminate();
    assert_eq!(demo.code().await, 0);
}
