//! What is served where.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::telemetry::{Health, Metrics, health::Report, metrics};

/// What exists, for those who ask for something else.
const INDEX: &str = "not here; there are:\n\
    /livez    whether the event loop turns\n\
    /healthz  the same\n\
    /readyz   whether every watch has delivered a complete list, and this process may go on\n\
    /metrics  metrics, in the OpenMetrics text format\n";

pub(super) fn router(health: Health, metrics: Metrics) -> Router {
    let probes = Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .with_state(health);
    let scrapes = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    probes.merge(scrapes).fallback(async || (StatusCode::NOT_FOUND, INDEX))
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

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
