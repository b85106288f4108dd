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
}
