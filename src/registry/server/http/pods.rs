//! The addresses for reading records: inventory pages, bucket digests, one record.
//!
//! A page token is `<time>.<fingerprint>.<id>`: when it was issued (milliseconds, hexadecimal), which writer and filter
//! it belongs to, and the last id of its page. Tokens need no memory of the server.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use strum::VariantArray as _;

use super::{
    App,
    answer::{HandlerResult, Refusal, json},
    extract::{Number, Params, WriterAddress, items_limit},
};
use crate::{
    model::{
        digest::{Buckets, Digest},
        record::Lifecycle,
    },
    registry::{
        protocol::InventoryAnswer,
        server::{
            problem::ProblemKind,
            record::Address,
            store::{
                self,
                read::{Filter, RecordPage},
            },
        },
    },
};

const DEFAULT_LIMIT: usize = 500;
const MAX_LIMIT: usize = 5_000;
/// Characters of a search.
const MAX_SEARCH: usize = 256;
/// How long a page token is valid.
const TOKEN_MS: i64 = 15 * 60 * 1_000;

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum View {
    /// Id, digest and version.
    #[default]
    Digest,
    /// Whole records.
    Full,
}

#[derive(Deserialize)]
pub(crate) struct ListParams {
    #[serde(default)]
    view: View,
    limit: Option<Number>,
    page: Option<String>,
    bucket: Option<usize>,
    buckets: Option<usize>,
    q: Option<String>,
    lifecycle: Option<String>,
}

/// `GET /v1/clusters/{cluster}/pods`
pub(crate) async fn list(
    State(app): State<App>,
    scope: WriterAddress,
    Params(params): Params<ListParams>,
) -> HandlerResult {
    let at = scope.at;
    let filter = filter(&params)?;
    let limit = items_limit(params.limit, DEFAULT_LIMIT, MAX_LIMIT)?;
    let fingerprint = fingerprint(&at, &filter);
    let now = app.store.now_ms();
    let after = match params.page.as_deref().filter(|page| !page.is_empty()) {
        Some(token) => open_token(token, &fingerprint, now)?,
        None => String::new(),
    };
    let full = params.view == View::Full;
    let page = app.store.read(move |conn, _| store::read::inventory(conn, &at, &filter, &after, limit, full)).await?;
    let RecordPage { items, more, count, as_of } = page;
    let last = items.last().map(|(item, _)| item.id.as_str()).filter(|_| more);
    let next = last.map(|id| format!("{now:x}.{fingerprint}.{id}"));
    if full {
        let items: Vec<_> = items.into_iter().filter_map(|(_, body)| body).collect();
        return Ok(json(StatusCode::OK, &InventoryAnswer { items, next, count, as_of }));
    }
    let items: Vec<_> = items.into_iter().map(|(item, _)| item).collect();
    Ok(json(StatusCode::OK, &InventoryAnswer { items, next, count, as_of }))
}

fn filter(params: &ListParams) -> Result<Filter, Refusal> {
    let schema = |detail: &str| Refusal::from(ProblemKind::Schema.with(detail));
    let bucket = match (params.bucket, params.buckets) {
        (None, None) => None,
        (None, Some(buckets)) => checked_buckets(buckets).map(|_| None)?,
        (Some(bucket), buckets) => {
            let buckets = checked_buckets(buckets.unwrap_or(Buckets::By8Bits.count()))?;
            if bucket >= buckets.count() {
                return Err(schema("`bucket` must be below `buckets`"));
            }
            Some((buckets, bucket))
        }
    };
    if params.q.as_ref().is_some_and(|q| q.chars().count() > MAX_SEARCH) {
        return Err(schema("`q` must have at most 256 characters"));
    }
    let search = params.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map(str::to_lowercase);
    let lifecycle = match params.lifecycle.as_deref() {
        None | Some("") => None,
        Some(text) => match Lifecycle::VARIANTS.iter().find(|lifecycle| <&str>::from(**lifecycle) == text) {
            None => return Err(schema("`lifecycle` must be pending, active, terminating or finished")),
            found => found.copied(),
        },
    };
    Ok(Filter { bucket, search, lifecycle })
}

fn checked_buckets(count: usize) -> Result<Buckets, Refusal> {
    Buckets::from_count(count).ok_or_else(|| ProblemKind::Schema.with("`buckets` must be 1, 256 or 65536").into())
}

/// Binds page tokens to a writer and a filter. Continuing with another filter would skip records silently.
fn fingerprint(at: &Address, filter: &Filter) -> String {
    let mut hex = Digest::of_canonical(format!("{at:?}{filter:?}").as_bytes()).hex();
    hex.truncate(16);
    hex
}

/// The id after which the page begins.
pub(super) fn open_token(token: &str, fingerprint: &str, now: i64) -> Result<String, Refusal> {
    let gone = |detail: &str| Err(ProblemKind::Gone.with(format!("{detail}; start again without `page`")).into());
    let mut parts = token.splitn(3, '.');
    let issued = parts.next().and_then(|hex| i64::from_str_radix(hex, 16).ok());
    let (Some(issued), Some(found), Some(id)) = (issued, parts.next(), parts.next()) else {
        return gone("the page token is not from this registry");
    };
    if found != fingerprint {
        return gone("the page token belongs to another writer or other filters");
    }
    if now.saturating_sub(issued) > TOKEN_MS {
        return gone("the page token has expired");
    }
    Ok(id.to_owned())
}

#[derive(Deserialize)]
pub(crate) struct BucketParams {
    buckets: Option<usize>,
}

/// `GET /v1/clusters/{cluster}/pods:digest`
pub(crate) async fn digest(
    State(app): State<App>,
    scope: WriterAddress,
    Params(params): Params<BucketParams>,
) -> HandlerResult {
    let buckets = checked_buckets(params.buckets.unwrap_or(Buckets::By8Bits.count()))?;
    let digests = app.store.read(move |conn, _| store::read::bucket_digests(conn, &scope.at, buckets)).await?;
    Ok(json(StatusCode::OK, &digests))
}

/// `GET /v1/clusters/{cluster}/pods/{id}`
pub(crate) async fn get(State(app): State<App>, scope: WriterAddress) -> HandlerResult {
    match app.store.read(move |conn, _| store::query::record(conn, &scope.at, &scope.id)).await? {
        Some(record) => Ok(json(StatusCode::OK, &record)),
        None => Err(ProblemKind::NotFound.with("no record has this id; it was deleted, or never sent").into()),
    }
}
