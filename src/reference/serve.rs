//! Listens, with a limit on everything that a client may hold, and stops when asked.

use std::{io, net::TcpListener, path::PathBuf, time::Duration};

use axum_server::{Handle, tls_rustls::RustlsAcceptor};
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use super::{
    clock::Clock,
    http::{App, router},
    limit::Limited,
    store::{OpenError, Retention, Store},
    tls::{Certificate, LOOK_AGAIN, TlsFiles},
    tokens::{self, Tokens},
};

/// How long a client may take to send the head of a request; a kept connection may be idle as long.
const HEADER_TIME: Duration = Duration::from_secs(20);
/// Bytes of the head of a request.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long requests may go on after the server was asked to stop.
const STOP_TIME: Duration = Duration::from_secs(10);

/// How the registry is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The database; without one everything is in memory and lost at the end.
    pub database: Option<PathBuf>,
    /// The tokens; without it everybody who reaches the port may read and write.
    pub tokens_file: Option<PathBuf>,
    /// TLS; without it plain HTTP is spoken.
    pub tls: Option<TlsFiles>,
    /// How long the past is kept.
    pub retention: Retention,
    /// The time of day.
    pub clock: Clock,
}

/// Why the registry cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The tokens file cannot be used.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    /// The certificate or its key cannot be used.
    #[error("cannot use the certificate {cert} with the key {key}: {source}; both must be PEM and belong together")]
    Tls {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The listener failed.
    #[error("cannot serve on the listener: {0}")]
    Listen(#[source] io::Error),
}

/// A registry that is ready to be served.
pub struct Registry {
    store: Store,
    tokens: Tokens,
    tls: Option<TlsFiles>,
}

impl Registry {
    /// Reads the tokens and opens the database.
    ///
    /// # Errors
    /// When either cannot be used.
    pub fn open(options: Options) -> Result<Self, Error> {
        let tokens = options.tokens_file.as_deref().map(Tokens::from_file).transpose()?.unwrap_or_default();
        let store = Store::open(options.database.as_deref(), options.retention, options.clock)?;
        Ok(Self { store, tokens, tls: options.tls })
    }

    /// A handle to look into the store with. It answers until the registry has stopped.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Serves until `shutdown` is done, finishes what is under way and closes the database.
    ///
    /// # Errors
    /// When the certificate cannot be used or the listener fails.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { store, tokens, tls } = self;
        let result = listen(&store, tokens, tls, listener, shutdown).await;
        store.close().await;
        result
    }
}

/// Opens a registry and serves it; see [`Registry`].
///
/// # Errors
/// See [`Registry::open`] and [`Registry::serve`].
pub async fn serve(options: Options, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    Registry::open(options)?.serve(listener, shutdown).await
}

async fn listen(
    store: &Store,
    tokens: Tokens,
    tls: Option<TlsFiles>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    listener.set_nonblocking(true).map_err(Error::Listen)?;
    let address = listener.local_addr().map_err(Error::Listen)?;
    if tokens.is_empty() && !address.ip().is_loopback() {
        tracing::warn!(%address, "the registry asks for no token: whoever reaches this address may read and write");
    }
    let stopping = CancellationToken::new();
    let service = router(App::new(store.clone(), tokens, tls.is_some(), stopping.clone())).into_make_service();
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener).map_err(Error::Listen)?.handle(handle.clone());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIME)
        .keep_alive_timeout(HEADER_TIME)
        .max_concurrent_streams(64);
    let limited = Limited::default();
    tracing::info!(%address, tls = tls.is_some(), "the registry is listening");
    let stop = async {
        shutdown.await;
        stopping.cancel();
        handle.graceful_shutdown(Some(STOP_TIME));
    };
    let served = async {
        match tls {
            None => server.acceptor(limited).serve(service).await.map_err(Error::Listen),
            Some(files) => {
                let certificate = load(files).await?;
                let tls = RustlsAcceptor::new(certificate.config()).acceptor(limited);
                tokio::select! {
                    result = server.acceptor(tls).serve(service) => result.map_err(Error::Listen),
                    never = certificate.renew(LOOK_AGAIN) => match never {},
                }
            }
        }
    };
    tokio::pin!(stop, served);
    tokio::select! {
        result = &mut served => result,
        () = &mut stop => served.await,
    }
}

async fn load(files: TlsFiles) -> Result<Certificate, Error> {
    let TlsFiles { cert, key } = files.clone();
    Certificate::load(files).await.map_err(|source| Error::Tls { cert, key, source })
}
