//! Which path is answered by what; every request is counted and may meet a fault on its way.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Api, discovery,
    fault::{Effect, Kind, Request},
    object::in_order,
    pods,
    query::flag,
    status::{EVENTS, Failure, LEASES, NAMESPACES, Resource, json_response},
};

/// What every handler sees.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) api: Api,
    /// Given when the server stops: whatever waits must end.
    pub(super) stop: CancellationToken,
}

/// The fault that a request has met, as far as it is the handler's business.
#[derive(Clone)]
pub(super) struct Struck(pub(super) Option<Effect>);

type Answer = Result<Response, Failure>;

pub(super) fn router(context: Context) -> Router {
    let pod = get(pods::get).put(pods::replace).delete(pods::delete);
    let namespaces = get(|context| all(context, &NAMESPACES, None))
        .post(|context, body| create(context, &NAMESPACES, String::new(), body));
    let namespace = get(|context, Path(name): Path<String>| one(context, &NAMESPACES, String::new(), name))
        .delete(|context, Path(name): Path<String>| delete_namespace(context, name));
    let leases = get(|context, Path(namespace): Path<String>| all(context, &LEASES, Some(namespace)))
        .post(|context, Path(namespace): Path<String>, body| create(context, &LEASES, namespace, body));
    let lease = get(|context, Path((namespace, name)): Path<(String, String)>| one(context, &LEASES, namespace, name))
        .put(put_lease)
        .patch(patch_lease)
        .delete(|context, Path((namespace, name)): Path<(String, String)>| delete(context, &LEASES, namespace, name));
    let events = get(|context, Path(namespace): Path<String>| all(context, &EVENTS, Some(namespace)))
        .post(|context, Path(namespace): Path<String>, body| create(context, &EVENTS, namespace, body));
    Router::new()
        .route("/api/v1/pods", get(pods::list_all))
        .route("/api/v1/namespaces/{namespace}/pods", get(pods::list_in).post(pods::create))
        .route("/api/v1/namespaces/{namespace}/pods/{name}", pod)
        .route("/api/v1/namespaces/{namespace}/pods/{name}/status", get(pods::get).put(pods::replace_status))
        .route("/api/v1/namespaces", namespaces)
        .route("/api/v1/namespaces/{name}", namespace)
        .route("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", leases)
        .route("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}", lease)
        .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", events)
        .merge(discovery::router())
        .fallback(|| async { Failure::new(404, "the server could not find the requested resource") })
        .method_not_allowed_fallback(|| async {
            Failure::new(405, "the server does not allow this method on the requested resource")
        })
        .layer(middleware::from_fn_with_state(context.clone(), meet))
        .with_state(context)
}

/// Counts a request and lets the script have its way with it.
async fn meet(
    State(Context { api, stop }): State<Context>,
    Query(params): Query<BTreeMap<String, String>>,
    mut http: HttpRequest,
    next: Next,
) -> Response {
    let request = Request {
        kind: kind_of(&http, &params),
        method: http.method().to_string(),
        path: http.uri().path().to_owned(),
        query: http.uri().query().unwrap_or_default().to_owned(),
        params,
        authorization: http.headers().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned),
    };
    let effect = api.shared.script.lock().strike(&request);
    api.shared.traffic.lock().record(request.clone());
    let struck = match effect {
        Some(Effect::Answer(failure)) => return failure.into_response(),
        Some(Effect::Html) => return Html("<html><body><h1>It works!</h1></body></html>").into_response(),
        Some(Effect::Hang) => {
            stop.cancelled().await;
            return Failure::new(503, "the server stops").into_response();
        }
        Some(Effect::Delay(by)) => {
            tokio::select! {
                () = tokio::time::sleep(by) => {}
                () = stop.cancelled() => {}
            }
            None
        }
        other => other,
    };
    http.extensions_mut().insert(request);
    http.extensions_mut().insert(Struck(struck));
    next.run(http).await
}

fn kind_of(http: &HttpRequest, params: &BTreeMap<String, String>) -> Kind {
    let path: Vec<&str> = http.uri().path().trim_matches('/').split('/').collect();
    let reads = http.method() == "GET";
    match path.as_slice() {
        ["api", "v1", "pods"] | ["api", "v1", "namespaces", _, "pods"] if reads && flag(params, "watch") => Kind::Watch,
        ["api", "v1", "pods"] | ["api", "v1", "namespaces", _, "pods"] if reads => Kind::List,
        ["api", "v1", "namespaces", _, "pods", ..] if reads => Kind::Get,
        ["api", "v1", "namespaces", _, "pods", ..] => Kind::Write,
        ["api", "v1", "namespaces", ..] => Kind::Namespace,
        ["apis", "coordination.k8s.io", _, "namespaces", ..] => Kind::Lease,
        ["apis", "events.k8s.io", _, "namespaces", ..] => Kind::Event,
        _ => Kind::Other,
    }
}

