//! Opens the registry, serves it with limits on connections, and closes the database at the end.

use std::{io, net::TcpListener, path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    clock::ServerClock,
    http::{App, router},
    store::{OpenError, RecordStore, prune::Retention},
    tls::{CHECK_EVERY, Certificate, TlsFiles},
    tokens::{self, Tokens},
};
use crate::listen::{self, server::Limits};

/// Enough for hundreds of writers and readers. The limits on bodies are in `http`.
const LIMITS: Limits = Limits {
    connections: 512,
    head_timeout: Duration::from_secs(20),
    head_bytes: 32 << 10,
    write_timeout: Duration::from_secs(30),
    drain: Duration::from_secs(10),
};

#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The database file. Without it, records are in memory and lost at the end.
    pub database: Option<PathBuf>,
    /// The tokens file. Without it, everyone who reaches the port may read and write.
    pub tokens_file: Option<PathBuf>,
    /// Without it, the server speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    pub retention: Retention,
    pub clock: ServerClock,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Database(#[from] OpenError),
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    #[error("cannot use the certificate {cert} with the key {key}: {source}; both must be PEM and belong together")]
    Tls { cert: PathBuf, key: PathBuf, source: io::Error },
    #[error("cannot serve on the listening socket: {0}")]
    Listen(#[source] io::Error),
}

/// A registry with an open database that does not listen yet.
pub struct RegistryServer {
    store: RecordStore,
    tokens: Tokens,
    tls: Option<TlsFiles>,
}

impl RegistryServer {
    /// Reads the tokens and opens the database.
    pub fn open(options: ServerOptions) -> Result<Self, Error> {
        let tokens = options.tokens_file.as_deref().map(Tokens::from_file).transpose()?.unwrap_or_default();
        let store = RecordStore::open(options.database.as_deref(), options.retention, options.clock)?;
        Ok(Self { store, tokens, tls: options.tls })
    }

    /// A handle to the store. Its calls fail once the registry has stopped.
    pub fn store(&self) -> RecordStore {
        self.store.clone()
    }

    /// Serves until `shutdown` is done. Then it finishes the requests in flight and closes the database.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { store, tokens, tls } = self;
        let result = serve_on(&store, tokens, tls, listener, shutdown).await;
        store.close().await;
        result
    }
}

async fn serve_on(
    store: &RecordStore,
    tokens: Tokens,
    tls: Option<TlsFiles>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    listener.set_nonblocking(true).map_err(Error::Listen)?;
    let address = listener.local_addr().map_err(Error::Listen)?;
    if tokens.is_empty() && !address.ip().is_loopback() {
        tracing::warn!(%address, "no tokens file; everyone who reaches this address may read and write");
    }
    let stopping = CancellationToken::new();
    let router = router(App::new(store.clone(), tokens, tls.is_some(), stopping.clone()));
    let certificate = match tls {
        None => None,
        Some(files) => {
            let TlsFiles { cert, key } = files.clone();
            let loaded = Certificate::load(files).await;
            Some(loaded.map_err(|source| Error::Tls { cert, key, source })?)
        }
    };
    let config = certificate.as_ref().map(Certificate::config);
    let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::Listen)?;
    tracing::info!(%address, tls = config.is_some(), "the registry is listening");
    let stop = async {
        shutdown.await;
        stopping.cancel();
    };
    let renewed = async {
        match certificate {
            None => std::future::pending().await,
            Some(certificate) => certificate.renew(CHECK_EVERY).await,
        }
    };
    tokio::select! {
        () = listen::server::serve(listener, router, config, LIMITS, stop) => Ok(()),
        never = renewed => match never {},
    }
}
