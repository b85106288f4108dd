//! Health, metrics and a status page over HTTP, for probes, scrapers and people. Reads only.
//!
//! The listener and the shutdown are handed in. Every connection is owned by the server and bounded: their number, the wait
//! for a request's head, and how long one may live at all.

mod routes;

use std::{future::Future, io, pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::telemetry::{Health, Metrics};

/// What is served.
pub struct Pages {
    /// The probes' answers.
    pub health: Health,
    /// What scrapers read.
    pub metrics: Metrics,
    /// The status page, as JSON, made anew for every reader.
    pub status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// More than a few scrapers and the kubelet need. While all are taken, new ones wait in the listener's backlog.
const MOST_CONNECTIONS: usize = 128;

/// For a request's head, and so for the next request on a connection that is kept open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// A reader that takes longer than this is not reading; a scraper simply connects again.
const CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// What open requests get at shutdown. They are answered from memory.
const DRAIN: Duration = Duration::from_secs(2);

/// Out of file descriptors: accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `shutdown` is done, then ends the open connections.
pub async fn serve(listener: TcpListener, pages: Pages, shutdown: impl Future<Output = ()>) {
    let router = routes::router(pages);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), stopping.clone()));
                }
                Err(error) => accept_failed(&error).await,
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection to the admin address");
    sleep(ACCEPT_PAUSE).await;
}

async fn connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(64).max_buf_size(16 * 1024);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            // The sender outlives the connections, so this is a stop and no lost channel.
            _ = stopping.wait_for(|stopping| *stopping) => connection.as_mut().graceful_shutdown(),
        }
        connection.as_mut().await
    };
    match timeout(CONNECTION_LIFE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin address broke off"),
        Err(_) => tracing::debug!("a connection to the admin address was open for too long"),
    }
}

#[cfg(test)]
mod tests;
