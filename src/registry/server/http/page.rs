//! Addresses without credential: the web page, the OpenAPI document, and health.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::App;
use super::answer::Refusal;
use crate::registry::server::problem::ProblemKind;

/// The page loads only files of this server, and no other page may embed it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub const OPENAPI: &str = include_str!("../openapi.json");

fn file(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, content).into_response()
}

/// `GET /`
pub(crate) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("../page/index.html"))
}

/// `GET /page/app.js`
pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("../page/app.js"))
}

/// `GET /page/style.css`
pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../page/style.css"))
}

/// `GET /page/icon.svg`
pub(crate) async fn icon() -> Response {
    file("image/svg+xml", include_str!("../page/icon.svg"))
}

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    file("application/json", OPENAPI)
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
