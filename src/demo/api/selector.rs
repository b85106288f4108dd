//! Label and field selectors, with the syntax of a real server.

use super::{object::JsonObject, status::StatusError};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq)]
enum LabelTerm {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// # Errors
    /// The 400 of a real server.
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, StatusError> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(fields)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, pod: &JsonObject) -> bool {
        let label = |key: &str| pod.labels.get(key).map(|value| &**value);
        let one_of = |key: &str, values: &[String]| label(key).is_some_and(|is| values.iter().any(|value| value == is));
        self.labels.iter().all(|term| match term {
            LabelTerm::Exists(key) => label(key).is_some(),
            LabelTerm::Absent(key) => label(key).is_none(),
            LabelTerm::In(key, values) => one_of(key, values),
            LabelTerm::NotIn(key, values) => !one_of(key, values),
        }) && self.fields.iter().all(|term| (pod.field(&term.path) == Some(&term.value)) == term.equal)
    }
}

fn parse_fields(text: &str) -> Result<Vec<FieldTerm>, StatusError> {
    let mut terms = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let found = ["!=", "==", "="].iter().find_map(|sign| Some((part.split_once(sign)?, *sign != "!=")));
        let Some(((path, value), equal)) = found else {
            return Err(StatusError::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")));
        };
        let known = ["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "status.podIP"];
        if !known.contains(&path) {
            return Err(StatusError::bad_request(format!("field label not supported: {path}")));
        }
        terms.push(FieldTerm { path: path.to_owned(), value: value.to_owned(), equal });
    }
    Ok(terms)
}

fn parse_labels(text: &str) -> Result<Vec<LabelTerm>, StatusError> {
    split_outside_brackets(text)
        .into_iter()
        .map(|part| {
            parse_label(part.trim()).ok_or_else(|| {
                StatusError::bad_request(format!("unable to parse requirement: found '{}' in '{text}'", part.trim()))
            })
        })
        .collect()
}

/// Splits at commas, except those in brackets, as in `in (a,b)`.
fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    if text.trim().is_empty() { Vec::new() } else { parts.collect() }
}

fn parse_label(part: &str) -> Option<LabelTerm> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(LabelTerm::Absent(key_of(key)?));
    }
    if let Some((left, right)) = part.split_once('(') {
        let values = right.trim_end().strip_suffix(')')?.split(',').map(value_of).collect::<Option<Vec<_>>>()?;
        let (key, operator) = left.trim_end().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some(LabelTerm::In(key_of(key)?, values)),
            "notin" => Some(LabelTerm::NotIn(key_of(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(LabelTerm::NotIn(key_of(key)?, vec![value_of(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(LabelTerm::In(key_of(key)?, vec![value_of(value)?]));
    }
    Some(LabelTerm::Exists(key_of(part)?))
}

/// The key of a label: a name, with or without a DNS prefix.
fn key_of(text: &str) -> Option<String> {
    let key = text.trim();
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("a", key));
    (is_word(name) && is_word(prefix)).then(|| key.to_owned())
}

/// The value of a label: empty or a name.
fn value_of(text: &str) -> Option<String> {
    let value = text.trim();
    (value.is_empty() || is_word(value)).then(|| value.to_owned())
}

fn is_word(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(labels: &str, fields: &str) -> bool {
        let document = json!({
            "metadata": {"labels": {"app": "web", "tier": "front", "example.com/empty": ""}},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIP": "10.0.0.1"},
        });
        let pod = JsonObject::new("shop/web-0".into(), 1, &document).unwrap();
        Selector::parse(labels, fields).unwrap().matches(&pod)
    }

    #[test]
    fn label_selectors_choose_pods() {
        for yes in [
            "",
            "app",
            "!other",
            "app=web",
            "app==web",
            "app!=db",
            "other!=x",
            "app in (db, web)",
            "app notin (db),tier",
            "other notin (a)",
            "app=web,tier=front",
            "example.com/empty=",
        ] {
            assert!(selects(yes, ""), "{yes}");
        }
        for no in ["other", "!app", "app=db", "app!=web", "app in (db)", "app notin (web,db)", "app=web,tier=back"] {
            assert!(!selects(no, ""), "{no}");
        }
    }

    #[test]
    fn field_selectors_are_checked() {
        for yes in ["metadata.name=web-0,metadata.namespace==shop", "status.phase!=Failed", "spec.nodeName=n1", ""] {
            assert!(selects("", yes), "{yes}");
        }
        for no in ["metadata.name!=web-0", "status.podIP=10.0.0.2", "spec.nodeName="] {
            assert!(!selects("", no), "{no}");
        }
    }

    #[test]
    fn invalid_selectors_are_refused() {
        for bad in ["app=(", "a b", "app in web", "app in (web", "=x", "-a=b", "a=b=c", "app among (a)"] {
            assert!(Selector::parse(bad, "").is_err(), "{bad}");
        }
        for bad in ["metadata.name", "spec.priority=1"] {
            assert!(Selector::parse("", bad).is_err(), "{bad}");
        }
    }
}
