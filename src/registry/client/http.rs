//! The HTTP connection to a registry: one origin, no redirects, bounded answers.
//!
//! The token and the trusted authorities come from files, which are read again while the process runs. New authorities
//! need a new HTTP client; so does the renewal of connections, which happens once a minute.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use reqwest::{Method, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::credentials::{self, Error};
use crate::registry::protocol::Problem;
use crate::{
    connect::{
        explain::{SettingNames, explain, one_line},
        trust::Bundle,
    },
    model::ids::{INTEGER_LIMIT, Version},
    reconcile::outcome::{self, Failure, ProblemDetail},
};

/// Bytes that are read of an answer, at most. [`RECORD_ANSWER`] and [`LARGE_ANSWER`] are the exceptions.
pub(super) const SMALL_ANSWER: usize = 1 << 20;
/// The same for one record. The largest record that this program makes has 20,000 bytes.
pub(super) const RECORD_ANSWER: usize = 128 << 10;
/// The same for an inventory page or bucket digests, which have a few megabytes. Only one is read at a time.
pub(super) const LARGE_ANSWER: usize = 16 << 20;
/// Characters of a text from the registry that are logged.
const DETAIL_CHARS: usize = 300;
/// Characters of a name from the registry that are logged: of a problem, a process, a feature.
pub(super) const NAME_CHARS: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files are read again. Tokens are usually renewed some minutes before they expire.
const READ_EVERY: Duration = Duration::from_secs(30);
/// The greatest age of connections. If the registry's host name gets another address, requests follow within this time.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
/// Answers of common servers to plain HTTP on a TLS port.
const TLS_EXPECTED: [&str; 2] = ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"];
const NAMES: SettingNames =
    SettingNames { address: "--registry-url", authorities: "--registry-ca-file", timeout: "--request-timeout" };

/// A connection to one registry.
pub(super) struct RegistryHttp {
    base: Url,
    timeout: Duration,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    current: RwLock<Current>,
}

/// The client and the token, from the files as they were last read.
struct Current {
    client: reqwest::Client,
    /// When the client was made. None of its connections is older.
    made_at: Instant,
    /// The certificates that the client trusts. `None` without TLS.
    authorities: Option<Bundle>,
    token: Option<SecretString>,
    read_at: Instant,
}

pub(super) struct HttpAnswer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl RegistryHttp {
    pub(super) fn new(
        base: Url,
        token_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let authorities = match ca_file.as_deref() {
            Some(path) => Some(credentials::authorities(path)?),
            // Plain HTTP also works in an image without certificate authorities.
            None if base.scheme() == "http" => None,
            None => Some(Bundle::of_system().map_err(Error::Authorities)?),
        };
        let client = client(timeout, authorities.as_ref())?;
        let token = token_file.as_deref().map(credentials::token).transpose()?;
        let now = Instant::now();
        let current = RwLock::new(Current { client, made_at: now, authorities, token, read_at: now });
        Ok(Self { base, timeout, token_file, ca_file, current })
    }

    /// Reads the token file again. If that fails, the previous token stays in use.
    pub(super) fn refresh_token(&self) {
        let Some(path) = &self.token_file else { return };
        match credentials::token(path) {
            Ok(token) => {
                let previous = self.current.write().token.replace(token.clone());
                if previous.is_none_or(|previous| previous.expose_secret() != token.expose_secret()) {
                    tracing::info!("registry token changed; using the new one");
                }
            }
            Err(error) => tracing::warn!(%error, "registry token not read; the previous one stays in use"),
        }
    }

    /// Reads the CA file again. If it has changed, new connections trust the new authorities and the old connections
    /// end. If it cannot be used, the previous authorities stay trusted.
    fn refresh_authorities(&self) {
        let Some(path) = &self.ca_file else { return };
        let renewed = credentials::authorities(path).and_then(|authorities| {
            let same = self.current.read().authorities.as_ref() == Some(&authorities);
            if same { Ok(false) } else { self.reconnect(Some(authorities)).map(|()| true) }
        });
        match renewed {
            Ok(false) => {}
            Ok(true) => tracing::info!("registry certificate authorities changed; trusting the new ones"),
            Err(error) => tracing::warn!(%error, "registry CA file not read; the previous authorities stay trusted"),
        }
    }

    /// Makes later requests use new connections. Requests in flight finish on the old ones, which then end.
    fn reconnect(&self, authorities: Option<Bundle>) -> Result<(), Error> {
        let client = client(self.timeout, authorities.as_ref())?;
        let mut current = self.current.write();
        (current.client, current.authorities, current.made_at) = (client, authorities, Instant::now());
        Ok(())
    }

