//! A proxy in front of the registry, which records everything that the controller sends, and can delay or change the
//! answers.

use std::sync::{Arc, Mutex};

use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::registry::http_client;

/// A request and, after it arrived, the registry's answer to it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) method: Method,
    /// The path with the query.
    pub(crate) path: String,
    /// The header that names the trace of the request.
    pub(crate) traceparent: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) answer: Option<(u16, Bytes)>,
    /// Whether the registry answered, even if the answer was not passed on. `None` while it may still answer.
    pub(crate) reached: Option<bool>,
}

impl Exchange {
    /// Whether this writes records.
    pub(crate) fn writes(&self) -> bool {
        (self.path.contains("/pods/") && self.method != Method::GET) || self.path.contains("/pods:batch")
    }

    /// Whether this writes the record of this UID.
    pub(crate) fn writes_about(&self, id: &str) -> bool {
        let in_body = || self.body.windows(id.len()).any(|window| window == id.as_bytes());
        self.writes() && (self.path.contains(id) || in_body())
    }

    /// The puts and deletions that the registry acknowledged here, as (UID, whether it is a put, seq).
    pub(crate) fn acknowledged(&self) -> Vec<(String, bool, (u64, u64))> {
        let Some((200..300, answer)) = &self.answer else { return Vec::new() };
        let version = |of: &Value| (of["epoch"].as_u64().unwrap(), of["seq"].as_u64().unwrap());
        let id = |path: &str| path.rsplit('/').next().and_then(|last| last.split('?').next()).unwrap().to_owned();
        match self.method {
            Method::PUT => {
                let body: Value = serde_json::from_slice(&self.body).unwrap();
                vec![(id(&self.path), true, version(&body["version"]))]
            }
            Method::DELETE => {
                let number = |name: &str| {
                    let (_, rest) = self.path.split_once(&format!("{name}=")).unwrap();
                    rest.split('&').next().unwrap().parse().unwrap()
                };
                vec![(id(&self.path), false, (number("epoch"), number("seq")))]
            }
            _ => {
                let (body, answer): (Value, Value) =
                    (serde_json::from_slice(&self.body).unwrap(), serde_json::from_slice(answer).unwrap());
                let operations = body["operations"].as_array().unwrap().iter();
                let done = operations.zip(answer["results"].as_array().unwrap());
                let done =
                    done.filter(|(_, result)| result["status"].as_u64().is_some_and(|s| (200..300).contains(&s)));
                let operations = done.map(|(operation, _)| {
                    let put = operation["op"] == "put";
                    let of = if put { &operation["record"]["version"] } else { &operation["version"] };
                    (operation["id"].as_str().unwrap().to_owned(), put, version(of))
                });
                operations.collect()
            }
        }
    }
}

/// The answer that the controller gets instead of the registry's one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Garble {
    /// The registry applies the write, and the page of a proxy comes back with this status.
    Page(u16),
    /// The registry applies the write, and half of its answer comes back.
    Half,
    /// The write does not reach the registry, and a status with a `Retry-After` of one second comes back.
    Wait(u16),
}

type Garbler = Arc<Mutex<Option<Box<dyn FnMut() -> Option<Garble> + Send>>>>;

type Predicate = Arc<dyn Fn(&Exchange) -> bool + Send + Sync>;

#[derive(Clone)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    seen: Arc<Mutex<Vec<Exchange>>>,
    held: watch::Sender<Option<Predicate>>,
    kept: watch::Sender<Option<Predicate>>,
    garbler: Garbler,
    refused: Arc<Mutex<Option<String>>>,
}

/// The proxy. It stops when it is dropped.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Shared,
    task: JoinHandle<std::io::Result<()>>,
}

