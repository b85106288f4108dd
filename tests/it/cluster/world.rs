//! A namespace in a real cluster, and a registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::FutureExt;
use k8s_openapi::{
    ClusterResourceScope,
    api::{
        core::v1::{Namespace, Pod, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Controller, Reader, RegistryProcess, SOON, eventually, notice};

const VARIABLE: &str = "POD_REGISTRAR_TEST_KUBECONFIG";

/// A namespace with its own cluster id, owner and registry.
pub(super) struct ClusterHarness {
    pub(super) client: Client,
    pub(super) kubeconfig: PathBuf,
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) owner: String,
    pub(super) registry: RegistryProcess,
    pub(super) folder: TempDir,
}

/// Runs a test if there is a cluster, and cleans up after it.
pub(super) async fn in_cluster(test: impl AsyncFnOnce(&mut ClusterHarness)) {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        notice(&format!("skipped: {VARIABLE} is not set"));
        return;
    };
    let mut world = ClusterHarness::start(path.into()).await;
    let outcome = AssertUnwindSafe(test(&mut world)).catch_unwind().await;
    world.remove::<Namespace>().await;
    // Only some tests create these.
    world.remove::<ClusterRoleBinding>().await;
    world.remove::<ClusterRole>().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub(super) async fn client(path: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The answer to a request, or an error after five seconds: the API server may be down.
pub(super) async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(Duration::from_secs(5), request).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer from the API server".to_owned()),
    }
}

pub(super) fn object<T: DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).unwrap()
}

pub(super) fn uid_of(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap()
}

impl ClusterHarness {
    async fn start(kubeconfig: PathBuf) -> Self {
        let client = client(&kubeconfig).await;
        let suffix = format!("{:08x}", fastrand::u32(..));
        let namespace = format!("registrar-{suffix}");
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let document = object(json!({"metadata": {"name": namespace}}));
        namespaces.create(&PostParams::default(), &document).await.unwrap();
        // Pods are refused until the namespace has its service account. A controller manager that was killed needs its
        // lease first.
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        eventually("a service account", SOON * 4, async || {
            accounts.get("default").await.map(|_| ()).map_err(|e| e.to_string())
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let registry = RegistryProcess::start(folder.path()).await;
        let (cluster, owner) = (format!("cluster-{suffix}"), format!("owner-{suffix}"));
        Self { client, kubeconfig, namespace, cluster, owner, registry, folder }
    }

    /// Removes the object that is named like the namespace, if it exists.
    async fn remove<T>(&self)
    where
        T: kube::Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let removed = Api::<T>::all(self.client.clone()).delete(&self.namespace, &DeleteParams::default()).await;
        if let Err(error) = removed {
            assert!(matches!(&error, kube::Error::Api(status) if status.code == 404), "{error}");
        }
    }

    pub(super) fn controller(&self) -> Controller {
        self.controller_with(&self.kubeconfig, &[])
    }

    pub(super) fn controller_with(&self, kubeconfig: &Path, more: &[&str]) -> Controller {
        let own = ["--namespace", &self.namespace, "--cluster-id", &self.cluster, "--owner", &self.owner];
        Controller::start(kubeconfig, &self.registry.url, &[&own, more].concat())
    }

    pub(super) fn api<T>(&self) -> Api<T>
    where
        T: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn create(&self, name: &str) -> Pod {
        let document = object(json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": pod_spec(),
        }));
        self.api::<Pod>().create(&PostParams::default(), &document).await.unwrap()
    }

    pub(super) async fn label(&self, name: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"app": value}}}));
        self.api::<Pod>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Deletes a pod without a grace period.
    pub(super) async fn delete(&self, name: &str) {
        self.api::<Pod>().delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// The pods of the namespace, by UID.
    pub(super) async fn pods(&self) -> BTreeMap<String, Pod> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await.unwrap();
        pods.items.into_iter().map(|pod| (uid_of(&pod), pod)).collect()
    }

    /// Waits until there are exactly this many pods, all running.
    pub(super) async fn running(&self, count: usize) -> BTreeMap<String, Pod> {
        eventually("running pods", SOON, async || {
            let pods = self.pods().await;
            let phase = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            let running = pods.values().filter(phase).count();
            if (running, pods.len()) == (count, count) { Ok(pods) } else { Err(format!("{running} of {}", pods.len())) }
        })
        .await
    }

    pub(super) fn reader(&self) -> Reader {
        self.registry.reader()
    }

    /// The records of this owner.
    pub(super) async fn records(&self) -> BTreeMap<String, Value> {
        self.reader().records(&self.cluster, &self.owner).await.unwrap()
    }

    /// Waits until the registry equals the namespace.
    pub(super) async fn equal(&self) {
        self.equal_within(SOON).await;
    }

    pub(super) async fn equal_within(&self, time: Duration) {
        eventually("the registry equals the namespace", time, async || {
            let (pods, records) = (self.pods().await, self.reader().records(&self.cluster, &self.owner).await?);
            let (wanted, has): (BTreeSet<_>, BTreeSet<_>) = (pods.keys().collect(), records.keys().collect());
            let (lacks, excess) = (wanted.difference(&has).count(), has.difference(&wanted).count());
            if lacks + excess > 0 {
                return Err(format!("{lacks} of {} are missing, {excess} are left over", pods.len()));
            }
            let version = |pod: &Pod| pod.metadata.resource_version.clone().unwrap();
            let other = pods.iter().filter(|(uid, pod)| !is_of(&records[*uid], pod));
            match other.map(|(_, pod)| version(pod)).collect::<Vec<_>>() {
                other if other.is_empty() => Ok(()),
                other => Err(format!("records of these versions are outdated: {other:?}")),
            }
        })
        .await;
    }
}

/// Whether a record equals its pod.
fn is_of(record: &Value, pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let text = |path: &str| record.pointer(path).and_then(Value::as_str);
    text("/pod/name") == pod.metadata.name.as_deref()
        && text("/pod/namespace") == pod.metadata.namespace.as_deref()
        && record["pod"]["labels"] == json!(pod.metadata.labels)
        && text("/placement/node") == pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
        && text("/placement/podIPs/0") == status.and_then(|status| status.pod_ip.as_deref())
        && text("/state/phase") == status.and_then(|status| status.phase.as_deref())
        && (text("/state/lifecycle") == Some("terminating")) == pod.metadata.deletion_timestamp.is_some()
}

pub(super) fn pod_spec() -> Value {
    json!({"containers": [{"name": "app", "image": "registry.example.com/app:1"}], "terminationGracePeriodSeconds": 0})
}
