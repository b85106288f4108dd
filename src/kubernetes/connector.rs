//! Connects to the API server, directly or through a proxy, with a time limit that doubles after each timeout.
//!
//! | proxy | API server | how |
//! | --- | --- | --- |
//! | none | any | directly |
//! | http, https | https | a CONNECT tunnel with TLS inside |
//! | http, https | http | the request itself goes to the proxy |
//! | socks5 | any | SOCKS 5; the proxy resolves the host |

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName,
};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::TokioExecutor,
};
use kube::client::Body;
use parking_lot::Mutex;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceExt as _};

use super::{
    kubeconfig::{
        access::ApiAccess,
        proxy::{Proxy, Route},
    },
    proxied::{self, Stream},
    resolver::Resolver,
};

/// Time limit for connecting: the first, and the longest after it doubled.
const CONNECT_LIMIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// The longest silence on a connection that is being read. It exceeds the longest limit of a request, a page of a list.
const READ_TIMEOUT: Duration = Duration::from_secs(65);
/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(25);
/// Interval of keepalive probes; a connection ends after three lost ones.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Time limit for the acknowledgement of sent bytes; the connection ends after it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

pub(super) type ApiClient = Client<TimeoutConnector<Dial>, Body>;

/// What all connections share, independent of their certificates.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    proxy: Option<Proxy>,
    server_name: Option<ServerName<'static>>,
    connect_limit: Arc<ConnectLimit>,
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
        // hyper divides it between the addresses of a host, so that a dead address leaves time for the others.
        tcp.set_connect_timeout(Some(CONNECT_LIMIT.1));
        Self {
            tcp,
            proxy: access.proxy.clone(),
            server_name: access.server_name.clone(),
            connect_limit: Arc::default(),
        }
    }

    pub(super) fn http(&self, tls: Arc<ClientConfig>) -> ApiClient {
        let mut connector = TimeoutConnector::new(Dial { connector: self.clone(), tls });
        connector.set_read_timeout(Some(READ_TIMEOUT));
        connector.set_reset_reader_on_write(true);
        Client::builder(TokioExecutor::new()).pool_idle_timeout(POOL_IDLE).build(connector)
    }

    /// The login for an HTTP proxy that the request itself is sent to.
    pub(super) fn proxy_authorization(&self, server: &Uri) -> Option<&HeaderValue> {
        match &self.proxy {
            Some(Proxy { route: Route::Http(login), .. }) if server.scheme() == Some(&Scheme::HTTP) => login.as_ref(),
            _ => None,
        }
    }
}

/// The current time limit for connecting.
#[derive(Debug)]
struct ConnectLimit(Mutex<Duration>);

impl Default for ConnectLimit {
    fn default() -> Self {
        Self(Mutex::new(CONNECT_LIMIT.0))
    }
}

impl ConnectLimit {
    fn get(&self) -> Duration {
        *self.0.lock()
    }

    /// Doubles the limit after it was hit, and returns the new one.
    fn grow(&self, limit: Duration) -> Duration {
        let next = (limit * 2).min(CONNECT_LIMIT.1);
        let mut current = self.0.lock();
        *current = next.max(*current);
        next
    }

    /// Sets the limit to twice the time that a connection took.
    fn adapt(&self, took: Duration) {
        *self.0.lock() = (took * 2).clamp(CONNECT_LIMIT.0, CONNECT_LIMIT.1);
    }
}

/// Makes connections with one TLS configuration.
#[derive(Clone)]
pub(super) struct Dial {
    connector: Connector,
    tls: Arc<ClientConfig>,
}

impl Dial {
    async fn dial(self, server: Uri) -> Result<Io, BoxError> {
        let connect_limit = self.connector.connect_limit.clone();
        let (limit, begun) = (connect_limit.get(), Instant::now());
        match tokio::time::timeout(limit, self.route(server)).await {
            Ok(connected) => {
                if connected.is_ok() {
                    connect_limit.adapt(begun.elapsed());
                }
                connected
            }
            Err(_) => {
                let next = connect_limit.grow(limit);
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
        let stream = match proxy {
            None => MaybeHttpsStream::Http(tcp.oneshot(server.clone()).await?),
            Some(proxy) => {
                let stream = proxied::connect(&proxy, tcp, tls.clone()).await?;
                if matches!(proxy.route, Route::Http(_)) && server.scheme() == Some(&Scheme::HTTP) {
                    return Ok(Io { stream: MaybeHttpsStream::Http(stream), is_proxied: true });
                }
                proxied::tunnel(&proxy, stream, &server).await?
            }
        };
        let stream = HttpsConnector::new(proxied::once(stream), tls, false, names).oneshot(server).await?;
        Ok(Io { stream, is_proxied: false })
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

pub(super) struct Io {
    stream: MaybeHttpsStream<Stream>,
    /// Whether requests themselves go to a proxy.
    is_proxied: bool,
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
        let limit = ConnectLimit::default();
        let mut seconds = vec![limit.get().as_secs()];
        for _ in 0..4 {
            limit.grow(limit.get());
            seconds.push(limit.get().as_secs());
        }
        assert_eq!(seconds, [5, 10, 20, 30, 30]);
        limit.adapt(Duration::from_secs(7));
        assert_eq!(limit.get().as_secs(), 14);
        limit.adapt(Duration::from_millis(3));
        assert_eq!(limit.get().as_secs(), 5);
    }
}
