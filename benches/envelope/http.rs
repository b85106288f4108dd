//! HTTP on loopback: a client, a listener, and the clock that all processes share.

use axum::{
    Router,
    http::{HeaderMap, Method, StatusCode},
    serve::ListenerExt as _,
};
use bytes::Bytes;
use tokio::net::TcpListener;

use crate::error::{Error, Result};

/// A listener on a free port of loopback, and its address.
pub(crate) async fn listen() -> Result<(TcpListener, std::net::SocketAddr)> {
    let failed = Error::in_step("listening on loopback");
    let bound = async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    bound.await.map_err(failed)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, router: Router) -> Result<()> {
    // Without nodelay an event could wait for the acknowledgement of the event before it.
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    axum::serve(listener, router).await.map_err(Error::in_step("serving on loopback"))
}

/// A client that keeps its connections and ignores the proxies of the environment.
#[derive(Clone)]
pub(crate) struct Client(reqwest::Client);

impl Client {
    pub(crate) fn new() -> Result<Self> {
        reqwest::Client::builder().no_proxy().build().map(Self).map_err(Error::in_step("an HTTP client"))
    }

    /// The response to a request, while its body arrives.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<reqwest::Response> {
        let sent = self.0.request(method, url).headers(headers).body(body).send().await;
        sent.map_err(Error::in_step(url))
    }

    /// The body of a response, whose status has to be a success.
    pub(crate) async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<Bytes> {
        let response = self.send(method, url, HeaderMap::new(), body).await?;
        let status: StatusCode = response.status();
        let body = response.bytes().await.map_err(Error::in_step(url))?;
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        Err(Error::Failed { what: url.into(), cause: format!("{status}: {text}") })
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Bytes> {
        self.ask(Method::GET, url, Bytes::new()).await
    }

    pub(crate) async fn get_json<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<T> {
        serde_json::from_slice(&self.get(url).await?).map_err(Error::in_step(url))
    }
}

/// Nanoseconds since 1970: the same clock in all processes of the machine.
pub(crate) fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
