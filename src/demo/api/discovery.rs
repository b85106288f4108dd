//! Version, health and discovery of resources, which kubectl asks for.

use axum::{
    Json, Router,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::Api;

pub(super) fn router() -> Router<Api> {
    let group = |name: &str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group("coordination.k8s.io"), group("events.k8s.io")]});
    Router::new()
        .route("/version", fixed(version()))
        // Each client may do everything.
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(async |Json(mut review): Json<Value>| {
            review["status"] = json!({"allowed": true});
            Json(review)
        }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/api", fixed(json!({"kind": "APIVersions", "versions": ["v1"]})))
        .route("/apis", fixed(groups))
        .route("/api/v1", fixed(resources("v1", &[
            json!({"name": "namespaces", "singularName": "namespace", "namespaced": false, "kind": "Namespace",
                "verbs": ["create", "delete", "get", "list"], "shortNames": ["ns"]}),
            json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
                "verbs": ["create", "delete", "get", "list", "update", "watch"], "shortNames": ["po"]}),
            json!({"name": "pods/status", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get", "update"]}),
        ])))
        .route("/apis/coordination.k8s.io/v1", fixed(resources("coordination.k8s.io/v1", &[
            json!({"name": "leases", "singularName": "lease", "namespaced": true, "kind": "Lease",
                "verbs": ["create", "delete", "get", "list", "update"]}),
        ])))
        .route("/apis/events.k8s.io/v1", fixed(resources("events.k8s.io/v1", &[
            json!({"name": "events", "singularName": "event", "namespaced": true, "kind": "Event", "verbs": ["create", "list"]}),
        ])))
}

fn fixed(document: Value) -> axum::routing::MethodRouter<Api> {
    get(move || async move { Json(document) })
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0+stand-in", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn resources(group_version: &str, resources: &[Value]) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}
