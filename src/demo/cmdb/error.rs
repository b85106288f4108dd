//! Errors, as JSON objects with a code for programs and a message for people.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Characters of a message. A message can quote the request.
const MESSAGE_CHARS: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// A parameter, an id or a body has the wrong form.
    #[error("{0}")]
    Invalid(String),
    #[error("a valid token is required; send it as a bearer token, or as the password of basic authentication")]
    Unauthorized,
    #[error("the system {0:?} does not exist")]
    Unknown(String),
    #[error("the path does not exist; the systems are at /api/systems")]
    Path,
    #[error("the path does not take this method")]
    Method,
    /// The body did not arrive in time.
    #[error("the request took longer than 15 s")]
    Slow,
    /// A POST has the id of a system.
    #[error("the system {0:?} exists already; change it with PUT or PATCH")]
    Exists(String),
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("the system has another revision than the request expects; read it again")]
    Precondition,
    #[error("a system has at most 65536 bytes")]
    TooLarge,
    #[error("send the body as application/json")]
    MediaType,
    #[error("the inventory is full; delete systems first")]
    Full,
}

impl Error {
    fn parts(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Unknown(_) | Self::Path => (StatusCode::NOT_FOUND, "not-found"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::Exists(_) => (StatusCode::CONFLICT, "exists"),
            Self::Precondition => (StatusCode::PRECONDITION_FAILED, "precondition-failed"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type"),
            Self::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let message: String = self.to_string().chars().take(MESSAGE_CHARS).collect();
        let body = json!({"error": {"code": code, "message": message}}).to_string();
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self == Self::Unauthorized {
            for scheme in ["Bearer realm=\"systems\"", "Basic realm=\"systems\", charset=\"UTF-8\""] {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        response
    }
}
