//! A stand-in for one index of Elasticsearch, from its documentation.
//!
//! Searches show what was written before the last refresh. Documents have versions: an external one is refused if it is
//! lower than the stored one, and a write without any raises it by one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::stand_in::StandIn;

/// The interval between refreshes.
const REFRESH: Duration = Duration::from_secs(1);

type Reply = (StatusCode, Json<Value>);
type Parameters = HashMap<String, String>;

#[derive(Clone, Debug)]
struct Document {
    source: Value,
    version: u64,
    is_deleted: bool,
}

#[derive(Default)]
pub(crate) struct Index {
    exists: bool,
    documents: BTreeMap<String, Document>,
    /// What searches show.
    searchable: BTreeMap<String, Document>,
    refreshed: Option<Instant>,
    /// How many of the next searches lack the documents of a shard that failed.
    failing_searches: usize,
}

pub(crate) type ElasticsearchFake = StandIn<Index>;

impl ElasticsearchFake {
    pub(crate) async fn start() -> Self {
        Self::serve(Router::new().fallback(answer)).await
    }

    pub(crate) fn documents(&self) -> BTreeMap<String, Value> {
        let index = self.state();
        let living = index.documents.iter().filter(|(_, document)| !document.is_deleted);
        living.map(|(id, document)| (id.clone(), document.source.clone())).collect()
    }

    /// Lets a person write a document, or delete it, and wait for the refresh.
    pub(crate) fn by_hand(&self, id: &str, source: Option<Value>) {
        let mut index = self.state();
        index.write(id, source, &Parameters::new());
        index.refresh();
    }

    /// A shard fails in this number of searches.
    pub(crate) fn fail_searches(&self, count: usize) {
        self.state().failing_searches = count;
    }
}

impl Index {
    fn refresh(&mut self) {
        self.searchable = self.documents.clone();
        self.searchable.retain(|_, document| !document.is_deleted);
        self.refreshed = Some(Instant::now());
    }

    /// Writes a document, or deletes it. Returns the status, and why it was refused.
    fn write(&mut self, id: &str, source: Option<Value>, parameters: &Parameters) -> (u16, Option<String>) {
        let before = self.documents.get(id);
        let stored = before.map_or(0, |document| document.version);
        let version = match parameters.get("version").and_then(|version| version.parse::<u64>().ok()) {
            None => stored + 1,
            Some(_) if parameters.get("version_type").map(String::as_str) != Some("external_gte") => {
                return (400, Some("internal versioning can not be used for optimistic concurrency control".into()));
            }
            Some(version) if version < stored => {
                let why = format!("[{id}]: version conflict, current version [{stored}] is higher than [{version}]");
                return (409, Some(why));
            }
            Some(version) => version,
        };
        let existed = before.is_some_and(|document| !document.is_deleted);
        let is_deleted = source.is_none();
        let document = Document { source: source.unwrap_or_default(), version, is_deleted };
        self.documents.insert(id.to_owned(), document);
        let status = match (is_deleted, existed) {
            (false, false) => 201,
            (true, false) => 404,
            _ => 200,
        };
        (status, None)
    }

    fn search(&mut self, body: &Value) -> Value {
        if self.refreshed.is_none_or(|at| at.elapsed() >= REFRESH) {
            self.refresh();
        }
        let size = usize::try_from(body["size"].as_u64().unwrap_or(10)).unwrap();
        let owner = &body["query"]["term"]["owner"];
        let after = body["search_after"][0].as_str().unwrap_or_default();
        let fails = self.failing_searches > 0;
        self.failing_searches = self.failing_searches.saturating_sub(1);
        let found = self.searchable.iter().filter(|(_, document)| {
            let sorted = document.source["uid"].as_str().unwrap_or_default();
            document.source["owner"] == *owner && sorted > after && !fails
        });
        let mut hits: Vec<Value> = found
            .map(|(id, document)| json!({"_id": id, "_source": document.source, "sort": [document.source["uid"]]}))
            .collect();
        hits.sort_by_key(|hit| hit["sort"][0].as_str().unwrap_or_default().to_owned());
        hits.truncate(size);
        let shards = json!({"total": 1, "successful": u8::from(!fails), "failed": u8::from(fails)});
        json!({"took": 1, "timed_out": false, "_shards": shards, "hits": {"hits": hits}})
    }

