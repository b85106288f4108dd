//! Reads small files: certificates, keys, tokens, headers and kubeconfigs.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    path::Path,
};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The size limit of a file, in bytes. A bundle of all public certificate authorities has about 250 kB.
const LARGEST: u64 = 4 << 20;

/// Reads a regular file of bounded size. Reading a named pipe could block for ever.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut contents = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > LARGEST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok(contents)
}

/// The bearer token in a file, without white space and a byte order mark around it. The error is what is wrong.
pub fn token(contents: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(contents).map_err(|_| "is not UTF-8")?.trim_ascii();
    // Some editors write a byte order mark.
    match text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii() {
        "" => Err("is empty"),
        token if token.bytes().all(|c| c.is_ascii_graphic()) => Ok(token),
        _ => Err("has white space, control characters or non-ASCII characters in between"),
    }
}

/// The headers in a file, one per line, as `Name: value`. Empty lines, and lines that begin with `#`, are skipped. The
/// values are marked as secrets, so that they are never shown. The error is what is wrong.
pub fn headers(contents: &[u8]) -> Result<HeaderMap, &'static str> {
    let text = std::str::from_utf8(contents).map_err(|_| "is not UTF-8")?;
    let mut headers = HeaderMap::new();
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(':').ok_or("has a line without a colon")?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "has an invalid name of a header")?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "has an invalid value of a header")?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    if headers.is_empty() { Err("has no header") } else { Ok(headers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(read(&large).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn token_is_trimmed() {
        for contents in ["s3cret", "s3cret\n", "s3cret\r\n", " s3cret\t", "\u{feff}s3cret\r\n", "\n\n s3cret \n\n"] {
            assert_eq!(token(contents.as_bytes()), Ok("s3cret"), "{contents:?}");
        }
    }

    #[test]
    fn headers_are_lines_of_names_and_values() {
        let found =
            headers(b"\xef\xbb\xbf# of the vendor\nAuthorization: Bearer s3cret:x\r\n\n x-scope : a \n").unwrap();
        assert_eq!(
            (&found["authorization"], &found["x-scope"]),
            (&"Bearer s3cret:x".parse().unwrap(), &"a".parse().unwrap())
        );
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
        for (contents, what) in [
            (&b""[..], "no header"),
            (b"Authorization", "colon"),
            (b"a b: c", "name"),
            (b"a: \x01", "value"),
            (b"\xff: a", "UTF-8"),
        ] {
            assert!(headers(contents).unwrap_err().contains(what), "{contents:?}");
        }
    }

    #[test]
    fn unusable_token_is_refused() {
        for (contents, what) in [
            (&b""[..], "is empty"),
            (b"\r\n", "is empty"),
            (b"\xef\xbb\xbf", "is empty"),
            (b"two tokens", "in between"),
            (b"a\nb", "in between"),
            ("k\u{e4}se".as_bytes(), "in between"),
            (b"\xff\xfes\0e\0", "UTF-8"),
        ] {
            assert!(token(contents).unwrap_err().contains(what), "{contents:?}");
        }
    }
}
