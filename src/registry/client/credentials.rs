//! Reads the files of the registry's client: the token and the trusted certificates.

use std::{
    io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use crate::{
    connect::{self, trust::Bundle},
    files,
};

/// Why the client cannot be set up with these settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the registry's CA file {path}: {source}; give a readable file with --registry-ca-file")]
    ReadCa { path: PathBuf, source: io::Error },
    #[error("cannot use the registry's CA file {path}: {source}; give PEM certificates with --registry-ca-file")]
    ParseCa { path: PathBuf, source: connect::trust::Error },
    /// Neither the system nor the CA file has a usable certificate.
    #[error("no certificate authority can be trusted for the registry: {0}; give a file with --registry-ca-file")]
    Authorities(connect::trust::Error),
    #[error("cannot read the registry's token file {path}: {source}; give a readable file with --registry-token-file")]
    ReadToken { path: PathBuf, source: io::Error },
    /// The token file is empty or holds something that cannot be sent as a token.
    #[error("the registry's token file {path} must hold one token of visible ASCII characters; it {what}")]
    Token { path: PathBuf, what: &'static str },
    #[error("cannot set up HTTP for the registry: {0}")]
    Client(reqwest::Error),
}

pub(super) fn authorities(path: &Path) -> Result<Bundle, Error> {
    let pem = files::read(path).map_err(|source| Error::ReadCa { path: path.into(), source })?;
    Bundle::from_pem(&pem).map_err(|source| Error::ParseCa { path: path.into(), source })
}

pub(super) fn token(path: &Path) -> Result<SecretString, Error> {
    let contents = files::read(path).map_err(|source| Error::ReadToken { path: path.into(), source })?;
    let token = files::token(&contents).map_err(|what| Error::Token { path: path.into(), what })?;
    Ok(token.into())
}
