//! The HTTP connection to the collector: no redirects, no proxy, bounded answers.
//!
//! The files of headers and certificates are read again once a minute, when the connections are renewed, too: the
//! collector's name may have another address by then.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Url,
    header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use tokio::time::Instant;

use super::{
    answer::{Exported, Wait, judge},
    exporter::ExportTransport,
};
use crate::{
    connect::{
        self,
        failures::{SettingNames, describe},
        trust::{self, Bundle},
    },
    files,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The greatest age of connections, and of what was read from files.
const RENEW_EVERY: Duration = Duration::from_secs(60);
/// Bytes that are read of an answer.
const ANSWER_BYTES: usize = 64 << 10;
/// Shorter values of headers are not looked for in texts: they would match by chance.
const FOUND_FROM: usize = 8;
const NAMES: SettingNames =
    SettingNames { address: "--otlp-endpoint", authorities: "--otlp-ca-file", timeout: "--otlp-timeout" };

/// Why the connection cannot be set up with these settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the file {path}: {source}; give a readable file with {setting}")]
    Read { path: PathBuf, source: std::io::Error, setting: &'static str },
    #[error("the file {path} {what}; write one header per line, as in Authorization: Bearer TOKEN")]
    Headers { path: PathBuf, what: &'static str },
    #[error(
        "no certificate authority can be trusted for the collector: {0}; give PEM certificates with --otlp-ca-file"
    )]
    Authorities(#[from] connect::trust::Error),
    #[error("cannot set up HTTP for the collector: {0}")]
    Client(reqwest::Error),
}

/// Where the collector is.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The paths of OTLP are below this address.
    pub endpoint: Url,
    /// Headers for each request.
    pub headers_file: Option<PathBuf>,
    /// PEM certificates of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The limit from sending a request to the last byte of its answer.
    pub timeout: Duration,
}

/// The connection to one collector.
pub struct CollectorConnection {
    collector: Collector,
    current: Current,
}

/// What was made of the files.
struct Current {
    client: reqwest::Client,
    headers: HeaderMap,
    made_at: Instant,
}

impl CollectorConnection {
    /// Reads the files, and connects later.
    pub fn new(collector: Collector) -> Result<Self, Error> {
        let current = Current::of(&collector)?;
        Ok(Self { collector, current })
    }

    /// A collector may repeat what it was sent.
    fn clean(&self, exported: Exported) -> Exported {
        let Exported::Taken { refused, mut reason } = exported else { return exported };
        for secret in self.current.headers.values().filter_map(|value| value.to_str().ok()) {
            for secret in secret.split(' ').filter(|secret| secret.len() >= FOUND_FROM) {
                reason = reason.replace(secret, "***");
            }
        }
        Exported::Taken { refused, reason }
    }

    /// If the files cannot be used, what was read before stays in use.
    fn renew_if_due(&mut self) {
        if self.current.made_at.elapsed() < RENEW_EVERY {
            return;
        }
        match Current::of(&self.collector) {
            Ok(current) => self.current = current,
            Err(error) => {
                self.current.made_at = Instant::now();
                tracing::warn!(%error, "connection to the collector not renewed; the old one stays in use");
            }
        }
    }
}

impl ExportTransport for CollectorConnection {
    async fn send(&mut self, path: &str, body: Bytes) -> Exported {
        self.renew_if_due();
        let mut url = self.collector.endpoint.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        let request = self.current.client.post(url).headers(self.current.headers.clone());
        match exchange(request.header(CONTENT_TYPE, "application/x-protobuf").body(body)).await {
            Ok(exported) => self.clean(exported),
            Err(error) => Exported::Again { after: None, reason: describe(&error.without_url(), &NAMES) },
        }
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Exported, reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let text = |name| headers.get(name)?.to_str().ok();
    Ok(judge(status, Wait { retry_after: text(RETRY_AFTER), date: text(DATE) }, &body))
}

impl Current {
    fn of(collector: &Collector) -> Result<Self, Error> {
        let headers = match &collector.headers_file {
            None => HeaderMap::new(),
            Some(path) => files::headers(&read(path, "--otlp-headers-file")?)
                .map_err(|what| Error::Headers { path: path.clone(), what })?,
        };
        Ok(Self { client: client(collector)?, headers, made_at: Instant::now() })
    }
}

/// Without TLS, it trusts nobody, and speaks only plain HTTP.
fn client(collector: &Collector) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(collector.timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(collector.timeout))
        .user_agent(concat!("pod-registrar/", env!("CARGO_PKG_VERSION")));
    if collector.endpoint.scheme() == "http" {
        return builder.tls_certs_only([]).build().map_err(Error::Client);
    }
    let authorities = match &collector.ca_file {
        Some(path) => Bundle::from_pem(&read(path, "--otlp-ca-file")?)?,
        None => Bundle::of_system()?,
    };
    let config = trust::client_config(authorities.verifier()?, None)?;
    builder.tls_backend_preconfigured(config).build().map_err(Error::Client)
}

fn read(path: &Path, setting: &'static str) -> Result<Vec<u8>, Error> {
    files::read(path).map_err(|source| Error::Read { path: path.to_owned(), source, setting })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(headers: Option<&Path>) -> Collector {
        let endpoint = "http://127.0.0.1:9/".parse().unwrap();
        let headers_file = headers.map(Path::to_owned);
        Collector { endpoint, headers_file, ca_file: None, timeout: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn credential_in_collectors_message_is_hidden() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Authorization: Bearer s3cret-token\n").unwrap();
        let connection = CollectorConnection::new(collector(Some(file.path()))).unwrap();
        let reason = "no rights for Bearer s3cret-token".to_owned();
        let Exported::Taken { reason, .. } = connection.clean(Exported::Taken { refused: 1, reason }) else { panic!() };
        assert_eq!(reason, "no rights for Bearer ***");
    }

    #[test]
    fn error_names_the_file_and_setting() {
        let error = CollectorConnection::new(collector(Some(Path::new("/no/such/file")))).err().unwrap().to_string();
        assert!(error.contains("/no/such/file") && error.contains("--otlp-headers-file"), "{error}");
    }
}
