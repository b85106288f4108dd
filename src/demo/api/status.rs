//! Errors, as the `Status` objects of a real server.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::object::in_order;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct StatusError {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    /// The token in `metadata.continue` that continues an expired list inconsistently.
    continue_token: Option<String>,
    retry_after: Option<u32>,
}

impl StatusError {
    /// An error with the reason that belongs to the code.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            410 => "Expired",
            422 => "Invalid",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        let details = (code == 404).then(|| json!({}));
        Self { code, reason, message: message.into(), details, continue_token: None, retry_after: None }
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    /// Asks the client to wait for some seconds, in the header and in the body.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self::new(400, message)
    }

    /// A 500 without a reason, as for errors that a real server does not expect.
    pub(super) fn unforeseen(message: impl Into<String>) -> Self {
        Self { reason: "", ..Self::new(500, message) }
    }

    /// A field of an object is invalid.
    pub(super) fn invalid(resource: &Resource, named: Named, name: &str, field: &str, why: &str) -> Self {
        let (kind, qualified) = (resource.named(named), resource.qualified(named));
        let mut failure = Self::new(422, format!("{qualified} \"{name}\" is invalid: {field}: {why}"));
        let reason = if why.starts_with("Required value") { "FieldValueRequired" } else { "FieldValueInvalid" };
        let causes = json!([{"reason": reason, "message": why, "field": field}]);
        failure.details = Some(json!({"name": name, "group": resource.group, "kind": kind, "causes": causes}));
        failure
    }

    /// The options of a query cannot be combined.
    pub(super) fn forbidden_option(field: &str, why: &str) -> Self {
        let message = format!("Forbidden: {why}");
        let mut failure = Self::new(422, format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}"));
        let causes = json!([{"reason": "FieldValueForbidden", "message": message, "field": field}]);
        failure.details = Some(json!({"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes}));
        failure
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, format!("{} \"{name}\" not found", resource.qualified(Named::Plural))).about(
            resource,
            Named::Plural,
            name,
        )
    }

    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        let mut failure = Self::new(409, format!("{} \"{name}\" already exists", resource.qualified(Named::Plural)));
        failure.reason = "AlreadyExists";
        failure.about(resource, Named::Plural, name)
    }

    pub(super) fn conflict(resource: &Resource, named: Named, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified(named));
        Self::new(409, message).about(resource, named, name)
    }

    /// A watch starts from a resource version that was compacted.
    pub(super) fn too_old(asked: u64, oldest: u64) -> Self {
        Self::new(410, format!("too old resource version: {asked} ({oldest})"))
    }

    /// The list of a continue token was compacted. Another token continues it inconsistently.
    pub(super) fn expired_token(inconsistent: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list \
                       without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
                       results. Continuing with the provided token results in an inconsistent list - objects that were created, \
                       modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        Self { continue_token: Some(inconsistent), ..Self::new(410, message) }
    }

    /// A request names a resource version that does not exist yet.
    pub(super) fn too_large(asked: u64, current: u64) -> Self {
        let mut failure = Self::new(504, format!("Timeout: Too large resource version: {asked}, current: {current}"));
        failure.details = Some(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }));
        failure.retry_after = Some(1);
        failure
    }

    fn about(mut self, resource: &Resource, named: Named, name: &str) -> Self {
        self.details = Some(json!({"name": name, "group": resource.group, "kind": resource.named(named)}));
        self
    }

    pub fn body(&self) -> String {
        let metadata = match &self.continue_token {
            Some(token) => json!({"continue": token}),
            None => json!({}),
        };
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            details.get_or_insert_with(|| json!({}))["retryAfterSeconds"] = seconds.into();
        }
        let mut document = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure", "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            document["reason"] = self.reason.into();
        }
        if let Some(Value::Object(mut details)) = details {
            details.retain(|_, value| value != "");
            document["details"] = details.into();
        }
        in_order(&document, &["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"])
    }
}

impl IntoResponse for StatusError {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(code, Body::from(self.body()));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<serde_json::Error> for StatusError {
    fn from(error: serde_json::Error) -> Self {
        Self::bad_request(format!("the object provided is unrecognized (must be of type Pod): {error}"))
    }
}

pub(super) fn json_response(code: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[derive(Debug)]
pub(super) struct Resource {
    pub(super) plural: &'static str,
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
}

/// How an error names a resource type. Real servers use both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Plural,
    Kind,
}

impl Resource {
    fn named(&self, named: Named) -> &'static str {
        if named == Named::Kind { self.kind } else { self.plural }
    }

    fn qualified(&self, named: Named) -> String {
        let name = self.named(named);
        if self.group.is_empty() { name.to_owned() } else { format!("{name}.{}", self.group) }
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }
}

pub(super) const PODS: Resource = Resource { plural: "pods", group: "", kind: "Pod" };
pub(super) const NAMESPACES: Resource = Resource { plural: "namespaces", group: "", kind: "Namespace" };
pub(super) const LEASES: Resource = Resource { plural: "leases", group: "coordination.k8s.io", kind: "Lease" };
pub(super) const EVENTS: Resource = Resource { plural: "events", group: "events.k8s.io", kind: "Event" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_bodies_match_a_real_server() {
        assert_eq!(
            StatusError::not_found(&LEASES, "a").body(),
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"leases.coordination.k8s.io \"a\" not found","#,
                r#""reason":"NotFound","details":{"group":"coordination.k8s.io","kind":"leases","name":"a"},"code":404}"#
            )
        );
        assert!(!StatusError::unforeseen("x").body().contains("reason"));
        let slow: Value = serde_json::from_str(&StatusError::new(429, "slow").retry_after(3).body()).unwrap();
        assert_eq!(slow["details"]["retryAfterSeconds"], 3);
    }
}
