//! Sends one request at a time, each over a connection of its own, and bounds what it reads.
//!
//! It is independent of the controller's client, so that a fault of that client is not taken for one of the registry.

use std::{path::PathBuf, time::Duration};

use reqwest::{
    Method, Response, Url,
    header::{ALLOW, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::probe::{Probe, ProbeAnswer, shortened};
use crate::{
    connect::{
        self,
        explain::{SettingNames, explain},
        trust::{Bundle, client_config},
    },
    files,
};

/// Bytes of an answer, as the protocol limits those of an inventory page.
const ANSWER_MAX: usize = 16 << 20;

const NAMES: SettingNames = SettingNames { address: "the URL", authorities: "--ca-file", timeout: "--request-timeout" };

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}; give readable files with --token-file and --ca-file")]
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
}

pub struct HttpProber {
    client: reqwest::Client,
    url: Url,
    token: Option<SecretString>,
}

impl HttpProber {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn new(access: Access) -> Result<Self, Error> {
        let Access { url, token_file, ca_files, request_timeout } = access;
        let read = |path: &PathBuf| files::read(path).map_err(|source| Error::Read { path: path.clone(), source });
        let token = match &token_file {
            None => None,
            Some(path) => {
                let contents = read(path)?;
                let token = files::token(&contents).map_err(|what| Error::Token { path: path.clone(), what })?;
                Some(SecretString::from(token))
            }
        };
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
        Ok(Self { client: builder.build().map_err(Error::Client)?, url, token })
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
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

    async fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<String>,
        credentials: Credentials,
    ) -> Result<ProbeAnswer, String> {
        let url = self.url.join(path).map_err(|error| error.to_string())?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request = self.client.request(method, url).header("accept", "application/json");
        request = match (credentials, &self.token) {
            (Credentials::Own, Some(token)) => request.bearer_auth(token.expose_secret()),
            (Credentials::Unknown, _) => request.bearer_auth("a-token-that-no-registry-knows"),
            (Credentials::Own, None) | (Credentials::None, _) => request,
        };
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let unanswered = |error: reqwest::Error| explain(&error.without_url(), &NAMES);
        read(request.send().await.map_err(unanswered)?).await
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

async fn read(mut response: Response) -> Result<ProbeAnswer, String> {
    let text = |response: &Response, name: HeaderName| {
        response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut answer = ProbeAnswer {
        status: response.status().as_u16(),
        media_type: text(&response, CONTENT_TYPE).unwrap_or_default(),
        allow: text(&response, ALLOW),
        www_authenticate: text(&response, WWW_AUTHENTICATE),
        ..ProbeAnswer::default()
    };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error.without_url(), &NAMES))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(format!("the answer has more than {ANSWER_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    answer.body = shortened(&String::from_utf8_lossy(&body));
    answer.json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(answer)
}
