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
        Content::WebhookSecret => {
            let secret = credentials::token(path, setting)?;
            let refused = |what| Error::WebhookSecret { path: path.to_owned(), what, setting };
            sign::check_webhook_secret(&secret).map_err(refused)?;
            Ok(secret)
        }
    }
}

/// Removes secrets from a text, as they are and percent-encoded.
pub(super) fn redact(text: &str, secrets: &[SecretString]) -> String {
    secrets.iter().map(|secret| secret.expose_secret()).filter(|secret| !secret.is_empty()).fold(
        text.to_owned(),
        |text, secret| {
            let encoded: String = url_encoded(secret);
            text.replace(secret, HIDDEN).replace(&encoded, HIDDEN)
        },
    )
}

/// Removes secrets from the body of an answer, which may echo them. Most bodies have none and are not copied.
pub(super) fn redact_body(body: Vec<u8>, secrets: &[SecretString]) -> Vec<u8> {
    secrets
        .iter()
        .map(|secret| secret.expose_secret().as_bytes())
        .fold(body, |body, secret| if secret.len() < FOUND_FROM { body } else { without(body, secret) })
}

fn without(body: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let Some(first) = find(&body, secret) else { return body };
    let (mut clean, mut rest, mut at) = (Vec::with_capacity(body.len()), body.as_slice(), Some(first));
    while let Some(start) = at {
        clean.extend_from_slice(&rest[..start]);
        clean.extend_from_slice(HIDDEN.as_bytes());
        rest = &rest[start + secret.len()..];
        at = find(rest, secret);
    }
    clean.extend_from_slice(rest);
    clean
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(next) = bytes[from..].iter().position(|byte| *byte == first) {
        let start = from + next;
        if bytes[start..].starts_with(wanted) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

fn url_encoded(text: &str) -> String {
    crate::mapping::url::encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_from_texts_and_bodies() {
        let secrets = [SecretString::from("s3cret/token"), SecretString::from("abc")];
        assert_eq!(redact("a s3cret/token b s3cret%2Ftoken abc", &secrets), "a *** b *** ***");
        let body = |text: &str| String::from_utf8(redact_body(text.as_bytes().to_vec(), &secrets)).unwrap();
        assert_eq!(body(r#"{"a":"s3cret/token","b":"Bearer s3cret/token"}"#), r#"{"a":"***","b":"Bearer ***"}"#);
        assert_eq!(body("abc s3cret/toke"), "abc s3cret/toke", "short secrets match by chance");
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
