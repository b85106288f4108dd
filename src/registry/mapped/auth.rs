//! Credentials, which are added to a request after it was rendered, so that no template sees them.

mod token;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::secrets::{Content, SecretFile};
use crate::{
    mapping::{login::LoginTemplate, spec::auth::AuthSpec},
    reconcile::outcome::Failure,
    registry::{credentials::Error, http::Connection},
};
use token::{IssuedTokens, RENEW_EVERY, RENEW_FORBIDDEN, TokenSource};

/// How requests are authenticated.
pub(super) enum Auth {
    None,
    /// A secret in a header, after a prefix.
    Header {
        name: HeaderName,
        prefix: String,
        secret: SecretFile,
    },
    Basic {
        username: String,
        secret: SecretFile,
    },
    Query {
        name: String,
        secret: SecretFile,
    },
    /// A member of the JSON body, named by a JSON Pointer.
    Body {
        at: String,
        secret: SecretFile,
    },
    /// A token that another request returns.
    Tokens(Box<IssuedTokens>),
}

/// A request before it is sent.
pub(super) struct Outgoing {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
}

impl Auth {
    /// Reads the files.
    pub(super) fn new(spec: Option<&AuthSpec>, login: Option<LoginTemplate>) -> Result<Self, Error> {
        let token = |path: &str, setting| SecretFile::new(path, Content::Token, setting);
        Ok(match spec {
            None => Self::None,
            Some(AuthSpec::Bearer(spec)) => {
                let scheme = spec.scheme.as_ref().map_or("Bearer", |scheme| scheme.text.as_str());
                let secret = token(&spec.token_file.text, "auth.bearer.tokenFile")?;
                Self::Header { name: AUTHORIZATION, prefix: format!("{scheme} "), secret }
            }
            Some(AuthSpec::Basic(spec)) => {
                let secret = SecretFile::new(&spec.password_file.text, Content::Password, "auth.basic.passwordFile")?;
                Self::Basic { username: spec.username.text.clone(), secret }
            }
            Some(AuthSpec::Header(spec)) => {
                let prefix = spec.prefix.as_ref().map(|prefix| prefix.text.clone()).unwrap_or_default();
                let secret = token(&spec.file.text, "auth.header.file")?;
                // The name was checked when the file was read.
                let name = HeaderName::from_bytes(spec.name.text.as_bytes()).unwrap_or(AUTHORIZATION);
                Self::Header { name, prefix, secret }
            }
            Some(AuthSpec::Query(spec)) => {
                let secret = SecretFile::new(&spec.file.text, Content::Password, "auth.query.file")?;
                Self::Query { name: spec.name.text.clone(), secret }
            }
            Some(AuthSpec::Body(spec)) => {
                let secret = SecretFile::new(&spec.file.text, Content::Password, "auth.body.file")?;
                Self::Body { at: spec.at.text.clone(), secret }
            }
            Some(AuthSpec::Oauth2(spec)) => Self::Tokens(Box::new(IssuedTokens::new(TokenSource::oauth2(spec)?))),
            Some(AuthSpec::Login(spec)) => Self::Tokens(Box::new(IssuedTokens::new(TokenSource::login(spec, login)?))),
        })
    }

    /// Adds the credentials. It may send a request for a token first.
    pub(super) async fn authorize(&self, request: &mut Outgoing, connection: &Connection) -> Result<(), Failure> {
        match self {
            Self::None => Ok(()),
            Self::Header { name, prefix, secret } => {
                let text = format!("{prefix}{}", secret.text().expose_secret());
                request.headers.insert(name.clone(), sensitive(&text)?);
                Ok(())
            }
            Self::Basic { username, secret } => {
                request.headers.insert(AUTHORIZATION, sensitive(&basic(username, &secret.text()))?);
                Ok(())
            }
            Self::Query { name, secret } => {
                set_parameter(&mut request.url, name, &secret.text());
                Ok(())
            }
            Self::Body { at, secret } => insert(request, at, &secret.text()),
            Self::Tokens(tokens) => {
                let (name, text) = tokens.header(connection).await?;
                request.headers.insert(name, sensitive(text.expose_secret())?);
                Ok(())
            }
        }
    }

