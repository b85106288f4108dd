//! A registry of systems with an ordinary REST API, served by the test itself.
//!
//! Below `/systems` the client chooses the ids, as the preset `rest` describes it. Below `/machines` the registry
//! assigns them. `POST /bulk` takes operations, one per line.

mod journal;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
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
    routing::{get, patch, post},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use self::journal::Journal;

/// Records of a page, if the request does not say how many.
const PAGE: usize = 3;

type Records = BTreeMap<String, Value>;

/// Gets the method and path of a request, the systems and the machines.
type BeforeRequest = Box<dyn FnMut(&str, &mut Records, &mut Records) + Send>;

#[derive(Default)]
struct Contents {
    systems: Records,
    machines: Records,
    /// The last id that was assigned.
    assigned: u64,
    /// The methods and paths of all requests.
    requests: Vec<String>,
    /// The content types and the lines of bulk requests.
    bulks: Vec<(String, usize)>,
    token: Option<String>,
    /// Whether texts are stored in capitals.
    shouts: bool,
    /// For how long requests that read machines do not show what was written.
    lag: Duration,
    /// The machines after each change.
    past: Vec<(Instant, Records)>,
    /// Why records are refused.
    refusal: Option<&'static str>,
    /// Why machines that have systems are not deleted.
    protection: Option<&'static str>,
    /// Acts before each request.
    before: Option<BeforeRequest>,
    /// The method whose answers are lost.
    loses: Option<&'static str>,
    journal: Journal,
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
            .route("/systems", get(list_systems))
            .route("/systems/{id}", get(find).put(put).delete(delete_system))
            .route("/machines", get(list_machines).post(create))
            .route("/machines/{id}", patch(update).delete(delete_machine))
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

    /// From now on, requests that read machines show them as they were this time before.
    pub(crate) fn lags(&self, lag: Duration) {
        self.contents.lock().lag = lag;
    }

    /// From now on, records are refused with status 422.
    pub(crate) fn refuses(&self, why: &'static str) {
        self.contents.lock().refusal = Some(why);
    }

    /// From now on, a machine that has systems is not deleted: status 409.
    pub(crate) fn protects_parents(&self, why: &'static str) {
        self.contents.lock().protection = Some(why);
    }

    pub(crate) fn insert(&self, id: &str, record: Value) {
        self.contents.lock().systems.insert(id.to_owned(), record);
    }

    /// Stores a record under an id that the registry assigns, and returns the id.
    pub(crate) fn insert_machine(&self, record: Value) -> Value {
        self.contents.lock().assign(record)["id"].take()
    }

    /// From now on, another program changes records before requests.
    pub(crate) fn before_requests(&self, act: impl FnMut(&str, &mut Records, &mut Records) + Send + 'static) {
        self.contents.lock().before = Some(Box::new(act));
    }

    /// From now on, requests with this method have their effect, and their answers are lost.
    pub(crate) fn loses_answers_to(&self, method: &'static str) {
        self.contents.lock().loses = Some(method);
    }

    /// Lets a person edit or remove one of the records.
    pub(crate) fn by_hand(&self, change: impl FnOnce(&mut Records, &mut Records)) {
        let contents = &mut *self.contents.lock();
        change(&mut contents.systems, &mut contents.machines);
    }

    pub(crate) fn records(&self) -> Records {
        self.contents.lock().systems.clone()
    }

    /// The records whose ids the registry assigned.
    pub(crate) fn machines(&self) -> Records {
        self.contents.lock().machines.clone()
    }

