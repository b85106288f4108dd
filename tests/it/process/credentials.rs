//! A renewed token for the registry, and credentials for the cluster from a plugin.

use std::path::Path;

use serde_json::{Value, json};

use super::world::{CLUSTER, Kube, ProcessHarness};
use crate::support::{
    Child, Controller, ForwardProxy, RegistryProcess, SOON, TlsFront,
    apiserver::{Fault, Kind, Request},
    eventually, http_client, until,
};

#[tokio::test]
async fn refused_token_is_read_again_and_never_shown() {
    let kube = Kube::start().await;
    kube.create(0..5);
    let path = |name: &str| kube.folder.path().join(name).to_str().unwrap().to_owned();
    let (accepted, token) = (path("tokens"), path("token"));
    write(&accepted, &format!("first-secret {CLUSTER}\nreader *\n"));
    write(&token, "first-secret\n");
    let mut registry = RegistryProcess::start_with(kube.folder.path(), &["--tokens-file", &accepted]).await;
    let reader = registry.reader().with_token("reader");
    let mut controller = Controller::start(&kube.kubeconfig, &registry.url, &["--registry-token-file", &token]);
    kube.equals(&reader, SOON).await;

    registry.kill();
    write(&accepted, &format!("second-secret {CLUSTER}\nreader *\n"));
    registry.start_again().await;
    kube.delete(0..1);
    kube.create(5..7);
    let refused = "requests_total{operation=\"write\",outcome=\"unauthorized\"}";
    eventually("the token is refused", SOON, async || match controller.figure(refused).await {
        0.0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
    write(&token, "second-secret\n");
    kube.equals(&reader, SOON).await;
    assert!(controller.is_running() && !controller.logged("-secret"), "no token is logged");
    let changed = |line: &String| line.contains("registry token changed; using the new one");
    assert_eq!(controller.stderr().iter().filter(|line| changed(line)).count(), 1, "{:?}", controller.stderr());
    assert!(!controller.page("/metrics").await.1.contains("-secret"));
}

/// From now on, requests to the API server need this token.
fn accept_only(kube: &Kube, token: &'static str) {
    kube.api.clear_faults();
    for kind in [Kind::List, Kind::Watch, Kind::Get, Kind::Namespace, Kind::Lease] {
        let is_other = move |request: &Request| request.authorization.as_deref() != Some(token);
        kube.api.inject(Fault::status(kind, 401).always().when(is_other));
    }
}

/// Makes a shell script the credential plugin of the kubeconfig.
async fn use_plugin(kube: &Kube, script: &str) -> TlsFront {
    let path = kube.folder.path().join("plugin.sh");
    write(&path, script);
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": [path, "arg-s3cret"],
        "env": [{"name": "FOLDER", "value": kube.folder.path()}, {"name": "SECRET", "value": "env-s3cret"}],
    });
    use_user(kube, &json!({"exec": exec})).await
}

/// Adds these members to the user of the kubeconfig, and TLS to its cluster: credentials are not sent without TLS.
async fn use_user(kube: &Kube, user: &Value) -> TlsFront {
    let (front, cluster) = TlsFront::of_cluster(&kube.api.url(), kube.folder.path()).await;
    let document = json!({
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    write(&kube.kubeconfig, &document.to_string());
    front
}

/// A plugin that prints the token in a file, and counts its runs.
const PRINT: &str = r#"echo run >> "$FOLDER/runs"
printf '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"%s"}}' "$(cat "$FOLDER/token")"
"#;

#[tokio::test]
async fn plugin_runs_once_and_again_after_401() {
    // All clients share the credential of one run.
    let world = ProcessHarness::start().await;
    let folder = world.kube.folder.path().to_owned();
    write(folder.join("token"), "first-s3cret");
    let _front = use_plugin(&world.kube, PRINT).await;
    accept_only(&world.kube, "Bearer first-s3cret");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    let path = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", world.kube.api.url());
    let created = http_client().post(path).bearer_auth("first-s3cret").body(lease.to_string()).send().await.unwrap();
    assert!(created.status().is_success(), "{created:?}");
    world.kube.create(0..5);
    let controller = world.controller_with(&["--lease", "default/l"]);
    world.equal().await;
    let runs = || std::fs::read_to_string(folder.join("runs")).unwrap().lines().count();
    assert_eq!(runs(), 1);

    write(folder.join("token"), "second-s3cret");
    accept_only(&world.kube, "Bearer second-s3cret");
    world.kube.api.drop_watches();
    world.kube.delete(0..1);
    world.kube.create(5..7);
    world.equal().await;
    until("the plugin ran again", || runs() == 2).await;
    assert!(!controller.logged("s3cret"), "no token is logged");
}

#[tokio::test]
async fn failing_plugin_is_retried_and_shows_no_secret() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..2);
    let _front = use_plugin(&world.kube, "echo out-s3cret; echo err-s3cret >&2; exit 7").await;
    let mut controller = world.controller();
    let line = controller.log_line("credential plugin sh failed").await;
    assert!(line.contains("exit status: 7"), "{line}");
    assert_eq!(controller.page("/livez").await.0, 200);
    let (_, status) = controller.page("/status").await;
    assert!(!controller.logged("s3cret") && !status.contains("s3cret"), "{status}");
    write(world.kube.folder.path().join("token"), "good");
    write(world.kube.folder.path().join("plugin.sh"), PRINT);
    world.equal().await;
}

