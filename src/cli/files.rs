//! Parsers of flags that name a file.
//!
//! Each file is checked at start, so that a forgotten mount is reported at once. The modules that use a file read it
//! again later, because it may change.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::refusal::ValueProblem;

/// The size limit of a file, in bytes. A bundle of all public certificate authorities has about 250 kB.
const LARGEST: u64 = 4 << 20;

/// A file that can be read and is not empty.
pub(super) fn readable(text: &str) -> Result<PathBuf, ValueProblem> {
    read(text).map(|(path, _)| path)
}

/// A file that holds one bearer token.
pub(super) fn token(text: &str) -> Result<PathBuf, ValueProblem> {
    let (path, contents) = read(text)?;
    // As in the registry's client: some editors write a byte order mark.
    let token = contents.trim_ascii();
    let token = token.strip_prefix(b"\xef\xbb\xbf").unwrap_or(token).trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let what = format!("{} does not hold a token", path.display());
        return Err(ValueProblem::new(what, "write one line of printable ASCII without spaces into it"));
    }
    Ok(path)
}

/// A file that holds at least one certificate.
pub(super) fn certificates(text: &str) -> Result<PathBuf, ValueProblem> {
    pem(text, "-----BEGIN CERTIFICATE-----", "certificate")
}

/// A file that holds a private key.
pub(super) fn private_key(text: &str) -> Result<PathBuf, ValueProblem> {
    pem(text, "PRIVATE KEY-----", "private key")
}

/// A file that is created if it does not exist. Its directory must exist.
pub(super) fn creatable(text: &str) -> Result<PathBuf, ValueProblem> {
    let path = path(text)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        let what = format!("{} is not a directory", directory.display());
        return Err(ValueProblem::new(what, "create it, or name a file in another directory"));
    }
    if path.is_dir() {
        return Err(ValueProblem::new(format!("{} is a directory", path.display()), "name a file in it"));
    }
    Ok(path)
}

fn pem(text: &str, marker: &str, what: &str) -> Result<PathBuf, ValueProblem> {
    let (path, contents) = read(text)?;
    if contents.windows(marker.len()).any(|window| window == marker.as_bytes()) {
        return Ok(path);
    }
    Err(ValueProblem::new(format!("{} holds no {what}", path.display()), "use a file in PEM format that holds one"))
}

fn path(text: &str) -> Result<PathBuf, ValueProblem> {
    let refused = || ValueProblem::new("the path is empty", "name a file, or remove the flag");
    (!text.is_empty()).then(|| PathBuf::from(text)).ok_or_else(refused)
}

fn read(text: &str) -> Result<(PathBuf, Vec<u8>), ValueProblem> {
    let path = path(text)?;
    match read_bounded(&path) {
        Ok(contents) if contents.is_empty() => {
            Err(ValueProblem::new(format!("{} is empty", path.display()), "check what is mounted there"))
        }
        Ok(contents) => Ok((path, contents)),
        Err(error) => {
            let fix = "check the path and the permissions of the file";
            Err(ValueProblem::new(format!("{} cannot be read: {error}", path.display()), fix))
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Reading a named pipe could block for ever.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut contents = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok(contents)
}
