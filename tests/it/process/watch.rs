//! The command `watch`: two kinds of lines on standard output, and nothing else.

use pod_registrar::demo::pod::pod;

use super::world::Kube;
use crate::support::{Watcher, until};

fn lines(verb: &str, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("Pod {verb}: {name}")).collect()
}

#[tokio::test]
async fn pods_are_shown_once_created_and_once_deleted() {
    let kube = Kube::start().await;
    for name in ["b", "a"] {
        kube.api.create(pod(name).label("app", "web").running()).unwrap();
    }
    let mut watcher = Watcher::start(&kube.kubeconfig, &[]);
    let mut expected = lines("created", &["a", "b"]);
    watcher.prints(&expected).await;
    kube.api.create(pod("c").namespace("shop")).unwrap();
    kube.label("a", "changed");
    kube.api.delete("default", "b").unwrap();
    kube.api.create(pod("b").running()).unwrap();
    kube.api.replace_in_place(pod("b").running()).unwrap();
    expected.extend(lines("created", &["c"]));
    for _ in 0..2 {
        expected.extend([lines("deleted", &["b"]), lines("created", &["b"])].concat());
    }
    watcher.prints(&expected).await;

    // The next list shows what happened while no watch was open, even if the history of it is gone.
    kube.without_watches(|| {
        kube.api.delete("default", "a").unwrap();
        kube.api.delete("shop", "c").unwrap();
        for name in ["d", "e"] {
            kube.api.create(pod(name)).unwrap();
        }
        kube.api.delete("default", "e").unwrap();
    })
    .await;
    expected.extend(lines("deleted", &["a", "c"]));
    expected.extend(lines("created", &["d"]));
    watcher.prints(&expected).await;
    kube.api.delete("default", "d").unwrap();
    expected.extend(lines("deleted", &["d"]));
    watcher.prints(&expected).await;

    watcher.terminate();
    assert_eq!(watcher.code().await, 0);
    assert_eq!(watcher.stdout(), expected);
    assert!(watcher.logged("pods listed") && watcher.logged("stopping"), "logs go to standard error");
    let logged_elsewhere = watcher.stderr().iter().any(|line| line.contains("Pod created"));
    assert!(!logged_elsewhere);
}

#[tokio::test]
async fn only_pods_in_scope_are_shown() {
    let kube = Kube::start().await;
    for (namespace, name) in [("shop", "a"), ("bank", "b"), ("park", "c")] {
        kube.api.create(pod(name).namespace(namespace).label("app", name).running()).unwrap();
    }
    let mut only = Watcher::start(&kube.kubeconfig, &["--namespace", "shop,bank"]);
    let mut except = Watcher::start(&kube.kubeconfig, &["--exclude-namespace", "shop"]);
    let mut labelled = Watcher::start(&kube.kubeconfig, &["--label-selector", "app in (a, c)"]);
    labelled.prints(&lines("created", &["a", "c"])).await;
    except.prints(&lines("created", &["b", "c"])).await;
    until("both namespaces are listed", || only.stdout().len() == 2).await;
    let (shown, mut sorted) = (only.stdout(), only.stdout());
    sorted.sort();
    assert_eq!(sorted, lines("created", &["a", "b"]), "two namespaces have no order");
    kube.api.update("park", "c", |pod| pod["metadata"]["labels"]["app"] = "left".into()).unwrap();
    labelled.prints(&[lines("created", &["a", "c"]), lines("deleted", &["c"])].concat()).await;
    only.prints(&shown).await;
}