    /// The registry refused a request that was sent at this time. Reads the files again, or gives up the token. Returns
    /// whether the next request has other credentials.
    pub(super) async fn refused(&self, status: u16, sent_at: Instant) -> bool {
        match self {
            Self::Tokens(tokens) => {
                tokens.refused(sent_at, if status == 403 { RENEW_FORBIDDEN } else { RENEW_EVERY }).await
            }
            other => other.refresh(),
        }
    }

    /// The registry may refuse the credentials. Reads the files again; the next request has another token.
    pub(super) fn renew(&self) {
        self.refresh();
        if let Self::Tokens(tokens) = self {
            tokens.drop_unless_new();
        }
    }

    /// Reads the files again. Returns whether a secret has changed.
    pub(super) fn refresh(&self) -> bool {
        match self {
            Self::None => false,
            Self::Header { secret, .. }
            | Self::Basic { secret, .. }
            | Self::Query { secret, .. }
            | Self::Body { secret, .. } => secret.refresh(),
            Self::Tokens(tokens) => tokens.refresh(),
        }
    }

    /// What must not be shown: the secrets as they are sent.
    pub(super) fn secrets(&self) -> Vec<SecretString> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { username, secret } => {
                let encoded = basic(username, &secret.text());
                let encoded = encoded.strip_prefix("Basic ").unwrap_or_default();
                vec![secret.text(), encoded.into()]
            }
            Self::Header { secret, .. } | Self::Query { secret, .. } | Self::Body { secret, .. } => vec![secret.text()],
            Self::Tokens(tokens) => tokens.secrets(),
        }
    }
}

fn basic(username: &str, password: &SecretString) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose_secret())))
}

/// A value that the HTTP library does not show either.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| Failure::Unreachable("the credential cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sets a parameter of the query. The address of a next page has it already, if the registry repeats what it was asked.
fn set_parameter(url: &mut Url, name: &str, secret: &SecretString) {
    let pairs = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let others = pairs.zip(url.query_pairs()).filter(|(_, (other, _))| other != name).map(|(pair, _)| pair);
    let others = others.collect::<Vec<_>>().join("&");
    url.set_query(Some(&*others).filter(|others| !others.is_empty()));
    url.query_pairs_mut().append_pair(name, secret.expose_secret());
}

/// Sets a member of the JSON body. Its parent must exist.
fn insert(request: &mut Outgoing, at: &str, secret: &SecretString) -> Result<(), Failure> {
    let wrong = || Failure::Unreachable(format!("the body has no place {at:?} for the credential; see auth.body.at"));
    let body = request.body.as_deref().unwrap_or(b"{}");
    let mut json: Json = serde_json::from_slice(body).map_err(|_| wrong())?;
    let (parent, name) = at.rsplit_once('/').ok_or_else(wrong)?;
    let members = json.pointer_mut(parent).and_then(Json::as_object_mut).ok_or_else(wrong)?;
    members.insert(name.replace("~1", "/").replace("~0", "~"), Json::String(secret.expose_secret().to_owned()));
    request.body = Some(json.to_string().into_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_credential_replaces_an_echoed_one() {
        for (query, expected) in [
            ("", "key=s3+cret"),
            ("?a=%20b&key=***&c", "a=%20b&c&key=s3+cret"),
            ("?key=old&k%65y=x&&keys=1", "keys=1&key=s3+cret"),
        ] {
            let mut url = format!("http://registry/x{query}").parse().unwrap();
            set_parameter(&mut url, "key", &"s3 cret".into());
            assert_eq!(url.query(), Some(expected), "{query}");
        }
    }

    #[test]
    fn body_credential_needs_its_place() {
        let outgoing = |body: &str| Outgoing {
            url: "http://registry/".parse().unwrap(),
            headers: HeaderMap::new(),
            body: Some(body.as_bytes().to_vec()),
        };
        let mut request = outgoing(r#"{"params":{"a":1}}"#);
        insert(&mut request, "/params/apikey", &"s3cret".into()).unwrap();
        assert_eq!(request.body.unwrap(), br#"{"params":{"a":1,"apikey":"s3cret"}}"#);
        for body in ["[]", "text", r#"{"params":1}"#] {
            let error = insert(&mut outgoing(body), "/params/apikey", &"s3cret".into()).unwrap_err().to_string();
            assert!(error.contains("auth.body.at") && !error.contains("s3cret"), "{error}");
        }
    }
}
