//! Tokens that another request returns: OAuth 2.0 client credentials, and logins.

use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, HeaderName},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use tokio::time::Instant;

use crate::{
    mapping::{
        answer::Answer,
        login::LoginTemplate,
        spec::auth::{LoginSpec, Oauth2Spec},
        url::encode,
        values::shorten,
    },
    reconcile::outcome::Failure,
    registry::{
        credentials::Error,
        http::{Connection, HttpAnswer},
        mapped::{
            auth::{basic, sensitive},
            secrets::{Content, SecretFile, redact},
        },
    },
};

/// Bytes of an answer with a token.
const ANSWER: usize = 256 << 10;
/// A token is renewed when this part of its lifetime is over.
const RENEW_AFTER: f64 = 0.8;
/// Members of an answer that say why there is no token.
const ERRORS: [&str; 6] = ["detail", "error", "error_description", "errors", "message", "reason"];
/// Characters of an answer without a token that are shown.
const SHOWN: usize = 300;
/// The longest lifetime that is believed.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// After a token was refused, another is not asked for earlier than this, so that a refused client does not log in
/// again with each request.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The same after 403, which many registries answer for one record alone, and some for an expired token.
pub(super) const RENEW_FORBIDDEN: Duration = Duration::from_secs(60);

/// Where tokens come from.
pub(in crate::registry::mapped) enum TokenSource {
    Oauth2(Oauth2),
    Login { login: Box<LoginTemplate>, secrets: Vec<(String, SecretFile)> },
}

pub(in crate::registry::mapped) struct Oauth2 {
    url: String,
    client_id: String,
    secret: SecretFile,
    /// Scope and further parameters.
    params: Vec<(String, String)>,
}

/// The token in use.
struct Token {
    text: SecretString,
    expires_at: Option<Instant>,
    made_at: Instant,
}

pub(in crate::registry::mapped) struct IssuedTokens {
    source: TokenSource,
    current: Mutex<Option<Token>>,
    /// One request for a token at a time.
    asking: tokio::sync::Mutex<()>,
}

impl TokenSource {
    pub(super) fn oauth2(spec: &Oauth2Spec) -> Result<Self, Error> {
        let scope = spec.scopes.iter().map(|scope| scope.text.as_str()).collect::<Vec<_>>().join(" ");
        let scope = Some(("scope".to_owned(), scope)).filter(|(_, scope)| !scope.is_empty());
        let further = spec.params.iter().map(|(key, value)| (key.text.clone(), value.text.clone()));
        Ok(Self::Oauth2(Oauth2 {
            url: spec.token_url.text.clone(),
            client_id: spec.client_id.text.clone(),
            secret: SecretFile::new(&spec.client_secret_file.text, Content::Password, "auth.oauth2.clientSecretFile")?,
            params: scope.into_iter().chain(further).collect(),
        }))
    }

    pub(super) fn login(spec: &LoginSpec, login: Option<LoginTemplate>) -> Result<Self, Error> {
        let read = |(key, path): &(crate::mapping::tree::Key, crate::mapping::spec::values::FilePath)| {
            let secret = SecretFile::new(&path.text, Content::Password, "auth.login.secrets")?;
            Ok((key.text.clone(), secret))
        };
        let secrets: Result<Vec<_>, Error> = spec.secrets.iter().map(read).collect();
        let login = Box::new(login.ok_or(Error::NoLogin)?);
        Ok(Self::Login { login, secrets: secrets? })
    }

    fn files(&self) -> Vec<&SecretFile> {
        match self {
            Self::Oauth2(oauth2) => vec![&oauth2.secret],
            Self::Login { secrets, .. } => secrets.iter().map(|(_, secret)| secret).collect(),
        }
    }

    /// Asks for a token. Returns it with its lifetime, if the answer names one.
    async fn ask(&self, connection: &Connection) -> Result<(SecretString, Option<Duration>), Failure> {
        match self {
            Self::Oauth2(oauth2) => oauth2.ask(connection).await,
            Self::Login { login, secrets } => ask_login(login, secrets, connection).await,
        }
    }

