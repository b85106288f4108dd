//! Addresses without credential: the web page, the OpenAPI document, and health.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::App;
use super::answer::Refusal;
use crate::registry::server::problem::ProblemKind;

pub const OPENAPI: &str = include_str!("../openapi.json");

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