async fn all(
    State(Context { api, .. }): State<Context>,
    resource: &'static Resource,
    namespace: Option<String>,
) -> Response {
    let state = api.state();
    let items: Vec<&Value> = state.others.all(resource, namespace.as_deref()).collect();
    let items = Value::from_iter(items.into_iter().cloned());
    let (kind, version) = (resource.kind, resource.api_version());
    let head = format!(
        r#"{{"kind":"{kind}List","apiVersion":"{version}","metadata":{{"resourceVersion":"{}"}},"items""#,
        state.resource_version
    );
    json_response(StatusCode::OK, Body::from(format!("{head}:{items}}}\n")))
}

/// A single document, members in the order of a real server.
fn object(code: StatusCode, document: &Value) -> Response {
    let body = in_order(document, &["kind", "apiVersion", "metadata", "spec", "status"]);
    json_response(code, Body::from(body))
}

async fn one(
    State(Context { api, .. }): State<Context>,
    resource: &'static Resource,
    namespace: String,
    name: String,
) -> Answer {
    let document = api.state().others.get(resource, &namespace, &name)?.clone();
    Ok(object(StatusCode::OK, &document))
}

async fn create(
    State(Context { api, .. }): State<Context>,
    resource: &'static Resource,
    namespace: String,
    body: Bytes,
) -> Answer {
    let document: Value = serde_json::from_slice(&body)?;
    if !document.is_object() {
        return Err(Failure::bad_request("the object provided is unrecognized".to_owned()));
    }
    let created = api.change(|state| {
        if !namespace.is_empty() {
            state.others.get(&NAMESPACES, "", &namespace)?;
        }
        state.create_other(resource, &namespace, document)
    })?;
    Ok(object(StatusCode::CREATED, &created))
}

/// Replaces a lease; one that is not there yet is created, as a real server does.
async fn put_lease(
    State(Context { api, .. }): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let mut document: Value = serde_json::from_slice(&body)?;
    if document.pointer("/metadata/name").and_then(Value::as_str) != Some(&name) {
        let message = format!("the name of the object does not match the name on the URL ({name})");
        return Err(Failure::bad_request(message));
    }
    let (code, written) = api.change(|state| {
        if state.others.get(&LEASES, &namespace, &name).is_err() {
            state.others.get(&NAMESPACES, "", &namespace)?;
            // Even where the client names a version of the lease that is gone.
            document["metadata"]["resourceVersion"] = Value::from("");
            return Ok((StatusCode::CREATED, state.create_other(&LEASES, &namespace, document)?));
        }
        Ok::<_, Failure>((StatusCode::OK, state.replace_other(&LEASES, &namespace, &name, document)?))
    })?;
    Ok(object(code, &written))
}

/// Changes a lease by a JSON merge patch, the only kind that is understood here.
async fn patch_lease(
    State(Context { api, .. }): State<Context>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/merge-patch+json") {
        return Err(Failure::new(415, "the body of the request was in an unknown format"));
    }
    let patch: Value = serde_json::from_slice(&body)?;
    let patched = api.change(|state| state.patch_other(&LEASES, &namespace, &name, &patch))?;
    Ok(object(StatusCode::OK, &patched))
}

async fn delete(
    State(Context { api, .. }): State<Context>,
    resource: &'static Resource,
    namespace: String,
    name: String,
) -> Answer {
    let gone = api.change(|state| state.remove_other(resource, &namespace, &name))?;
    Ok(object(StatusCode::OK, &gone))
}

/// Deletes a namespace and the pods in it.
async fn delete_namespace(State(Context { api, .. }): State<Context>, name: String) -> Answer {
    let gone = api.change(|state| {
        let gone = state.remove_other(&NAMESPACES, "", &name)?;
        let inside: Vec<_> = state.pods.values().filter(|pod| pod.names().0 == name).cloned().collect();
        for pod in inside {
            state.remove(&pod, false)?;
        }
        Ok::<_, Failure>(gone)
    })?;
    Ok(object(StatusCode::OK, &gone))
}