    fn bulk(&mut self, text: &str) -> Reply {
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut items = Vec::new();
        while let Some(action) = lines.next() {
            let (name, about) = action.as_object().unwrap().iter().next().unwrap();
            let id = about["_id"].as_str().unwrap();
            let text = |member: &str| Some((member.to_owned(), about[member].to_string().trim_matches('"').to_owned()));
            let parameters = ["version", "version_type"].into_iter().filter_map(text).collect();
            let source = (name == "index").then(|| lines.next().unwrap());
            // The address of a pod that cannot be parsed is the fault of its document alone.
            let is_unusable = source.iter().any(|source| source["addresses"] == json!(["unusable"]));
            let (status, error) = match is_unusable {
                true => (400, Some("failed to parse field [addresses] of type [ip]".to_owned())),
                false => self.write(id, source, &parameters),
            };
            let mut result = json!({"_id": id, "status": status});
            if let Some(reason) = error {
                result["error"] = json!({"type": "version_conflict_engine_exception", "reason": reason});
            }
            items.push(json!({name: result}));
        }
        let has_errors = items.iter().any(|item| item.to_string().contains("\"error\""));
        (StatusCode::OK, Json(json!({"took": 1, "errors": has_errors, "items": items})))
    }
}

fn error(status: StatusCode, kind: &str, reason: &str) -> Reply {
    (status, Json(json!({"error": {"type": kind, "reason": reason}, "status": status.as_u16()})))
}

async fn answer(
    State(index): State<Arc<Mutex<Index>>>,
    method: Method,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let mut index = index.lock();
    let json = || serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let missing = || error(StatusCode::NOT_FOUND, "index_not_found_exception", "no such index [systems]");
    match (&method, uri.path()) {
        (&Method::PUT, "/systems") if index.exists => {
            error(StatusCode::BAD_REQUEST, "resource_already_exists_exception", "index [systems] already exists")
        }
        (&Method::PUT, "/systems") => {
            assert_eq!(json()["mappings"]["properties"]["uid"]["type"], "keyword", "pages are sorted by it");
            index.exists = true;
            (StatusCode::OK, Json(json!({"acknowledged": true})))
        }
        _ if !index.exists => missing(),
        (&Method::GET, "/systems/_mapping") => (StatusCode::OK, Json(json!({"systems": {"mappings": {}}}))),
        (&Method::POST, "/systems/_search") => (StatusCode::OK, Json(index.search(&json()))),
        (&Method::POST, "/_bulk") if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/x-ndjson") => {
            error(StatusCode::NOT_ACCEPTABLE, "media_type_header_exception", "Content-Type is not supported")
        }
        (&Method::POST, "/_bulk") => index.bulk(std::str::from_utf8(&body).unwrap()),
        (method, path) => match path.strip_prefix("/systems/_doc/") {
            Some(id) => document(&mut index, method, id, &parameters, json),
            None => error(StatusCode::METHOD_NOT_ALLOWED, "illegal_argument_exception", "no handler found"),
        },
    }
}

fn document(
    index: &mut Index,
    method: &Method,
    id: &str,
    parameters: &Parameters,
    json: impl FnOnce() -> Value,
) -> Reply {
    if method == Method::GET {
        let found = index.documents.get(id).filter(|document| !document.is_deleted);
        return match found {
            Some(document) => {
                let body = json!({"_id": id, "found": true, "_version": document.version, "_source": document.source});
                (StatusCode::OK, Json(body))
            }
            None => (StatusCode::NOT_FOUND, Json(json!({"_id": id, "found": false}))),
        };
    }
    let source = (method == Method::PUT).then(json);
    match index.write(id, source, parameters) {
        (status, None) => (StatusCode::from_u16(status).unwrap(), Json(json!({"_id": id}))),
        (status, Some(why)) => error(StatusCode::from_u16(status).unwrap(), "version_conflict_engine_exception", &why),
    }
}
