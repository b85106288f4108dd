//! `PUT /v1/txn` with operations on services: all are applied, or none.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::catalog::{Catalog, Refusal, Rights, denied, normal, text};

const MOST_OPERATIONS: usize = 128;

struct Operation {
    delete: bool,
    node: String,
    service: Value,
}

/// The status and the document of the answer.
pub(super) fn apply(catalog: &mut Catalog, rights: Rights, document: &Value) -> Result<(StatusCode, Value), Refusal> {
    let Some(operations) = document.as_array() else {
        return Err((StatusCode::BAD_REQUEST, "Failed to parse body: a list is expected".to_owned()));
    };
    if operations.len() > MOST_OPERATIONS {
        let count = operations.len();
        let text = format!("Transaction contains too many operations ({count} > {MOST_OPERATIONS})");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let checked: Vec<_> = operations.iter().map(|operation| check(catalog, rights, operation)).collect();
    if checked.iter().any(Result::is_err) {
        return Ok(refused(checked.into_iter().map(Result::err)));
    }
    let mut after = catalog.clone();
    let results: Vec<_> = checked.into_iter().flatten().map(|operation| carry_out(&mut after, operation)).collect();
    if results.iter().any(Result::is_err) {
        return Ok(refused(results.into_iter().map(Result::err)));
    }
    *catalog = after;
    let results: Vec<Value> = results.into_iter().flatten().flatten().collect();
    Ok((StatusCode::OK, json!({"Results": results, "Errors": null})))
}

fn refused(errors: impl Iterator<Item = Option<String>>) -> (StatusCode, Value) {
    let error = |(index, what): (usize, Option<String>)| Some(json!({"OpIndex": index, "What": what?}));
    let errors: Vec<Value> = errors.enumerate().filter_map(error).collect();
    (StatusCode::CONFLICT, json!({"Results": null, "Errors": errors}))
}

fn check(catalog: &Catalog, rights: Rights, operation: &Value) -> Result<Operation, String> {
    let Some(operation) = operation.get("Service") else { return Err("unknown operation type".to_owned()) };
    let delete = match text(operation, "Verb") {
        "set" => false,
        "delete" => true,
        verb => return Err(format!("unknown service operation: {verb}")),
    };
    // Deletions have to name the service, too.
    let service = normal(&operation["Service"])?;
    if rights == Rights::None {
        return Err(denied("service:write").1);
    }
    let node = text(operation, "Node").to_owned();
    let (id, name) = (text(&service, "ID"), text(&service, "Service"));
    if catalog.service(&node, id).is_some_and(|existing| text(existing, "Service") != name) {
        return Err(format!("service name does not match existing service name for service ID {id:?}"));
    }
    Ok(Operation { delete, node, service })
}

/// The result of an operation. A deletion has none, and may find nothing.
fn carry_out(catalog: &mut Catalog, operation: Operation) -> Result<Option<Value>, String> {
    if operation.delete {
        catalog.remove(&operation.node, text(&operation.service, "ID"));
        return Ok(None);
    }
    catalog.put(&operation.node, operation.service).map(|service| Some(json!({"Service": service})))
}
