//! A cluster, a registry, and the proxy between them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use pod_registrar::{
    demo::{api::ApiOptions, pod::pod},
    model::ids::DEFAULT_OWNER,
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Controller, Proxy, Reader, RegistryTask, SOON,
    apiserver::{Fault, Kind, Server},
    eventually, until,
};

/// The id of the cluster: the UID of its `kube-system` namespace.
pub(crate) const CLUSTER: &str = "7c1a3c52-5d0e-4b7c-9d55-2f6f5b0c1e42";

/// The demo's API server, and a kubeconfig for it.
pub(crate) struct Kube {
    pub(crate) api: Server,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) folder: TempDir,
}

impl Kube {
    pub(crate) async fn start() -> Self {
        let api = Server::start(ApiOptions::default()).await.unwrap();
        api.set_cluster_uid(CLUSTER);
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = write_kubeconfig(folder.path(), &api.url());
        Self { api, kubeconfig, folder }
    }

    /// Creates running pods with these numbers in their names.
    pub(crate) fn create(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.api.create(pod(name(number)).label("app", "web").running()).unwrap();
        }
    }

    pub(crate) fn delete(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.api.delete("default", &name(number)).unwrap();
        }
    }

    /// Makes a change that no watch shows, so that only the next list can.
    pub(crate) async fn without_watches(&self, something: impl FnOnce()) {
        self.api.inject(Fault::status(Kind::Watch, 500).always());
        self.api.inject(Fault::status(Kind::List, 500).always());
        self.api.drop_watches();
        until("no watch is open", || self.api.open_watches() == 0).await;
        something();
        self.api.compact();
        self.api.clear_faults();
    }

    pub(crate) fn label(&self, name: &str, value: &str) {
        self.api.update("default", name, |pod| pod["metadata"]["labels"]["app"] = value.into()).unwrap();
    }

    pub(crate) fn uids(&self) -> BTreeSet<String> {
        self.api.uids().into_values().collect()
    }

    /// The UID of a pod in the namespace `default`.
    pub(crate) fn uid(&self, name: &str) -> String {
        self.api.uids()[&format!("default/{name}")].clone()
    }

    /// Waits until the registry equals the cluster.
    pub(crate) async fn equals(&self, registry: &Reader, within: Duration) {
        eventually("the registry equals the cluster", within, async || {
            let records = registry.records(CLUSTER, DEFAULT_OWNER).await?;
            let (has, wanted) = (records.keys().cloned().collect::<BTreeSet<_>>(), self.uids());
            let (lacks, excess) = (wanted.difference(&has).count(), has.difference(&wanted).count());
            if lacks + excess > 0 {
                return Err(format!("{lacks} are missing, {excess} are left over"));
            }
            let other = records.values().filter(|record| {
                let text = |path: &str| record.pointer(path).and_then(|v| v.as_str()).unwrap_or_default();
                let pod = self.api.pod(text("/pod/namespace"), text("/pod/name"));
                pod.is_none_or(|pod| pod["metadata"]["labels"]["app"] != record["pod"]["labels"]["app"])
            });
            match other.count() {
                0 => Ok(()),
                other => Err(format!("{other} records are outdated")),
            }
        })
        .await;
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("web-{number:04}")
}

/// A kubeconfig for a server that needs no credentials.
pub(crate) fn write_kubeconfig(folder: &Path, server: &str) -> PathBuf {
    let document = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "demo",
        "clusters": [{"name": "demo", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "nobody"}}],
    });
    let path = folder.join("kubeconfig");
    // JSON is YAML.
    std::fs::write(&path, document.to_string()).unwrap();
    path
}

/// The demo's API server, a registry, and a proxy in front of the registry.
pub(super) struct ProcessHarness {
    pub(super) kube: Kube,
    pub(super) proxy: Proxy,
    registry: RegistryTask,
}

impl ProcessHarness {
    pub(super) async fn start() -> Self {
        let registry = RegistryTask::start();
        Self { kube: Kube::start().await, proxy: Proxy::start(&registry.url).await, registry }
    }

    pub(super) fn controller(&self) -> Controller {
        self.controller_with(&[])
    }

    pub(super) fn controller_with(&self, more: &[&str]) -> Controller {
        Controller::start(&self.kube.kubeconfig, &self.proxy.url, more)
    }

    /// The address of the registry, without the proxy.
    pub(super) fn registry_url(&self) -> &str {
        &self.registry.url
    }

    pub(super) fn registry(&self) -> Reader {
        self.registry.reader()
    }

    /// Waits until the registry equals the cluster.
    pub(super) async fn equal(&self) {
        self.kube.equals(&self.registry(), SOON).await;
    }
}
