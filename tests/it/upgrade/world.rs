//! A cluster and a registry whose processes can be replaced by those of another version.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
};

use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    process::world::{CLUSTER, Kube},
    support::{Child, Reader, SOON, Version, eventually, http_client, until},
};

/// The Lease of the controller.
pub(super) const LEASE: &str = "default/registrar";
/// A namespace whose pods do not change.
pub(super) const QUIET: &str = "quiet";

/// An address on loopback that no other process uses.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

pub(super) async fn create_lease(kube: &Kube) {
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(&leases).json(&lease).send().await.unwrap().status(), 201);
}

/// A controller of one of the versions.
pub(super) struct Replica {
    child: Child,
    instance: String,
    admin: String,
    is_current: bool,
}

impl Replica {
    /// Starts a controller that is `instance`, and waits until it has listed the pods.
    pub(super) async fn start(version: &Version, kube: &Kube, instance: &str, more: &[&str]) -> Self {
        let (admin, kubeconfig) = (free_address(), kube.kubeconfig.to_str().unwrap());
        let common = ["run", "--kubeconfig", kubeconfig, "--admin-addr", &admin, "--instance", instance];
        let child = version.start(&[&common[..], more].concat());
        let replica = Self { child, instance: instance.to_owned(), admin, is_current: version.is_current() };
        eventually("readiness", 2 * SOON, async || replica.probe().await).await;
        replica
    }

    async fn probe(&self) -> Result<(), String> {
        let answer = http_client().get(format!("http://{}/readyz", self.admin)).send().await;
        match answer.map(|answer| answer.status().as_u16()) {
            Ok(200) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Whether the Lease names it.
    pub(super) fn leads(&self, kube: &Kube) -> bool {
        let lease = kube.api.lease("default", "registrar").unwrap();
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        holder.split(':').next() == Some(&self.instance)
    }

    /// Stops it, as the kubelet does. The exit code of an earlier version cannot be changed any more.
    pub(super) async fn stop(mut self) {
        self.child.terminate();
        let code = self.child.code().await;
        assert!(code == 0 || !self.is_current, "exit code {code}");
    }

    /// Whether a line on standard error contains this text. For the current version only.
    pub(super) fn logged(&self, text: &str) -> bool {
        self.child.logged(text)
    }
}

/// Waits until one of the replicas leads.
pub(super) async fn one_leads(kube: &Kube, replicas: &[&Replica]) {
    until("a replica leads", || replicas.iter().any(|replica| replica.leads(kube))).await;
}

/// The reference registry with a database file, always at the same address.
pub(super) struct RegistryHost {
    address: String,
    pub(super) url: String,
    pub(super) database: PathBuf,
    child: Child,
}

impl RegistryHost {
    pub(super) async fn start(version: &Version, folder: &Path) -> Self {
        let (address, database) = (free_address(), folder.join("registry.db"));
        let child = serve(version, &address, &database);
        let host = Self { url: format!("http://{address}"), address, database, child };
        host.answers().await;
        host
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::new(&self.url)
    }

    async fn answers(&self) {
        let reader = self.reader();
        eventually("the registry answers", SOON, async || reader.answers().await).await;
    }

    async fn stop(&mut self) {
        self.child.terminate();
        assert_eq!(self.child.code().await, 0);
    }

    /// Replaces it by another version, which uses the same database. Returns a copy of the database from before.
    pub(super) async fn upgrade(&mut self, version: &Version) -> PathBuf {
        self.stop().await;
        let copy = self.database.with_extension("copy");
        fs::copy(&self.database, &copy).unwrap();
        self.child = serve(version, &self.address, &self.database);
        self.answers().await;
        copy
    }

    /// Replaces it by an earlier version. If the later one has changed the schema, the earlier one has to refuse the
    /// database, and the copy is restored. Returns whether the database was kept.
    pub(super) async fn downgrade(&mut self, version: &Version, copy: &Path) -> bool {
        self.stop().await;
        let is_kept = schema(&self.database) == schema(copy);
        if !is_kept {
            let mut refused = serve(version, &self.address, &self.database);
            assert_ne!(refused.code().await, 0, "an earlier version uses a schema that it does not know");
            fs::copy(copy, &self.database).unwrap();
        }
        self.child = serve(version, &self.address, &self.database);
        self.answers().await;
        is_kept
    }
}

fn serve(version: &Version, address: &str, database: &Path) -> Child {
    version.start(&["registry", "--listen", address, "--database", database.to_str().unwrap()])
}

/// The version of the schema of a database that no process uses.
fn schema(database: &Path) -> i64 {
    let conn = Connection::open(database).unwrap();
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Makes a database of a file with SQL, in which `names` are replaced.
pub(super) fn database_of(sql: &str, names: &[(&str, &str)], path: &Path) -> io::Result<()> {
    let sql = names.iter().fold(sql.to_owned(), |sql, (name, text)| sql.replace(name, text));
    Connection::open(path).and_then(|conn| conn.execute_batch(&sql)).map_err(io::Error::other)
}

/// Creates a pod that does not change, and waits until the registry has it.
pub(super) async fn is_followed(kube: &Kube, registry: &Reader, name: &str) {
    let uid = kube.api.create(pod(name).namespace(QUIET).label("app", QUIET).running()).unwrap().uid;
    let record = async || registry.record(CLUSTER, DEFAULT_OWNER, &uid).await.map(drop);
    eventually("a new pod is registered", 2 * SOON, record).await;
}

/// The records of the pods that do not change, by UID.
pub(super) async fn quiet_records(registry: &Reader) -> Vec<(String, Value)> {
    let records = registry.records(CLUSTER, DEFAULT_OWNER).await.unwrap();
    records.into_iter().filter(|(_, record)| record["pod"]["namespace"] == QUIET).collect()
}
