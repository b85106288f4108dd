//! A stand-in for a table of ServiceNow and its API for identification and reconciliation, from its documentation.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::stand_in::StandIn;

const SOURCE: &str = "PodRegistrar";
const RETIRED: &str = "7";
const TOKEN: &str = "a-token-for-half-an-hour";

type Reply = (StatusCode, Json<Value>);

#[derive(Default)]
pub(crate) struct Table {
    /// By `sys_id`.
    rows: BTreeMap<String, Value>,
    last: u64,
    /// Items that came without a data source, and so into no table.
    incomplete: usize,
}

pub(crate) type ServiceNowFake = StandIn<Table>;

impl ServiceNowFake {
    pub(crate) async fn start() -> Self {
        let router = Router::new()
            .route("/oauth_token.do", post(token))
            .route("/api/now/identifyreconcile", post(reconcile))
            .route("/api/now/table/cmdb_ci_kubernetes_pod", get(list));
        Self::serve(router).await
    }

    /// The items that are not retired, by their correlation ids.
    pub(crate) fn items(&self) -> BTreeMap<String, Value> {
        let table = self.state();
        let living = table.rows.values().filter(|row| row["install_status"] != RETIRED);
        living.map(|row| (row["correlation_id"].as_str().unwrap().to_owned(), row.clone())).collect()
    }

    /// All items, the retired ones too.
    pub(crate) fn rows(&self) -> usize {
        self.state().rows.len()
    }

    pub(crate) fn incomplete(&self) -> usize {
        self.state().incomplete
    }

    /// Lets a person write values into an item, or make one.
    pub(crate) fn by_hand(&self, id: &str, values: &Value) {
        self.state().write(id, values);
    }

    pub(crate) fn remove(&self, id: &str) {
        self.state().rows.retain(|_, row| row["correlation_id"] != id);
    }
}

impl Table {
    fn write(&mut self, id: &str, values: &Value) -> &'static str {
        let found = self.rows.values_mut().find(|row| row["correlation_id"] == id);
        if let Some(row) = found {
            let before = row.clone();
            set(row, values);
            return if *row == before { "NO_CHANGE" } else { "UPDATE" };
        }
        self.last += 1;
        let sys_id = format!("{:032x}", self.last);
        let mut row =
            json!({"sys_id": sys_id, "correlation_id": id, "u_registrar_owner": "", "u_registrar_digest": ""});
        set(&mut row, values);
        self.rows.insert(sys_id, row);
        "INSERT"
    }
}

/// Every value is stored as a text.
fn set(row: &mut Value, values: &Value) {
    for (name, value) in values.as_object().unwrap() {
        row[name] = value.as_str().map_or_else(|| value.to_string(), str::to_owned).into();
    }
}

fn is_admitted(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"))
}

fn unauthorized() -> Reply {
    let error = json!({"message": "User Not Authenticated", "detail": "Required to provide Auth information"});
    (StatusCode::UNAUTHORIZED, Json(json!({"error": error, "status": "failure"})))
}

async fn token(body: String) -> Reply {
    let fields: HashMap<String, String> =
        reqwest::Url::parse(&format!("http://localhost/?{body}")).unwrap().query_pairs().into_owned().collect();
    match fields.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {
            (StatusCode::OK, Json(json!({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 1_799})))
        }
        _ => (StatusCode::UNAUTHORIZED, Json(json!({"error": "access_denied"}))),
    }
}

async fn reconcile(
    State(table): State<Arc<Mutex<Table>>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Reply {
    if !is_admitted(&headers) {
        return unauthorized();
    }
    let mut table = table.lock();
    let mut results = Vec::new();
    for (index, item) in body["items"].as_array().unwrap().iter().enumerate() {
        let (values, about) = (&item["values"], &item["sys_object_source_info"]);
        if query.get("sysparm_data_source").map(String::as_str) != Some(SOURCE) {
            table.incomplete += 1;
            continue;
        }
        let key = about["source_native_key"].as_str().unwrap();
        let recency = about["source_recency_timestamp"].as_str().unwrap();
        assert!(jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", recency).is_ok(), "{recency}");
        let result = if values["ip_address"] == "unusable" {
            let error = json!({"error": "INVALID_INPUT_DATA", "message": "ip_address is not an address"});
            json!({"className": item["className"], "inputIndices": [index], "errorCount": 1, "errors": [error]})
        } else {
            let operation = table.write(key, values);
            json!({"className": item["className"], "inputIndices": [index], "errorCount": 0, "operation": operation})
        };
        results.push(result);
    }
    (StatusCode::OK, Json(json!({"result": {"items": results, "relations": []}})))
}

/// The conditions of an encoded query: `name=value`, `name!=value` and `name>value`.
fn is_selected(row: &Value, encoded: &str) -> bool {
    encoded.split('^').filter(|condition| !condition.starts_with("ORDERBY")).all(|condition| {
        let at = condition.find(['=', '!', '>']).unwrap();
        let (name, rest) = condition.split_at(at);
        let has = row[name].as_str().unwrap_or_default();
        match (rest.strip_prefix("!="), rest.strip_prefix('='), rest.strip_prefix('>')) {
            (Some(value), ..) => has != value,
            (_, Some(value), _) => has == value,
            (.., Some(value)) => has > value,
            _ => panic!("the condition {condition}"),
        }
    })
}

async fn list(
    State(table): State<Arc<Mutex<Table>>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Reply {
    if !is_admitted(&headers) {
        return unauthorized();
    }
    let table = table.lock();
    let limit = query["sysparm_limit"].parse().unwrap();
    let found = table.rows.values().filter(|row| is_selected(row, &query["sysparm_query"]));
    let page: Vec<Value> = found.take(limit).cloned().collect();
    (StatusCode::OK, Json(json!({"result": page})))
}
