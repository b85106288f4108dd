//! Servers that forget something at a restart, with the check that has to find it. Nothing is restarted here: they
//! forget when the requests after it come.

use serde_json::json;

use super::defects::{problem, refuse};
use crate::support::{Defect, ProxiedRequest};

/// Whether the heartbeat after the restart was sent.
fn is_after(request: &ProxiedRequest) -> bool {
    request.last("PUT", "/session").is_some_and(|beat| beat.json()["instance"] == "conformance-restart")
}

/// Whether this opens or renews the session of the restart.
fn is_session(request: &ProxiedRequest, method: &str) -> bool {
    request.is(method, "/session") && request.json()["instance"] == "conformance-restart"
}

pub(super) const DEFECTS: &[(&str, Defect)] = &[
    (
        "restart-keeps-session",
        Defect::Instead(|request| is_session(request, "PUT").then(|| problem(409, "stale-epoch"))),
    ),
    (
        "restart-keeps-epoch",
        Defect::Answer(|request, answer| {
            if is_session(request, "POST") && is_after(request) {
                answer.json["epoch"] = json!(1);
            }
        }),
    ),
    (
        "restart-keeps-records",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/restart-kept") && request.last("GET", "/pods/restart-kept").is_some() {
                refuse(answer, 404, "not-found");
            }
        }),
    ),
    (
        "restart-keeps-versions",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/pods/restart-kept") && answer.refuses("stale-version") {
                (answer.status, answer.json) = (200, json!({}));
            }
        }),
    ),
    (
        "restart-keeps-tombstones",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/pods/restart-deleted") && answer.refuses("tombstoned") {
                (answer.status, answer.json) = (201, json!({}));
            }
        }),
    ),
    (
        "restart-keeps-changes",
        Defect::Instead(|request| (request.is("GET", "/changes") && is_after(request)).then(|| problem(410, "gone"))),
    ),
    (
        "restart-keeps-numbers",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods?") && request.last("PUT", "/pods/restart-after").is_some() {
                answer.json["asOf"] = json!(1);
            }
        }),
    ),
];
