//! What `helm test` runs: the container of the chart's test pod, beside the container of its Deployment.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    process::world::{CLUSTER, Kube},
    support::{
        Child, RegistryProcess, SOON,
        chart::{ChartTools, RELEASE, object},
        container::Container,
        http_client,
    },
};

/// The container of a pod of these objects, whose volumes are in the folder of the cluster.
fn container(objects: &[Value], pod: &Value, name: &str, kube: &Kube) -> Container {
    let data = |name: &str| object(objects, "ConfigMap", name)["data"].clone();
    let mut container = Container::of(pod, name, kube.folder.path(), data);
    // A process outside of a pod has no account, and shares the ports of the machine.
    container.set("POD_REGISTRAR_KUBECONFIG", kube.kubeconfig.to_str().unwrap());
    container
}

async fn create_lease(kube: &Kube, lease: &Value) {
    let namespace = lease["metadata"]["namespace"].as_str().unwrap();
    let path = format!("{}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", kube.api.url());
    assert_eq!(http_client().post(path).json(lease).send().await.unwrap().status(), 201);
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn result(mut check: Child) -> (i32, String) {
    let code = check.code_within(2 * SOON).await;
    (code, [check.stdout(), check.stderr()].concat().join("\n"))
}

#[tokio::test]
async fn helm_test_runs_beside_the_controller() {
    let Some(tools) = ChartTools::find() else { return };
    let kube = Kube::start().await;
    kube.create(0..3);
    let tokens = write(kube.folder.path(), "tokens", &format!("the-token {CLUSTER}\nreader *\n"));
    write(kube.folder.path(), "etc/pod-registrar/token", "the-token");
    let mut registry = RegistryProcess::start_with(kube.folder.path(), &["--tokens-file", &tokens]).await;
    let objects = tools.objects(&format!("registry: {{url: '{}'}}\n", registry.url), &["--namespace", "default"]);
    create_lease(&kube, object(&objects, "Lease", RELEASE)).await;
    let deployment = &object(&objects, "Deployment", RELEASE)["spec"]["template"];
    let mut replica = container(&objects, deployment, "replica-1", &kube);
    replica.set("POD_REGISTRAR_ADMIN_ADDR", "127.0.0.1:0");
    let _replica = replica.start();
    kube.equals(&registry.reader().with_token("reader"), SOON).await;

    let pod = object(&objects, "Pod", &format!("{RELEASE}-check"));
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    let check = container(&objects, pod, "check", &kube);
    let (code, text) = result(check.start()).await;
    assert_eq!(code, 0, "{text}");
    for name in ["API server", "cluster identity", "Lease default/pod-registrar", "registry default"] {
        assert!(text.contains(name), "{name}: {text}");
    }

    write(kube.folder.path(), "etc/pod-registrar/token", "another-token");
    let (code, text) = result(check.start()).await;
    assert!(code == 1 && text.contains("registry default"), "{code} {text}");
    registry.kill();
    let (code, text) = result(check.start()).await;
    assert!(code == 1 && text.contains("registry default"), "{code} {text}");
}
