//! The addresses for writes: one record, or a batch of operations.

use std::collections::HashSet;

use axum::{
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    App,
    answer::{HandlerResult, Refusal, json},
    body::read_body,
    extract::{Params, WriterAddress},
};
use crate::{
    model::ids::{Version, is_valid_id},
    registry::{
        protocol::{BatchResults, ItemResult, ListedRecord, Problem},
        server::{
            json::Shallow,
            problem::ProblemKind,
            record::{self, Address, MAX_RECORD_BYTES, VALID_ID, check_version},
            store::{
                self,
                apply::{Item, Op},
            },
        },
    },
};

pub(crate) const MAX_BATCH_ITEMS: usize = 500;
pub(crate) const MAX_BATCH_BYTES: usize = 4 << 20;
/// Characters of a deletion's reason, and of where it was observed.
const MAX_REASON: usize = 64;

/// `PUT /v1/clusters/{cluster}/pods/{id}`
pub(crate) async fn put(State(app): State<App>, scope: WriterAddress, body: Body) -> HandlerResult {
    let text = read_body(body, MAX_RECORD_BYTES).await?;
    let (at, id) = (scope.at, scope.id);
    let record = record::check(&text, &at, &id)?;
    let (version, digest) = (record.version, record.digest);
    let stored = ListedRecord { id: id.clone(), digest, version };
    let result = single(&app, at, id, version.epoch, Op::Put(Box::new(record))).await?;
    Ok(json(StatusCode::from_u16(result.status).unwrap_or(StatusCode::OK), &stored))
}

#[derive(Deserialize)]
pub(crate) struct DeleteParams {
    epoch: u64,
    seq: u64,
    reason: Option<String>,
    observed: Option<String>,
}

/// `DELETE /v1/clusters/{cluster}/pods/{id}`
pub(crate) async fn delete(
    State(app): State<App>,
    scope: WriterAddress,
    Params(params): Params<DeleteParams>,
) -> HandlerResult {
    let DeleteParams { epoch, seq, reason, observed } = params;
    check_version(epoch, seq).map_err(|error| ProblemKind::Schema.with(error))?;
    let op = deletion(Version { epoch, seq }, reason, observed).map_err(|error| ProblemKind::Schema.with(error))?;
    single(&app, scope.at, scope.id, epoch, op).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A deletion. Unknown reasons are kept, so that a later release may send others.
fn deletion(version: Version, reason: Option<String>, observed: Option<String>) -> Result<Op, String> {
    for (name, text) in [("reason", &reason), ("observed", &observed)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > MAX_REASON) {
            return Err(format!("`{name}` must have at most {MAX_REASON} characters"));
        }
    }
    Ok(Op::Delete { version, reason, observed })
}

async fn single(app: &App, at: Address, id: String, epoch: u64, op: Op) -> Result<ItemResult, Refusal> {
    let items = [Item { id, op: Ok(op) }];
    let results = app.store.write(move |conn, now| store::apply::apply(conn, now, &at, epoch, &items)).await?;
    match results.into_iter().next() {
        Some(ItemResult { problem: Some(problem), .. }) => Err(Box::new(problem).into()),
        Some(result) => Ok(result),
        None => Err(ProblemKind::Internal.with("the store returned no result").into()),
    }
}

/// `POST /v1/clusters/{cluster}/pods:batch`
pub(crate) async fn batch(State(app): State<App>, scope: WriterAddress, body: Body) -> HandlerResult {
    let text = read_body(body, MAX_BATCH_BYTES).await?;
    let at = scope.at;
    // Parsing and hashing up to 4 MiB takes milliseconds. On this thread, other requests would wait.
    let (at, parsed) = tokio::task::spawn_blocking(move || {
        let parsed = parse(&text, &at);
        (at, parsed)
    })
    .await
    .map_err(|_| ProblemKind::Internal.with("the batch could not be read"))?;
    let (epoch, items) = parsed?;
    let results = app.store.write(move |conn, now| store::apply::apply(conn, now, &at, epoch, &items)).await?;
    Ok(answer(results))
}

fn answer(results: Vec<ItemResult>) -> Response {
    let mixed = results.iter().any(|result| result.problem.is_some());
    let status = if mixed { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    json(status, &BatchResults { results })
}

/// Parses a batch. An error concerns the whole batch; each item has its own errors.
pub(super) fn parse(text: &str, at: &Address) -> Result<(u64, Vec<Item>), Box<Problem>> {
    let schema = |detail: String| ProblemKind::Schema.with(format!("batch: {detail}"));
    let batch: Shallow<'_> = serde_json::from_str(text).map_err(|error| schema(error.to_string()))?;
    if batch.duplicate {
        return Err(schema("a member occurs twice".to_owned()));
    }
    let epoch: u64 = batch.required("epoch").map_err(schema)?;
    check_version(epoch, 1).map_err(schema)?;
    batch.check_others(&["operations"]).map_err(schema)?;
    let operations: Vec<&RawValue> = match batch.get("operations") {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| schema("`operations` is not an array".to_owned()))?,
        None => return Err(schema("`operations` is missing".to_owned())),
    };
    if operations.len() > MAX_BATCH_ITEMS {
        let detail = format!("{} operations, the limit is {MAX_BATCH_ITEMS}; split the batch", operations.len());
        return Err(ProblemKind::TooLarge.with(detail));
    }
    let items: Vec<Item> = operations.into_iter().map(|raw| item(raw, epoch, at)).collect();
    let mut ids = HashSet::new();
    // Items without an id are malformed and refused one by one.
    if !items.iter().filter(|item| !item.id.is_empty()).all(|item| ids.insert(item.id.as_str())) {
        return Err(schema("an id occurs twice; send one operation per id".to_owned()));
    }
    Ok((epoch, items))
}

fn item(raw: &RawValue, epoch: u64, at: &Address) -> Item {
    let Ok(members) = serde_json::from_str::<Shallow<'_>>(raw.get()) else {
        return Item { id: String::new(), op: Err(ProblemKind::Schema.with("the operation is not an object")) };
    };
    let id = members.string("id").unwrap_or_default();
    let op = operation(&members, &id, epoch, at);
    Item { id, op }
}

fn operation(members: &Shallow<'_>, id: &str, epoch: u64, at: &Address) -> Result<Op, Box<Problem>> {
    let schema = |detail: String| ProblemKind::Schema.with(format!("operation: {detail}"));
    if members.duplicate {
        return Err(schema("a member occurs twice".to_owned()));
    }
    if !is_valid_id(id) {
        return Err(schema(format!("`id` must be {VALID_ID}")));
    }
    members.check_others(&["record"]).map_err(schema)?;
    let (op, version) = match members.string("op").as_deref() {
        Some("put") => {
            let raw = members.get("record").ok_or_else(|| schema("`record` is missing".to_owned()))?;
            let record = record::check(raw.get(), at, id)?;
            let version = record.version;
            (Op::Put(Box::new(record)), version)
        }
        Some("delete") => {
            let version: Version = members.required("version").map_err(schema)?;
            check_version(version.epoch, version.seq).map_err(schema)?;
            let reason = members.optional("reason").map_err(schema)?;
            let observed = members.optional("observed").map_err(schema)?;
            (deletion(version, reason, observed).map_err(schema)?, version)
        }
        _ => return Err(schema("`op` must be `put` or `delete`".to_owned())),
    };
    if version.epoch != epoch {
        return Err(schema("the version must have the epoch of the batch".to_owned()));
    }
    Ok(op)
}
