//! A registry of systems with an ordinary REST API, served by the test itself.
//!
//! Below `/systems` the client chooses the ids, as the preset `rest` describes it. `POST /bulk` takes operations, one per
//! line.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Records of a page.
const PAGE: usize = 3;

type Records = BTreeMap<String, Value>;

#[derive(Default)]
struct Contents {
    systems: Records,
    /// The methods and paths of all requests.
    requests: Vec<String>,
    /// The content types and the lines of bulk requests.
    bulks: Vec<(String, usize)>,
    token: Option<String>,
    /// Whether texts are stored in capitals.
    shouts: bool,
    /// Why records are refused.
    refusal: Option<&'static str>,
    /// Requests that changed or removed a record of another owner. The header `x-owner` names the sender.
    trespasses: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Contents>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }
}

/// A registry in memory. It stops when this is dropped.
pub(crate) struct RestRegistry {
    pub(crate) url: String,
    contents: Shared,
    task: JoinHandle<()>,
}

impl RestRegistry {
    pub(crate) async fn start() -> Self {
        let contents = Shared::default();
        let router = Router::new()
            .route("/systems", get(list))
            .route("/systems/{id}", get(find).put(put).delete(delete))
            .route("/bulk", post(bulk))
            .layer(middleware::from_fn_with_state(contents.clone(), admit))
            .with_state(contents.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, contents, task }
    }

    /// From now on, requests need this bearer token.
    pub(crate) fn needs(&self, token: &str) {
        self.contents.lock().token = Some(token.to_owned());
    }

    /// From now on, texts are stored in capitals.
    pub(crate) fn shouts(&self) {
        self.contents.lock().shouts = true;
    }

    /// From now on, records are refused with status 422.
    pub(crate) fn refuses(&self, why: &'static str) {
        self.contents.lock().refusal = Some(why);
    }

    pub(crate) fn insert(&self, id: &str, record: Value) {
        self.contents.lock().systems.insert(id.to_owned(), record);
    }

    pub(crate) fn remove(&self, id: &str) {
        self.contents.lock().systems.remove(id);
    }

    pub(crate) fn records(&self) -> Records {
        self.contents.lock().systems.clone()
    }

    /// The methods and paths of the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.contents.lock().requests)
    }

    /// The content types and the numbers of lines of all bulk requests.
    pub(crate) fn bulks(&self) -> Vec<(String, usize)> {
        self.contents.lock().bulks.clone()
    }

    /// Requests that changed or removed a record of another owner than that in their header `x-owner`.
    pub(crate) fn trespasses(&self) -> Vec<String> {
        self.contents.lock().trespasses.clone()
    }
}

impl Drop for RestRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Contents {
    fn put(&mut self, id: &str, mut record: Value) -> Value {
        record["id"] = id.into();
        if self.shouts {
            record["name"] = record["name"].as_str().unwrap_or_default().to_uppercase().into();
        }
        self.systems.insert(id.to_owned(), record.clone());
        record
    }

    /// Notes if a request touches a record of another owner than its sender.
    fn judge_sender(&mut self, method: &str, record: Option<Value>, headers: &HeaderMap) {
        let sender = headers.get("x-owner").and_then(|value| value.to_str().ok());
        if let (Some(sender), Some(record)) = (sender, record)
            && record["owner"] != sender
        {
            self.trespasses.push(format!("{method} of {sender} touches {record}"));
        }
    }
}

async fn admit(
    State(contents): State<Shared>,
    headers: HeaderMap,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let is_admitted = {
        let mut contents = contents.lock();
        contents.requests.push(format!("{} {}", request.method(), request.uri().path()));
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        contents.token.as_deref().is_none_or(|token| given == Some(token))
    };
    if is_admitted { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
}

/// A page. Filters are ignored.
async fn list(State(contents): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let contents = contents.lock();
    let start: usize = query.get("start").and_then(|start| start.parse().ok()).unwrap_or_default();
    let all: Vec<&Value> = contents.systems.values().collect();
    let results: Vec<&Value> = all.iter().copied().skip(start).take(PAGE).collect();
    let after = start + results.len();
    let next = (after < all.len()).then(|| format!("/systems?start={after}"));
    Json(json!({"results": results, "next": next}))
}

async fn find(State(contents): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>, StatusCode> {
    contents.lock().systems.get(&id).cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn put(
    State(contents): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(record): Json<Value>,
) -> Response {
    let mut contents = contents.lock();
    if let Some(why) = contents.refusal {
        return (StatusCode::UNPROCESSABLE_ENTITY, why).into_response();
    }
    let before = contents.systems.get(&id).cloned();
    contents.judge_sender("put", before, &headers);
    Json(contents.put(&id, record)).into_response()
}

async fn delete(State(contents): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> StatusCode {
    let mut contents = contents.lock();
    let removed = contents.systems.remove(&id);
    let status = if removed.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
    contents.judge_sender("delete", removed, &headers);
    status
}

/// Each line is `{"put": RECORD, "id": …}` or `{"delete": true, "id": …}`.
async fn bulk(State(contents): State<Shared>, headers: HeaderMap, body: String) -> Result<Json<Value>, StatusCode> {
    let lines: Result<Vec<Value>, _> = body.lines().map(serde_json::from_str).collect();
    let lines = lines.map_err(|_| StatusCode::BAD_REQUEST)?;
    let mut contents = contents.lock();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    contents.bulks.push((content_type.to_owned(), lines.len()));
    let mut results = Vec::new();
    for line in lines {
        let id = line["id"].as_str().ok_or(StatusCode::BAD_REQUEST)?;
        let is_refused = line["put"]["app"] == "refused";
        match &line["put"] {
            Value::Null => _ = contents.systems.remove(id),
            _ if is_refused => {}
            record => _ = contents.put(id, record.clone()),
        }
        results.push(json!({"id": id, "status": if is_refused { 422 } else { 200 }}));
    }
    Ok(Json(json!({"results": results})))
}
