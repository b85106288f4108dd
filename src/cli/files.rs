//! Parsers of flags that name a file.
//!
//! Each file is checked at start, so that a forgotten mount is reported at once. The modules that use a file read it
//! again later, because it may change.

use std::path::{Path, PathBuf};

use super::refusal::ValueProblem;
use crate::files;

/// A file that can be read and is not empty.
pub(super) fn readable(text: &str) -> Result<PathBuf, ValueProblem> {
    read(text).map(|(path, _)| path)
}

/// A file that holds one bearer token.
pub(super) fn token(text: &str) -> Result<PathBuf, ValueProblem> {
    let (path, contents) = read(text)?;
    if files::token(&contents).is_err() {
        let what = format!("{} does not hold a token", path.display());
        return Err(ValueProblem::new(what, "write one line of printable ASCII without spaces into it"));
    }
    Ok(path)
}

/// A file that holds headers of requests.
pub(super) fn headers(text: &str) -> Result<PathBuf, ValueProblem> {
    let (path, contents) = read(text)?;
    match files::headers(&contents) {
        Ok(_) => Ok(path),
        Err(what) => {
            let what = format!("{} {what}", path.display());
            Err(ValueProblem::new(what, "write one header per line, as in Authorization: Bearer TOKEN"))
        }
    }
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
    match files::read(&path) {
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
