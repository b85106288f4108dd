//! The reference registry over real HTTP, in this process: each rule of protocol v1.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests fail a test by panicking")]

mod batch;
mod changes;
mod durability;
mod openapi;
mod page;
mod protocol_page;
mod reading;
mod security;
mod sessions;
mod tls;
mod writes;

use std::{collections::BTreeMap, io::Write as _, net::TcpListener, path::PathBuf, sync::Once};

use pod_registrar::registry::server::{
    clock::ServerClock,
    serve::{Error, RegistryServer, ServerOptions},
    store::{RecordStore, prune::Retention},
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::Reader;

/// The start time of the tests: 2026-11-23T10:00:00Z.
const START_MS: i64 = 1_795_428_000_000;

/// The registry of one test.
struct Server {
    base: String,
    client: reqwest::Client,
    clock: ServerClock,
    store: RecordStore,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

/// A complete answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    kind: String,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The status and the problem's name, after a check of the problem's form.
    fn problem(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        assert_eq!(body["status"], json!(self.status));
        let name = body["type"].as_str().unwrap().strip_prefix("urn:pod-registrar:problem:").unwrap();
        (self.status, name.to_owned())
    }
}

fn refused(status: u16, name: &str) -> (u16, String) {
    (status, name.to_owned())
}

fn install_provider() {
    static ONCE: Once = Once::new();
    // Another test may have installed one already.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

fn client(certificates: Vec<reqwest::Certificate>) -> reqwest::Client {
    install_provider();
    reqwest::Client::builder().no_proxy().tls_certs_only(certificates).build().unwrap()
}

impl Server {
    async fn start() -> Self {
        Self::with(ServerOptions::default()).await
    }

    async fn with_retention(retention: Retention) -> Self {
        Self::with(ServerOptions { retention, ..ServerOptions::default() }).await
    }

    async fn with_file(database: PathBuf) -> Self {
        Self::with(ServerOptions { database: Some(database), ..ServerOptions::default() }).await
    }

    /// Starts with these lines of a tokens file.
    async fn with_tokens(lines: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        Self::with(ServerOptions { tokens_file: Some(file.path().to_owned()), ..ServerOptions::default() }).await
    }

    async fn with(options: ServerOptions) -> Self {
        Self::over(options, "http", Vec::new()).await
    }

    async fn over(options: ServerOptions, scheme: &str, certificates: Vec<reqwest::Certificate>) -> Self {
        let client = client(certificates);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("{scheme}://{}", listener.local_addr().unwrap());
        let clock = ServerClock::manual(START_MS);
        let registry = RegistryServer::open(ServerOptions { clock: clock.clone(), ..options }).unwrap();
        let (store, stop) = (registry.store(), CancellationToken::new());
        let task = tokio::spawn(registry.serve(listener, stop.clone().cancelled_owned()));
        Self { base, client, clock, store, stop, task }
    }

    /// Stops the server cleanly.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.base))
    }

    async fn send(&self, request: RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        Reply { status, kind, headers, text: response.text().await.unwrap() }
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        self.send(request).await
    }

    /// The records of cluster `c` and the default owner, by id.
    async fn records(&self) -> BTreeMap<String, Value> {
        Reader::new(&self.base).records("c", "pod-registrar").await.unwrap()
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    /// Opens a session for cluster `c` and returns its epoch.
    async fn open(&self) -> u64 {
        let body = json!({"clusterName": "prod-eu", "instance": "i", "ttlSeconds": 90, "scope": "s"});
        let reply = self.call("POST", "/v1/clusters/c/session", Some(&body)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["epoch"].as_u64().unwrap()
    }

    async fn put(&self, id: &str, epoch: u64, seq: u64, name: &str) -> Reply {
        self.call("PUT", &format!("/v1/clusters/c/pods/{id}"), Some(&record(id, epoch, seq, name))).await
    }

    async fn delete(&self, id: &str, epoch: u64, seq: u64) -> Reply {
        let path = format!("/v1/clusters/c/pods/{id}?epoch={epoch}&seq={seq}&reason=deleted&observed=watch");
        self.call("DELETE", &path, None).await
    }

    async fn batch(&self, epoch: u64, operations: Vec<Value>) -> Reply {
        let body = json!({"epoch": epoch, "operations": operations});
        self.call("POST", "/v1/clusters/c/pods:batch", Some(&body)).await
    }

    /// Puts this many records `p0`, `p1` and so on, in batches.
    async fn fill(&self, epoch: u64, count: u64) {
        let operations: Vec<Value> = (0..count).map(|n| put_op(&format!("p{n}"), epoch, n + 1, "web")).collect();
        for part in operations.chunks(500) {
            assert_eq!(self.batch(epoch, part.to_vec()).await.status, 200);
        }
    }
}

/// A small record of cluster `c` and the default owner.
fn record(id: &str, epoch: u64, seq: u64, name: &str) -> Value {
    json!({
        "schema": 1, "owner": "pod-registrar", "cluster": {"id": "c", "name": "prod-eu"},
        "pod": {"uid": id, "namespace": "shop", "name": name}, "state": {"lifecycle": "active"},
        "times": {"created": "2026-11-23T10:00:00.000Z"}, "version": {"epoch": epoch, "seq": seq},
    })
}

fn put_op(id: &str, epoch: u64, seq: u64, name: &str) -> Value {
    json!({"op": "put", "id": id, "record": record(id, epoch, seq, name)})
}

fn delete_op(id: &str, epoch: u64, seq: u64) -> Value {
    json!({"op": "delete", "id": id, "version": {"epoch": epoch, "seq": seq}, "reason": "deleted", "observed": "watch"})
}
