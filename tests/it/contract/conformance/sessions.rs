//! Servers that break a rule of sessions, with the check that has to find it.

use serde_json::{Value, json};

use super::defects::{problem, refuse};
use crate::support::{Defect, ProxiedRequest};

/// Whether the newest session has missed its heartbeats.
fn is_stale(request: &ProxiedRequest) -> bool {
    let beats = ["POST", "PUT"].into_iter().filter_map(|method| request.last(method, "/session"));
    let newest = beats.max_by_key(|beat| beat.at);
    newest.is_some_and(|beat| beat.at.elapsed().as_secs_f64() > beat.json()["ttlSeconds"].as_f64().unwrap_or(0.0))
}

fn is_write(request: &ProxiedRequest) -> bool {
    request.is("PUT", "/pods/") || request.is("DELETE", "/pods/") || request.is("POST", "/pods:batch")
}

/// The owners of a shown cluster.
fn owners(answer: &mut Value) -> &mut Vec<Value> {
    answer["owners"].as_array_mut().unwrap()
}

pub(super) const DEFECTS: &[(&str, Defect)] = &[
    (
        "closing-keeps-records",
        Defect::Answer(|request, answer| {
            let Some(closed) = request.last("DELETE", "/session") else { return };
            let is_lost = |address: &str| request.last("PUT", address).is_some_and(|put| put.is_before(&closed));
            if request.is("GET", "/pods/closing") && is_lost(request.address()) {
                refuse(answer, 404, "not-found");
            }
        }),
    ),
    (
        "stale-accepts-writes",
        Defect::Instead(|request| (is_write(request) && is_stale(request)).then(|| problem(409, "unknown-session"))),
    ),
    (
        "stale-renewed",
        Defect::Instead(|request| {
            (request.is("PUT", "/session") && is_stale(request)).then(|| problem(409, "unknown-session"))
        }),
    ),
    (
        "stale-shown",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/clusters/") && answer.json["owners"].is_array() {
                owners(&mut answer.json).iter_mut().for_each(|owner| owner["state"] = json!("live"));
            }
        }),
    ),
    (
        "stale-keeps-records",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/stale-") && is_stale(request) {
                refuse(answer, 404, "not-found");
            }
        }),
    ),
    (
        "previous-members",
        Defect::Answer(|request, answer| {
            if request.is("POST", "/session") && answer.json["previous"].is_object() {
                answer.json["previous"]["state"] = json!("live");
            }
        }),
    ),
    (
        "texts-unchanged",
        Defect::Request(|request| {
            let mut body = request.json();
            if request.is("POST", "/session") && body["scope"].is_string() {
                let cut: String = body["scope"].as_str().unwrap().chars().take(64).collect();
                body["scope"] = json!(cut);
                request.body = body.to_string().into();
            }
        }),
    ),
    (
        "cluster-uid-kept",
        Defect::Answer(|request, answer| {
            // It shows the UID of the newest session alone.
            let has_uid =
                request.last("POST", "/session").is_some_and(|opened| opened.json()["clusterUid"].is_string());
            if request.is("GET", "/clusters/") && answer.json["owners"].is_array() && !has_uid {
                for owner in owners(&mut answer.json) {
                    owner.as_object_mut().unwrap().remove("clusterUid");
                }
            }
        }),
    ),
    (
        "cluster-name-kept",
        Defect::Answer(|request, answer| {
            let has_name =
                request.last("POST", "/session").is_some_and(|opened| opened.json()["clusterName"].is_string());
            if request.is("GET", "/clusters/") && answer.json["owners"].is_array() && !has_name {
                answer.json.as_object_mut().unwrap().remove("name");
            }
        }),
    ),
    (
        "previous-cluster-uid",
        Defect::Answer(|request, answer| {
            if request.is("POST", "/session") && answer.json["previous"].is_object() {
                answer.json["previous"].as_object_mut().unwrap().remove("clusterUid");
            }
        }),
    ),
    (
        "contender-harmless",
        Defect::Instead(|request| {
            // A heartbeat of an old epoch ends the session.
            let is_beat = request.is("PUT", "/session") && request.json()["counts"].is_object();
            let opened = request.last("POST", "/session")?;
            let is_ended = request.refused("PUT", "/session", 409).is_some_and(|stale| opened.is_before(&stale));
            (is_beat && is_ended).then(|| problem(409, "unknown-session"))
        }),
    ),
    (
        "heartbeat-ttl",
        Defect::Request(|request| {
            let mut body = request.json();
            if request.is("PUT", "/session") && body["ttlSeconds"] == 1 {
                body["ttlSeconds"] = json!(90);
                request.body = body.to_string().into();
            }
        }),
    ),
    (
        "heartbeat-members",
        Defect::Instead(|request| {
            let is_bare = request.is("PUT", "/session") && request.json()["instance"].is_null();
            is_bare.then(|| problem(422, "schema"))
        }),
    ),
    (
        "ttl-reduced",
        Defect::Instead(|request| {
            let is_high = request.is("POST", "/session") && request.json()["ttlSeconds"].as_u64() > Some(86_400);
            is_high.then(|| problem(422, "schema"))
        }),
    ),
    (
        "synced",
        Defect::Answer(|request, answer| {
            // It keeps what an earlier heartbeat said.
            if request.is("GET", "/clusters/") && answer.json["owners"].is_array() {
                owners(&mut answer.json).iter_mut().for_each(|owner| owner["synced"] = json!(true));
            }
        }),
    ),
    (
        "cluster-list-pods",
        Defect::Answer(|request, answer| {
            if request.path.ends_with("/v1/clusters") && answer.json["items"].is_array() {
                for cluster in answer.json["items"].as_array_mut().unwrap() {
                    cluster["pods"] = cluster["owners"][0]["pods"].clone();
                }
            }
        }),
    ),
    (
        "owner-default",
        Defect::Request(|request| {
            if request.parameter("owner") == Some("pod-registrar") {
                request.path = request.path.replace("owner=pod-registrar", "owner=other");
            }
        }),
    ),
    (
        "times",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/session") && answer.status == 200 {
                let time = answer.json["expiresAt"].as_str().unwrap().replace('Z', "+00:00");
                answer.json["expiresAt"] = json!(time);
            }
        }),
    ),
    (
        "absent-not-null",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods?") && answer.status == 200 && answer.json.get("next").is_none() {
                answer.json["next"] = Value::Null;
            }
        }),
    ),
];