    /// What must not be shown: the secrets as they are sent.
    fn secrets(&self) -> Vec<SecretString> {
        match self {
            Self::Oauth2(oauth2) => oauth2.secrets().into(),
            Self::Login { .. } => self.files().into_iter().map(SecretFile::text).collect(),
        }
    }

    fn header(&self, token: &SecretString) -> (HeaderName, SecretString) {
        let named = match self {
            Self::Login { login, .. } => login.header().and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok()),
            Self::Oauth2(_) => None,
        };
        match named {
            Some(name) => (name, token.clone()),
            None => (AUTHORIZATION, format!("Bearer {}", token.expose_secret()).into()),
        }
    }
}

impl Oauth2 {
    /// Servers must accept the client's secret in a header, and some accept it only in the body.
    async fn ask(&self, connection: &Connection) -> Result<(SecretString, Option<Duration>), Failure> {
        #[derive(Deserialize)]
        struct TokenAnswer {
            access_token: String,
            expires_in: Option<serde_json::Value>,
        }
        let answer = match self.send(connection, false).await? {
            refused if matches!(refused.status, 400 | 401) => self.send(connection, true).await?,
            answer => answer,
        };
        refused(&answer, "auth.oauth2.tokenUrl", &self.secrets())?;
        let TokenAnswer { access_token, expires_in } = serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::Broken("the token endpoint's answer has no access_token".to_owned()))?;
        let seconds = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
        Ok((access_token.into(), seconds.map(Duration::from_secs)))
    }

    /// The client's id and secret in a header.
    fn basic(&self) -> String {
        basic(&encode(&self.client_id), &encode(self.secret.text().expose_secret()).into())
    }

    fn secrets(&self) -> [SecretString; 2] {
        [self.secret.text(), self.basic().trim_start_matches("Basic ").into()]
    }

    async fn send(&self, connection: &Connection, in_body: bool) -> Result<HttpAnswer, Failure> {
        let url: Url =
            self.url.parse().map_err(|_| Failure::Broken("auth.oauth2.tokenUrl is no address".to_owned()))?;
        let secret = self.secret.text();
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let request = connection.request(Method::POST, url);
        let request = if in_body {
            form.extend([("client_id", self.client_id.as_str()), ("client_secret", secret.expose_secret())]);
            request
        } else {
            request.header(AUTHORIZATION, sensitive(&self.basic())?)
        };
        let body = form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        let body = body.collect::<Vec<_>>().join("&");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        connection.send(request, ANSWER).await
    }
}

async fn ask_login(
    login: &LoginTemplate,
    secrets: &[(String, SecretFile)],
    connection: &Connection,
) -> Result<(SecretString, Option<Duration>), Failure> {
    let texts: Vec<(&str, SecretString)> =
        secrets.iter().map(|(name, secret)| (name.as_str(), secret.text())).collect();
    let exposed = texts.iter().map(|(name, text)| (*name, text.expose_secret()));
    let request =
        login.request(exposed).map_err(|_| Failure::Unreachable("auth.login cannot be rendered".to_owned()))?;
    let url = request.url.parse().map_err(|_| Failure::Unreachable("auth.login has no address".to_owned()))?;
    let mut sent = connection.request(Method::POST, url);
    for (name, value) in &request.headers {
        sent = sent.header(name, value);
    }
    let answer = connection.send(sent.body(request.body.unwrap_or_default()), ANSWER).await?;
    let secrets: Vec<SecretString> = texts.into_iter().map(|(_, text)| text).collect();
    refused(&answer, "auth.login", &secrets)?;
    let answer = Answer::new(answer.status, [], &answer.body);
    let token = login.token(&answer);
    let token = token.ok_or_else(|| {
        let says = without_token(&answer, &secrets);
        Failure::Broken(format!("the answer to auth.login has no token where `token` reads it: {says}"))
    })?;
    Ok((token.text.into(), token.lifetime.map(Duration::from_secs)))
}

