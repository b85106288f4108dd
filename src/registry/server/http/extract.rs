//! Extracts and checks the parts of a request: address, query and headers.

use std::collections::HashMap;

use axum::{
    RequestPartsExt as _,
    extract::{FromRequestParts, Path, Query},
    http::{header, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{answer::Refusal, auth::Caller};
use crate::{
    model::ids::{DEFAULT_OWNER, INTEGER_LIMIT, is_valid_id},
    registry::server::{
        problem::ProblemKind,
        record::{Address, VALID_ID},
    },
};

/// The query string as `T`. If it does not fit, the problem is `schema`.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let Query(params) = Query::try_from_uri(&parts.uri)
            .map_err(|error| ProblemKind::Schema.with(format!("query: {}", error.body_text())))?;
        Ok(Self(params))
    }
}

/// The writer that the address names. The caller has access to its cluster.
pub(crate) struct WriterAddress {
    pub(crate) at: Address,
    /// The id of a record. Empty if the address has none.
    pub(crate) id: String,
}

#[derive(Deserialize)]
struct OwnerParam {
    owner: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for WriterAddress {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let Path(mut path) = parts
            .extract::<Path<HashMap<String, String>>>()
            .await
            .map_err(|error| ProblemKind::Schema.with(format!("address: {}", error.body_text())))?;
        let cluster = path.remove("cluster").unwrap_or_default();
        // Before any check of the request, so that a caller learns nothing about other clusters.
        caller.must_cover(&cluster)?;
        let cluster = checked("the cluster's id", cluster)?;
        let Params(OwnerParam { owner }) = Params::from_request_parts(parts, state).await?;
        let owner = checked("`owner`", owner.unwrap_or_else(|| DEFAULT_OWNER.to_owned()))?;
        let id = path.remove("id").map(|id| checked("the id", id)).transpose()?.unwrap_or_default();
        Ok(Self { at: Address { cluster, owner }, id })
    }
}

/// A number in a query or a header.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
pub(crate) struct Number(pub(crate) u64);

impl TryFrom<u64> for Number {
    type Error = &'static str;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        if value < INTEGER_LIMIT { Ok(Self(value)) } else { Err("a number is not below 2^53") }
    }
}

/// The requested number of items, at most `max`.
pub(crate) fn items_limit(requested: Option<Number>, default: usize, max: usize) -> Result<usize, Refusal> {
    match requested.map(|Number(requested)| usize::try_from(requested).unwrap_or(max)) {
        None => Ok(default),
        Some(0) => Err(ProblemKind::Schema.with("`limit` must be at least 1").into()),
        Some(limit) => Ok(limit.min(max)),
    }
}

/// Checks an id; `what` is its name in the problem.
pub(crate) fn checked(what: &str, id: String) -> Result<String, Refusal> {
    if is_valid_id(&id) { Ok(id) } else { Err(ProblemKind::Schema.with(format!("{what} must be {VALID_ID}")).into()) }
}

/// Whether the caller asks for a stream of events.
pub(crate) fn wants_events(parts: &Parts) -> bool {
    let accept = parts.headers.get_all(header::ACCEPT).iter();
    accept.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/event-stream"))
}
