//! The paths and their handlers, with the handlers of all types but pods.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::Response,
    routing::get,
};
use serde_json::Value;

use super::{
    Api, discovery,
    object::in_order,
    pods,
    status::{EVENTS, LEASES, NAMESPACES, Resource, StatusError, json_response},
};

type Answer = Result<Response, StatusError>;

impl Api {
    pub fn router(&self) -> Router {
        let pod = get(pods::get).put(pods::replace).delete(pods::delete);
        let namespaces =
            get(|api| all(api, &NAMESPACES, None)).post(|api, body| create(api, &NAMESPACES, String::new(), body));
        let namespace = get(|api, Path(name): Path<String>| one(api, &NAMESPACES, String::new(), name))
            .delete(|api, Path(name): Path<String>| delete_namespace(api, name));
        let leases = get(|api, Path(namespace): Path<String>| all(api, &LEASES, Some(namespace)))
            .post(|api, Path(namespace): Path<String>, body| create(api, &LEASES, namespace, body));
        let lease = get(|api, Path((namespace, name)): Path<(String, String)>| one(api, &LEASES, namespace, name))
            .put(put_lease)
            .patch(patch_lease)
            .delete(|api, Path((namespace, name)): Path<(String, String)>| delete(api, &LEASES, namespace, name));
        let events = get(|api, Path(namespace): Path<String>| all(api, &EVENTS, Some(namespace)))
            .post(|api, Path(namespace): Path<String>, body| create(api, &EVENTS, namespace, body));
        Router::new()
            .route("/api/v1/pods", get(pods::list))
            .route("/api/v1/namespaces/{namespace}/pods", get(pods::list).post(pods::create))
            .route("/api/v1/namespaces/{namespace}/pods/{name}", pod)
            .route("/api/v1/namespaces/{namespace}/pods/{name}/status", get(pods::get).put(pods::replace_status))
            .route("/api/v1/namespaces", namespaces)
            .route("/api/v1/namespaces/{name}", namespace)
            .route("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", leases)
            .route("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}", lease)
            .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", events)
            .merge(discovery::router())
            .fallback(|| async { StatusError::new(404, "the server could not find the requested resource") })
            .method_not_allowed_fallback(|| async {
                StatusError::new(405, "the server does not allow this method on the requested resource")
            })
            .with_state(self.clone())
    }
}

async fn all(State(api): State<Api>, resource: &'static Resource, namespace: Option<String>) -> Response {
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

fn object(code: StatusCode, document: &Value) -> Response {
    let body = in_order(document, &["kind", "apiVersion", "metadata", "spec", "status"]);
    json_response(code, Body::from(body))
}

async fn one(State(api): State<Api>, resource: &'static Resource, namespace: String, name: String) -> Answer {
    let document = api.state().others.get(resource, &namespace, &name)?.clone();
    Ok(object(StatusCode::OK, &document))
}

async fn create(State(api): State<Api>, resource: &'static Resource, namespace: String, body: Bytes) -> Answer {
    let document: Value = serde_json::from_slice(&body)?;
    if !document.is_object() {
        return Err(StatusError::bad_request("the object provided is unrecognized".to_owned()));
    }
    let created = api.change(|state| {
        if !namespace.is_empty() {
            state.others.get(&NAMESPACES, "", &namespace)?;
        }
        state.create_other(resource, &namespace, document)
    })?;
    Ok(object(StatusCode::CREATED, &created))
}

/// Replaces a lease, or creates it as a real server does.
async fn put_lease(State(api): State<Api>, Path((namespace, name)): Path<(String, String)>, body: Bytes) -> Answer {
    let mut document: Value = serde_json::from_slice(&body)?;
    if document.pointer("/metadata/name").and_then(Value::as_str) != Some(&name) {
        let message = format!("the name of the object does not match the name on the URL ({name})");
        return Err(StatusError::bad_request(message));
    }
    let (code, written) = api.change(|state| {
        if state.others.get(&LEASES, &namespace, &name).is_err() {
            state.others.get(&NAMESPACES, "", &namespace)?;
            // Even if the client names the resource version of a deleted lease.
            document["metadata"]["resourceVersion"] = Value::from("");
            return Ok((StatusCode::CREATED, state.create_other(&LEASES, &namespace, document)?));
        }
        Ok::<_, StatusError>((StatusCode::OK, state.replace_other(&LEASES, &namespace, &name, document)?))
    })?;
    Ok(object(code, &written))
}

/// Applies a JSON merge patch to a lease. Other patches are not supported.
async fn patch_lease(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/merge-patch+json") {
        return Err(StatusError::new(415, "the body of the request was in an unknown format"));
    }
    let patch: Value = serde_json::from_slice(&body)?;
    let patched = api.change(|state| state.patch_other(&LEASES, &namespace, &name, &patch))?;
    Ok(object(StatusCode::OK, &patched))
}

async fn delete(State(api): State<Api>, resource: &'static Resource, namespace: String, name: String) -> Answer {
    let gone = api.change(|state| state.remove_other(resource, &namespace, &name))?;
    Ok(object(StatusCode::OK, &gone))
}

/// Deletes a namespace and its pods.
async fn delete_namespace(State(api): State<Api>, name: String) -> Answer {
    let gone = api.change(|state| {
        let gone = state.remove_other(&NAMESPACES, "", &name)?;
        let inside: Vec<_> = state.pods.values().filter(|pod| pod.names().0 == name).cloned().collect();
        for pod in inside {
            state.remove(&pod)?;
        }
        Ok::<_, StatusError>(gone)
    })?;
    Ok(object(StatusCode::OK, &gone))
}