    /// The methods and paths of the requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.contents.lock().requests)
    }

    /// The content types and the numbers of lines of all bulk requests.
    pub(crate) fn bulks(&self) -> Vec<(String, usize)> {
        self.contents.lock().bulks.clone()
    }

    /// The number of writes so far.
    pub(crate) fn writes(&self) -> usize {
        self.contents.lock().journal.writes
    }

    /// Writes that nobody should have sent; see [`journal`].
    pub(crate) fn findings(&self) -> Vec<String> {
        self.contents.lock().journal.findings.clone()
    }

    /// The findings about records of another owner than the sender.
    pub(crate) fn trespasses(&self) -> Vec<String> {
        self.findings().into_iter().filter(|finding| finding.contains("touches")).collect()
    }

    /// A client or the network breaks now, or works again. If they `lose` answers, they do until the next call.
    pub(crate) fn lose_answers(&self, lose: bool) {
        self.contents.lock().journal.lose_answers(lose);
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
        let before = self.systems.insert(id.to_owned(), record.clone());
        self.journal.wrote(&format!("system {id}"), before.as_ref() != Some(&record));
        record
    }

    fn assign(&mut self, mut record: Value) -> Value {
        self.assigned += 1;
        record["id"] = self.assigned.into();
        self.machines.insert(self.assigned.to_string(), record.clone());
        self.note();
        record
    }

    fn note(&mut self) {
        self.past.push((Instant::now(), self.machines.clone()));
    }

    fn machines_shown(&self) -> Records {
        if self.lag.is_zero() {
            return self.machines.clone();
        }
        let shown = self.past.iter().rev().find(|(at, _)| at.elapsed() >= self.lag);
        shown.map(|(_, machines)| machines.clone()).unwrap_or_default()
    }

    fn create(&mut self, record: Value) -> Value {
        let of = |record: &Value| (record["owner"].clone(), record["uid"].clone());
        if let Some(twin) = self.machines.values().find(|other| of(other) == of(&record)) {
            self.journal.find(format!("created twice: {twin} and {record}"));
        }
        self.journal.wrote(&format!("machine {}", record["uid"]), true);
        self.assign(record)
    }

    fn update(&mut self, id: &str, changes: &Value) -> Option<Value> {
        let record = self.machines.get_mut(id)?;
        let before = record.clone();
        for (name, value) in changes.as_object()? {
            record[name] = value.clone();
        }
        let (record, changed) = (record.clone(), *record != before);
        self.note();
        self.journal.wrote(&format!("machine {}", record["uid"]), changed);
        Some(record)
    }

    /// Notes if a request touches a record of another owner than its sender.
    fn judge_sender(&mut self, method: &str, record: Option<Value>, headers: &HeaderMap) {
        let sender = headers.get("x-owner").and_then(|value| value.to_str().ok());
        if let (Some(sender), Some(record)) = (sender, record)
            && record["owner"] != sender
        {
            self.journal.find(format!("{method} of {sender} touches {record}"));
        }
    }
}

async fn admit(
    State(contents): State<Shared>,
    headers: HeaderMap,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let line = format!("{} {}", request.method(), request.uri().path());
    let (is_admitted, is_lost) = {
        let contents = &mut *contents.lock();
        if let Some(act) = &mut contents.before {
            act(&line, &mut contents.systems, &mut contents.machines);
        }
        contents.requests.push(line);
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let is_lost = contents.loses.is_some_and(|method| request.method() == method);
        (contents.token.as_deref().is_none_or(|token| given == Some(token)), is_lost)
    };
    if !is_admitted {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let answer = next.run(request).await;
    if is_lost { StatusCode::BAD_GATEWAY.into_response() } else { answer }
}

/// The page after an id, so that changes shift no record to another page. Filters other than `uid` and `name` are
/// ignored.
fn list(place: &str, records: &Records, query: &HashMap<String, String>) -> Json<Value> {
    let page = query.get("size").and_then(|text| text.parse::<usize>().ok()).unwrap_or(PAGE);
    let is_later = |id: &str| query.get("after").is_none_or(|after| id > after.as_str());
    let has = |record: &Value, member: &str| query.get(member).is_none_or(|wanted| record[member] == wanted.as_str());
    let is_wanted = |record: &Value| has(record, "uid") && has(record, "name");
    let mut rest = records.iter().filter(|(id, record)| is_later(id) && is_wanted(record)).peekable();
    let (ids, results): (Vec<_>, Vec<_>) = rest.by_ref().take(page).unzip();
    let next = ids.last().filter(|_| rest.peek().is_some()).map(|last| {
        let params = [("after", last.as_str()), ("size", &page.to_string())];
        let url = reqwest::Url::parse_with_params("http://localhost", params).unwrap();
        format!("/{place}?{}", url.query().unwrap())
    });
    Json(json!({"results": results, "next": next}))
}

async fn list_systems(State(contents): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    list("systems", &contents.lock().systems, &query)
}

async fn list_machines(State(contents): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    list("machines", &contents.lock().machines_shown(), &query)
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

async fn create(State(contents): State<Shared>, Json(record): Json<Value>) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(contents.lock().create(record)))
}

async fn update(
    State(contents): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(changes): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let mut contents = contents.lock();
    let before = contents.machines.get(&id).cloned();
    contents.judge_sender("update", before, &headers);
    contents.update(&id, &changes).map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn delete_system(State(contents): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> StatusCode {
    let mut contents = contents.lock();
    let removed = contents.systems.remove(&id);
    deleted(&mut contents, removed, &headers)
}

async fn delete_machine(State(contents): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut contents = contents.lock();
    let has_systems =
        contents.systems.values().any(|system| system["machine"].as_u64().is_some_and(|of| of.to_string() == id));
    if let Some(why) = contents.protection.filter(|_| has_systems) {
        return (StatusCode::CONFLICT, why).into_response();
    }
    let removed = contents.machines.remove(&id);
    contents.note();
    deleted(&mut contents, removed, &headers).into_response()
}

fn deleted(contents: &mut Contents, removed: Option<Value>, headers: &HeaderMap) -> StatusCode {
    let status = if removed.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
    contents.judge_sender("delete", removed, headers);
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