#[tokio::test]
async fn credentials_are_not_sent_to_plain_http() {
    let world = ProcessHarness::start().await;
    world.kube.create(0..2);
    drop(use_user(&world.kube, &json!({"token": "s3cret"})).await);
    let document = std::fs::read_to_string(&world.kube.kubeconfig).unwrap();
    let mut document: Value = serde_json::from_str(&document).unwrap();
    // Credentials are sent to a loopback address without TLS, but not through a proxy.
    let url = world.kube.api.url();
    let proxy = ForwardProxy::start(url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap()).await;
    document["clusters"][0]["cluster"] = json!({"server": url, "proxy-url": format!("http://{}", proxy.address)});
    write(&world.kube.kubeconfig, &document.to_string());
    for kind in [Kind::List, Kind::Watch, Kind::Get, Kind::Namespace, Kind::Lease] {
        world
            .kube
            .api
            .inject(Fault::status(kind, 401).always().when(|request: &Request| request.authorization.is_some()));
    }
    let mut controller = world.controller();
    let line = controller.log_line("credentials are not sent").await;
    assert!(line.contains("WARN") && line.contains("use an https address"), "{line}");
    world.equal().await;
}

#[tokio::test]
async fn hanging_plugin_ends_with_the_controller() {
    let world = ProcessHarness::start().await;
    let _front =
        use_plugin(&world.kube, r#"sleep 600 & echo $! > "$FOLDER/pid.new"; mv "$FOLDER/pid.new" "$FOLDER/pid"; wait"#)
            .await;
    let mut controller = world.controller();
    let pid = world.kube.folder.path().join("pid");
    until("the plugin runs", || pid.exists()).await;
    assert_eq!(controller.page("/livez").await.0, 200);
    controller.terminate();
    assert_eq!(controller.code().await, 0);
    let pid = std::fs::read_to_string(pid).unwrap();
    // A zombie has no command line.
    let runs = || std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty());
    until("the plugin's child process is gone", || !runs()).await;
}

#[tokio::test]
async fn unusable_address_ends_with_code_2() {
    let kube = Kube::start().await;
    write(&kube.kubeconfig, &std::fs::read_to_string(&kube.kubeconfig).unwrap().replace("http://", "ftp://"));
    let kubeconfig = kube.kubeconfig.to_str().unwrap();
    let mut watch = Child::start(&["watch", "--kubeconfig", kubeconfig]);
    assert_eq!(watch.code().await, 2);
    assert!(watch.logged("cluster \"demo\": server") && watch.logged("ftp"));
}

#[tokio::test]
async fn empty_token_file_ends_with_code_2() {
    let kube = Kube::start().await;
    write(kube.folder.path().join("token"), " \n");
    let _front = use_user(&kube, &json!({"tokenFile": "token"})).await;
    let mut controller = Controller::start(&kube.kubeconfig, "http://127.0.0.1:1", &[]);
    assert_eq!(controller.code().await, 2);
    let file = kube.folder.path().join("token");
    assert!(controller.logged(&format!("user \"u\": tokenFile: {}: the file is empty", file.display())));
}

fn write(path: impl AsRef<Path>, text: &str) {
    std::fs::write(path, text).unwrap();
}
