//! A registry that accepts everything at once and keeps nothing, so that the registry is not the limit that is
//! measured.

use axum::{
    Json,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::{operations::Operation, pods::push_uuid};

/// The response to a request. Peers send single puts and deletes, and read only the status.
pub(crate) fn answer(method: &Method, path: &str, operations: &[Operation]) -> Response {
    let body = match path.rsplit('/').next().unwrap_or_default() {
        "capabilities" => json!({"protocol": "v1", "features": ["batch", "sessions", "tombstones"]}),
        "session" if *method == Method::POST => json!({"epoch": 1, "ttlSeconds": 30}),
        "session" => json!({"epoch": 1, "expiresAt": "2100-01-01T00:00:00.000Z"}),
        "pods:batch" => json!({"results": operations.iter().map(result).collect::<Vec<_>>()}),
        "pods" => json!({"items": [], "count": 0, "asOf": 0}),
        // The cluster, for which no writer has a session.
        _ if *method == Method::GET => return StatusCode::NOT_FOUND.into_response(),
        _ => Value::Null,
    };
    Json(body).into_response()
}

fn result(operation: &Operation) -> Value {
    let mut id = Vec::new();
    push_uuid(&mut id, operation.uid);
    json!({"id": String::from_utf8_lossy(&id), "status": if operation.put { 200 } else { 204 }})
}
