//! The server on a free port.

use std::{io, net::SocketAddr, ops::Deref, time::Duration};

use axum::{middleware, serve::ListenerExt};
use pod_registrar::demo::api::ApiOptions;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Api,
    layer::{Context, meet},
};

/// The longest time for connections to end after the server is stopped.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until `stop`. Open watches and hanging requests end then; connections that do not end are dropped.
async fn serve(api: Api, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    let router = api.content.router();
    let router = router.layer(middleware::from_fn_with_state(Context { api, stop: stop.clone() }, meet));
    // An event is a small packet and must not wait for the acknowledgement of the previous one.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let serve = serve.into_future();
    tokio::pin!(serve);
    tokio::select! {
        result = &mut serve => return result,
        () = stop.cancelled() => {}
    }
    tokio::time::timeout(GRACE, serve).await.unwrap_or(Ok(()))
}

/// Stops when it is dropped.
pub(crate) struct Server {
    api: Api,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(options: ApiOptions) -> io::Result<Self> {
        Self::serve(Api::new(options), "127.0.0.1:0").await
    }

    /// Serves existing content on an address, as a restarted server does.
    pub(crate) async fn serve(api: Api, address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(api.clone(), listener, stop.clone()));
        Ok(Self { api, address, stop, task })
    }

    /// The address to connect to, such as `http://127.0.0.1:8001`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The content, which outlives the server.
    pub(crate) fn api(&self) -> Api {
        self.api.clone()
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
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
