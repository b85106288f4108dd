//! The reference registry behind a proxy that breaks one rule of the protocol.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::registry::{RegistryTask, http_client};

/// A request on its way to the reference registry.
#[derive(Clone, Debug)]
pub(crate) struct ProxiedRequest {
    pub(crate) method: Method,
    /// The path with the query.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The value of `Accept`.
    pub(crate) accept: Option<String>,
    /// The value of `Last-Event-ID`.
    pub(crate) last_event_id: Option<String>,
    /// The requests before this one, oldest first.
    earlier: Arc<Mutex<Vec<EarlierRequest>>>,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct EarlierRequest {
    method: Method,
    path: String,
    body: Bytes,
    status: u16,
    pub(crate) at: Instant,
    place: usize,
}

/// The registry's answer.
#[derive(Debug)]
pub(crate) struct ProxiedAnswer {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    /// `null` if there is no JSON.
    pub(crate) json: Value,
}

/// What the proxy does otherwise than the reference registry.
#[derive(Clone, Copy)]
pub(crate) enum Defect {
    Request(fn(&mut ProxiedRequest)),
    Answer(fn(&ProxiedRequest, &mut ProxiedAnswer)),
    /// The proxy answers some requests itself, with a status and JSON.
    Instead(fn(&ProxiedRequest) -> Option<(u16, Value)>),
}

impl ProxiedRequest {
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method.as_str() == method && self.path.contains(part)
    }

    /// The path without its query.
    pub(crate) fn address(&self) -> &str {
        self.path.split('?').next().unwrap()
    }

    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.path, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The newest earlier request of the same owner with this method and the end of this address that succeeded.
    pub(crate) fn last(&self, method: &str, end: &str) -> Option<EarlierRequest> {
        self.newest(method, end, |status| status < 300)
    }

    /// The newest earlier request of the same owner that was refused with this status.
    pub(crate) fn refused(&self, method: &str, end: &str, with: u16) -> Option<EarlierRequest> {
        self.newest(method, end, |status| status == with)
    }

    fn newest(&self, method: &str, end: &str, is_status: impl Fn(u16) -> bool) -> Option<EarlierRequest> {
        let owner = |path: &str| path.split("owner=").nth(1).map(str::to_owned);
        let earlier = self.earlier.lock().unwrap();
        let matches = |request: &&EarlierRequest| {
            request.method.as_str() == method
                && is_status(request.status)
                && request.path.split('?').next().unwrap().ends_with(end)
                && owner(&request.path) == owner(&self.path)
        };
        earlier.iter().rev().find(matches).cloned()
    }
}

fn parameter<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

impl EarlierRequest {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.path, name)
    }

    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.place < other.place
    }
}

impl ProxiedAnswer {
    /// Whether the answer is a problem of this name.
    pub(crate) fn refuses(&self, name: &str) -> bool {
        self.json["type"].as_str().is_some_and(|found| found.ends_with(&format!(":{name}")))
    }
}

struct Upstream {
    url: String,
    client: reqwest::Client,
    defect: Defect,
    earlier: Arc<Mutex<Vec<EarlierRequest>>>,
}

/// The running proxy and its registry. Both stop when this is dropped.
pub(crate) struct BrokenRegistry {
    pub(crate) url: String,
    _registry: RegistryTask,
    task: JoinHandle<()>,
}

impl BrokenRegistry {
    pub(crate) async fn start(defect: Defect) -> Self {
        let registry = RegistryTask::start();
        let (client, earlier) = (http_client(), Arc::default());
        let upstream = Arc::new(Upstream { url: registry.url.clone(), client, defect, earlier });
        let router = Router::new().fallback(pass).layer(DefaultBodyLimit::disable()).with_state(upstream);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, _registry: registry, task }
    }
}

impl Drop for BrokenRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    State(upstream): State<Arc<Upstream>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path_and_query().unwrap().to_string();
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let request = ProxiedRequest {
        method,
        path,
        body,
        authorization: text("authorization"),
        accept: text("accept"),
        last_event_id: text("last-event-id"),
        earlier: Arc::clone(&upstream.earlier),
    };
    let (answer, allow) = match answered(&upstream, &request).await {
        Proxied::Answer(answer, allow) => (answer, allow),
        Proxied::Events(response) => return events(response),
    };
    let mut earlier = upstream.earlier.lock().unwrap();
    let place = earlier.len();
    let ProxiedRequest { method, path, body, .. } = request;
    earlier.push(EarlierRequest { method, path, body, status: answer.status, at: Instant::now(), place });
    drop(earlier);
    let mut headers = HeaderMap::new();
    headers.extend(allow.map(|allow| (header::ALLOW, allow)));
    if answer.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, "Bearer".parse().unwrap());
    }
    let body = if answer.json.is_null() { String::new() } else { answer.json.to_string() };
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, answer.media_type.parse().unwrap());
    }
    (StatusCode::from_u16(answer.status).unwrap(), headers, body).into_response()
}

enum Proxied {
    /// The answer of the registry, or of the proxy, and the value of `Allow`.
    Answer(ProxiedAnswer, Option<HeaderValue>),
    /// Server-sent events, which do not end.
    Events(reqwest::Response),
}

fn events(response: reqwest::Response) -> Response {
    let next = |mut response: reqwest::Response| async {
        let chunk = response.chunk().await.ok().flatten()?;
        Some((Ok::<_, std::convert::Infallible>(chunk), response))
    };
    let body = Body::from_stream(futures::stream::unfold(response, next));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn answered(upstream: &Upstream, original: &ProxiedRequest) -> Proxied {
    let mut request = original.clone();
    match upstream.defect {
        Defect::Request(change) => change(&mut request),
        Defect::Instead(answer) => {
            if let Some((status, json)) = answer(original) {
                let media_type = if status < 400 { "application/json" } else { "application/problem+json" }.to_owned();
                return Proxied::Answer(ProxiedAnswer { status, media_type, json }, None);
            }
        }
        Defect::Answer(_) => {}
    }
    let url = format!("{}{}", upstream.url, request.path);
    let mut sent = upstream.client.request(request.method, url).body(request.body);
    for (name, value) in [("accept", request.accept), ("last-event-id", request.last_event_id)] {
        sent = value.into_iter().fold(sent, |sent, value| sent.header(name, value));
    }
    let answer = sent.send().await.unwrap();
    let status = answer.status().as_u16();
    let allow = answer.headers().get(header::ALLOW).cloned();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let media_type = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    if media_type.starts_with("text/event-stream") {
        return Proxied::Events(answer);
    }
    let json = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null);
    let mut answer = ProxiedAnswer { status, media_type, json };
    if let Defect::Answer(change) = upstream.defect {
        change(original, &mut answer);
    }
    Proxied::Answer(answer, allow)
}
