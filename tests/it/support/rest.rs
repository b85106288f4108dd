//! A registry of systems with an ordinary REST API, as the preset `rest` describes it, served by the test itself.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Records of a page.
const PAGE: usize = 3;

#[derive(Default)]
struct Contents {
    records: BTreeMap<String, Value>,
    /// The methods and paths of all requests.
    requests: Vec<String>,
    token: Option<String>,
    /// Whether texts are stored in capitals.
    shouts: bool,
    /// Why records are refused.
    refusal: Option<&'static str>,
}

type Shared = Arc<Mutex<Contents>>;

/// A registry in memory. It stops when this is dropped.
pub(crate) struct RestRegistry {
    pub(crate) url: String,
    contents: Shared,
    task: JoinHandle<()>,
}

impl RestRegistry {
    pub(crate) async fn start() -> Self {
        let contents = Shared::default();
        let record = get(find).put(put).delete(delete);
        let router = Router::new()
            .route("/systems", get(list))
            .route("/systems/{id}", record)
            .layer(middleware::from_fn_with_state(contents.clone(), admit))
            .with_state(contents.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, contents, task }
    }

    /// From now on, requests need this bearer token.
    pub(crate) fn needs(&self, token: &str) {
        self.contents.lock().unwrap().token = Some(token.to_owned());
    }

    /// From now on, texts are stored in capitals.
    pub(crate) fn shouts(&self) {
        self.contents.lock().unwrap().shouts = true;
    }

    /// From now on, records are refused with status 422.
    pub(crate) fn refuses(&self, why: &'static str) {
        self.contents.lock().unwrap().refusal = Some(why);
    }

    pub(crate) fn insert(&self, id: &str, record: Value) {
        self.contents.lock().unwrap().records.insert(id.to_owned(), record);
    }

    pub(crate) fn remove(&self, id: &str) {
        self.contents.lock().unwrap().records.remove(id);
    }

    pub(crate) fn records(&self) -> BTreeMap<String, Value> {
        self.contents.lock().unwrap().records.clone()
    }

    /// The methods and paths of the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.contents.lock().unwrap().requests)
    }
}

impl Drop for RestRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn admit(
    State(contents): State<Shared>,
    headers: HeaderMap,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let is_admitted = {
        let mut contents = contents.lock().unwrap();
        contents.requests.push(format!("{} {}", request.method(), request.uri().path()));
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        contents.token.as_deref().is_none_or(|token| given == Some(token))
    };
    if is_admitted { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
}

async fn list(State(contents): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let contents = contents.lock().unwrap();
    let start: usize = query.get("start").and_then(|start| start.parse().ok()).unwrap_or_default();
    let all: Vec<Value> = contents.records.values().cloned().collect();
    let results: Vec<Value> = all.iter().skip(start).take(PAGE).cloned().collect();
    let after = start + results.len();
    let next = (after < all.len()).then(|| format!("/systems?start={after}"));
    Json(json!({"results": results, "next": next}))
}

async fn find(State(contents): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>, StatusCode> {
    contents.lock().unwrap().records.get(&id).cloned().map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn put(State(contents): State<Shared>, Path(id): Path<String>, Json(mut record): Json<Value>) -> Response {
    let mut contents = contents.lock().unwrap();
    if let Some(why) = contents.refusal {
        return (StatusCode::UNPROCESSABLE_ENTITY, why).into_response();
    }
    record["id"] = id.as_str().into();
    if contents.shouts {
        record["name"] = record["name"].as_str().unwrap_or_default().to_uppercase().into();
    }
    contents.records.insert(id, record.clone());
    Json(record).into_response()
}

async fn delete(State(contents): State<Shared>, Path(id): Path<String>) -> StatusCode {
    match contents.lock().unwrap().records.remove(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}
