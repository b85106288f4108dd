//! Serving: a future that runs until its shutdown, and a server on a free port for tests.

use std::{io, net::SocketAddr, ops::Deref, time::Duration};

use axum::serve::ListenerExt;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Api, Options,
    routes::{self, Context},
};

/// How long connections may take to end after the shutdown.
const GRACE: Duration = Duration::from_secs(2);

impl Api {
    /// Serves until the shutdown. Open watches and requests that hang end then; connections that do not are left behind
    /// after two seconds. Fails if the listener does.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let stop = CancellationToken::new();
        // Also where this future is dropped: nothing that waits may outlive it.
        let _stops = stop.clone().drop_guard();
        let router = routes::router(Context { api: self, stop: stop.clone() });
        // An event is a small packet: it must not wait for the acknowledgement of the one before.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot send small packets at once");
            }
        });
        let stopped = stop.clone();
        let serve = axum::serve(listener, router).with_graceful_shutdown(async move { stopped.cancelled().await });
        let serve = serve.into_future();
        tokio::pin!(serve);
        tokio::select! {
            result = &mut serve => return result,
            () = shutdown => stop.cancel(),
        }
        tokio::time::timeout(GRACE, serve).await.unwrap_or(Ok(()))
    }
}

/// A stand-in that serves on a free loopback port. It is an [`Api`], and stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    api: Api,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Starts a new stand-in. Fails if no port can be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        Self::serve(Api::new(options), "127.0.0.1:0").await
    }

    /// Serves what is there already, on an address: a server that comes back. Fails if the address is taken.
    pub async fn serve(api: Api, address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(api.clone().serve(listener, stop.clone().cancelled_owned()));
        Ok(Self { api, address, stop, task })
    }

    /// The address to connect to, such as `http://127.0.0.1:8001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The stand-in itself, to be kept beyond the server.
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    /// Stops and waits for the end. Fails if serving failed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.stop.cancel();
        (&mut self.task).await.map_err(io::Error::other)?
    }
}

impl Deref for Server {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}
