//! Label selectors, as kubectl writes them.

/// Requirements on a pod's labels, all of which have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    /// A pod without the label matches.
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// An error says what is wrong, to be read after the selector's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements: Result<_, _> = split(text).into_iter().map(|part| requirement(part.trim())).collect();
        Ok(Self { requirements: requirements? })
    }

    /// Whether the labels match. `label` gives the value of a key.
    pub fn matches<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements.iter().all(|Requirement { key, operator }| match (operator, label(key)) {
            (Operator::Exists, value) => value.is_some(),
            (Operator::Absent, value) => value.is_none(),
            (Operator::In(values), value) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            (Operator::NotIn(values), value) => !value.is_some_and(|value| values.iter().any(|one| one == value)),
        })
    }
}

/// The requirements, separated by commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if text.is_empty() {
        return Err("has an empty requirement".to_owned());
    }
    let (key, operator) = if let Some(key) = text.strip_prefix('!') {
        (key, Operator::Absent)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Operator::NotIn(vec![valid_value(value)?]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Operator::In(vec![valid_value(value)?]))
    } else if let Some((key, set)) = text.split_once('(') {
        set_requirement(key, set)?
    } else {
        (text, Operator::Exists)
    };
    let key = key.trim();
    if !is_key(key) {
        return Err(format!("has the invalid key `{key}`"));
    }
    Ok(Requirement { key: key.to_owned(), operator })
}

/// `key in (a,b)` and `key notin (a,b)`.
fn set_requirement<'t>(before: &'t str, set: &str) -> Result<(&'t str, Operator), String> {
    let set = set.trim().strip_suffix(')').ok_or_else(|| "lacks a closing parenthesis".to_owned())?;
    let values: Result<Vec<String>, String> = set.split(',').map(valid_value).collect();
    let (key, word) = before.trim().rsplit_once(char::is_whitespace).unwrap_or_default();
    match word {
        "in" => Ok((key, Operator::In(values?))),
        "notin" => Ok((key, Operator::NotIn(values?))),
        _ => Err("has parentheses without `in` or `notin`".to_owned()),
    }
}

fn valid_value(text: &str) -> Result<String, String> {
    let value = text.trim();
    let fits = value.is_empty() || is_name(value);
    if fits { Ok(value.to_owned()) } else { Err(format!("has the invalid value `{value}`")) }
}

/// A name of up to 63 characters, after an optional DNS name and a slash.
fn is_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_dns = |prefix: &str| {
        let label = |label: &str| !label.starts_with('-') && !label.ends_with('-') && !label.is_empty();
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        prefix.len() <= 253 && prefix.bytes().all(allowed) && prefix.split('.').all(label)
    };
    prefix.is_none_or(is_dns) && is_name(name)
}

fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    text.len() <= 63 && text.starts_with(edge) && text.ends_with(edge) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str) -> bool {
        let labels = [("app", "web"), ("example.com/tier", "a"), ("empty", "")];
        let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        LabelSelector::parse(selector).unwrap().matches(label)
    }

    #[test]
    fn selector_matches_as_kubectl_does() {
        for selector in [
            "app",
            "!none",
            "app=web",
            "app == web",
            "app!=db",
            "none!=db",
            "app in (web, db),example.com/tier notin (b)",
            "none notin (a)",
            "empty=",
            "example.com/tier=a , app",
        ] {
            assert!(matches(selector), "{selector}");
        }
        for selector in ["none", "!app", "app=db", "app!=web", "app in (a,b)", "app notin (web)", "app,none=a"] {
            assert!(!matches(selector), "{selector}");
        }
    }

    #[test]
    fn invalid_selector_is_refused() {
        for (selector, what) in [
            ("", "has an empty requirement"),
            ("app,", "has an empty requirement"),
            ("app in (web", "lacks a closing parenthesis"),
            ("app of (web)", "has parentheses without `in` or `notin`"),
            ("in (web)", "has parentheses without `in` or `notin`"),
            ("app=we b", "has the invalid value `we b`"),
            ("a b", "has the invalid key `a b`"),
            ("A.example/x=y", "has the invalid key `A.example/x`"),
            ("a/b/c", "has the invalid key `a/b/c`"),
            ("-a", "has the invalid key `-a`"),
        ] {
            assert_eq!(LabelSelector::parse(selector), Err(what.to_owned()), "{selector}");
        }
    }
}
