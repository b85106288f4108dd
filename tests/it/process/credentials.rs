//! A token for the registry, and its renewal.

use std::path::Path;

use super::world::{CLUSTER, Kube};
use crate::support::{Controller, RegistryProcess, SOON, eventually};

#[tokio::test]
async fn a_token_that_is_refused_is_read_again_and_never_shown() {
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
        0.0 => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert_eq!((controller.page("/livez").await.0, controller.page("/readyz").await.0), (200, 200));
    write(&token, "second-secret\n");
    kube.equals(&reader, SOON).await;
    assert!(controller.is_running() && !controller.logged("-secret"), "no token is logged");
    assert!(!controller.page("/metrics").await.1.contains("-secret"));
}

fn write(path: impl AsRef<Path>, text: &str) {
    std::fs::write(path, text).unwrap();
}
