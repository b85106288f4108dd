//! A stand-in for a table that PostgREST serves, from its documentation.
//!
//! The table has the columns of the preset. The server returns at most [`ROWS_MAX`] rows, whatever the client asks for.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, Method, StatusCode},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::stand_in::StandIn;

/// The setting `db-max-rows`.
const ROWS_MAX: usize = 7;
const COLUMNS: [&str; 8] = ["id", "namespace", "name", "state", "node", "addresses", "images", "owner"];

type Rows = BTreeMap<String, Value>;
type Reply = (StatusCode, Json<Value>);

pub(crate) type PostgrestFake = StandIn<Rows>;

impl PostgrestFake {
    pub(crate) async fn start() -> Self {
        Self::serve(Router::new().route("/systems", axum::routing::any(answer))).await
    }

    pub(crate) fn rows(&self) -> Rows {
        self.state().clone()
    }

    /// Lets a person change the table.
    pub(crate) fn by_hand(&self, change: impl FnOnce(&mut Rows)) {
        change(&mut self.state());
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    (status, Json(json!({"code": code, "message": message, "details": null, "hint": null})))
}

async fn answer(
    State(rows): State<Arc<Mutex<Rows>>>,
    method: Method,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let mut rows = rows.lock();
    match method {
        Method::GET => read(&rows, &query),
        Method::POST => upsert(&mut rows, &query, &headers, &body),
        Method::DELETE => {
            rows.retain(|_, row| !is_selected(row, &query));
            (StatusCode::NO_CONTENT, Json(Value::Null))
        }
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "PGRST117", "Unsupported HTTP method"),
    }
}

/// Whether a row meets all filters.
fn is_selected(row: &Value, query: &[(String, String)]) -> bool {
    query.iter().filter(|(column, _)| COLUMNS.contains(&column.as_str())).all(|(column, filter)| {
        let has = row[column].as_str().unwrap_or_default();
        match filter.split_once('.').unwrap() {
            ("eq", value) => has == value,
            ("gt", value) => has > value,
            other => panic!("the filter {other:?}"),
        }
    })
}

fn read(rows: &Rows, query: &[(String, String)]) -> Reply {
    let limit = query.iter().find(|(name, _)| name == "limit").and_then(|(_, limit)| limit.parse().ok());
    let found = rows.values().filter(|row| is_selected(row, query));
    let page: Vec<Value> = found.take(limit.unwrap_or(ROWS_MAX).min(ROWS_MAX)).cloned().collect();
    (StatusCode::OK, Json(page.into()))
}

fn upsert(rows: &mut Rows, query: &[(String, String)], headers: &HeaderMap, body: &Bytes) -> Reply {
    let Ok(sent) = serde_json::from_slice::<Value>(body) else {
        return error(StatusCode::BAD_REQUEST, "PGRST102", "Empty or invalid json");
    };
    let merges = headers.get("prefer").is_some_and(|value| value.to_str().unwrap().contains("merge-duplicates"));
    let has_key = query.contains(&("on_conflict".to_owned(), "id".to_owned()));
    let sent = if let Value::Array(rows) = sent { rows } else { vec![sent] };
    for row in &sent {
        let columns: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        if let Some(unknown) = columns.iter().find(|column| !COLUMNS.contains(column)) {
            let message = format!("Could not find the '{unknown}' column of 'systems' in the schema cache");
            return error(StatusCode::BAD_REQUEST, "PGRST204", &message);
        }
        if columns.len() != sent[0].as_object().unwrap().len() {
            return error(StatusCode::BAD_REQUEST, "PGRST102", "All object keys must match");
        }
        if row["images"].to_string().contains("unusable") {
            return error(StatusCode::BAD_REQUEST, "22P05", "unsupported Unicode escape sequence");
        }
        if rows.contains_key(row["id"].as_str().unwrap()) && !(merges && has_key) {
            return error(StatusCode::CONFLICT, "23505", "duplicate key value violates unique constraint");
        }
    }
    for row in sent {
        rows.insert(row["id"].as_str().unwrap().to_owned(), row);
    }
    (StatusCode::CREATED, Json(Value::Null))
}
