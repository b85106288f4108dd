//! A registry that takes everything at once and keeps nothing: with it, no registry is what is measured.

use http::{Method, Response, StatusCode};

use crate::{
    http::{Body, json},
    operations::Operation,
    pods::push_uuid,
};

const CAPABILITIES: &str = r#"{"protocol":"v1","features":["batch","sessions","tombstones"]}"#;
const OPENED: &str = r#"{"epoch":1,"ttlSeconds":30}"#;
const ACCEPTED: &str = r#"{"epoch":1,"expiresAt":"2100-01-01T00:00:00.000Z"}"#;
const NOTHING: &str = r#"{"items":[],"count":0,"asOf":0}"#;

/// What it answers. Of single puts and deletes, which others send, nobody reads more than the status.
pub(crate) fn answer(method: &Method, path: &str, operations: &[Operation]) -> Response<Body> {
    let body = match path.rsplit('/').next().unwrap_or_default() {
        "capabilities" => CAPABILITIES.to_owned(),
        "session" if *method == Method::POST => OPENED.to_owned(),
        "session" => ACCEPTED.to_owned(),
        "pods:batch" => results(operations),
        "pods" => NOTHING.to_owned(),
        // The cluster: nobody has ever written for it.
        _ if *method == Method::GET => return json(StatusCode::NOT_FOUND, ""),
        _ => String::new(),
    };
    json(StatusCode::OK, body)
}

fn results(operations: &[Operation]) -> String {
    let mut out = br#"{"results":["#.to_vec();
    for (index, operation) in operations.iter().enumerate() {
        out.extend_from_slice(if index == 0 { br#"{"id":""#.as_slice() } else { br#",{"id":""# });
        push_uuid(&mut out, operation.uid);
        out.extend_from_slice(if operation.put { br#"","status":200}"#.as_slice() } else { br#"","status":204}"# });
    }
    out.extend_from_slice(b"]}");
    String::from_utf8(out).unwrap_or_default()
}
