//! Servers that break one rule each, with the check that has to find it.

use serde_json::{Value, json};

use crate::support::{Defect, ProxiedAnswer};

/// Each defect with the check that has to find it.
pub(super) const DEFECTS: &[(&str, Defect)] = &[
    (
        "epoch-grows",
        Defect::Answer(|request, answer| {
            if request.is("POST", "/session") && answer.status == 201 {
                answer.json["epoch"] = json!(1);
            }
        }),
    ),
    (
        "epoch-grows",
        Defect::Answer(|request, answer| {
            // The epoch of a closed session is used again.
            if let Some(closed) = request.last("DELETE", "/session")
                && request.is("POST", "/session")
                && answer.status == 201
            {
                answer.json["epoch"] = json!(closed.parameter("epoch").unwrap().parse::<u64>().unwrap());
            }
        }),
    ),
    (
        "valid-request-a-complete-record",
        Defect::Instead(|request| {
            let has_sidecar = String::from_utf8_lossy(&request.body).contains("\"role\":\"sidecar\"");
            (request.is("PUT", "/pods/") && has_sidecar).then(|| problem(422, "schema"))
        }),
    ),
    (
        "valid-request-a-complete-record",
        Defect::Instead(|request| {
            let has_v6 = String::from_utf8_lossy(&request.body).contains("2001:db8");
            (request.is("PUT", "/pods/") && has_v6).then(|| problem(422, "schema"))
        }),
    ),
    (
        "texts-unchanged-by-heartbeats",
        Defect::Answer(|request, answer| {
            // The instance of the last heartbeat is shown.
            let beat = request.last("PUT", "/session").map(|beat| beat.json()["instance"].clone());
            let owners = answer.json["owners"].as_array_mut().filter(|_| request.is("GET", "/clusters/"));
            if let (Some(owner), Some(instance @ Value::String(_))) =
                (owners.and_then(|owners| owners.first_mut()), beat)
            {
                owner["instance"] = instance;
            }
        }),
    ),
    (
        "texts-unchanged-by-closing",
        Defect::Answer(|request, answer| {
            let owners = answer.json["owners"].as_array_mut().into_iter().flatten();
            for owner in owners.filter(|owner| request.is("GET", "/clusters/") && owner["state"] == "closed") {
                owner.as_object_mut().unwrap().remove("scope");
            }
        }),
    ),
    (
        "delete-parameters",
        Defect::Instead(|request| {
            (request.method == "DELETE" && request.parameter("seq") == Some("0")).then_some((204, Value::Null))
        }),
    ),
    (
        "owners-apart-records",
        Defect::Instead(|request| {
            // Tombstones are kept by id alone.
            request.is("PUT", "/pods/tombstones-apart").then(|| problem(409, "tombstoned"))
        }),
    ),
    (
        "cluster-shows-pods",
        Defect::Answer(|request, answer| {
            // Those of all owners are counted.
            let owners = answer.json["owners"].as_array_mut().filter(|_| request.is("GET", "/clusters/"));
            if let Some(owners) = owners.filter(|owners| owners.len() > 1) {
                owners.iter_mut().for_each(|owner| owner["pods"] = json!(owner["pods"].as_u64().unwrap() + 1));
            }
        }),
    ),
    (
        "writes-renew-nothing",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/clusters/") && request.last("PUT", "/pods/between-heartbeats").is_some() {
                let owners = answer.json["owners"].as_array_mut().into_iter().flatten();
                owners.for_each(|owner| owner["expiresAt"] = json!("2030-01-01T00:00:00.000Z"));
            }
        }),
    ),
    (
        "batch-refused-whole",
        Defect::Answer(|request, answer| {
            // The first operations of a batch that is too large were applied.
            if request.is("GET", "/pods/many-first") {
                (answer.status, answer.json) = (200, json!({}));
            }
        }),
    ),
    (
        "late-put",
        Defect::Answer(|request, answer| {
            if request.method == "PUT" && answer.refuses("stale-version") {
                (answer.status, answer.json) = (200, stored(&request.body));
            }
        }),
    ),
    (
        "put-after-deletion",
        Defect::Answer(|request, answer| {
            if request.method == "PUT" && answer.refuses("tombstoned") {
                (answer.status, answer.json) = (201, stored(&request.body));
            }
        }),
    ),
    (
        "unknown-members",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/") && answer.status == 200 {
                answer.json.as_object_mut().unwrap().remove("conformanceFuture");
            }
        }),
    ),
    (
        "refused-wrong-digest",
        Defect::Answer(|request, answer| {
            let is_echoed = String::from_utf8_lossy(&request.body).contains("sha256:0000");
            if is_echoed && answer.status == 422 {
                (answer.status, answer.json) = (201, stored(&request.body));
            }
        }),
    ),
    (
        "refused-duplicate-name",
        Defect::Request(|request| {
            // The parser keeps the last of two members.
            if let Ok(body) = serde_json::from_slice::<Value>(&request.body) {
                request.body = body.to_string().into();
            }
        }),
    ),
    (
        "batch-stale-epoch",
        Defect::Answer(|request, answer| {
            if request.is("POST", "pods:batch") && answer.refuses("stale-epoch") {
                (answer.status, answer.json) = (200, json!({"results": []}));
            }
        }),
    ),
    (
        "inventory-complete",
        Defect::Answer(|request, answer| {
            if request.is("GET", "page=") && answer.status == 200 {
                answer.json["items"].as_array_mut().unwrap().clear();
            }
        }),
    ),
    (
        "inventory-once",
        Defect::Request(|request| {
            if let Some((path, _)) = request.path.split_once("&page=") {
                request.path = path.to_owned();
            }
        }),
    ),
    (
        "owners-apart-records",
        Defect::Request(|request| {
            if request.is("GET", "/pods?owner=") {
                request.path = request.path.replace("owner=conformance-other", "");
            }
        }),
    ),
    (
        "fenced-write",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/pods/") && answer.refuses("stale-epoch") {
                (answer.status, answer.json) = (200, stored(&request.body));
            }
        }),
    ),
    (
        "problem-type",
        Defect::Answer(|_, answer| {
            if answer.status >= 400 && answer.json.is_object() {
                answer.json.as_object_mut().unwrap().remove("type");
            }
        }),
    ),
    (
        "closed-session-refused",
        Defect::Instead(|request| request.is("DELETE", "/session").then_some((204, Value::Null))),
    ),
    (
        "problem-media-type",
        Defect::Answer(|_, answer| {
            if answer.status >= 400 {
                answer.media_type = "application/json".to_owned();
            }
        }),
    ),
    (
        "inventory-count",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods?") && answer.status == 200 {
                answer.json["count"] = json!(answer.json["items"].as_array().unwrap().len());
            }
        }),
    ),
    (
        "buckets-digest",
        Defect::Answer(|request, answer| {
            if request.is("GET", "pods:digest") && answer.status == 200 {
                let zeros = "0".repeat(64);
                answer.json["buckets"]
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .for_each(|bucket| bucket["digest"] = json!(zeros));
            }
        }),
    ),
    (
        "expires-at-changes",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/session") && answer.status == 200 {
                answer.json["expiresAt"] = json!("2026-11-23T10:00:00.000Z");
            }
        }),
    ),
    (
        "changes-reason",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/changes") && answer.status == 200 {
                for change in answer.json["items"].as_array_mut().unwrap() {
                    change.as_object_mut().unwrap().remove("reason");
                }
            }
        }),
    ),
];

