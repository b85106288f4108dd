//! Reads the files of a registry's client: tokens, other secrets and certificates.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::{SecretSlice, SecretString};

use crate::{
    connect::{self, trust::Bundle},
    files,
};

/// Why the client cannot be set up with these settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the registry's {what} {path}: {source}; give a readable file with {setting}")]
    Read { what: &'static str, path: PathBuf, source: io::Error, setting: &'static str },
    #[error("cannot use the registry's CA file {path}: {source}; give PEM certificates with {setting}")]
    ParseCa { path: PathBuf, source: connect::trust::Error, setting: &'static str },
    /// Neither the system nor the CA file has a usable certificate.
    #[error("no certificate authority can be trusted for the registry: {source}; give a file with {setting}")]
    Authorities { source: connect::trust::Error, setting: &'static str },
    /// The token file is empty or holds something that cannot be sent as a token.
    #[error("the registry's token file {path} must hold one token of visible ASCII characters; it {what}")]
    Token { path: PathBuf, what: &'static str },
    /// The file of a password is empty or holds something that cannot be one.
    #[error("the registry's secret file {path} must hold one line of text; it {what}")]
    Password { path: PathBuf, what: &'static str },
    /// The file of a secret of Standard Webhooks holds something else.
    #[error(
        "the secret file {path} must hold whsec_ and base64, as the receiver shows it; it {what}. \
         Give such a file with {setting}"
    )]
    WebhookSecret { path: PathBuf, what: &'static str, setting: &'static str },
    /// The address of the target was not checked.
    #[error("url is not an address")]
    Address,
    /// The target's login was not compiled.
    #[error("auth.login cannot be used")]
    NoLogin,
    #[error(
        "cannot use the registry's client certificate {path}: {source}; give a certificate and its key in PEM format"
    )]
    ParseIdentity { path: PathBuf, source: connect::trust::Error },
    #[error("cannot set up HTTP for the registry: {0}")]
    Client(reqwest::Error),
}

const SECRET_FILE: &str = "secret file";

fn read(what: &'static str, path: &Path, setting: &'static str) -> Result<Vec<u8>, Error> {
    files::read(path).map_err(|source| Error::Read { what, path: path.into(), source, setting })
}

pub(super) fn authorities(path: &Path, setting: &'static str) -> Result<Bundle, Error> {
    Bundle::from_pem(&read("CA file", path, setting)?).map_err(|source| Error::ParseCa {
        path: path.into(),
        source,
        setting,
    })
}

/// Reads a certificate or a key of the client.
pub(super) fn identity(path: &Path) -> Result<SecretSlice<u8>, Error> {
    Ok(read("client certificate or key", path, "tls.certFile and tls.keyFile")?.into())
}

pub(super) fn token(path: &Path, setting: &'static str) -> Result<SecretString, Error> {
    let contents = read("token file", path, setting)?;
    let token = files::token(&contents).map_err(|what| Error::Token { path: path.into(), what })?;
    Ok(token.into())
}

/// Reads a secret of Standard Webhooks. `check` says what is wrong with it.
pub(super) fn webhook_secret(
    path: &Path,
    setting: &'static str,
    check: impl FnOnce(&SecretString) -> Result<(), &'static str>,
) -> Result<SecretString, Error> {
    let contents = read(SECRET_FILE, path, setting)?;
    let refused = |what| Error::WebhookSecret { path: path.into(), what, setting };
    let secret = files::token(&contents).map_err(refused)?.into();
    check(&secret).map_err(refused)?;
    Ok(secret)
}

/// Reads a password and removes a byte order mark and line breaks around it. It may have spaces and any letters.
pub(super) fn password(path: &Path, setting: &'static str) -> Result<SecretString, Error> {
    let bytes = read(SECRET_FILE, path, setting)?;
    let refused = |what| Error::Password { path: path.into(), what };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("is not UTF-8"))?;
    let password = text.trim_matches(['\r', '\n', '\u{feff}']);
    match password {
        "" => Err(refused("is empty")),
        password if password.contains(char::is_control) => Err(refused("has control characters or several lines")),
        password => Ok(password.into()),
    }
}
