//! The files that a registry's client reads at start and again while it runs: the token and the trusted certificates.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use crate::connect::{self, trust::Bundle};

/// Bytes of a file that are read at most. A bundle of all public certificate authorities has about 250 kB.
const FILE_MAX: u64 = 4 << 20;

/// Why there is no connection to be had with these settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of certificates cannot be read.
    #[error("cannot read the registry's CA file {path}: {source}; give a readable file of PEM certificates")]
    ReadCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file of certificates holds something else.
    #[error("the registry's CA file {path} cannot be used: {source}; give a file of PEM certificates")]
    ParseCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: connect::trust::Error,
    },
    /// Neither the system's certificates nor those of the file can be used.
    #[error("no certificate authority can be trusted for the registry: {0}; give a file with --registry-ca-file")]
    Authorities(connect::trust::Error),
    /// The token file cannot be read.
    #[error("cannot read the registry's token file {path}: {source}; give a readable file with the token in it")]
    ReadToken {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token file holds no token, or one that cannot be sent.
    #[error("the registry's token file {path} must hold one token of visible ASCII characters; it {what}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        what: &'static str,
    },
    /// The HTTP client could not be made.
    #[error("cannot set up HTTP: {0}")]
    Client(reqwest::Error),
}

/// The certificates of a file.
pub(super) fn authorities(path: &Path) -> Result<Bundle, Error> {
    let pem = read(path).map_err(|source| Error::ReadCa { path: path.into(), source })?;
    Bundle::from_pem(&pem).map_err(|source| Error::ParseCa { path: path.into(), source })
}

/// The token of a file, without a byte order mark and without blanks and line ends around it.
pub(super) fn token(path: &Path) -> Result<SecretString, Error> {
    let bytes = read(path).map_err(|source| Error::ReadToken { path: path.into(), source })?;
    let refused = |what| Error::Token { path: path.into(), what };
    let text = std::str::from_utf8(&bytes).map_err(|_| refused("holds other bytes than text in UTF-8"))?;
    let token = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if token.is_empty() {
        return Err(refused("is empty"));
    }
    if !token.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(refused("holds blanks, control characters or other letters in between"));
    }
    Ok(token.into())
}

/// A regular file: a pipe would have us wait.
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
        token(&file).map(|token| token.expose_secret().to_owned()).map_err(named)
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
        assert!(matches!(token(folder.path()), Err(Error::ReadToken { .. })));
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(FILE_MAX + 1).unwrap();
        assert!(authorities(&large).unwrap_err().to_string().contains("more than"));
    }
}
