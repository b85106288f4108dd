//! One request and its answer, and what an answer is expected to be.

use serde::Serialize;
use serde_json::{Value, json};

/// Characters of a body in a report.
const SHOWN: usize = 300;

/// A request that was sent, and what came.
#[derive(Clone, Debug)]
pub struct Probe {
    pub method: &'static str,
    /// Below the registry's address, with the query.
    pub path: String,
    /// The body, shortened.
    pub body: Option<String>,
    /// Without an answer, the reason.
    pub answer: Result<ProbeAnswer, String>,
}

#[derive(Clone, Debug, Default)]
pub struct ProbeAnswer {
    pub status: u16,
    /// The value of `Content-Type`.
    pub media_type: String,
    pub allow: Option<String>,
    pub www_authenticate: Option<String>,
    /// The body, shortened.
    pub body: String,
    /// `null` if the body is no JSON.
    pub json: Value,
}

/// What was expected and what came instead.
pub type Expectation = Result<(), String>;

/// Succeeds if the condition holds.
pub(super) fn expect(condition: bool, otherwise: impl FnOnce() -> String) -> Expectation {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// A value as JSON, or `nothing`.
pub(super) fn as_json(value: &impl Serialize) -> String {
    match json!(value) {
        Value::Null => "nothing".to_owned(),
        value => value.to_string(),
    }
}

/// The first characters of a text, in one line.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push_str(&format!("… ({} bytes)", text.len()));
    }
    short
}

impl Probe {
    pub(super) fn status(&self) -> Option<u16> {
        self.answer.as_ref().ok().map(|answer| answer.status)
    }

    /// The answer's body, `null` without one.
    pub(super) fn json(&self) -> &Value {
        self.answer.as_ref().map_or(&Value::Null, |answer| &answer.json)
    }

    pub(super) fn number(&self, pointer: &str) -> Option<u64> {
        self.json().pointer(pointer).and_then(Value::as_u64)
    }

    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.json().pointer(pointer).and_then(Value::as_str)
    }

    /// The items of a list of the answer; empty without one.
    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        self.json().pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Expects one of these statuses.
    pub(super) fn is(&self, statuses: &[u16]) -> Expectation {
        match &self.answer {
            Err(_) => Err(format!("expected {}, and there was no answer", any_of(statuses))),
            Ok(answer) if statuses.contains(&answer.status) => Ok(()),
            Ok(answer) => Err(format!("expected {}, got {}", any_of(statuses), answer.status)),
        }
    }

    /// Expects a problem of this status and name.
    pub(super) fn refuses(&self, status: u16, name: &str) -> Expectation {
        let Ok(answer) = &self.answer else {
            return Err(format!("expected {status} `{name}`, and there was no answer"));
        };
        let found = answer.json.get("type").and_then(Value::as_str).unwrap_or_default();
        let found = found.strip_prefix("urn:pod-registrar:problem:").unwrap_or(found);
        let named = if found.is_empty() { String::new() } else { format!(" `{found}`") };
        expect(answer.status == status && found == name, || {
            let without = if found.is_empty() && answer.status == status { " without the problem's type" } else { "" };
            format!("expected {status} `{name}`, got {}{named}{without}", answer.status)
        })
    }

    /// Expects this value in the answer.
    pub(super) fn has(&self, pointer: &str, value: &Value) -> Expectation {
        let found = self.json().pointer(pointer);
        let name = pointer.trim_start_matches('/').replace('/', ".");
        expect(found == Some(value), || match found {
            Some(found) => format!("expected `{name}` {value}, got {}", shortened(&found.to_string())),
            None => format!("expected `{name}` {value}, and it is missing"),
        })
    }

    /// Whether a member or an element of the answer is `null`.
    pub(super) fn has_null(&self) -> bool {
        has_null(self.json())
    }

    /// Whether the answer is a problem.
    pub(super) fn is_error(&self) -> bool {
        self.method != "HEAD" && self.status().is_some_and(|status| status >= 400)
    }
}

fn has_null(value: &Value) -> bool {
    let is_null = |value: &Value| value.is_null() || has_null(value);
    match value {
        Value::Array(elements) => elements.iter().any(is_null),
        Value::Object(members) => members.values().any(is_null),
        _ => false,
    }
}

fn any_of(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(status: u16, json: Value) -> Probe {
        let answer = ProbeAnswer { status, body: json.to_string(), json, ..ProbeAnswer::default() };
        Probe { method: "PUT", path: "v1".to_owned(), body: None, answer: Ok(answer) }
    }

    #[test]
    fn expectations_say_what_came() {
        let stale = probe(409, json!({"type": "urn:pod-registrar:problem:stale-epoch"}));
        assert_eq!(stale.refuses(409, "stale-epoch"), Ok(()));
        assert_eq!(stale.is(&[200, 201]), Err("expected 200 or 201, got 409".to_owned()));
        let other = stale.refuses(409, "stale-version");
        assert_eq!(other, Err("expected 409 `stale-version`, got 409 `stale-epoch`".to_owned()));
        let untyped = probe(422, json!({})).refuses(422, "schema");
        assert_eq!(untyped, Err("expected 422 `schema`, got 422 without the problem's type".to_owned()));
        let silent = Probe { answer: Err("it was closed".to_owned()), ..stale };
        let silent = silent.refuses(422, "schema");
        assert_eq!(silent, Err("expected 422 `schema`, and there was no answer".to_owned()));
        let created = probe(201, json!({"version": {"seq": 1}}));
        assert_eq!(created.has("/version/seq", &json!(1)), Ok(()));
        let missing = created.has("/version/epoch", &json!(1));
        assert_eq!(missing, Err("expected `version.epoch` 1, and it is missing".to_owned()));
    }

    #[test]
    fn values_are_shown_as_json() {
        assert_eq!(as_json(&None::<u64>), "nothing");
        assert_eq!(as_json(&Some(0)), "0");
        assert_eq!(as_json(&[("put", json!("kept"))]), r#"[["put","kept"]]"#);
    }

    #[test]
    fn nulls_are_found_inside() {
        assert!(probe(200, json!({"items": [{"scope": null}]})).has_null());
        assert!(!probe(200, json!({"items": [{"scope": "null"}]})).has_null());
        // No JSON.
        assert!(!probe(204, Value::Null).has_null());
    }

    #[test]
    fn long_bodies_are_shortened() {
        assert_eq!(shortened("a\nb"), "a b");
        assert!(shortened(&"ä".repeat(400)).ends_with("… (800 bytes)"));
    }
}
