//! Requests of protocol v1, with the token, and what their answers say.

use std::path::PathBuf;

use parking_lot::RwLock;
use reqwest::{Method, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::{
    connect::failures::{SettingNames, one_line},
    model::ids::{INTEGER_LIMIT, Version},
    reconcile::outcome::Failure,
    registry::{
        client::{
            Config,
            judge::{self, ProblemDetail},
        },
        credentials::{self, Error},
        http::{Connection, HttpAnswer, PemFiles},
        pacer::Pacer,
        protocol::Problem,
    },
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
/// Answers of common servers to plain HTTP on a TLS port.
const TLS_EXPECTED: [&str; 2] = ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"];

/// The names of the settings, for messages.
pub(super) struct Names {
    connection: SettingNames,
    token: &'static str,
}

pub(super) const FLAGS: Names = Names {
    connection: SettingNames {
        address: "--registry-url",
        authorities: "--registry-ca-file",
        timeout: "--request-timeout",
    },
    token: "--registry-token-file",
};
pub(super) const MEMBERS: Names = Names {
    connection: SettingNames { address: "url", authorities: "tls.caFile", timeout: "limits.timeout" },
    token: "auth.bearer.tokenFile",
};

/// The connections to one registry, and the token.
pub(super) struct RegistryHttp {
    base: Url,
    connection: Connection,
    token_file: Option<PathBuf>,
    token: RwLock<Option<SecretString>>,
    names: &'static Names,
    pacer: Option<Pacer>,
}

impl RegistryHttp {
    pub(super) fn new(config: Config, names: &'static Names, requests_per_second: Option<f64>) -> Result<Self, Error> {
        let Config { url: base, token_file, ca_file, request_timeout } = config;
        let files = PemFiles { authorities: ca_file, identity: None };
        let connection = Connection::new(&base, files, request_timeout, &names.connection)?;
        let token = token_file.as_deref().map(|path| credentials::token(path, names.token)).transpose()?;
        let pacer = requests_per_second.map(Pacer::new);
        Ok(Self { base, connection, token_file, token: RwLock::new(token), names, pacer })
    }

    /// Reads the token file again. If that fails, the previous token stays in use.
    pub(super) fn refresh_token(&self) {
        let Some(path) = &self.token_file else { return };
        match credentials::token(path, self.names.token) {
            Ok(token) => {
                let previous = self.token.write().replace(token.clone());
                if previous.is_none_or(|previous| previous.expose_secret() != token.expose_secret()) {
                    tracing::info!("registry token changed; using the new one");
                }
            }
            Err(error) => tracing::warn!(%error, "registry token not read; the previous one stays in use"),
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
        if let Some(pacer) = &self.pacer {
            pacer.turn().await;
        }
        if self.connection.refresh_if_due() {
            self.refresh_token();
        }
        let mut request = self.connection.request(method, url);
        if let Some(token) = &*self.token.read() {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        self.connection.send(request, most).await
    }
}

impl HttpAnswer {
    /// The body of a successful answer.
    pub(in crate::registry) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|error| {
            let error = one_line(&error.to_string(), DETAIL_CHARS);
            Failure::Broken(format!("status {} with a body that is not the protocol's: {error}", self.status))
        })
    }

    pub(in crate::registry) fn success(&self) -> Result<(), Failure> {
        if self.is_success() { Ok(()) } else { Err(judge::judge_request(self.status, self.problem_detail())) }
    }

    pub(in crate::registry) fn problem_detail(&self) -> ProblemDetail {
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
