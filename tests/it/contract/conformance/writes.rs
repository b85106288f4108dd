//! Servers that break a rule of writes, with the check that has to find it.

use serde_json::{Value, json};

use super::defects::{problem, stored};
use crate::support::{Defect, ProxiedRequest};

/// The seq that a column of 32 bits has of this one.
fn cut(seq: &mut Value) {
    *seq = json!(seq.as_u64().unwrap_or_default() % (1 << 32));
}

/// A put whose content is stored already, under a lower version.
fn is_equal_put(request: &ProxiedRequest) -> bool {
    let stored = request.last("PUT", request.address());
    let body = request.json();
    request.is("PUT", "/pods/")
        && stored.is_some_and(|stored| {
            stored.json()["digest"] == body["digest"] && stored.json()["version"] != body["version"]
        })
}

pub(super) const DEFECTS: &[(&str, Defect)] = &[
    (
        "put-moves-version",
        // It answers with the new version, and keeps the old one.
        Defect::Instead(|request| is_equal_put(request).then(|| (200, stored(&request.body)))),
    ),
    (
        "late-delete",
        Defect::Answer(|request, answer| {
            if request.is("DELETE", "/pods/order-late-delete") && answer.refuses("stale-version") {
                (answer.status, answer.json) = (204, Value::Null);
            }
        }),
    ),
    (
        "record-read-order",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/contents-order") {
                let texts = answer.json["placement"]["podIPs"].as_array_mut().unwrap();
                texts.sort_by_key(Value::to_string);
            }
        }),
    ),
    (
        "record-read-update",
        // It merges a record into the one before.
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/contents-update") {
                answer.json["serviceAccount"] = json!("web");
            }
        }),
    ),
    (
        "batch-as-request-unknown",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/contents-batch-unknown") {
                answer.json.as_object_mut().unwrap().remove("conformanceFuture");
            }
        }),
    ),
    (
        "batch-as-request-owner",
        Defect::Answer(|request, answer| {
            if request.is("POST", "/pods:batch") {
                for result in answer.json["results"].as_array_mut().into_iter().flatten() {
                    if result["status"] == 409 && result["id"] == "batched-owner" {
                        *result = json!({"id": "batched-owner", "status": 201});
                    }
                }
            }
        }),
    ),
    (
        "numbers",
        Defect::Request(|request| {
            let mut body = request.json();
            if request.is("PUT", "/pods/") && body["version"]["seq"].is_u64() {
                cut(&mut body["version"]["seq"]);
                request.body = body.to_string().into();
            }
        }),
    ),
    (
        "version-pair",
        Defect::Instead(|request| {
            // It compares the seqs alone.
            let earlier = request.last("PUT", request.address())?;
            let (body, seq) = (request.json(), |body: &Value| body["version"]["seq"].as_u64());
            let is_newer = body["version"]["epoch"].as_u64() > earlier.json()["version"]["epoch"].as_u64();
            let is_refused = request.is("PUT", "/pods/") && is_newer && seq(&body) < seq(&earlier.json());
            is_refused.then(|| problem(409, "stale-version"))
        }),
    ),
    (
        "schema-later",
        Defect::Instead(|request| {
            let is_later = request.is("PUT", "/pods/") && request.json()["schema"].as_u64() > Some(1);
            is_later.then(|| problem(422, "schema"))
        }),
    ),
    (
        "record-read",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/") && answer.status == 200 {
                answer.json.as_object_mut().unwrap().remove("containers");
            }
        }),
    ),
    (
        "unknown-reason",
        Defect::Instead(|request| {
            let is_long = request.is("DELETE", "/pods/") && request.parameter("reason").is_some_and(|r| r.len() > 32);
            is_long.then(|| problem(422, "schema"))
        }),
    ),
    (
        "refused-json",
        Defect::Answer(|request, answer| {
            if request.is("POST", "/session") && answer.status == 422 && request.json().is_null() {
                answer.status = 400;
            }
        }),
    ),
    (
        "batch-within-limit",
        Defect::Instead(|request| {
            let operations = request.json()["operations"].as_array().map_or(0, Vec::len);
            (request.is("POST", "/pods:batch") && operations > 100).then(|| problem(413, "too-large"))
        }),
    ),
    (
        "batch-no-id",
        Defect::Instead(|request| {
            let body = request.json();
            let lacks_id = body["operations"].as_array()?.iter().any(|operation| !operation["id"].is_string());
            lacks_id.then(|| problem(422, "schema"))
        }),
    ),
    (
        "unknown-parameters",
        Defect::Instead(|request| {
            let is_unknown = request.is("PUT", "/session") && !request.json()["conformanceUnknown"].is_null();
            is_unknown.then(|| problem(422, "schema"))
        }),
    ),
];
