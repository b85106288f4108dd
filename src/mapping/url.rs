//! Addresses: percent-encoding, and what a path may be.

/// Why a path cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the path {0:?} has an empty segment")]
    Empty(String),
    #[error("the path {0:?} has a segment `.` or `..`")]
    Dots(String),
}

/// Encodes every byte except letters, digits and `-._~`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    text.bytes().for_each(|byte| push(byte, is_unreserved(byte), &mut encoded));
    encoded
}

/// Encodes what cannot stand in a path. Slashes and escapes stay as they are.
pub fn encode_literal(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        push(byte, is_unreserved(byte) || b"/%!$&'()*+,;=:@".contains(&byte), &mut encoded);
    }
    encoded
}

fn push(byte: u8, as_it_is: bool, text: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    if as_it_is {
        text.push(char::from(byte));
    } else {
        text.push('%');
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Checks an encoded path. It may be empty, and may end with a slash if `slash_at_end`.
///
/// # Errors
/// A segment is empty, `.` or `..`, also if it is encoded.
pub fn check_path(path: &str, slash_at_end: bool) -> Result<(), Error> {
    if path.is_empty() {
        return Ok(());
    }
    let body = if slash_at_end { path.strip_suffix('/').unwrap_or(path) } else { path };
    for segment in body.split('/') {
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "" => return Err(Error::Empty(path.to_owned())),
            "." | ".." => return Err(Error::Dots(path.to_owned())),
            _ => {}
        }
    }
    Ok(())
}

/// The address of a next page. Only its path and query are used, on the origin of `base`. `None` if it is not below
/// `base`, or if it has a segment `.` or `..`.
pub fn next_page(base: &str, current: &str, next: &str) -> Option<String> {
    let (origin, base_path) = split_origin(base)?;
    let (_, current) = split_origin(current)?;
    let current_path = current.split('?').next().unwrap_or_default();
    let next = next.split('#').next().unwrap_or_default();
    let reference = match split_origin(next) {
        Some((_, below)) => below.to_owned(),
        None if next.starts_with("//") => return None,
        None if next.starts_with('/') => next.to_owned(),
        None if next.starts_with('?') => format!("{current_path}{next}"),
        None => format!("{}/{next}", current_path.rsplit_once('/').map_or("", |(folder, _)| folder)),
    };
    let (path, query) = reference.split_once('?').map_or((&*reference, None), |(path, query)| (path, Some(query)));
    let below = path.strip_prefix(base_path)?;
    let is_below = below.is_empty() || below.starts_with('/');
    let usual = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if !is_below || !reference.bytes().all(usual) || has_dots(below) {
        return None;
    }
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    Some(format!("{origin}{path}{query}"))
}

/// Splits an absolute address into the scheme with the host, and the rest.
fn split_origin(url: &str) -> Option<(&str, &str)> {
    let start = url.find("://").filter(|at| url[..*at].bytes().all(|byte| byte.is_ascii_alphabetic()))? + 3;
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    Some((&url[..end], &url[end..]))
}

fn has_dots(path: &str) -> bool {
    let dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.split('/').any(dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_one_segment() {
        for (text, encoded) in [
            ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
            ("é\"\n😀", "%C3%A9%22%0A%F0%9F%98%80"),
            ("%2e%2e", "%252e%252e"),
            ("a-._~Z9", "a-._~Z9"),
        ] {
            assert_eq!(encode(text), encoded);
        }
        assert_eq!(encode_literal("a b/Systems('x')/%41?"), "a%20b/Systems('x')/%41%3F");
    }

    #[test]
    fn path_with_empty_or_dot_segment_is_refused() {
        for path in ["a//b", "/a", "a/", "//"] {
            assert_eq!(check_path(path, false), Err(Error::Empty(path.to_owned())));
        }
        for path in ["..", "a/./b", "a/%2E%2e/b", ".%2e"] {
            assert_eq!(check_path(path, true), Err(Error::Dots(path.to_owned())));
        }
        for path in ["", "a", "a/b/", "...", "a/.b"] {
            assert_eq!(check_path(path, true), Ok(()));
        }
    }

    #[test]
    fn next_page_stays_below_base() {
        let next = |next: &str| next_page("https://a.example/api", "https://a.example/api/v1/x?limit=2", next);
        for (given, expected) in [
            ("https://a.example/api/v1/x?page=2", "https://a.example/api/v1/x?page=2"),
            ("http://inside.local:8080/api/v1/x?page=2#end", "https://a.example/api/v1/x?page=2"),
            ("/api/y?b=c%2Fd", "https://a.example/api/y?b=c%2Fd"),
            ("?page=2", "https://a.example/api/v1/x?page=2"),
            ("y?page=2", "https://a.example/api/v1/y?page=2"),
            ("/api", "https://a.example/api"),
        ] {
            assert_eq!(next(given).as_deref(), Some(expected), "{given}");
        }
        for wrong in [
            "/other",
            "/apix",
            "https://a.example/",
            "/api/../secret",
            "/api/%2E%2e/x",
            "//evil.example/api/x",
            "/api/a b",
            "/api/\n",
            "../x",
            "javascript:alert",
        ] {
            let below = next(wrong).filter(|url| !url.starts_with("https://a.example/api/v1/javascript"));
            assert_eq!(below, None, "{wrong}");
        }
    }
}
