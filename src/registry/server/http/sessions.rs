//! The addresses for capabilities, sessions and clusters.

use axum::{
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{
    App,
    answer::{HandlerResult, json},
    auth::Caller,
    batch::{MAX_BATCH_BYTES, MAX_BATCH_ITEMS},
    body::read_body,
    extract::{Params, WriterAddress},
};
use crate::registry::{
    protocol::{BATCH, CapabilitiesDocument, ClusterList, DIGEST_INVENTORY, PROTOCOL},
    server::{json::parse, problem::ProblemKind, record::MAX_RECORD_BYTES, store, tokens::ClusterAccess},
    session::{Heartbeat, OpenSession},
};

/// Bytes of a body that opens or renews a session.
const MAX_SESSION_BYTES: usize = 16 << 10;

/// `GET /v1/capabilities`
pub(crate) async fn capabilities(_: Caller) -> Response {
    let features = [BATCH, DIGEST_INVENTORY, "sessions", "tombstones", "changes"];
    let capabilities = CapabilitiesDocument {
        protocol: PROTOCOL.to_owned(),
        max_batch_items: MAX_BATCH_ITEMS,
        max_batch_bytes: MAX_BATCH_BYTES,
        max_record_bytes: MAX_RECORD_BYTES,
        features: features.map(str::to_owned).to_vec(),
    };
    json(StatusCode::OK, &capabilities)
}

/// `POST /v1/clusters/{cluster}/session`
pub(crate) async fn open(State(app): State<App>, scope: WriterAddress, body: Body) -> HandlerResult {
    let text = read_body(body, MAX_SESSION_BYTES).await?;
    let request: OpenSession = parse(&text).map_err(|error| ProblemKind::Schema.with(format!("session: {error}")))?;
    let opened = app.store.write(move |conn, now| store::session::open(conn, now, &scope.at, &request)).await?;
    Ok(json(StatusCode::CREATED, &opened))
}

/// `PUT /v1/clusters/{cluster}/session`
pub(crate) async fn heartbeat(State(app): State<App>, scope: WriterAddress, body: Body) -> HandlerResult {
    let text = read_body(body, MAX_SESSION_BYTES).await?;
    let beat: Heartbeat = parse(&text).map_err(|error| ProblemKind::Schema.with(format!("heartbeat: {error}")))?;
    let accepted = app.store.write(move |conn, now| store::session::heartbeat(conn, now, &scope.at, &beat)).await??;
    Ok(json(StatusCode::OK, &accepted))
}

#[derive(Deserialize)]
pub(crate) struct EpochParam {
    epoch: u64,
}

/// `DELETE /v1/clusters/{cluster}/session`
pub(crate) async fn close(
    State(app): State<App>,
    scope: WriterAddress,
    Params(param): Params<EpochParam>,
) -> HandlerResult {
    app.store.write(move |conn, now| store::session::close(conn, now, &scope.at, param.epoch)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /v1/clusters`
pub(crate) async fn clusters(State(app): State<App>, Caller(access): Caller) -> HandlerResult {
    let items = app.store.read(move |conn, now| store::query::clusters(conn, now, &access, None)).await?;
    Ok(json(StatusCode::OK, &ClusterList { items }))
}

/// `GET /v1/clusters/{cluster}`
pub(crate) async fn cluster(State(app): State<App>, scope: WriterAddress) -> HandlerResult {
    let found = app
        .store
        .read(move |conn, now| store::query::clusters(conn, now, &ClusterAccess::All, Some(&scope.at.cluster)))
        .await?
        .pop();
    let mut cluster = found.ok_or_else(|| ProblemKind::NotFound.with("no session was ever opened for this cluster"))?;
    cluster.pods = None;
    Ok(json(StatusCode::OK, &cluster))
}