/// What an answer without a token says instead. A token may be somewhere else in it, so only its errors are shown.
fn without_token(answer: &Answer, secrets: &[SecretString]) -> String {
    match (answer.json(), answer.not_json()) {
        (None, cause) => format!("it is not JSON: {}", cause.unwrap_or_default()),
        (Some(Json::Object(members)), _) => errors_in(members, secrets).unwrap_or_else(|| {
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            format!("its members are {}", shown(&names.join(", "), secrets))
        }),
        (Some(_), _) => "it is no map".to_owned(),
    }
}

/// The members of an answer that say what is wrong.
fn errors_in(members: &Map<String, Json>, secrets: &[SecretString]) -> Option<String> {
    let errors: Map<String, Json> = members
        .iter()
        .filter(|(name, member)| ERRORS.contains(&name.as_str()) && !member.is_null())
        .map(|(name, member)| (name.clone(), member.clone()))
        .collect();
    (!errors.is_empty()).then(|| shown(&Json::Object(errors).to_string(), secrets))
}

fn shown(text: &str, secrets: &[SecretString]) -> String {
    shorten(&redact(text, secrets), SHOWN)
}

fn refused(answer: &HttpAnswer, setting: &str, secrets: &[SecretString]) -> Result<(), Failure> {
    let status = answer.status;
    match status {
        200..=299 => Ok(()),
        400..=407 => {
            let says = match serde_json::from_slice(&answer.body) {
                Ok(Json::Object(members)) => errors_in(&members, secrets),
                // GLPI answers with a code and a text.
                Ok(Json::Array(texts)) => Some(shown(&Json::Array(texts).to_string(), secrets)),
                _ => None,
            };
            let says = says.map(|says| format!(": {says}")).unwrap_or_default();
            let detail = format!("no token was issued{says}; check the secrets and the request of {setting}");
            Err(Failure::Unauthorized { status, detail, named: true })
        }
        429 | 503 => Err(Failure::Throttled { status, after: answer.retry_after }),
        _ => Err(Failure::Broken(format!("status {status} from the address of {setting}"))),
    }
}

impl IssuedTokens {
    pub(super) fn new(source: TokenSource) -> Self {
        Self { source, current: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// The header that carries the token. Asks for a token if there is none, or if it is about to expire.
    pub(super) async fn header(&self, connection: &Connection) -> Result<(HeaderName, SecretString), Failure> {
        if let Some(token) = self.valid() {
            return Ok(self.source.header(&token));
        }
        let _one = self.asking.lock().await;
        if let Some(token) = self.valid() {
            return Ok(self.source.header(&token));
        }
        let (text, lifetime) = self.source.ask(connection).await?;
        let made_at = Instant::now();
        let expires_at = lifetime.map(|lifetime| made_at + lifetime.min(LIFETIME_MAX).mul_f64(RENEW_AFTER));
        *self.current.lock() = Some(Token { text: text.clone(), expires_at, made_at });
        Ok(self.source.header(&text))
    }

    fn valid(&self) -> Option<SecretString> {
        let current = self.current.lock();
        let token = current.as_ref()?;
        token.expires_at.is_none_or(|at| Instant::now() < at).then(|| token.text.clone())
    }

    /// The registry refused a request that was sent at this time. Drops its token if it is older than `age`. Returns
    /// whether the next request has another one.
    pub(super) async fn refused(&self, sent_at: Instant, age: Duration) -> bool {
        self.refresh();
        let _one = self.asking.lock().await;
        let is_another = self.current.lock().as_ref().is_none_or(|token| token.made_at > sent_at);
        is_another || self.drop_older(age)
    }

    /// The registry refuses the token, as far as its answers show. Drops it, unless it is new.
    pub(super) fn drop_unless_new(&self) {
        self.drop_older(RENEW_EVERY);
    }

    fn drop_older(&self, age: Duration) -> bool {
        self.current.lock().take_if(|token| token.made_at.elapsed() >= age).is_some()
    }

    pub(super) fn refresh(&self) -> bool {
        let changed = self.source.files().into_iter().filter(|file| file.refresh()).count() > 0;
        if changed {
            *self.current.lock() = None;
        }
        changed
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        self.source.secrets().into_iter().chain(self.current.lock().as_ref().map(|token| token.text.clone())).collect()
    }
}
