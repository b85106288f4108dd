//! The reference registry behind a proxy that breaks one rule of the protocol.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
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
    /// The proxy answers some requests itself.
    Instead(fn(&ProxiedRequest) -> Option<u16>),
}

impl ProxiedRequest {
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method.as_str() == method && self.path.contains(part)
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
        let upstream = Arc::new(Upstream { url: registry.url.clone(), client: http_client(), defect });
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

async fn pass(State(upstream): State<Arc<Upstream>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path_and_query().unwrap().to_string();
    let mut request = ProxiedRequest { method, path, body };
    let original = request.clone();
    match upstream.defect {
        Defect::Request(change) => change(&mut request),
        Defect::Instead(answer) => {
            if let Some(status) = answer(&request) {
                return StatusCode::from_u16(status).unwrap().into_response();
            }
        }
        Defect::Answer(_) => {}
    }
    let url = format!("{}{}", upstream.url, request.path);
    let answer = upstream.client.request(request.method, url).body(request.body).send().await.unwrap();
    let status = answer.status().as_u16();
    let allow = answer.headers().get(header::ALLOW).cloned();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let media_type = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let json = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null);
    let mut answer = ProxiedAnswer { status, media_type, json };
    if let Defect::Answer(change) = upstream.defect {
        change(&original, &mut answer);
    }
    let mut headers = HeaderMap::new();
    headers.extend(allow.map(|allow| (header::ALLOW, allow)));
    let body = if answer.json.is_null() { String::new() } else { answer.json.to_string() };
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, answer.media_type.parse().unwrap());
    }
    (StatusCode::from_u16(answer.status).unwrap(), headers, body).into_response()
}
