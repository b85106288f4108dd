//! The pages and their paths.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{JsonPage, Pages, PodPage};
use crate::telemetry::{
    health::{Health, Report},
    metrics::{self, Metrics},
};

/// The answer on any other path.
const INDEX: &str = "not found; the pages are:\n\
    /livez    whether the event loop turns\n\
    /healthz  the same\n\
    /readyz   whether every watch has delivered a complete list, and no other writer took over\n\
    /metrics  metrics, in the OpenMetrics text format\n\
    /status   session, records and held deletions, as JSON\n\
    /status/pods/NAMESPACE/NAME  the records of one pod, and what happens to them next, as JSON\n";

type StatusPage = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

pub(super) fn router(pages: Pages) -> Router {
    let Pages { health, metrics, status, pod } = pages;
    let probes = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(health);
    let scrapes = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    let status = Router::new().route("/status", get(show)).with_state(StatusPage::from(status));
    let pod = Router::new().route("/status/pods/{namespace}/{name}", get(show_pod)).with_state(Arc::new(pod));
    probes.merge(scrapes).merge(status).merge(pod).fallback(async || (StatusCode::NOT_FOUND, INDEX))
}

async fn live(State(health): State<Health>) -> Response {
    answer(&health.live())
}

async fn ready(State(health): State<Health>) -> Response {
    answer(&health.ready())
}

fn answer(report: &Report) -> Response {
    let status = if report.ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], report.to_string()).into_response()
}

async fn show(State(status): State<StatusPage>) -> Response {
    json(JsonPage { status: 200, body: status() })
}

async fn show_pod(State(page): State<Arc<PodPage>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    json(page(namespace, name).await)
}

fn json(JsonPage { status, body }: JsonPage) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = format!("{body:#}\n");
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics; please report this defect");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
