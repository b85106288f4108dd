//! Web pages and their files: the headers that keep a browser from loading or embedding anything else.

use std::future::ready;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};

/// The type of a page.
pub const HTML: &str = "text/html; charset=utf-8";

/// A page loads only files of its server, and no other page may embed it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A document of this type.
pub fn document(kind: &'static str, content: impl IntoResponse) -> Response {
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

/// Answers GET with a document that never changes.
pub fn file<S: Clone + Send + Sync + 'static>(kind: &'static str, content: &'static str) -> MethodRouter<S> {
    get(move || ready(document(kind, content)))
}
