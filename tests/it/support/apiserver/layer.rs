//! The layer that every request passes on its way to the server.

use std::collections::BTreeMap;

use axum::{
    body::{Body, to_bytes},
    extract::{Query, Request as HttpRequest, State},
    http::Response as HttpResponse,
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use pod_registrar::demo::api::status::StatusError;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Api, apply,
    fault::{Effect, Kind, Request},
    list, watch,
};

#[derive(Clone)]
pub(super) struct Context {
    pub(super) api: Api,
    /// Cancelled when the server stops, which ends everything that waits.
    pub(super) stop: CancellationToken,
}

/// Counts a request, and applies the script to it.
pub(super) async fn meet(
    State(context): State<Context>,
    Query(params): Query<BTreeMap<String, String>>,
    http: HttpRequest,
    next: Next,
) -> Response {
    let front = &context.api.front;
    let request = Request::new(&http, params);
    let effect = front.script.lock().strike(&request);
    front.traffic.lock().record(request.clone());
    let effect = match effect {
        Some(Effect::Answer(failure)) => return failure.into_response(),
        Some(Effect::Html) => return Html("<html><body><h1>It works!</h1></body></html>").into_response(),
        Some(Effect::Hang) => {
            context.stop.cancelled().await;
            return StatusError::new(503, "the server stops").into_response();
        }
        Some(Effect::Delay(by)) => {
            tokio::select! {
                () = tokio::time::sleep(by) => {}
                () = context.stop.cancelled() => {}
            }
            None
        }
        other => other,
    };
    match request.kind {
        Kind::List => list::answer(&context, effect, http, next).await,
        Kind::Watch => watch::answer(context, effect, next.run(http).await),
        Kind::Apply => apply::answer(&context.api, http).await,
        Kind::Get => spoiled(&context.api, next.run(http).await).await,
        Kind::Namespace if request.path.ends_with("/kube-system") => {
            identified(&context.api, next.run(http).await).await
        }
        _ => next.run(http).await,
    }
}

/// A single pod, as the test wants it shown.
async fn spoiled(api: &Api, response: Response) -> Response {
    if !response.status().is_success() || api.front.spoiled.lock().is_empty() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let pod = text(body).await;
    let shown = api.front.spoiled(&pod).unwrap_or(pod);
    HttpResponse::from_parts(parts, Body::from(shown))
}

/// The `kube-system` namespace, with the UID that the test chose.
async fn identified(api: &Api, response: Response) -> Response {
    let uid = api.front.cluster_uid.lock().clone();
    let Some(uid) = uid.filter(|_| response.status().is_success()) else { return response };
    let (parts, body) = response.into_parts();
    let mut namespace: Value = serde_json::from_str(&text(body).await).unwrap();
    namespace["metadata"]["uid"] = uid.into();
    HttpResponse::from_parts(parts, Body::from(namespace.to_string()))
}

/// A complete body.
pub(super) async fn text(body: Body) -> String {
    String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().into()).unwrap()
}
