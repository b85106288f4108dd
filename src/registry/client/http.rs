//! The HTTP connection to a registry: one origin, no redirects, bounded answers, a credential that can be renewed.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use reqwest::{Method, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::credentials::{self, Error};
use crate::registry::protocol::Problem;
use crate::{
    connect::{
        explain::{SettingNames, explain},
        trust::Bundle,
    },
    model::ids::{INTEGER_LIMIT, Version},
    reconcile::outcome::{self, Failure, ProblemDetail},
};

/// Bytes of an answer that are read at most, where it is about one thing.
pub(super) const SMALL_ANSWER: usize = 1 << 20;
/// The same of one record: the largest that this program makes has 20,000 bytes.
pub(super) const RECORD_ANSWER: usize = 128 << 10;
/// The same of an inventory: a page of it, or 65,536 bucket digests, are a few megabytes. Only one is read at a time.
pub(super) const LARGE_ANSWER: usize = 16 << 20;
/// Characters of somebody else's text that go into a log.
const DETAIL_CHARS: usize = 300;
/// Characters of a name that somebody else chose: of a problem, a process, a feature.
pub(super) const NAME_CHARS: usize = 128;
/// A registry that does not take a connection within this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files are read anew: soon enough for a token that is renewed some minutes before it expires.
const READ_EVERY: Duration = Duration::from_secs(30);

/// The greatest age of the connections: a name that has come to mean another address is followed within this time and
/// the longest request.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
/// What servers answer to plain HTTP at a port for TLS.
const TLS_EXPECTED: [&str; 2] = ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"];
/// What the settings of this connection are called.
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

/// What was made of the files as they were last read.
struct Current {
    client: reqwest::Client,
    /// When the client was made: no connection of it is older.
    made_at: Instant,
    /// The certificates that the client trusts; none without TLS.
    authorities: Option<Bundle>,
    token: Option<SecretString>,
    read_at: Instant,
}

/// An answer with its body read.
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
            // Plain HTTP needs no authorities, and an image without any should be able to speak it.
            None if base.scheme() == "http" => None,
            None => Some(Bundle::of_system().map_err(Error::Authorities)?),
        };
        let client = client(timeout, authorities.as_ref())?;
        let token = token_file.as_deref().map(credentials::token).transpose()?;
        let now = Instant::now();
        let current = RwLock::new(Current { client, made_at: now, authorities, token, read_at: now });
        Ok(Self { base, timeout, token_file, ca_file, current })
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read()
    }

    fn current_mut(&self) -> RwLockWriteGuard<'_, Current> {
        self.current.write()
    }

    /// Reads the token file again. A file that cannot be used leaves the token as it was.
    pub(super) fn refresh_token(&self) {
        let Some(path) = &self.token_file else { return };
        match credentials::token(path) {
            Ok(token) => self.current_mut().token = Some(token),
            Err(error) => tracing::warn!(%error, "registry token not read; the previous one stays in use"),
        }
    }

    /// Reads the file of authorities again. Other ones than before are trusted from the next connection on, and the
    /// connections that were made under the old ones end; a file that cannot be used leaves them as they were.
    fn refresh_authorities(&self) {
        let Some(path) = &self.ca_file else { return };
        let renewed = credentials::authorities(path).and_then(|authorities| {
            let same = self.current().authorities.as_ref() == Some(&authorities);
            if same { Ok(false) } else { self.connect_again(Some(authorities)).map(|()| true) }
        });
        match renewed {
            Ok(false) => {}
            Ok(true) => tracing::info!("registry certificate authorities changed; trusting the new ones"),
            Err(error) => tracing::warn!(%error, "registry CA file not read; the previous authorities stay trusted"),
        }
    }

    /// From now on requests use new connections. Requests under way finish on the old ones, which then end.
    fn connect_again(&self, authorities: Option<Bundle>) -> Result<(), Error> {
        let client = client(self.timeout, authorities.as_ref())?;
        let mut current = self.current_mut();
        (current.client, current.authorities, current.made_at) = (client, authorities, Instant::now());
        Ok(())
    }

    /// Reads the files again if that was long ago. They are small, and mounted beside the program.
    fn refresh_if_due(&self) {
        let now = Instant::now();
        if now.duration_since(self.current().read_at) >= READ_EVERY {
            self.current_mut().read_at = now;
            self.refresh_token();
            self.refresh_authorities();
        }
        if now.duration_since(self.current().made_at) < CONNECTION_AGE {
            return;
        }
        let authorities = {
            let mut current = self.current_mut();
            current.made_at = now;
            current.authorities.clone()
        };
        if let Err(error) = self.connect_again(authorities) {
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

    /// Sends one request and reads its answer, whatever its status, as long as its body has at most so many bytes.
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
            // Perhaps the certificate is of an authority that is in the file by now: then the next try succeeds.
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
        let current = self.current();
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

/// A client that trusts these authorities alone, or speaks plain HTTP without them.
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
    /// What the answer holds, if it is a success.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|error| {
            let error = fit_for_logs(&error.to_string(), DETAIL_CHARS);
            Failure::Broken(format!("status {} with a body that is not the protocol's: {error}", self.status))
        })
    }

    /// Whether the answer is a web page, such as a proxy's sign-in.
    pub(super) fn is_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// Whether the answer is a success.
    pub(super) fn success(&self) -> Result<(), Failure> {
        let success = StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success());
        if success { Ok(()) } else { Err(outcome::judge_request(self.status, self.said())) }
    }

    /// What the answer says beside its status.
    pub(super) fn said(&self) -> ProblemDetail {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => ProblemDetail { retry_after: self.retry_after, ..said(&problem) },
            Err(_) => {
                // Of a text that is not the protocol's nothing is repeated: it may echo the token.
                let text = String::from_utf8_lossy(&self.body);
                let advice = "the port expects TLS; use https:// in --registry-url";
                let detail = if TLS_EXPECTED.iter().any(|phrase| text.contains(phrase)) { advice } else { "" };
                ProblemDetail { detail: detail.to_owned(), retry_after: self.retry_after, ..ProblemDetail::default() }
            }
        }
    }
}

/// What a problem says.
pub(super) fn said(problem: &Problem) -> ProblemDetail {
    // Numbers that the protocol does not know cannot be passed by counting.
    let is_known = |version: Version| version.epoch < INTEGER_LIMIT && version.seq < INTEGER_LIMIT;
    let detail = problem.detail.as_ref().or(problem.title.as_ref());
    ProblemDetail {
        problem: fit_for_logs(problem.name(), NAME_CHARS),
        detail: detail.map(|text| fit_for_logs(text, DETAIL_CHARS)).unwrap_or_default(),
        current: problem.current.filter(|current| is_known(current.version)),
        retry_after: None,
    }
}

/// Somebody else's text as it may stand in a log: short, and in one line.
pub(super) fn fit_for_logs(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

async fn read_body(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(not_answered)? {
        if body.len() + chunk.len() > most {
            return Err(Failure::Broken(format!("more than {most} bytes")));
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

/// Seconds, or a date of which the past means now. Anything else is as good as nothing.
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