/// The answer of a server that has stored a record.
pub(super) fn stored(body: &[u8]) -> Value {
    let record: Value = serde_json::from_slice(body).unwrap_or_default();
    json!({"id": record["pod"]["uid"], "digest": record["digest"], "version": record["version"]})
}

/// Changes an answer into a refusal.
pub(super) fn refuse(answer: &mut ProxiedAnswer, status: u16, name: &str) {
    (answer.status, answer.json) = problem(status, name);
    answer.media_type = "application/problem+json".to_owned();
}

/// A refusal.
pub(super) fn problem(status: u16, name: &str) -> (u16, Value) {
    let problem = json!({"type": format!("urn:pod-registrar:problem:{name}"), "status": status, "detail": "a defect"});
    (status, problem)
}

/// Valid requests that are refused, with the check that has to find it.
pub(super) const REFUSALS: &[(&str, Defect)] = &[
    ("valid-request-a-put", Defect::Instead(|request| request.is("PUT", "/pods/0-").then(|| problem(422, "schema")))),
    (
        "valid-request-reading-the-changes",
        Defect::Instead(|request| request.is("GET", "/changes").then(|| problem(500, "internal"))),
    ),
    (
        "valid-request-reading-the-inventory",
        Defect::Instead(|request| request.parameter("page").is_some().then(|| problem(500, "internal"))),
    ),
    (
        "valid-request-the-list-of-clusters",
        Defect::Instead(|request| request.path.ends_with("/v1/clusters").then(|| problem(500, "internal"))),
    ),
    (
        "changes-resume",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/changes") && answer.status == 200 {
                answer.json["next"] = json!(answer.json["next"].as_u64().unwrap() + 1);
            }
        }),
    ),
    (
        "changes-resume",
        Defect::Answer(|request, answer| {
            // A page for people to log in.
            if request.is("GET", "/changes") {
                answer.json = json!("<html>");
            }
        }),
    ),
];
