//! Serves health, metrics and the status over HTTP, for probes, scrapers and people. Read-only.
//!
//! [`crate::listen`] bounds the connections, so that probes are answered however many connections others hold open.

pub mod page;
mod routes;
pub mod status;
pub mod summary;

use std::{future::Future, time::Duration};

use futures::future::BoxFuture;
use tokio::net::TcpListener;

use self::status::StatusDocument;
use crate::{
    listen::{self, server::Limits},
    telemetry::{health::Health, metrics::Metrics},
};

pub struct Pages {
    pub health: Health,
    pub metrics: Metrics,
    /// Builds the status for each request, from memory and without waiting.
    pub status: Box<dyn Fn() -> StatusDocument + Send + Sync>,
    /// Builds the page of the pod with this namespace and name. Has to bound its own time and number of requests.
    pub pod: PodPage,
}

type PodPage = Box<dyn Fn(String, String) -> BoxFuture<'static, JsonPage> + Send + Sync>;

/// A page and its HTTP status.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPage {
    pub status: u16,
    pub body: serde_json::Value,
}

/// More than the kubelet and a few scrapers need: nearly every page comes from memory.
const LIMITS: Limits = Limits {
    connections: 128,
    head_timeout: Duration::from_secs(20),
    head_bytes: 16 << 10,
    write_timeout: Duration::from_secs(10),
    drain: Duration::from_secs(2),
};

/// Serves until `shutdown` completes, then ends the open connections.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: impl Future<Output = ()>) {
    listen::server::serve(listener, routes::router(pages), None, LIMITS, shutdown).await;
}

#[cfg(test)]
mod tests;
