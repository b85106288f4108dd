//! Connects to the API server: directly or through a proxy, with a time limit that grows when it was hit.
//!
//! | proxy | API server | how |
//! | --- | --- | --- |
//! | none | any | directly |
//! | http, https | https | a tunnel by CONNECT, TLS inside |
//! | http, https | http | the request itself goes to the proxy |
//! | socks5 | any | SOCKS 5; the proxy looks the host up |

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::TokioExecutor,
};
use kube::client::Body;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceExt as _};

use super::{
    kubeconfig::{
        access::ApiAccess,
        proxy::{Proxy, Route},
    },
    proxied,
    resolver::Resolver,
};

/// How long connecting may take: at first, and at most once that was too short.
const CONNECT_LIMIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// Silence on a connection that is read from. Every request has a limit of its own, the longest that of a list's page.
const READ_TIMEOUT: Duration = Duration::from_secs(65);
/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(25);
/// Between probes of a connection that is idle; three lost ones end it.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Sent bytes are acknowledged within this time, or the connection is dead.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A client of the API server, with a pool of connections.
pub(super) type ApiClient = Client<TimeoutConnector<Dial>, Body>;

/// What connections have in common, whatever their certificates.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    proxy: Option<Proxy>,
    server_name: Option<ServerName<'static>>,
    patience: Arc<Patience>,
}

impl Connector {
    pub(super) fn new(access: &ApiAccess) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::default());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(3));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        // Shared by the addresses of a host, so that a dead one does not use up the time of the others.
        tcp.set_connect_timeout(Some(CONNECT_LIMIT.1));
        Self { tcp, proxy: access.proxy.clone(), server_name: access.server_name.clone(), patience: Arc::default() }
    }

    /// A client with connections of its own.
    pub(super) fn http(&self, tls: Arc<ClientConfig>) -> ApiClient {
        let mut connector = TimeoutConnector::new(Dial { connector: self.clone(), tls });
        connector.set_read_timeout(Some(READ_TIMEOUT));
        connector.set_reset_reader_on_write(true);
        Client::builder(TokioExecutor::new()).pool_idle_timeout(POOL_IDLE).build(connector)
    }

    /// The header by which a proxy lets a request pass that it reads itself.
    pub(super) fn proxy_authorization(&self, server: &Uri) -> Option<&HeaderValue> {
        match &self.proxy {
            Some(Proxy { route: Route::Http(login), .. }) if server.scheme() == Some(&Scheme::HTTP) => login.as_ref(),
            _ => None,
        }
    }
}

/// How long connecting may take now.
#[derive(Debug)]
struct Patience(AtomicU64);

impl Default for Patience {
    fn default() -> Self {
        Self(AtomicU64::new(millis(CONNECT_LIMIT.0)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Patience {
    fn limit(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// The limit was too short: the next attempt may take twice as long.
    fn grow(&self, limit: Duration) -> Duration {
        let next = (limit * 2).min(CONNECT_LIMIT.1);
        self.0.fetch_max(millis(next), Ordering::Relaxed);
        next
    }

    /// What worked is remembered.
    fn worked(&self, took: Duration) {
        self.0.store(millis((took * 2).clamp(CONNECT_LIMIT.0, CONNECT_LIMIT.1)), Ordering::Relaxed);
    }
}

/// Makes connections with certain certificates.
#[derive(Clone)]
pub(super) struct Dial {
    connector: Connector,
    tls: Arc<ClientConfig>,
}

impl Dial {
    async fn dial(self, server: Uri) -> Result<Io, BoxError> {
        let patience = self.connector.patience.clone();
        let (limit, begun) = (patience.limit(), Instant::now());
        match tokio::time::timeout(limit, self.route(server)).await {
            Ok(connected) => {
                if connected.is_ok() {
                    patience.worked(begun.elapsed());
                }
                connected
            }
            Err(_) => {
                let next = patience.grow(limit);
                let text =
                    format!("no connection within the connect limit of {limit:?}; the next attempt may take {next:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
            }
        }
    }

    async fn route(self, server: Uri) -> Result<Io, BoxError> {
        let Self { connector: Connector { tcp, proxy, server_name, .. }, tls } = self;
        let names: Arc<dyn ResolveServerName + Send + Sync> = match server_name {
            Some(name) => Arc::new(FixedServerNameResolver::new(name)),
            None => Arc::new(DefaultServerNameResolver::default()),
        };
        let Some(proxy) = proxy else {
            return Io::of(HttpsConnector::new(tcp, tls, false, names).oneshot(server).await?, false);
        };
        let stream = proxied::connect(&proxy, tcp, tls.clone()).await?;
        if matches!(proxy.route, Route::Http(_)) && server.scheme() == Some(&Scheme::HTTP) {
            return Io::of(stream, true);
        }
        let through = proxied::once(proxied::tunnel(&proxy, stream, &server).await?);
        Io::of(HttpsConnector::new(through, tls, false, names).oneshot(server).await?, false)
    }
}

impl Service<Uri> for Dial {
    type Response = Io;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Io, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        Box::pin(self.clone().dial(server))
    }
}

trait Stream: Read + Write + Connection + Unpin + Send {}

impl<S: Read + Write + Connection + Unpin + Send> Stream for S {}

/// A connection.
pub(super) struct Io {
    stream: Box<dyn Stream>,
    /// Whether a proxy reads the requests.
    is_proxied: bool,
}

impl Io {
    #[expect(clippy::unnecessary_wraps, reason = "every route ends with it")]
    fn of(stream: impl Stream + 'static, is_proxied: bool) -> Result<Self, BoxError> {
        Ok(Self { stream: Box::new(stream), is_proxied })
    }
}

impl Connection for Io {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_proxied)
    }
}

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_timeout_grows_when_hit_and_shrinks_afterwards() {
        // It becomes twice the time that the last connection took, and at least 5 s.
        let patience = Patience::default();
        let mut limits = vec![patience.limit().as_secs()];
        for _ in 0..4 {
            patience.grow(patience.limit());
            limits.push(patience.limit().as_secs());
        }
        assert_eq!(limits, [5, 10, 20, 30, 30]);
        patience.worked(Duration::from_secs(7));
        assert_eq!(patience.limit().as_secs(), 14);
        patience.worked(Duration::from_millis(3));
        assert_eq!(patience.limit().as_secs(), 5);
    }
}
