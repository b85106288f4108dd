//! An HTTP/1.1 server, with or without TLS. It bounds the resources of each client and shuts down gracefully.

use std::{
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::table::{ConnectionSlot, Table};

/// The TLS configuration. The sender replaces it when the certificate is renewed.
pub type Tls = watch::Receiver<Arc<ServerConfig>>;

/// Limits on the resources of clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of open connections.
    pub connections: usize,
    /// Time limit for a TLS handshake and for the head of a request. An idle connection is kept as long.
    pub head_timeout: Duration,
    /// Size of the head of a request.
    pub head_bytes: usize,
    /// How long a client may read nothing of an answer.
    pub write_timeout: Duration,
    /// Time limit for open requests at shutdown.
    pub drain: Duration,
}

/// Number of headers of a request.
const HEADERS: usize = 64;
/// Delay after a failed accept. Without file descriptors, accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Interval of repeated log lines about closed or refused connections.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Serves until `shutdown` completes, then lets open requests finish and closes all connections.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let server = Server { router, tls, limits, stopping: CancellationToken::new() };
    let table = Table::new(limits.connections);
    let mut connections = JoinSet::new();
    let (mut closed, mut failed) = (LogLimit::default(), LogLimit::default());
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (place, full) = table.enter();
                    if let Some(connections) = full.then(|| closed.count()).flatten() {
                        let limit = limits.connections;
                        tracing::warn!(limit, connections, "too many connections; closed the oldest idle ones");
                    }
                    connections.spawn(server.clone().connection(stream, place));
                }
                // The client went away before it was accepted.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    if let Some(failures) = failed.count() {
                        tracing::warn!(%error, failures, "cannot accept a connection; retrying");
                    }
                    table.close_oldest();
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    server.stopping.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain, drained).await.is_err() {
        connections.shutdown().await;
    }
}

/// Turns many log lines into one with a count per `LOG_EVERY`.
#[derive(Default)]
struct LogLimit {
    events: u64,
    next: Option<Instant>,
}

impl LogLimit {
    /// Counts an event. If a line is due, it returns the number of events since the last line.
    fn count(&mut self) -> Option<u64> {
        self.events += 1;
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + LOG_EVERY);
        Some(std::mem::take(&mut self.events))
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    stopping: CancellationToken,
}

impl Server {
    async fn connection(self, stream: TcpStream, place: ConnectionSlot) {
        tokio::select! {
            () = place.closed() => tracing::debug!("connection closed to make room for a new one"),
            result = self.exchange(stream, &place) => if let Err(error) = result {
                tracing::debug!(%error, "connection ended early");
            },
        }
    }

    async fn exchange(&self, stream: TcpStream, place: &ConnectionSlot) -> io::Result<()> {
        // Answers are small and complete, so Nagle's algorithm would only delay them.
        stream.set_nodelay(true)?;
        let stream = with_write_timeout(stream, self.limits.write_timeout);
        let Some(tls) = &self.tls else { return self.http(stream, place).await };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let stream = tokio::select! {
            stream = timeout(self.limits.head_timeout, acceptor.accept(stream)) => stream??,
            () = self.stopping.cancelled() => return Ok(()),
        };
        self.http(stream, place).await
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, place: &ConnectionSlot) -> io::Result<()> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.head_timeout);
        http.max_headers(HEADERS).max_buf_size(self.limits.head_bytes);
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let open = place.begin();
            let answer = self.router.clone().oneshot(request);
            // The request is open until the connection drops the body, and this closure with it.
            let keep_open = move |error| {
                let _open = &open;
                error
            };
            async move { answer.await.map(|answer| answer.map(|body| body.map_err(keep_open))) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = self.stopping.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await.map_err(io::Error::other)
    }
}

/// Fails a connection whose client reads nothing of an answer for `limit`.
fn with_write_timeout(stream: TcpStream, limit: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limit));
    Box::pin(stream)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn write_fails_when_the_client_never_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (server, _)) = (client.unwrap(), server.unwrap());
        let mut stream = with_write_timeout(server, Duration::from_millis(50));
        // This exceeds the kernel's buffers of both sides.
        let error = stream.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