impl Proxy {
    /// Starts a proxy on a free port.
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (held, kept) = (watch::Sender::new(None), watch::Sender::new(None));
        let shared = Shared {
            upstream: upstream.to_owned(),
            client: http_client(),
            seen: Arc::default(),
            held,
            kept,
            garbler: Arc::default(),
            refused: Arc::default(),
        };
        let router = axum::Router::new().fallback(pass).layer(DefaultBodyLimit::disable()).with_state(shared.clone());
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, shared, task }
    }

    /// All exchanges so far.
    pub(crate) fn seen(&self) -> Vec<Exchange> {
        self.seen_since(0)
    }

    /// The number of exchanges so far, for [`Proxy::seen_since`].
    pub(crate) fn mark(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// The exchanges since a mark.
    pub(crate) fn seen_since(&self, mark: usize) -> Vec<Exchange> {
        self.shared.seen.lock().unwrap()[mark..].to_vec()
    }

    /// Holds the requests that match, before they reach the registry.
    pub(crate) fn hold(&self, which: impl Fn(&Exchange) -> bool + Send + Sync + 'static) {
        self.shared.held.send_replace(Some(Arc::new(which)));
    }

    /// Holds the registry's answers to the requests that match.
    pub(crate) fn keep_answers(&self, which: impl Fn(&Exchange) -> bool + Send + Sync + 'static) {
        self.shared.kept.send_replace(Some(Arc::new(which)));
    }

    /// Holds the writes of records.
    pub(crate) fn hold_writes(&self) {
        self.hold(Exchange::writes);
    }

    /// Releases everything.
    pub(crate) fn release(&self) {
        self.shared.held.send_replace(None);
        self.shared.kept.send_replace(None);
    }

    /// Asks `garbler` about the answer to each write of records.
    pub(crate) fn garble(&self, garbler: impl FnMut() -> Option<Garble> + Send + 'static) {
        *self.shared.garbler.lock().unwrap() = Some(Box::new(garbler));
    }

    /// Rejects the writes of this record from now on, or those of no record.
    pub(crate) fn reject(&self, uid: Option<&str>) {
        *self.shared.refused.lock().unwrap() = uid.map(str::to_owned);
    }

    /// Passes on the registry's answers again.
    pub(crate) fn ungarble(&self) {
        *self.shared.garbler.lock().unwrap() = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on every header that does not belong to one connection.
fn passed(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for own in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        passed.remove(own);
    }
    passed
}

async fn pass(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let traceparent = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
    let exchange = Exchange {
        method: method.clone(),
        path: path.clone(),
        traceparent,
        body: body.clone(),
        answer: None,
        reached: None,
    };
    let number = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(exchange.clone());
        seen.len() - 1
    };
    let mut held = shared.held.subscribe();
    let free = held.wait_for(|held| held.as_ref().is_none_or(|held| !held(&exchange))).await;
    free.expect("a sender that the proxy keeps");
    if shared.refused.lock().unwrap().as_ref().is_some_and(|uid| exchange.writes_about(uid)) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let garbler = exchange.writes().then(|| shared.garbler.lock().unwrap());
    let garble = garbler.and_then(|mut garbler| garbler.as_mut()?());
    if let Some(Garble::Wait(status)) = garble {
        return (StatusCode::from_u16(status).unwrap(), [("retry-after", "1")]).into_response();
    }
    let mut kept = shared.kept.subscribe();
    let request = shared.client.request(method, format!("{}{path}", shared.upstream));
    let request = request.headers(passed(&headers)).body(body);
    let answer = async {
        let answer = request.send().await?;
        Ok::<_, reqwest::Error>((answer.status(), answer.headers().clone(), answer.bytes().await?))
    };
    let answer = answer.await;
    if let Some(exchange) = shared.seen.lock().unwrap().get_mut(number) {
        exchange.reached = Some(answer.is_ok());
    }
    let free = kept.wait_for(|kept| kept.as_ref().is_none_or(|kept| !kept(&exchange))).await;
    free.expect("a sender that the proxy keeps");
    match (answer, garble) {
        (Ok(_), Some(Garble::Page(status))) => {
            (StatusCode::from_u16(status).unwrap(), Html("<html>Bad Gateway</html>")).into_response()
        }
        (Ok((status, _, body)), Some(Garble::Half)) => {
            (status, [("content-type", "application/json")], body.slice(..body.len() / 2)).into_response()
        }
        (Ok((status, headers, body)), _) => {
            if let Some(exchange) = shared.seen.lock().unwrap().get_mut(number) {
                exchange.answer = Some((status.as_u16(), body.clone()));
            }
            (status, passed(&headers), body).into_response()
        }
        (Err(error), _) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