    /// Reads the files again and renews the connections when they are due. The files are small and local, so that
    /// reading them here blocks for no noticeable time.
    fn refresh_if_due(&self) {
        let now = Instant::now();
        if now.duration_since(self.current.read().read_at) >= READ_EVERY {
            self.current.write().read_at = now;
            self.refresh_token();
            self.refresh_authorities();
        }
        if now.duration_since(self.current.read().made_at) < CONNECTION_AGE {
            return;
        }
        let authorities = {
            let mut current = self.current.write();
            current.made_at = now;
            current.authorities.clone()
        };
        if let Err(error) = self.reconnect(authorities) {
            tracing::warn!(%error, "registry connections not renewed; the old ones stay in use");
        }
    }

    /// The address of a path below the base.
    pub(super) fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends one request and reads its answer, whatever its status. A body of more than `most` bytes is a failure.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
        most: usize,
    ) -> Result<HttpAnswer, Failure> {
        self.refresh_if_due();
        let response = self.request(method, url, body).send().await;
        let response = response.map_err(|error| {
            // If the registry's certificate has a new authority that is in the file by now, the next try succeeds.
            if error.is_connect() {
                self.refresh_authorities();
            }
            not_answered(error)
        })?;
        let status = response.status();
        let retry_after = retry_after(&response, SystemTime::now());
        let body = read_body(response, most).await?;
        Ok(HttpAnswer { status: status.as_u16(), retry_after, body })
    }

    fn request(&self, method: Method, url: Url, body: Option<Vec<u8>>) -> reqwest::RequestBuilder {
        let current = self.current.read();
        let mut request = current.client.request(method, url).header(header::ACCEPT, "application/json");
        if let Some(token) = &current.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        request
    }
}

/// A client that trusts only these authorities. Without them, it speaks only plain HTTP.
fn client(timeout: Duration, authorities: Option<&Bundle>) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .tcp_nodelay(true)
        .user_agent(concat!("pod-registrar/", env!("CARGO_PKG_VERSION")));
    let builder = match authorities {
        Some(authorities) => {
            builder.tls_backend_preconfigured(authorities.client_config().map_err(Error::Authorities)?)
        }
        None => builder.tls_certs_only([]),
    };
    builder.build().map_err(Error::Client)
}

impl HttpAnswer {
    /// The body of a successful answer.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|error| {
            let error = one_line(&error.to_string(), DETAIL_CHARS);
            Failure::Broken(format!("status {} with a body that is not the protocol's: {error}", self.status))
        })
    }

    /// Whether the answer is a web page, such as a proxy's sign-in.
    pub(super) fn is_web_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    pub(super) fn success(&self) -> Result<(), Failure> {
        let success = StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success());
        if success { Ok(()) } else { Err(outcome::judge_request(self.status, self.problem_detail())) }
    }

    pub(super) fn problem_detail(&self) -> ProblemDetail {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => ProblemDetail { retry_after: self.retry_after, ..problem_detail(&problem) },
            Err(_) => {
                // A text that is not the protocol's is never logged: it may echo the token.
                let text = String::from_utf8_lossy(&self.body);
                let advice = "the port expects TLS; use https:// in --registry-url";
                let detail = if TLS_EXPECTED.iter().any(|phrase| text.contains(phrase)) { advice } else { "" };
                ProblemDetail { detail: detail.to_owned(), retry_after: self.retry_after, ..ProblemDetail::default() }
            }
        }
    }
}

pub(super) fn problem_detail(problem: &Problem) -> ProblemDetail {
    // There is no valid version above one that is out of the protocol's range.
    let is_valid = |version: Version| version.epoch < INTEGER_LIMIT && version.seq < INTEGER_LIMIT;
    let detail = problem.detail.as_ref().or(problem.title.as_ref());
    ProblemDetail {
        problem: one_line(problem.name(), NAME_CHARS),
        detail: detail.map(|text| one_line(text, DETAIL_CHARS)).unwrap_or_default(),
        current: problem.current.filter(|current| is_valid(current.version)),
        retry_after: None,
    }
}

async fn read_body(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(not_answered)? {
        if body.len() + chunk.len() > most {
            return Err(Failure::Broken(format!("the answer has more than {most} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn not_answered(error: reqwest::Error) -> Failure {
    let unsent = error.is_connect() || error.is_builder();
    let text = explain(&error.without_url(), &NAMES);
    if unsent { Failure::Unreachable(text) } else { Failure::Broken(text) }
}

fn retry_after(response: &Response, now: SystemTime) -> Option<Duration> {
    parse_retry_after(response.headers().get(header::RETRY_AFTER)?.to_str().ok()?, now)
}

/// Parses seconds or a date. A date in the past means now. Any other text is ignored.
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
