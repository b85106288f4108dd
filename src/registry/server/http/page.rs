//! Addresses without credential: the web page, the OpenAPI document, and health.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};

use super::App;
use super::answer::Refusal;
use crate::registry::server::problem::ProblemKind;

/// The page loads only files of this server, and no other page may embed it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub const OPENAPI: &str = include_str!("../openapi.json");

pub(super) fn file(kind: &'static str, content: &'static str) -> MethodRouter<App> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    get(move || std::future::ready((headers, content)))
}

/// `GET /healthz`. It needs an answer of the writing thread, since reads could still work without that thread.
pub(crate) async fn health(State(app): State<App>) -> Response {
    match app.store.write(|_, _| Ok(())).await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(fault) => Refusal::from(fault).into_response(),
    }
}

/// The answer to an unknown path.
pub(crate) async fn not_found() -> Refusal {
    ProblemKind::NotFound.with("the path does not exist; /openapi.json lists all paths").into()
}

/// The answer to a method that the path does not take.
pub(crate) async fn method_not_allowed() -> Refusal {
    ProblemKind::MethodNotAllowed.with("/openapi.json lists the methods of each path").into()
}
