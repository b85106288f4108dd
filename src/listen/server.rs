//! An HTTP/1.1 server, with or without TLS, that bounds what each client may hold and stops when asked.

use std::{
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    stream::Impatient,
    table::{ConnectionSlot, InWork, OpenRequests, Table},
};

/// What TLS is spoken with; the sender replaces it when the certificate is renewed.
pub type Tls = watch::Receiver<Arc<ServerConfig>>;

/// What clients may hold, each and together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// The time for a TLS handshake, and for the head of a request. A kept connection may be idle as long.
    pub head_timeout: Duration,
    /// Bytes of the head of a request.
    pub head_bytes: usize,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// How long requests may go on after the server was asked to stop.
    pub drain: Duration,
}

/// Header lines of a request.
const HEADERS: usize = 64;
/// Out of file descriptors: accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How often the log repeats that connections are closed or cannot be accepted.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Serves until `shutdown` is done, then lets open requests finish and closes every connection.
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
    let (mut closed, mut failed) = (Told::default(), Told::default());
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (place, full) = table.enter();
                    if let Some(connections) = full.then(|| closed.another()).flatten() {
                        let limit = limits.connections;
                        tracing::warn!(limit, connections, "too many connections; closed the oldest idle ones");
                    }
                    connections.spawn(server.clone().connection(stream, place));
                }
                // The client went away before its turn came.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    if let Some(failures) = failed.another() {
                        tracing::warn!(%error, failures, "cannot accept a connection; trying again");
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

/// Counts what would flood the log one by one.
#[derive(Default)]
struct Told {
    count: u64,
    next: Option<Instant>,
}

impl Told {
    /// Counts one more. The number since the last line, when another line is due.
    fn another(&mut self) -> Option<u64> {
        self.count += 1;
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + TELL_EVERY);
        Some(std::mem::take(&mut self.count))
    }
}

/// What every connection needs.
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
            result = self.exchange(stream, place.requests()) => if let Err(error) = result {
                tracing::debug!(%error, "connection ended early");
            },
        }
    }

    async fn exchange(&self, stream: TcpStream, requests: OpenRequests) -> io::Result<()> {
        // Answers are small and complete: waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        let stream = Impatient::new(stream, self.limits.write_timeout);
        let Some(tls) = &self.tls else { return self.http(stream, requests).await };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let stream = tokio::select! {
            stream = timeout(self.limits.head_timeout, acceptor.accept(stream)) => stream??,
            () = self.stopping.cancelled() => return Ok(()),
        };
        self.http(stream, requests).await
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, requests: OpenRequests) -> io::Result<()> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.head_timeout);
        http.max_headers(HEADERS).max_buf_size(self.limits.head_bytes);
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let in_work = requests.begin();
            let answer = self.router.clone().oneshot(request);
            async move { answer.await.map(|answer| answer.map(|body| Answer { body, _in_work: in_work })) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = self.stopping.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await.map_err(io::Error::other)
    }
}

/// An answer's body. Its request is in work until all of it was handed to the connection.
struct Answer {
    body: Body,
    _in_work: InWork,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
