//! Connects to a proxy, and through it to the API server.
//!
//! Every error says what the proxy did. hyper-util's tunnel hides the status of a refusal, and its SOCKS connector
//! hides why the proxy cannot be reached.

use std::{future::ready, io, sync::Arc};

use http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, proxy::SocksV5},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower::{BoxError, Service, ServiceExt as _, service_fn};

use super::{
    kubeconfig::{
        content::Secret,
        proxy::{Proxy, Route},
    },
    resolver::Resolver,
};
use crate::connect::{self, failures::SettingNames};

/// The longest head of an answer to CONNECT, in bytes.
const HEAD_MAX: usize = 8 << 10;
/// The start of every HTTP answer.
const HTTP: &[u8] = b"HTTP/1.";

/// Why there is no connection through a proxy.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The connection to the proxy failed.
    #[error("no connection")]
    Connection(#[source] BoxError),
    #[error("it refuses the tunnel to {target} with status {status}; allow this address in the proxy")]
    Refused {
        /// The host and port of the API server.
        target: String,
        /// The status and its reason.
        status: String,
    },
    #[error(
        "it does not accept the user and password (status 407); put the right ones before the host, as \
         USER:PASSWORD@HOST"
    )]
    Login,
    #[error("it does not speak HTTP; use its HTTP port")]
    NoHttp,
    /// The SOCKS handshake failed.
    #[error("it opens no SOCKS 5 connection to {target}: {reason}; allow this address in the proxy")]
    Socks { target: String, reason: String },
}

impl Error {
    /// One sentence: what is wrong, and which setting changes it.
    pub(super) fn explain(&self, names: &SettingNames) -> String {
        match self {
            Self::Connection(error) => connect::failures::describe(&**error, names),
            other => format!("{other}, or correct {}", names.address),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.into())
    }
}

pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

pub(super) async fn connect(
    proxy: &Proxy,
    tcp: HttpConnector<Resolver>,
    tls: Arc<ClientConfig>,
) -> Result<Stream, Error> {
    HttpsConnector::from((tcp, tls)).oneshot(proxy.address.clone()).await.map_err(Error::Connection)
}

/// Turns a connection to a proxy into one to the server.
pub(super) async fn tunnel(proxy: &Proxy, stream: Stream, server: &Uri) -> Result<Stream, Error> {
    let port = server.port_u16().unwrap_or(if server.scheme_str() == Some("http") { 80 } else { 443 });
    let target = format!("{}:{port}", server.host().unwrap_or_default());
    match &proxy.route {
        Route::Http(login) => by_connect(stream, target, login.as_ref()).await,
        Route::Socks(login) => by_socks(stream, target, login.clone()).await,
    }
}

/// A connector that returns this connection, once.
pub(super) fn once(
    stream: Stream,
) -> impl Service<Uri, Response = Stream, Error = io::Error, Future = std::future::Ready<io::Result<Stream>>> {
    let mut stream = Some(stream);
    service_fn(move |_| ready(stream.take().ok_or_else(|| io::Error::other("the connection is taken"))))
}

async fn by_connect(stream: Stream, target: String, login: Option<&HeaderValue>) -> Result<Stream, Error> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(login) = login {
        request.extend([b"Proxy-Authorization: ", login.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    let mut stream = TokioIo::new(stream);
    stream.write_all(&request).await?;
    stream.flush().await?;
    accepted(&head(&mut stream).await?, target)?;
    Ok(stream.into_inner())
}

/// Reads the head of an answer byte by byte, because the bytes after it belong to the server.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        let is_http = head.iter().zip(HTTP).all(|(found, expected)| found == expected);
        if !is_http || head.len() > HEAD_MAX {
            return Err(Error::NoHttp);
        }
    }
    Ok(head)
}

/// Checks that an answer opens the tunnel.
fn accepted(head: &[u8], target: String) -> Result<(), Error> {
    let line = String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or_default());
    let status: String = line.split_once(' ').unwrap_or_default().1.chars().filter(|c| !c.is_control()).collect();
    match status.get(..3).and_then(|code| code.parse().ok()) {
        Some(200..300) => Ok(()),
        Some(407) => Err(Error::Login),
        Some(100..600) => Err(Error::Refused { target, status: status.chars().take(100).collect() }),
        _ => Err(Error::NoHttp),
    }
}

async fn by_socks(stream: Stream, target: String, login: Option<(String, Secret)>) -> Result<Stream, Error> {
    let refused = |reason: String| Error::Socks { target: target.clone(), reason };
    let server: Uri = target.parse().map_err(|_| refused("it is not an address".to_owned()))?;
    // `once` ignores the address.
    let mut socks = SocksV5::new(Uri::default(), once(stream));
    if let Some((user, password)) = login {
        socks = socks.with_auth(user, String::from_utf8_lossy(password.expose()).into_owned());
    }
    let opened = socks.oneshot(server).await;
    opened.map_err(|error| refused(error.to_string().trim_start_matches("SOCKS error: ").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: SettingNames = SettingNames { address: "proxy-url", authorities: "", timeout: "" };

    #[tokio::test]
    async fn refusal_names_the_status_and_the_setting() {
        for (answer, expected) in [
            (
                "HTTP/1.1 403 Forbidden\r\n\r\n",
                "with status 403 Forbidden; allow this address in the proxy, or correct proxy-url",
            ),
            ("HTTP/1.0 502\r\nA: b\r\n\r\n", "the tunnel to h:1 with status 502;"),
            ("HTTP/1.1 407 Login\r\n\r\n", "does not accept the user and password"),
            ("HTTP/1.1 okay\r\n\r\n", "does not speak HTTP"),
            ("SSH-2.0", "does not speak HTTP"),
            ("HTTP/1.1 200 O", "closed without an answer"),
        ] {
            let read = head(&mut answer.as_bytes()).await.and_then(|head| accepted(&head, "h:1".to_owned()));
            let text = read.unwrap_err().explain(&NAMES);
            assert!(text.contains(expected), "{answer:?}: {text}");
        }
        let mut both = b"HTTP/1.1 200 Connection established\r\n\r\nmore".as_slice();
        assert!(accepted(&head(&mut both).await.unwrap(), String::new()).is_ok());
        assert_eq!(both, b"more", "bytes of the server are not consumed");
    }
}
