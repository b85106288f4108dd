//! Pods over HTTP: list, get, create, replace and delete, with the errors of a real server.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query as Params, State},
    http::StatusCode,
    response::Response,
};
use bytes::BytesMut;
use serde_json::{Value, json};

use super::{
    Api,
    list::ListPage,
    object::JsonObject,
    others::MODIFIED,
    query::Query,
    status::{NAMESPACES, Named, PODS, StatusError, json_response},
    store, watch,
};

type Answer = Result<Response, StatusError>;

/// Lists or watches the pods of a namespace, or of all.
pub(super) async fn list(
    State(api): State<Api>,
    namespace: Option<Path<String>>,
    Params(params): Params<BTreeMap<String, String>>,
) -> Answer {
    let (query, namespace) = (Query::parse(&params)?, namespace.map(|Path(namespace)| namespace));
    if query.watch {
        return Ok(watch::respond(&api, namespace, &query));
    }
    let page = ListPage::of(&api.state(), namespace.as_deref(), &query)?;
    Ok(page.into_response())
}

pub(super) async fn get(State(api): State<Api>, Path((namespace, name)): Path<(String, String)>) -> Answer {
    let pod = api.state().pod(&namespace, &name)?;
    Ok(single(StatusCode::OK, &pod))
}

/// Creates a pod. A status in the request is ignored.
pub(super) async fn create(State(api): State<Api>, Path(namespace): Path<String>, body: Bytes) -> Answer {
    let mut document: Value = serde_json::from_slice(&body)?;
    let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
    let metadata = metadata.ok_or_else(|| StatusError::bad_request("a pod has metadata".to_owned()))?;
    if metadata.get("resourceVersion").is_some_and(|version| version != "") {
        return Err(StatusError::unforeseen("resourceVersion should not be set on objects to be created"));
    }
    if metadata.get("namespace").is_some_and(|named| *named != *namespace) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(StatusError::bad_request(message.to_owned()));
    }
    for servers in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(servers);
    }
    if document.pointer("/spec/containers").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        return Err(StatusError::invalid(&PODS, Named::Kind, name, "spec.containers", "Required value"));
    }
    document["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
    let pod = api.change(|state| {
        state.others.get(&NAMESPACES, "", &namespace)?;
        state.create(&namespace, document)
    })?;
    Ok(single(StatusCode::CREATED, &pod))
}

/// Replaces a pod except its status.
pub(super) async fn replace(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let document = serde_json::from_slice(&body)?;
    let pod = api.change(|state| {
        let old = state.pod(&namespace, &name)?;
        let new = state.update(old.clone(), |stored| merge(&old, stored, document, false))?;
        let document = new.document()?;
        let ends = document["metadata"]["deletionTimestamp"].is_string() && !has_finalizers(&document);
        if ends { state.remove(&new) } else { Ok(new) }
    })?;
    Ok(single(StatusCode::OK, &pod))
}

pub(super) async fn replace_status(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let document = serde_json::from_slice(&body)?;
    let pod = api.change(|state| {
        let old = state.pod(&namespace, &name)?;
        state.update(old.clone(), |stored| merge(&old, stored, document, true))
    })?;
    Ok(single(StatusCode::OK, &pod))
}

/// Deletes a pod. As on a real server, it is marked first and removed then; here both happen at once.
pub(super) async fn delete(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let options: Value = if body.is_empty() { json!({}) } else { serde_json::from_slice(&body)? };
    let pod = api.change(|state| delete_in(state, &namespace, &name, &options))?;
    Ok(single(StatusCode::OK, &pod))
}

