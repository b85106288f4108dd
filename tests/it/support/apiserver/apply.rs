//! Server-side apply to pods: the part that receipts use, annotations and conditions, for one field manager.

use axum::{
    body::Body,
    extract::Request as HttpRequest,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use pod_registrar::demo::api::status::StatusError;
use serde_json::{Value, json};

use super::{Api, layer::text};

/// The path of a pod, or of its status.
struct PodPath {
    namespace: String,
    name: String,
    is_status: bool,
}

impl PodPath {
    fn of(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/api/v1/namespaces/")?.split('/');
        let (namespace, pods, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_status = parts.next() == Some("status");
        (pods == "pods").then(|| Self { namespace: namespace.into(), name: name.into(), is_status })
    }
}

pub(super) async fn answer(api: &Api, http: HttpRequest) -> Response {
    let kind = http.headers().get(header::CONTENT_TYPE).cloned();
    let path = PodPath::of(http.uri().path()).unwrap();
    let applied: Value = serde_json::from_str(&text(http.into_body()).await).unwrap();
    if kind.is_none_or(|kind| kind != "application/apply-patch+yaml") {
        return StatusError::new(415, "the body of the request was in an unknown format").into_response();
    }
    let Some(before) = api.pod(&path.namespace, &path.name) else {
        return StatusError::new(404, format!("pods \"{}\" not found", path.name)).into_response();
    };
    if applied["metadata"]["uid"] != before["metadata"]["uid"] {
        return StatusError::new(409, "Precondition failed: UID in precondition").into_response();
    }
    let mut after = before.clone();
    if path.is_status {
        set_conditions(&mut after, &applied)
    } else {
        set_annotations(&mut after, &applied)
    }
    api.front.traffic.lock().applied.push(applied);
    if after != before {
        api.update(&path.namespace, &path.name, |pod| *pod = after.clone()).unwrap();
    }
    (StatusCode::OK, Body::from(after.to_string())).into_response()
}

fn set_conditions(pod: &mut Value, applied: &Value) {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    for condition in applied["status"]["conditions"].as_array().unwrap() {
        conditions.retain(|other| other["type"] != condition["type"]);
        conditions.push(condition.clone());
    }
    pod["status"]["conditions"] = conditions.into();
}

/// The annotations of the manager are replaced.
fn set_annotations(pod: &mut Value, applied: &Value) {
    let mut annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|key, _| !key.ends_with("pod-registrar/record-id"));
    annotations.extend(applied["metadata"]["annotations"].as_object().cloned().unwrap_or_default());
    pod["metadata"]["annotations"] = json!(annotations);
}
