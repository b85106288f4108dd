//! Builds answers: JSON, and problems as RFC 9457 defines them.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::registry::{
    protocol::Problem,
    server::{problem::ProblemKind, store::StoreFault},
};

/// Seconds to wait after an answer 429 or 503.
const RETRY_AFTER: &str = "2";

/// A problem as an answer.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Box<Problem>);

pub(crate) type HandlerResult = Result<Response, Refusal>;

impl From<Box<Problem>> for Refusal {
    fn from(problem: Box<Problem>) -> Self {
        Self(problem)
    }
}

impl From<StoreFault> for Refusal {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Refused(problem) => Self(problem),
            StoreFault::Unknown => ProblemKind::Unavailable.with(fault.to_string()).into(),
            StoreFault::Sqlite(ref error) => {
                // The cause is for the operator alone.
                tracing::error!(%error, "database failed; check free space and the disk");
                ProblemKind::Internal.with("the database failed; the registry's log has the cause").into()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.0.status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = body(status, &self.0, "application/problem+json");
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            _ => {}
        }
        response
    }
}

pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    body(status, value, "application/json")
}

fn body<T: Serialize>(status: StatusCode, value: &T, kind: &'static str) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (status, headers, Body::from(bytes)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "answer cannot be encoded as JSON; please report this bug");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