fn delete_in(
    state: &mut store::ApiState,
    namespace: &str,
    name: &str,
    options: &Value,
) -> Result<Arc<JsonObject>, StatusError> {
    let old = state.pod(namespace, name)?;
    let document = old.document()?;
    check_preconditions(&document, name, options)?;
    let phase = old.field("status.phase").unwrap_or_default();
    let grace = match options.get("gracePeriodSeconds").and_then(Value::as_u64) {
        _ if old.field("spec.nodeName") == Some("") || phase == "Succeeded" || phase == "Failed" => 0,
        Some(grace) => grace,
        None => document.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30),
    };
    let held = has_finalizers(&document);
    let marked = mark(state, old, grace)?;
    // The kubelet sets the grace period to 0 when the containers have ended. Here they end at once.
    let ended = if grace > 0 { mark(state, marked.clone(), 0)? } else { marked.clone() };
    if held {
        return Ok(marked);
    }
    let gone = state.remove(&ended)?;
    Ok(if grace > 0 { marked } else { gone })
}

/// Sets the deletion timestamp of a pod, or shortens its grace period.
pub(super) fn mark(
    state: &mut store::ApiState,
    pod: Arc<JsonObject>,
    grace: u64,
) -> Result<Arc<JsonObject>, StatusError> {
    let when = state.in_seconds(grace);
    state.update(pod, |document| {
        let metadata = &mut document["metadata"];
        if metadata.get("deletionTimestamp").is_none() {
            metadata["generation"] = (metadata["generation"].as_u64().unwrap_or(0) + 1).into();
        }
        if metadata["deletionGracePeriodSeconds"].as_u64().is_none_or(|before| grace < before) {
            metadata["deletionTimestamp"] = when.into();
            metadata["deletionGracePeriodSeconds"] = grace.into();
        }
        Ok(())
    })
}

/// Fails if the pod is not in the state that the client names.
fn check_preconditions(document: &Value, name: &str, options: &Value) -> Result<(), StatusError> {
    for (what, member, happened) in
        [("UID", "uid", "deleted and then recreated"), ("ResourceVersion", "resourceVersion", "modified")]
    {
        let wanted = options["preconditions"][member].as_str();
        let stored = document["metadata"][member].as_str().unwrap_or_default();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != stored) {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({stored}). \
                 The object might have been {happened}"
            );
            return Err(StatusError::conflict(&PODS, Named::Kind, name, &why));
        }
    }
    Ok(())
}

fn has_finalizers(document: &Value) -> bool {
    document.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
}

/// Copies what a client may write, if the client read the newest version.
fn merge(old: &JsonObject, stored: &mut Value, mut sent: Value, only_status: bool) -> Result<(), StatusError> {
    let name = old.names().1;
    let text = |member: &str| sent["metadata"][member].as_str().unwrap_or_default();
    if text("name") != name {
        let message = format!("the name of the object ({}) does not match the name on the URL ({name})", text("name"));
        return Err(StatusError::bad_request(message));
    }
    if !["", &*old.uid].contains(&text("uid")) {
        let why = format!(
            "StorageError: invalid object, Precondition failed: UID in precondition: {}, UID in object meta: {}",
            text("uid"),
            old.uid
        );
        return Err(StatusError::conflict(&PODS, Named::Plural, name, &why));
    }
    let version = text("resourceVersion");
    if !version.is_empty() && version != old.resource_version.to_string() {
        return Err(StatusError::conflict(&PODS, Named::Plural, name, MODIFIED));
    }
    if only_status {
        stored["status"] = sent["status"].take();
        return Ok(());
    }
    for servers in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        if let Some(value) = stored["metadata"].get(servers) {
            sent["metadata"][servers] = value.clone();
        }
    }
    stored["metadata"] = sent["metadata"].take();
    if stored["spec"] != sent["spec"] {
        stored["metadata"]["generation"] = (stored["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
    }
    stored["spec"] = sent["spec"].take();
    Ok(())
}

fn single(code: StatusCode, pod: &JsonObject) -> Response {
    let mut body = BytesMut::with_capacity(pod.item().len() + 64);
    pod.write_single(&mut body);
    json_response(code, Body::from(body.freeze()))
}
