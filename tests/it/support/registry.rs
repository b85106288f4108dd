//! The reference registry, inside the test or as a process that can be killed, and a reader of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use pod_registrar::registry::server::{
    self,
    serve::{RegistryServer, ServerOptions},
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::Child;

/// A client for plain HTTP on loopback.
pub(crate) fn http_client() -> reqwest::Client {
    // A second call fails and changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(Duration::from_secs(15));
    builder.build().expect("a client")
}

/// A registry in memory, served by the test itself. It stops when this is dropped.
pub(crate) struct RegistryTask {
    pub(crate) url: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), server::serve::Error>>,
}

impl RegistryTask {
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    pub(crate) fn start_at(address: &str) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let registry = RegistryServer::open(ServerOptions::default()).unwrap();
        let task = tokio::spawn(registry.serve(listener, stop.clone().cancelled_owned()));
        Self { url, stop, task }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(&self.url)
    }
}

impl Drop for RegistryTask {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// `pod-registrar registry` with a database file. It can be killed and started again at the same address.
pub(crate) struct RegistryProcess {
    pub(crate) url: String,
    pub(crate) database: PathBuf,
    flags: Vec<String>,
    address: String,
    child: Child,
}

impl RegistryProcess {
    /// Starts the registry in this folder, on a free port.
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// Starts the registry with these flags, which it keeps after a restart.
    pub(crate) async fn start_with(folder: &Path, flags: &[&str]) -> Self {
        let (database, flags) = (folder.join("registry.db"), flags.iter().map(ToString::to_string).collect::<Vec<_>>());
        let mut child = serve(&database, "127.0.0.1:0", &flags);
        let address = address(&mut child).await;
        Self { url: format!("http://{address}"), database, flags, address, child }
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts the registry again with the same file and address.
    pub(crate) async fn start_again(&mut self) {
        self.child = serve(&self.database, &self.address, &self.flags);
        address(&mut self.child).await;
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(&self.url)
    }
}

fn serve(database: &Path, address: &str, flags: &[String]) -> Child {
    let database = database.to_str().expect("a path of plain characters");
    let mut arguments = vec!["registry", "--listen", address, "--database", database];
    arguments.extend(flags.iter().map(String::as_str));
    Child::start(&arguments)
}

async fn address(child: &mut Child) -> String {
    let line = child.log_line("the registry is listening").await;
    let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
    address.expect("an address in the log").to_owned()
}

/// Reads a registry without a session.
#[derive(Clone)]
pub(crate) struct Reader {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Reader {
    pub(crate) fn new(url: &str) -> Self {
        Self { client: http_client(), url: url.to_owned(), token: None }
    }

    /// Reads with this bearer token from now on.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let mut request = self.client.get(format!("{}/v1{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|e| e.to_string())?);
        if status.as_u16() != 200 {
            return Err(format!("{path}: {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))
    }

    /// The records of an owner, by UID.
    pub(crate) async fn records(&self, cluster: &str, owner: &str) -> Result<BTreeMap<String, Value>, String> {
        let (mut records, mut page) = (BTreeMap::new(), String::new());
        loop {
            let path = format!("/clusters/{cluster}/pods?owner={owner}&view=full&limit=5000{page}");
            let mut answer = self.get(&path).await?;
            for record in answer["items"].as_array_mut().ok_or("no items")?.drain(..) {
                let id = record.pointer("/pod/uid").and_then(Value::as_str).ok_or("no uid")?.to_owned();
                records.insert(id, record);
            }
            match answer["next"].as_str() {
                Some(next) => page = format!("&page={next}"),
                None => return Ok(records),
            }
        }
    }

    /// The UIDs of an owner's records; empty if the registry does not know the cluster.
    pub(crate) async fn ids(&self, cluster: &str, owner: &str) -> Result<BTreeSet<String>, String> {
        Ok(self.records(cluster, owner).await?.into_keys().collect())
    }

    /// One record.
    pub(crate) async fn record(&self, cluster: &str, owner: &str, id: &str) -> Result<Value, String> {
        self.get(&format!("/clusters/{cluster}/pods/{id}?owner={owner}")).await
    }

    /// Whether the registry answers.
    pub(crate) async fn answers(&self) -> Result<(), String> {
        self.get("/capabilities").await.map(drop)
    }

    /// All changes of a cluster's records.
    pub(crate) async fn changes(&self, cluster: &str) -> Result<Vec<Value>, String> {
        Ok(self.changes_since(cluster, 0).await?.0)
    }

    /// The changes after a number, and the number of the last change.
    pub(crate) async fn changes_since(&self, cluster: &str, mut since: u64) -> Result<(Vec<Value>, u64), String> {
        let mut changes = Vec::new();
        loop {
            let mut answer = self.get(&format!("/changes?cluster={cluster}&since={since}&limit=1000")).await?;
            let items = answer["items"].as_array_mut().ok_or("no items")?;
            let complete = items.is_empty();
            changes.append(items);
            since = answer["next"].as_u64().ok_or("no next")?;
            if complete {
                return Ok((changes, since));
            }
        }
    }

    /// The number of an owner's records in each of 256 buckets, and the bucket's digest.
    pub(crate) async fn buckets(&self, cluster: &str, owner: &str) -> Result<Vec<(u64, String)>, String> {
        let answer = self.get(&format!("/clusters/{cluster}/pods:digest?owner={owner}&buckets=256")).await?;
        let bucket = |bucket: &Value| Some((bucket["count"].as_u64()?, bucket["digest"].as_str()?.to_owned()));
        let buckets = answer["buckets"].as_array().ok_or("no buckets")?;
        buckets.iter().map(bucket).collect::<Option<_>>().ok_or_else(|| format!("no buckets: {answer}"))
    }

    /// Closes a session that another process opened.
    pub(crate) async fn close_session(&self, cluster: &str, owner: &str, epoch: u64) {
        let url = format!("{}/v1/clusters/{cluster}/session?owner={owner}&epoch={epoch}", self.url);
        let mut request = self.client.delete(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("it answers");
        assert_eq!(answer.status(), 204);
    }

    /// The registry's entry of an owner: its session and its counts.
    pub(crate) async fn writer(&self, cluster: &str, owner: &str) -> Result<Value, String> {
        let answer = self.get(&format!("/clusters/{cluster}")).await?;
        let owners = answer["owners"].as_array().ok_or("no owners")?;
        owners.iter().find(|found| found["owner"] == owner).cloned().ok_or_else(|| format!("no {owner}: {answer}"))
    }
}
