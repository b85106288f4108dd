//! Files that settings name. They are looked at once before anything starts, so that a mount that was forgotten is said at
//! once; what they hold is read again by those who use them, as it may change.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::refusal::Problem;

/// Larger than any of these files may be: a bundle of all public certificate authorities has about 250 kB.
const LARGEST: u64 = 4 << 20;

/// A file that can be read and is not empty.
pub(super) fn readable(text: &str) -> Result<PathBuf, Problem> {
    read(text).map(|(path, _)| path)
}

/// A file with one bearer token.
pub(super) fn token(text: &str) -> Result<PathBuf, Problem> {
    let (path, contents) = read(text)?;
    // As the registry's client reads it: editors leave byte order marks.
    let token = contents.trim_ascii();
    let token = token.strip_prefix(b"\xef\xbb\xbf").unwrap_or(token).trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let what = format!("{} does not hold a token", path.display());
        return Err(Problem::new(what, "write one line of printable ASCII without blanks"));
    }
    Ok(path)
}

/// A file with at least one certificate.
pub(super) fn certificates(text: &str) -> Result<PathBuf, Problem> {
    pem(text, "-----BEGIN CERTIFICATE-----", "certificate")
}

/// A file with a private key.
pub(super) fn private_key(text: &str) -> Result<PathBuf, Problem> {
    pem(text, "PRIVATE KEY-----", "private key")
}

/// A file that will be made when it is not there; its folder has to be.
pub(super) fn creatable(text: &str) -> Result<PathBuf, Problem> {
    let path = path(text)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Problem::new(format!("{} is not a folder", folder.display()), "make it first, or name another"));
    }
    if path.is_dir() {
        return Err(Problem::new(format!("{} is a folder", path.display()), "name a file"));
    }
    Ok(path)
}

fn pem(text: &str, marker: &str, what: &str) -> Result<PathBuf, Problem> {
    let (path, contents) = read(text)?;
    if contents.windows(marker.len()).any(|window| window == marker.as_bytes()) {
        return Ok(path);
    }
    Err(Problem::new(format!("{} holds no {what}", path.display()), "give a file in PEM format"))
}

fn path(text: &str) -> Result<PathBuf, Problem> {
    let refused = || Problem::new("the path is empty", "name a file, or leave it out");
    (!text.is_empty()).then(|| PathBuf::from(text)).ok_or_else(refused)
}

fn read(text: &str) -> Result<(PathBuf, Vec<u8>), Problem> {
    let path = path(text)?;
    match read_bounded(&path) {
        Ok(contents) if contents.is_empty() => {
            Err(Problem::new(format!("{} is empty", path.display()), "check what was meant to be mounted there"))
        }
        Ok(contents) => Ok((path, contents)),
        Err(error) => {
            let mend = "check the path, and that this user may read the file";
            Err(Problem::new(format!("{} cannot be read: {error}", path.display()), mend))
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // A named pipe would wait for ever, here or later.
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
