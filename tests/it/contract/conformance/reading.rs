//! Servers that break a rule of reading, with the check that has to find it.

use serde_json::json;

use super::defects::problem;
use crate::support::{Defect, ProxiedRequest};

/// Whether the request asks for more than 5,000 items.
fn is_above_limit(request: &ProxiedRequest) -> bool {
    request.parameter("limit").and_then(|limit| limit.parse::<u64>().ok()) > Some(5_000)
}

/// The members of a record that a server with a fixed form knows.
const KNOWN: [&str; 8] = ["schema", "owner", "cluster", "pod", "state", "times", "version", "digest"];

pub(super) const DEFECTS: &[(&str, Defect)] = &[
    (
        "inventory-limit-reduced",
        Defect::Instead(|request| {
            (request.is("GET", "/pods?") && is_above_limit(request)).then(|| problem(422, "schema"))
        }),
    ),
    (
        "inventory-full",
        Defect::Answer(|request, answer| {
            if request.parameter("view") == Some("full") && answer.status == 200 {
                for record in answer.json["items"].as_array_mut().unwrap() {
                    record.as_object_mut().unwrap().retain(|name, _| KNOWN.contains(&name.as_str()));
                }
            }
        }),
    ),
    (
        "inventory-pages-filled",
        Defect::Answer(|request, answer| {
            // Two empty pages follow the last one.
            let is_last = answer.status == 200 && answer.json.get("next").is_none();
            let empty = json!({"items": [], "count": 0, "asOf": 1_000_000});
            match request.parameter("page") {
                Some("empty-1") => {
                    (answer.status, answer.json) = (200, empty);
                    answer.json["next"] = json!("empty-2");
                }
                Some("empty-2") => (answer.status, answer.json) = (200, empty),
                _ if request.is("GET", "/pods?") && is_last => answer.json["next"] = json!("empty-1"),
                _ => {}
            }
        }),
    ),
    (
        "inventory-text",
        Defect::Request(|request| {
            // The text is compared with regard to case.
            if request.parameter("q").is_some_and(|text| text.starts_with('C')) {
                request.path = request.path.replace("q=CONFORMANCE", "q=nothing-has-this");
            }
        }),
    ),
    (
        "inventory-of-bucket",
        Defect::Request(|request| {
            if request.is("GET", "/pods?") && request.parameter("bucket").is_some_and(|at| at.parse::<u8>().is_ok()) {
                request.path = request.path.replace("bucket=", "another=");
            }
        }),
    ),
    (
        "bucket-parameters",
        Defect::Request(|request| {
            request.path = request.path.replace("buckets=256&bucket=256", "buckets=256&bucket=255");
        }),
    ),
    (
        "changes-since",
        Defect::Request(|request| {
            // `since` is inclusive.
            let since = request.parameter("since").and_then(|since| since.parse::<u64>().ok());
            if let Some(since @ 1..) = since {
                request.path = request.path.replace(&format!("since={since}"), &format!("since={}", since - 1));
            }
        }),
    ),
    (
        "changes-stream",
        Defect::Request(|request| {
            // A stream begins one change too late.
            let since = request.parameter("since").and_then(|since| since.parse::<u64>().ok());
            if let (Some("text/event-stream"), Some(since)) = (request.accept.as_deref(), since) {
                request.path = request.path.replace(&format!("since={since}"), &format!("since={}", since + 1));
            }
        }),
    ),
    (
        "changes-stream-resume",
        Defect::Request(|request| {
            request.last_event_id = None;
        }),
    ),
    (
        "changes-limit",
        Defect::Instead(|request| {
            (request.is("GET", "/changes") && is_above_limit(request)).then(|| problem(422, "schema"))
        }),
    ),
    (
        "changes-last",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/changes") && answer.json["items"] == json!([]) {
                answer.json["next"] = json!(request.parameter("since").and_then(|since| since.parse::<u64>().ok()));
            }
        }),
    ),
    (
        "changes-of-all",
        Defect::Instead(|request| {
            let is_refused = request.is("GET", "/changes") && request.parameter("cluster").is_none();
            is_refused.then(|| problem(403, "forbidden"))
        }),
    ),
    (
        "changes-reason",
        Defect::Answer(|request, answer| {
            // A column of 32 characters.
            if request.is("GET", "/changes") && answer.status == 200 {
                for change in answer.json["items"].as_array_mut().unwrap() {
                    if let Some(reason) = change["reason"].as_str() {
                        change["reason"] = json!(reason.chars().take(32).collect::<String>());
                    }
                }
            }
        }),
    ),
];
