//! Secrets from files, and removing them from texts.

use std::path::PathBuf;

use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretString};

use super::sign;
use crate::registry::credentials::{self, Error};

/// Shorter secrets are not looked for in answers: they would match by chance.
const FOUND_FROM: usize = 8;
const HIDDEN: &str = "***";

/// What the text in a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Visible ASCII characters, so that it can stand in a header.
    Token,
    /// Any line of text.
    Password,
    /// `whsec_` and base64.
    WebhookSecret,
}

/// One secret and the file that it comes from.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    content: Content,
    setting: &'static str,
    text: RwLock<SecretString>,
}

impl SecretFile {
    /// Reads the file. `setting` is the member of the targets file that names it.
    pub(super) fn new(path: &str, content: Content, setting: &'static str) -> Result<Self, Error> {
        let path = PathBuf::from(path);
        let text = RwLock::new(read(&path, content, setting)?);
        Ok(Self { path, content, setting, text })
    }

    pub(super) fn text(&self) -> SecretString {
        self.text.read().clone()
    }

    /// Reads the file again. If that fails, the previous secret stays in use. Returns whether it changed.
    pub(super) fn refresh(&self) -> bool {
        match read(&self.path, self.content, self.setting) {
            Ok(text) => {
                let mut current = self.text.write();
                let changed = current.expose_secret() != text.expose_secret();
                *current = text;
                changed
            }
            Err(error) => {
                tracing::warn!(%error, "registry credential not read; the previous one stays in use");
                false
            }
        }
    }
}

fn read(path: &std::path::Path, content: Content, setting: &'static str) -> Result<SecretString, Error> {
    match content {
        Content::Token => credentials::token(path, setting),
        Content::Password => credentials::password(path, setting),
        Content::WebhookSecret => credentials::webhook_secret(path, setting, sign::check_webhook_secret),
    }
}

/// Removes secrets from a text, in all forms that [`length_in`] knows.
pub(super) fn redact(text: &str, secrets: &[SecretString]) -> String {
    let clean = secrets.iter().fold(text.as_bytes().to_vec(), |text, secret| without(text, secret.expose_secret()));
    String::from_utf8_lossy(&clean).into_owned()
}

/// Removes secrets from the body of an answer, which may echo them. Most bodies have none and are not copied.
pub(super) fn redact_body(body: Vec<u8>, secrets: &[SecretString]) -> Vec<u8> {
    let found = secrets.iter().map(|secret| secret.expose_secret()).filter(|secret| secret.len() >= FOUND_FROM);
    found.fold(body, without)
}

fn without(text: Vec<u8>, secret: &str) -> Vec<u8> {
    let Some(first) = secret.bytes().next() else { return text };
    let may_begin = |byte: u8| byte == first || b"\\%+".contains(&byte);
    let next = |from: usize| {
        let mut starts = (from..text.len()).filter(|at| may_begin(text[*at]));
        starts.find_map(|at| Some((at, at + length_in(&text[at..], secret)?)))
    };
    let Some(found) = next(0) else { return text };
    let (mut clean, mut from, mut found) = (Vec::with_capacity(text.len()), 0, Some(found));
    while let Some((start, end)) = found {
        clean.extend_from_slice(&text[from..start]);
        clean.extend_from_slice(HIDDEN.as_bytes());
        from = end;
        found = next(end);
    }
    clean.extend_from_slice(&text[from..]);
    clean
}

/// The length of a secret at the beginning of a text. Each of its characters may be written as it is, percent-encoded,
/// or as JSON writes it: with any number of backslashes before it, because a text in JSON may hold JSON, or as
/// `\uXXXX`.
fn length_in(text: &[u8], secret: &str) -> Option<usize> {
    if text.starts_with(secret.as_bytes()) {
        return Some(secret.len());
    }
    let (mut rest, mut before) = (text, None);
    for c in secret.chars() {
        rest = match behind(c, rest) {
            Some(rest) => rest,
            // The first one took all of them.
            None if c == '\\' && before == Some(c) => rest,
            None => return None,
        };
        before = Some(c);
    }
    Some(text.len() - rest.len())
}

