//! Sends one request at a time, each over a connection of its own, and bounds what it reads.
//!
//! It is independent of the controller's client, so that a fault of that client is not taken for one of the registry.

use std::{path::PathBuf, time::Duration};

use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{
    events,
    probe::{Probe, ProbeAnswer, shortened},
};
use crate::{
    connect::{
        self,
        failures::{SettingNames, describe},
        trust::{Bundle, client_config},
    },
    files,
};

/// Bytes of an answer, as the protocol limits those of an inventory page.
const ANSWER_MAX: usize = 16 << 20;

/// How long events of a stream are waited for. They are known before it is asked for.
const EVENTS_WITHIN: Duration = Duration::from_secs(5);

const NAMES: SettingNames = SettingNames { address: "the URL", authorities: "--ca-file", timeout: "--request-timeout" };

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}; give readable files with --token-file, --other-token-file and --ca-file")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the token file {path} must hold one token of visible ASCII characters; it {what}")]
    Token { path: PathBuf, what: &'static str },
    #[error("no certificate authority can be trusted: {0}; give PEM certificates with --ca-file")]
    Authorities(#[from] connect::trust::Error),
    #[error("cannot set up HTTP: {0}")]
    Client(reqwest::Error),
}

/// Where the registry is, and how to reach it.
#[derive(Clone, Debug)]
pub struct Access {
    /// Ends in a slash.
    pub url: Url,
    pub token_file: Option<PathBuf>,
    /// A token of another cluster than that of the run.
    pub other_token_file: Option<PathBuf>,
    /// Trusted instead of the system's authorities.
    pub ca_files: Vec<PathBuf>,
    pub request_timeout: Duration,
}

/// What a request says in `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// The token of the settings, if there is one.
    Own,
    None,
    /// A token that no registry knows.
    Unknown,
    /// The token of another cluster, if there is one.
    Other,
}

pub struct HttpProber {
    client: reqwest::Client,
    url: Url,
    token: Option<SecretString>,
    other_token: Option<SecretString>,
}

impl HttpProber {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn new(access: Access) -> Result<Self, Error> {
        let Access { url, token_file, other_token_file, ca_files, request_timeout } = access;
        let read = |path: &PathBuf| files::read(path).map_err(|source| Error::Read { path: path.clone(), source });
        let token = |path: PathBuf| {
            let contents = read(&path)?;
            let token = files::token(&contents).map_err(|what| Error::Token { path, what })?;
            Ok::<_, Error>(SecretString::from(token))
        };
        let (token, other_token) = (token_file.map(token).transpose()?, other_token_file.map(token).transpose()?);
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(request_timeout)
            .tcp_nodelay(true)
            // A connection that the registry has closed fails no request.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("pod-registrar/", env!("CARGO_PKG_VERSION")));
        let builder = if url.scheme() == "http" {
            builder.tls_certs_only([])
        } else {
            builder.tls_backend_preconfigured(client_config(authorities(&ca_files, read)?.verifier()?, None)?)
        };
        Ok(Self { client: builder.build().map_err(Error::Client)?, url, token, other_token })
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn has_other_token(&self) -> bool {
        self.other_token.is_some()
    }

    /// Sends a request. The path is below the registry's address.
    pub(super) async fn send(
        &self,
        method: &'static str,
        path: String,
        body: Option<String>,
        credentials: Credentials,
    ) -> Probe {
        let shown = body.as_deref().map(shortened);
        let answer = self.ask(method, &path, body, credentials).await;
        Probe { method, path, body: shown, answer }
    }

    /// Asks for server-sent events, and reads until this many have come, the body ends, or nothing comes any more. The
    /// answer's JSON is the list of them.
    pub(super) async fn follow(&self, path: String, last_event_id: Option<u64>, count: usize) -> Probe {
        let answer = self.ask_for_events(&path, last_event_id, count).await;
        Probe { method: "GET", path, body: None, answer }
    }

    async fn ask_for_events(
        &self,
        path: &str,
        last_event_id: Option<u64>,
        count: usize,
    ) -> Result<ProbeAnswer, String> {
        let mut request = self.request("GET", path, Credentials::Own)?.header(ACCEPT, "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let mut response = request.send().await.map_err(unanswered)?;
        let (mut answer, mut body) = (head(&response), Vec::new());
        let read = async {
            // An error ends the body, too. What came before it counts.
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() > ANSWER_MAX || events::parse(&String::from_utf8_lossy(&body)).len() >= count {
                    break;
                }
            }
        };
        _ = tokio::time::timeout(EVENTS_WITHIN, read).await;
        let text = String::from_utf8_lossy(&body);
        (answer.body, answer.json) = (shortened(&text), events::parse(&text).into());
        Ok(answer)
    }

    async fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<String>,
        credentials: Credentials,
    ) -> Result<ProbeAnswer, String> {
        let mut request = self.request(method, path, credentials)?.header(ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        read(request.send().await.map_err(unanswered)?).await
    }

    fn request(&self, method: &str, path: &str, credentials: Credentials) -> Result<RequestBuilder, String> {
        let url = self.url.join(path).map_err(|error| error.to_string())?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let request = self.client.request(method, url);
        let token = match credentials {
            Credentials::Own => self.token.as_ref(),
            Credentials::Other => self.other_token.as_ref(),
            Credentials::Unknown => return Ok(request.bearer_auth("a-token-that-no-registry-knows")),
            Credentials::None => None,
        };
        Ok(token.into_iter().fold(request, |request, token| request.bearer_auth(token.expose_secret())))
    }
}

fn authorities(files: &[PathBuf], read: impl Fn(&PathBuf) -> Result<Vec<u8>, Error>) -> Result<Bundle, Error> {
    if files.is_empty() {
        return Ok(Bundle::of_system()?);
    }
    let mut pem = Vec::new();
    for file in files {
        pem.extend(read(file)?);
        pem.push(b'\n');
    }
    Ok(Bundle::from_pem(&pem)?)
}

fn unanswered(error: reqwest::Error) -> String {
    describe(&error.without_url(), &NAMES)
}

/// An answer without its body.
fn head(response: &Response) -> ProbeAnswer {
    let text = |response: &Response, name: HeaderName| {
        response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    ProbeAnswer {
        status: response.status().as_u16(),
        media_type: text(response, CONTENT_TYPE).unwrap_or_default(),
        allow: text(response, ALLOW),
        www_authenticate: text(response, WWW_AUTHENTICATE),
        ..ProbeAnswer::default()
    }
}

async fn read(mut response: Response) -> Result<ProbeAnswer, String> {
    let (mut answer, mut body) = (head(&response), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(format!("the answer has more than {ANSWER_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    answer.body = shortened(&String::from_utf8_lossy(&body));
    answer.json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(answer)
}
