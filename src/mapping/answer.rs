//! An answer of a registry, as readings and conditions see it.

use std::sync::{Arc, OnceLock};

use minijinja::Value;
use serde_json::Value as Json;

use super::{json_part::JsonPart, scope::Scope, words::Word};

/// Some registries begin a text with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An answer, read once.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names are in lower case.
    headers: Vec<(String, String)>,
    text: Arc<str>,
    /// Or why the body is not JSON.
    json: Result<Arc<Json>, String>,
    words: OnceLock<Vec<(Word, Value)>>,
}

impl Answer {
    pub fn new(status: u16, headers: impl IntoIterator<Item = (String, String)>, body: &[u8]) -> Self {
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let json = serde_json::from_slice(body).map(Arc::new).map_err(|error| not_json(&error, &headers, body));
        Self { status, headers, text: String::from_utf8_lossy(body).into(), json, words: OnceLock::new() }
    }

    /// The body, if it is JSON.
    pub fn json(&self) -> Option<&Json> {
        self.json.as_deref().ok()
    }

    /// Why the body is not JSON, with the line and the column.
    pub fn not_json(&self) -> Option<&str> {
        self.json.as_ref().err().map(String::as_str)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The values of a header that occurs several times.
    pub(super) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a proxy or a login page may have answered instead of the registry.
    pub fn is_html(&self) -> bool {
        let start: String = self.text.trim_start().chars().take(14).map(|c| c.to_ascii_lowercase()).collect();
        self.header("content-type").is_some_and(|kind| kind.trim_start().starts_with("text/html"))
            || start.starts_with("<html")
            || start == "<!doctype html"
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn scope(&self, below: &Scope) -> Scope {
        let words = self.words.get_or_init(|| {
            let headers = self.headers.iter().map(|(name, value)| (name.as_str(), Value::from(value.as_str())));
            vec![
                (Word::Answer, self.json.clone().map(JsonPart::value).unwrap_or_default()),
                (Word::Header, Value::from_pairs(headers)),
                (Word::Status, Value::from(self.status)),
                (Word::Text, Value::from(self.text.clone())),
            ]
        });
        below.with(words.clone())
    }
}

fn not_json(error: &serde_json::Error, headers: &[(String, String)], body: &[u8]) -> String {
    let encoding = headers.iter().find(|(name, value)| name == "content-encoding" && value != "identity");
    match encoding {
        _ if body.is_empty() => "it is empty".to_owned(),
        Some((_, encoding)) => format!("it is compressed with {encoding}, which was not asked for"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_recognized() {
        let html = |kind: &str, text: &str| {
            Answer::new(200, [("Content-Type".into(), kind.into())], text.as_bytes()).is_html()
        };
        assert!(html("text/html; charset=utf-8", "") && html("", "  <!DOCTYPE HTML><p>") && html("", "<html>"));
        assert!(!html("application/json", "{}") && !html("", "") && !html("", "<a>é"));
    }

    #[test]
    fn any_bytes_are_an_answer() {
        let answer = Answer::new(200, [], b"\xff\x00");
        assert_eq!((answer.json(), answer.text()), (None, "\u{fffd}\0"));
        let answer = Answer::new(200, [], b"{\n  'a': 1}");
        assert_eq!(answer.not_json(), Some("key must be a string at line 2 column 3"));
        assert_eq!(Answer::new(204, [], b"").not_json(), Some("it is empty"));
        let answer = Answer::new(200, [("Content-Encoding".into(), "gzip".into())], b"\x1f\x8b");
        assert_eq!(answer.not_json(), Some("it is compressed with gzip, which was not asked for"));
        let answer = Answer::new(200, [], b"\xef\xbb\xbf{}");
        assert_eq!((answer.json(), answer.not_json(), answer.text()), (Some(&serde_json::json!({})), None, "{}"));
    }
}