/// What follows a character at the beginning of a text, in whichever form it stands there.
fn behind<'t>(c: char, text: &'t [u8]) -> Option<&'t [u8]> {
    let (mut utf8, mut utf16) = ([0; 4], [0; 2]);
    let utf8 = c.encode_utf8(&mut utf8).as_bytes();
    // Those of a character may have been taken as part of the one before it.
    let unquoted = |text: &'t [u8]| &text[text.iter().take_while(|byte| **byte == b'\\').count()..];
    let percent = || utf8.iter().try_fold(text, |text, byte| hex(text.strip_prefix(b"%")?, 2, (*byte).into()));
    let mut units = c.encode_utf16(&mut utf16).iter();
    let json = || units.try_fold(text, |text, unit| hex(unquoted(text).strip_prefix(b"u")?, 4, *unit));
    percent().or_else(json).or_else(|| match c {
        '\\' => Some(unquoted(text)).filter(|rest| rest.len() < text.len()),
        ' ' if text.starts_with(b"+") => Some(&text[1..]),
        _ => unquoted(text).strip_prefix(utf8),
    })
}

/// What follows a number of this many hexadecimal digits, if it is this one.
fn hex(text: &[u8], digits: usize, number: u16) -> Option<&[u8]> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let read = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (read == number).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::url::encode as url_encoded;

    #[test]
    fn secrets_are_removed_from_texts_and_bodies() {
        let secrets = [SecretString::from("s3cret/token"), SecretString::from("abc")];
        assert_eq!(redact("a s3cret/token b s3cret%2Ftoken abc", &secrets), "a *** b *** ***");
        let body = |text: &str| String::from_utf8(redact_body(text.as_bytes().to_vec(), &secrets)).unwrap();
        assert_eq!(body(r#"{"a":"s3cret/token","b":"Bearer s3cret/token"}"#), r#"{"a":"***","b":"Bearer ***"}"#);
        assert_eq!(body("abc s3cret/toke"), "abc s3cret/toke", "short secrets match by chance");
    }

    #[test]
    fn escaped_secret_is_removed() {
        let secret = "p\"w/\\\\é +😀%2";
        let secrets = [SecretString::from(secret)];
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let once = quoted(secret);
        for (text, clean) in [
            (secret.to_owned(), "***"),
            (once.clone(), "\"***\""),
            (quoted(&once), r#""\"***\"""#),
            // As PHP writes JSON, and with digits in lower and upper case.
            (r#"{"a":"p\"w\/\\\\\u00e9 +\ud83d\ude00%2"}"#.to_owned(), r#"{"a":"***"}"#),
            (r"p\u0022w\u002F\u005c\u005C\u00E9\u0020\u002b\uD83D\uDE00\u00252".to_owned(), "***"),
            (url_encoded(secret), "***"),
            (url_encoded(secret).to_lowercase(), "***"),
            (url_encoded(secret).replace("%20", "+"), "***"),
        ] {
            assert_eq!(redact(&text, &secrets), clean, "{text}");
            assert_eq!(redact_body(text.into_bytes(), &secrets), clean.as_bytes());
        }
        for other in [r#"p\"w/é"#, "p%22w/%5C%5", r"\", "%", r"p\u00", "p%2"] {
            assert_eq!(redact(other, &secrets), other);
        }
    }

    #[test]
    fn changed_file_is_noticed_and_bad_one_ignored() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&file, "first-token\n").unwrap();
        let secret = SecretFile::new(&file.to_string_lossy(), Content::Token, "auth.bearer.tokenFile").unwrap();
        assert!(!secret.refresh());
        std::fs::write(&file, "other-token\n").unwrap();
        assert!(secret.refresh() && secret.text().expose_secret() == "other-token");
        std::fs::write(&file, "").unwrap();
        assert!(!secret.refresh() && secret.text().expose_secret() == "other-token");
        assert!(!format!("{secret:?}").contains("other-token"));
    }
}
