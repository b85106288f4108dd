//! The little HTTP that the parts of the bench need: a server for one function, and a client for loopback.

use std::{convert::Infallible, future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

use crate::error::{Error, Result};

/// The body of any answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// A listener on a free loopback port, or on a given one.
pub(crate) async fn listen(port: u16) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(Error::Serve)?;
    let address = listener.local_addr().map_err(Error::Serve)?;
    Ok((listener, address))
}

/// Serves until it is dropped. Connections that are open then end with their runtime.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H) -> Infallible
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Without it an event could wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that went away is no failure of ours.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A client that keeps its connections.
#[derive(Clone)]
pub(crate) struct Client(Pool<HttpConnector, Full<Bytes>>);

impl Client {
    /// A client without connections yet.
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Pool::builder(TokioExecutor::new()).build(connector))
    }

    /// Sends a request whose address is whole, and gives the answer while its body comes in.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let what = format!("{} {}", request.method(), request.uri());
        self.0.request(request).await.map_err(|error| {
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
            Error::Http { what, cause }
        })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let failed = |cause: String| Error::Http { what: format!("{method} {url}"), cause };
        let request = Request::builder().method(method.clone()).uri(url);
        let request = request.body(Full::new(body)).map_err(|error| failed(error.to_string()))?;
        let response = self.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| failed(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    /// Reads a page, which has to be there.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes> {
        self.successful(Method::GET, url).await
    }

    /// Gives an order without a body.
    pub(crate) async fn post(&self, url: &str) -> Result<Bytes> {
        self.successful(Method::POST, url).await
    }

    async fn successful(&self, method: Method, url: &str) -> Result<Bytes> {
        let (status, body) = self.ask(method.clone(), url, Bytes::new()).await?;
        if status.is_success() {
            return Ok(body);
        }
        let said = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        Err(Error::Http { what: format!("{method} {url}"), cause: format!("{status}: {said}") })
    }
}

/// Reads JSON that came from an address.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(from: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Http { what: from.to_owned(), cause: error.to_string() })
}

/// The value of a member of a query.
pub(crate) fn query<'a>(uri: &'a http::Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| (key == name).then_some(value))
}

/// A number in a query.
pub(crate) fn number(uri: &http::Uri, name: &str) -> Option<u64> {
    query(uri, name).and_then(|value| value.parse().ok())
}

/// The time of day in nanoseconds: the same clock in all processes of the machine.
pub(crate) fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
