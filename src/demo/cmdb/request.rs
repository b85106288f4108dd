//! What requests carry: the id in the path, the body, and preconditions.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Path},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use serde_json::Value;

use super::{
    error::Error,
    store::{SYSTEM_BYTES, SystemMembers, WritePrecondition},
};

const ID_BYTES: usize = 253;

/// The id in the path.
pub(super) struct SystemId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for SystemId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|error| Error::Invalid(format!("the id is invalid: {error}")))?;
        checked_id(id).map(Self)
    }
}

fn checked_id(id: String) -> Result<String, Error> {
    let is_valid = (1..=ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control) && id != "." && id != "..";
    if is_valid {
        Ok(id)
    } else {
        Err(Error::Invalid(format!("an id has 1 to {ID_BYTES} bytes, without control characters")))
    }
}

/// Reads a body that has to be a JSON object. Browsers send JSON to another site only if that site allows it.
pub(super) async fn members(headers: &HeaderMap, body: Body) -> Result<SystemMembers, Error> {
    let kind = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && kind != "application/merge-patch+json" {
        return Err(Error::MediaType);
    }
    let bytes = to_bytes(body, SYSTEM_BYTES).await.map_err(|_| Error::TooLarge)?;
    let document = serde_json::from_slice(&bytes);
    match document.map_err(|error| Error::Invalid(format!("the body is not JSON: {error}")))? {
        Value::Object(members) => Ok(members),
        _ => Err(Error::Invalid("the body is not a JSON object".to_owned())),
    }
}

/// The id in a body, if it has one.
pub(super) fn id_of(members: &SystemMembers) -> Result<Option<String>, Error> {
    match members.get("id") {
        None => Ok(None),
        Some(Value::String(id)) => checked_id(id.clone()).map(Some),
        Some(_) => Err(Error::Invalid("the member id is not a text".to_owned())),
    }
}

/// The preconditions of a write.
pub(super) fn precondition(headers: &HeaderMap) -> Result<WritePrecondition, Error> {
    let absent = match text(headers, header::IF_NONE_MATCH) {
        None => false,
        Some("*") => true,
        Some(_) => return Err(Error::Invalid("If-None-Match of a write can only be *".to_owned())),
    };
    let revisions = text(headers, header::IF_MATCH).map(|tags| match tags {
        "*" => Vec::new(),
        // 0 is no system's revision, so that an unknown tag matches none.
        tags => tags.split(',').map(|tag| tag.trim().trim_matches('"').parse().unwrap_or(0)).collect(),
    });
    Ok(WritePrecondition { revisions, absent })
}

/// The entity tag of a revision.
pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// Whether the client has this revision.
pub(super) fn is_known(headers: &HeaderMap, revision: u64) -> bool {
    let tag = etag(revision);
    text(headers, header::IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}
