//! The pages and their paths.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{JsonPage, Pages, page};
use crate::telemetry::{health::Report, metrics};

/// The answer on any other path.
const INDEX: &str = "not found; the pages are:\n\
    /         the status, for people\n\
    /livez    whether the event loop turns\n\
    /healthz  the same\n\
    /readyz   whether every watch has delivered a complete list, and no other writer took over\n\
    /metrics  metrics, in the OpenMetrics text format\n\
    /status   session, records and held deletions, as JSON\n\
    /status/pods/NAMESPACE/NAME  the records of one pod, and what happens to them next, as JSON\n";

pub(super) fn router(pages: Pages) -> Router {
    let live = async |State(pages): State<Arc<Pages>>| answer(&pages.health.live());
    let ready = async |State(pages): State<Arc<Pages>>| answer(&pages.health.ready());
    Router::new()
        .route("/", get(show_page))
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .route("/status", get(show))
        .route("/status/pods/{namespace}/{name}", get(show_pod))
        .merge(page::files())
        .fallback(async || (StatusCode::NOT_FOUND, INDEX))
        .with_state(Arc::new(pages))
}

fn answer(report: &Report) -> Response {
    let status = if report.ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], report.to_string()).into_response()
}

async fn show_page(State(pages): State<Arc<Pages>>) -> Response {
    page::answer(&(pages.status)())
}

async fn show(State(pages): State<Arc<Pages>>) -> Response {
    match serde_json::to_string_pretty(&(pages.status)()) {
        Ok(text) => json_text(StatusCode::OK, text),
        Err(error) => {
            tracing::error!(%error, "cannot write the status; please report this defect");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn show_pod(State(pages): State<Arc<Pages>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    json((pages.pod)(namespace, name).await)
}

fn json(JsonPage { status, body }: JsonPage) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_text(status, format!("{body:#}"))
}

fn json_text(status: StatusCode, mut text: String) -> Response {
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn scrape(State(pages): State<Arc<Pages>>) -> Response {
    match pages.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics; please report this defect");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
