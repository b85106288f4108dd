//! HTTP connections to one registry: one origin, no redirects, no proxy, bounded answers. All clients use them.
//!
//! Certificates come from files, which are read again while the process runs. New certificates need a new HTTP client;
//! so does the renewal of connections, which happens once a minute.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{self, HeaderMap},
};
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::time::Instant;

use super::{
    credentials::{self, Error},
    trace,
};
use crate::{
    connect::{
        failures::{SettingNames, describe},
        trust::{self, Bundle},
    },
    reconcile::outcome::{self, Failure},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files are read again. Tokens are usually renewed some minutes before they expire.
const READ_EVERY: Duration = Duration::from_secs(30);
/// The greatest age of connections. If the registry's host name gets another address, requests follow within this time.
const CONNECTION_AGE: Duration = Duration::from_secs(60);

/// The PEM files of a registry's TLS connections.
#[derive(Clone, Debug, Default)]
pub(super) struct PemFiles {
    /// Trusted authorities instead of the system's.
    pub(super) authorities: Option<PathBuf>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// The connections to one registry.
pub(super) struct Connection {
    timeout: Duration,
    is_tls: bool,
    files: PemFiles,
    names: &'static SettingNames,
    current: RwLock<Current>,
}

/// The client, from the files as they were last read.
struct Current {
    client: reqwest::Client,
    /// When the client was made. None of its connections is older.
    made_at: Instant,
    certificates: Certificates,
    read_at: Instant,
}

/// What the files hold.
#[derive(Clone, Default)]
struct Certificates {
    /// The certificates that the client trusts. `None` without TLS.
    authorities: Option<Bundle>,
    identity: Option<(SecretSlice<u8>, SecretSlice<u8>)>,
}

impl PartialEq for Certificates {
    fn eq(&self, other: &Self) -> bool {
        let identity = |certificates: &Self| {
            certificates.identity.as_ref().map(|(cert, key)| [cert, key].map(|pem| pem.expose_secret().to_vec()))
        };
        self.authorities == other.authorities && identity(self) == identity(other)
    }
}

/// An answer, whatever its status.
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Connection {
    /// Reads the files. `names` are the settings that errors advise to change.
    pub(super) fn new(
        base: &Url,
        files: PemFiles,
        timeout: Duration,
        names: &'static SettingNames,
    ) -> Result<Self, Error> {
        let is_tls = base.scheme() != "http";
        let certificates = read_files(&files, is_tls, names)?;
        let client = client(timeout, &certificates, &files, names)?;
        let now = Instant::now();
        let current = RwLock::new(Current { client, made_at: now, certificates, read_at: now });
        Ok(Self { timeout, is_tls, files, names, current })
    }

    /// Reads the certificates again. If they have changed, new connections use the new ones and the old connections
    /// end. If they cannot be used, the previous ones stay in use.
    fn refresh_certificates(&self) {
        if self.files.authorities.is_none() && self.files.identity.is_none() {
            return;
        }
        let renewed = read_files(&self.files, self.is_tls, self.names).and_then(|certificates| {
            let same = self.current.read().certificates == certificates;
            if same { Ok(false) } else { self.reconnect(certificates).map(|()| true) }
        });
        match renewed {
            Ok(false) => {}
            Ok(true) => tracing::info!("registry certificate authorities changed; trusting the new ones"),
            Err(error) => tracing::warn!(%error, "registry CA file not read; the previous authorities stay trusted"),
        }
    }

    /// Makes later requests use new connections. Requests in flight finish on the old ones, which then end.
    fn reconnect(&self, certificates: Certificates) -> Result<(), Error> {
        let client = client(self.timeout, &certificates, &self.files, self.names)?;
        let mut current = self.current.write();
        (current.client, current.certificates, current.made_at) = (client, certificates, Instant::now());
        Ok(())
    }

    /// Reads the files again and renews the connections when they are due. Returns whether other files of the registry
    /// are due, too. The files are small and local, so that reading them here blocks for no noticeable time.
    pub(super) fn refresh_if_due(&self) -> bool {
        let now = Instant::now();
        let files_due = now.duration_since(self.current.read().read_at) >= READ_EVERY;
        if files_due {
            self.current.write().read_at = now;
            self.refresh_certificates();
        }
        if now.duration_since(self.current.read().made_at) < CONNECTION_AGE {
            return files_due;
        }
        let certificates = {
            let mut current = self.current.write();
            current.made_at = now;
            current.certificates.clone()
        };
        if let Err(error) = self.reconnect(certificates) {
            tracing::warn!(%error, "registry connections not renewed; the old ones stay in use");
        }
        files_due
    }

    /// A request that asks for JSON. If it belongs to a sampled trace, it says so.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.current.read().client.request(method, url).header(header::ACCEPT, "application/json");
        match trace::traceparent() {
            Some(traceparent) => request.header(trace::TRACEPARENT, traceparent),
            None => request,
        }
    }

    /// Sends one request and reads its answer, whatever its status. A body of more than `most` bytes is a failure.
    pub(super) async fn send(&self, request: RequestBuilder, most: usize) -> Result<HttpAnswer, Failure> {
        let response = request.send().await.map_err(|error| {
            // If the registry's certificate has a new authority that is in the file by now, the next try succeeds.
            if error.is_connect() {
                self.refresh_certificates();
            }
            self.not_answered(error)
        })?;
        let status = response.status().as_u16();
        trace::answered(status);
        let (headers, retry_after) = (response.headers().clone(), retry_after(response.headers(), SystemTime::now()));
        let body = self.read_body(response, most).await?;
        Ok(HttpAnswer { status, headers, retry_after, body })
    }

    async fn read_body(&self, mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.not_answered(error))? {
            if body.len() + chunk.len() > most {
                return Err(Failure::Broken(format!("the answer has more than {most} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn not_answered(&self, error: reqwest::Error) -> Failure {
        let unsent = error.is_connect() || error.is_builder();
        let text = describe(&error.without_url(), self.names);
        if unsent { Failure::Unreachable(text) } else { Failure::Broken(text) }
    }
}

fn read_files(files: &PemFiles, is_tls: bool, names: &SettingNames) -> Result<Certificates, Error> {
    let authorities = match files.authorities.as_deref() {
        Some(path) => Some(credentials::authorities(path, names.authorities)?),
        // Plain HTTP also works in an image without certificate authorities.
        None if !is_tls => None,
        None => {
            let system = Bundle::of_system();
            Some(system.map_err(|source| Error::Authorities { source, setting: names.authorities })?)
        }
    };
    let identity = match &files.identity {
        Some((certificate, key)) => Some((credentials::identity(certificate)?, credentials::identity(key)?)),
        None => None,
    };
    Ok(Certificates { authorities, identity })
}

/// A client that trusts only these authorities. Without them, it speaks only plain HTTP.
fn client(
    timeout: Duration,
    certificates: &Certificates,
    files: &PemFiles,
    names: &SettingNames,
) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .tcp_nodelay(true)
        .user_agent(concat!("pod-registrar/", env!("CARGO_PKG_VERSION")));
    let Some(authorities) = &certificates.authorities else {
        return builder.tls_certs_only([]).build().map_err(Error::Client);
    };
    let identity = certificates.identity.as_ref();
    let identity = identity.map(|(certificate, key)| (certificate.expose_secret(), key.expose_secret()));
    let config = authorities.verifier().and_then(|verifier| trust::client_config(verifier, identity));
    let config = config.map_err(|source| match (&files.identity, source) {
        (Some((path, _)), source) => Error::ParseIdentity { path: path.clone(), source },
        (None, source) => Error::Authorities { source, setting: names.authorities },
    })?;
    builder.tls_backend_preconfigured(config).build().map_err(Error::Client)
}

impl HttpAnswer {
    /// Whether the answer is a web page, such as a proxy's sign-in.
    pub(super) fn is_web_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    pub(super) fn is_success(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    // The registry's clock may differ from ours.
    let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    parse_retry_after(text(header::RETRY_AFTER)?, date.unwrap_or(now))
}

/// Parses seconds or a date. A date before `now` means now. Any other text is ignored.
pub(super) fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let capped = |wait: Duration| wait.min(outcome::RETRY_AFTER_MAX);
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(capped(Duration::from_secs(seconds)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(capped(date.duration_since(now).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_client_certificate_names_its_settings() {
        let missing = || PathBuf::from("/no/such/file");
        let files = PemFiles { authorities: None, identity: Some((missing(), missing())) };
        let names = SettingNames { address: "url", authorities: "tls.caFile", timeout: "limits.timeout" };
        let error = read_files(&files, false, &names).err().unwrap().to_string();
        assert!(error.contains("/no/such/file") && error.contains("tls.certFile and tls.keyFile"), "{error}");
    }

    #[test]
    fn retry_after_is_relative_to_answers_date() {
        let ours = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap();
        let wait = |date: &str| {
            let values = [(header::RETRY_AFTER, "Mon, 23 Nov 2026 10:10:02 GMT"), (header::DATE, date)];
            retry_after(&values.map(|(name, value)| (name, value.parse().unwrap())).into_iter().collect(), ours)
        };
        assert_eq!(wait("Mon, 23 Nov 2026 10:10:00 GMT"), Some(Duration::from_secs(2)));
        assert_eq!(wait("no date"), Some(outcome::RETRY_AFTER_MAX));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // It is never longer than the cap.
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT").unwrap();
        let parse = |text| parse_retry_after(text, now);
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("31536000"), Some(outcome::RETRY_AFTER_MAX));
        assert_eq!(parse("Mon, 23 Nov 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(parse("Mon, 23 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("Tue, 23 Nov 2027 10:00:00 GMT"), Some(outcome::RETRY_AFTER_MAX));
        let hour = Duration::from_secs(3_600);
        let date = "Mon, 23 Nov 2026 10:00:30 GMT";
        assert_eq!(parse_retry_after(date, now + hour), Some(Duration::ZERO), "our clock is an hour ahead");
        assert_eq!(parse_retry_after(date, now - hour), Some(outcome::RETRY_AFTER_MAX), "an hour behind");
        assert_eq!(parse("0"), Some(Duration::ZERO));
        assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), Some(outcome::RETRY_AFTER_MAX));
        assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["-5", "soon", "", "1.5", "99999999999999999999999", "Mon, 99 Foo 2026 10:00:00 GMT", "+-1"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
