//! The server under test, real or the demo's, and the requests of the cases.

use std::{
    future::Future,
    io::{Write, stderr},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Once,
    time::{Duration, Instant},
};

use futures::{AsyncBufReadExt, FutureExt, Stream, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use pod_registrar::demo::api::ApiOptions;
use serde_json::{Value, json};

use crate::support::apiserver::Server;

/// The longest time of any wait.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// So that the skipped server is reported once.
static NOT_TRIED: Once = Once::new();

/// One server, and a namespace in it.
pub(super) struct ContractHarness {
    client: Client,
    pub(super) namespace: String,
    /// The demo's server; `None` means a real one.
    pub(super) stand_in: Option<Server>,
}

/// The future of a case, which borrows its harness.
pub(super) type Case<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs a case against the demo's server, and against a real server if one is named.
pub(super) async fn everywhere(case: impl for<'a> Fn(&'a ContractHarness) -> Case<'a>) {
    let server = Server::start(ApiOptions::default()).await.unwrap();
    let config = Config::new(server.url().parse().unwrap());
    run(ContractHarness::new(config, Some(server)), &case).await;
    match std::env::var_os("POD_REGISTRAR_TEST_KUBECONFIG") {
        None => NOT_TRIED.call_once(|| {
            notice("contract tests skip the real API server: POD_REGISTRAR_TEST_KUBECONFIG is not set");
        }),
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            run(ContractHarness::new(config, None), &case).await;
        }
    }
}

async fn run(world: ContractHarness, case: &impl for<'a> Fn(&'a ContractHarness) -> Case<'a>) {
    world.prepare().await;
    let outcome = AssertUnwindSafe(case(&world)).catch_unwind().await;
    world.send("DELETE", &format!("/api/v1/namespaces/{}", world.namespace), None).await;
    if let Err(panic) = outcome {
        notice(if world.is_real() { "failed on the real API server" } else { "failed on the demo's API server" });
        std::panic::resume_unwind(panic);
    }
}

/// Prints a line that the test runner does not hide.
pub(super) fn notice(text: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // The test runner catches `eprintln`.
    stderr().write_all(format!("{test}: {text}\n").as_bytes()).unwrap();
}

impl ContractHarness {
    fn new(mut config: Config, stand_in: Option<Server>) -> Self {
        config.default_retry = false;
        let namespace = format!("contract-{:08x}", fastrand::u32(..));
        Self { client: Client::try_from(config).unwrap(), namespace, stand_in }
    }

    pub(super) fn is_real(&self) -> bool {
        self.stand_in.is_none()
    }

    async fn prepare(&self) {
        let document = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        assert_eq!(self.send("POST", "/api/v1/namespaces", Some(&document)).await.0, 201);
        if self.is_real() {
            // Pods are refused until the namespace has its service account.
            let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.namespace);
            let deadline = Instant::now() + LIMIT;
            while self.send("GET", &account, None).await.0 != 200 {
                assert!(Instant::now() < deadline, "no service account");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    pub(super) fn pods(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/pods{rest}", self.namespace)
    }

    pub(super) fn leases(&self, rest: &str) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases{rest}", self.namespace)
    }

    /// Sends a request. Returns the status code and the text.
    pub(super) async fn text(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let sent = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = self.client.send(request.body(Body::from(sent)).unwrap());
        let answer = tokio::time::timeout(LIMIT, answer).await.expect("an answer in time").unwrap();
        let code = answer.status().as_u16();
        let bytes = tokio::time::timeout(LIMIT, answer.into_body().collect()).await.expect("a body in time").unwrap();
        (code, String::from_utf8(bytes.to_bytes().to_vec()).unwrap())
    }

    /// Sends a request. Returns the status code and the JSON.
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (code, text) = self.text(method, path, body).await;
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {code}: {error}: {text}")))
    }

    /// Gets a list, or a page of one, by its query.
    pub(super) async fn list(&self, query: &str) -> Value {
        let (code, list) = self.send("GET", &self.pods(&format!("?{query}")), None).await;
        assert_eq!(code, 200, "{list}");
        list
    }

    /// The current resource version.
    pub(super) async fn now(&self) -> String {
        text_at(&self.list("").await, "/metadata/resourceVersion")
    }

    /// The lines of a watch.
    pub(super) async fn lines(&self, query: &str) -> impl Stream<Item = String> + Unpin + use<> {
        let path = self.pods(&format!("?watch=true&{query}"));
        let request = Request::get(path).body(Vec::new()).unwrap();
        let stream = tokio::time::timeout(LIMIT, self.client.request_stream(request)).await;
        let lines = stream.expect("headers in time").unwrap().lines();
        Box::pin(lines.map(|line| line.unwrap()))
    }

    /// The events of a watch.
    pub(super) async fn watch(&self, query: &str) -> impl Stream<Item = Value> + Unpin + use<> {
        let lines = self.lines(query).await;
        lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Creates a pod that is never scheduled, so that only the test changes it.
    pub(super) async fn create(&self, name: &str, labels: &Value) -> Value {
        let document = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "registry.example.com/app:1"}]},
        });
        let (code, pod) = self.send("POST", &self.pods(""), Some(&document)).await;
        assert_eq!(code, 201, "{pod}");
        pod
    }

    pub(super) async fn label(&self, name: &str, labels: &Value) -> Value {
        let path = self.pods(&format!("/{name}"));
        let mut pod = self.send("GET", &path, None).await.1;
        pod["metadata"]["labels"] = labels.clone();
        let (code, pod) = self.send("PUT", &path, Some(&pod)).await;
        assert_eq!(code, 200, "{pod}");
        pod
    }

    /// Deletes a pod. Returns its last state.
    pub(super) async fn delete(&self, name: &str) -> Value {
        let (code, answer) = self.send("DELETE", &self.pods(&format!("/{name}")), None).await;
        assert_eq!(code, 200, "{answer}");
        answer
    }

    /// Makes the server's history expire. Returns whether it did; if not, the case is skipped. On a real server this
    /// waits for a compaction, until a request is answered with 410.
    pub(super) async fn forget(&self, request: &str) -> bool {
        if let Some(server) = &self.stand_in {
            // History expires only after later changes.
            server.create(pod_registrar::demo::pod::pod("bystander")).unwrap();
            server.compact();
            return true;
        }
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            self.label_namespace().await;
            if self.send("GET", request, None).await.0 == 410 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        notice("skipped on the real API server: its history did not expire in time");
        false
    }

    /// A write, so that a compaction has something to compact.
    async fn label_namespace(&self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let mut namespace = self.send("GET", &path, None).await.1;
        namespace["metadata"]["labels"]["touched"] = format!("{}", fastrand::u32(..)).into();
        self.send("PUT", &path, Some(&namespace)).await;
    }
}

/// The next item, which has to come in time.
pub(super) async fn next<T>(stream: &mut (impl Stream<Item = T> + Unpin)) -> T {
    tokio::time::timeout(LIMIT, stream.next()).await.expect("an event in time").expect("the watch continues")
}

/// A text in a document, or an empty one.
pub(super) fn text_at(document: &Value, pointer: &str) -> String {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn version_of(object: &Value) -> u64 {
    text_at(object, "/metadata/resourceVersion").parse().unwrap()
}

/// Whether an event has this type and pod.
pub(super) fn brief(event: &Value) -> (String, String) {
    (text_at(event, "/type"), text_at(event, "/object/metadata/name"))
}

pub(super) fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|item| text_at(item, "/metadata/name")).collect()
}
