//! Reads the files of a registry's client: tokens, other secrets and certificates.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use secrecy::{SecretSlice, SecretString};

use crate::connect::{self, trust::Bundle};

/// Bytes of a file, at most. A bundle of all public certificate authorities has about 250 kB.
const FILE_MAX: u64 = 4 << 20;

/// Why the client cannot be set up with these settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the registry's CA file {path}: {source}; give a readable file with {setting}")]
    ReadCa { path: PathBuf, source: io::Error, setting: &'static str },
    #[error("cannot use the registry's CA file {path}: {source}; give PEM certificates with {setting}")]
    ParseCa { path: PathBuf, source: connect::trust::Error, setting: &'static str },
    /// Neither the system nor the CA file has a usable certificate.
    #[error("no certificate authority can be trusted for the registry: {source}; give a file with {setting}")]
    Authorities { source: connect::trust::Error, setting: &'static str },
    #[error("cannot read the registry's token file {path}: {source}; give a readable file with {setting}")]
    ReadToken { path: PathBuf, source: io::Error, setting: &'static str },
    /// The token file is empty or holds something that cannot be sent as a token.
    #[error("the registry's token file {path} must hold one token of visible ASCII characters; it {what}")]
    Token { path: PathBuf, what: &'static str },
    /// The file of a password is empty or holds something that cannot be one.
    #[error("the registry's secret file {path} must hold one line of text; it {what}")]
    Password { path: PathBuf, what: &'static str },
    /// The address of the target was not checked.
    #[error("url is not an address")]
    Address,
    /// The target's login was not compiled.
    #[error("auth.login cannot be used")]
    NoLogin,
    /// The client certificate or its key.
    #[error(
        "cannot read the registry's client certificate or key {path}: {source}; give readable files with {setting}"
    )]
    ReadIdentity { path: PathBuf, source: io::Error, setting: &'static str },
    #[error(
        "cannot use the registry's client certificate {path}: {source}; give a certificate and its key in PEM format"
    )]
    ParseIdentity { path: PathBuf, source: connect::trust::Error },
    #[error("cannot set up HTTP for the registry: {0}")]
    Client(reqwest::Error),
}

pub(super) fn authorities(path: &Path, setting: &'static str) -> Result<Bundle, Error> {
    let pem = read(path).map_err(|source| Error::ReadCa { path: path.into(), source, setting })?;
    Bundle::from_pem(&pem).map_err(|source| Error::ParseCa { path: path.into(), source, setting })
}

/// Reads a certificate or a key of the client.
pub(super) fn identity(path: &Path, setting: &'static str) -> Result<SecretSlice<u8>, Error> {
    let pem = read(path).map_err(|source| Error::ReadIdentity { path: path.into(), source, setting })?;
    Ok(pem.into())
}

/// Reads a token and removes a byte order mark and white space around it.
pub(super) fn token(path: &Path, setting: &'static str) -> Result<SecretString, Error> {
    let bytes = read(path).map_err(|source| Error::ReadToken { path: path.into(), source, setting })?;
    let refused = |what| Error::Token { path: path.into(), what };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("is not UTF-8"))?;
    let token = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if token.is_empty() {
        return Err(refused("is empty"));
    }
    if !token.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(refused("has white space, control characters or non-ASCII characters in between"));
    }
    Ok(token.into())
}

/// Reads a password and removes a byte order mark and line breaks around it. It may have spaces and any letters.
pub(super) fn password(path: &Path, setting: &'static str) -> Result<SecretString, Error> {
    let bytes = read(path).map_err(|source| Error::ReadToken { path: path.into(), source, setting })?;
    let refused = |what| Error::Password { path: path.into(), what };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("is not UTF-8"))?;
    let password = text.trim_matches(['\r', '\n', '\u{feff}']);
    match password {
        "" => Err(refused("is empty")),
        password if password.contains(char::is_control) => Err(refused("has control characters or several lines")),
        password => Ok(password.into()),
    }
}

/// Reads a regular file. Reading a pipe could block forever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn token_of(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&file, bytes).unwrap();
        let named = |error: Error| {
            assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
            error.to_string()
        };
        token(&file, "--file").map(|token| token.expose_secret().to_owned()).map_err(named)
    }

    #[test]
    fn token_is_trimmed() {
        for bytes in
            [&b"s3cret"[..], b"s3cret\n", b"s3cret\r\n", b" s3cret\t", b"\xef\xbb\xbfs3cret\r\n", b"\n\n s3cret \n\n"]
        {
            assert_eq!(token_of(bytes).as_deref(), Ok("s3cret"), "{bytes:?}");
        }
    }

    #[test]
    fn unusable_token_is_refused_with_the_files_name() {
        for (bytes, what) in [
            (&b""[..], "is empty"),
            (b"\r\n", "is empty"),
            (b"\xef\xbb\xbf", "is empty"),
            (b"two tokens", "in between"),
            (b"a\nb", "in between"),
            ("k\u{e4}se".as_bytes(), "in between"),
            (b"\xff\xfes\0e\0", "UTF-8"),
        ] {
            let error = token_of(bytes).unwrap_err();
            assert!(error.contains(what) && !error.contains("two"), "{error}");
        }
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(token(folder.path(), "--file"), Err(Error::ReadToken { .. })));
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert!(authorities(&large, "--file").unwrap_err().to_string().contains("more than"));
    }
}
