//! Health, metrics and a status page over HTTP, for probes, scrapers and people. Reads only.
//!
//! The listener and the shutdown are handed in. [`crate::listen`] bounds the connections, so that a probe is answered
//! however many of them strangers hold open.

mod routes;

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;

use crate::{
    listen::{self, server::Limits},
    telemetry::{health::Health, metrics::Metrics},
};

/// What is served.
pub struct Pages {
    /// The probes' answers.
    pub health: Health,
    /// What scrapers read.
    pub metrics: Metrics,
    /// The status page, as JSON, made anew for every reader.
    pub status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// Answers come from memory at once, so more than a few scrapers and the kubelet need is enough.
const LIMITS: Limits = Limits {
    connections: 128,
    head_timeout: Duration::from_secs(20),
    head_bytes: 16 << 10,
    write_timeout: Duration::from_secs(10),
    drain: Duration::from_secs(2),
};

/// Serves until `shutdown` is done, then ends the open connections.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: impl Future<Output = ()>) {
    listen::server::serve(listener, routes::router(pages), None, LIMITS, shutdown).await;
}

#[cfg(test)]
mod tests;
