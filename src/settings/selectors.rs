//! The syntax of label and field selectors, checked here so that a mistake is refused at start instead of by every list.
//!
//! What a selector means is the API server's business; its text is passed on as it is.

use super::refusal::Problem;

const LABEL_MEND: &str = "write it as kubectl does, such as app=web,tier!=db,env in (prod,test),!canary";
const FIELD_MEND: &str = "write it as kubectl does, such as spec.nodeName=node-1,status.phase!=Failed";

/// A label selector: requirements with commas between them.
pub(super) fn label(text: &str) -> Result<String, Problem> {
    let wrong = |what: String| Problem::new(what, LABEL_MEND);
    if text.is_empty() {
        return Err(wrong("the selector is empty".to_owned()));
    }
    for requirement in split_outside_parentheses(text) {
        check_requirement(requirement.trim()).map_err(wrong)?;
    }
    Ok(text.to_owned())
}

/// A field selector: `field=value`, `field==value` or `field!=value`, with commas between them.
pub(super) fn field(text: &str) -> Result<String, Problem> {
    let wrong = |term: &str| Problem::new(format!("{term:?} is not a field, an operator and a value"), FIELD_MEND);
    for term in split_unescaped(text) {
        let (name, _value) = term.split_once('=').ok_or_else(|| wrong(term))?;
        let name = name.strip_suffix('!').unwrap_or(name).trim();
        let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'.';
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(wrong(term));
        }
    }
    Ok(text.to_owned())
}

fn check_requirement(text: &str) -> Result<(), String> {
    if let Some(key) = text.strip_prefix('!') {
        return check_key(key.trim());
    }
    if let Some((head, values)) = text.split_once('(') {
        let (key, operator) = head.trim_end().rsplit_once(char::is_whitespace).unwrap_or(("", head));
        let Some(values) = values.strip_suffix(')').filter(|_| matches!(operator, "in" | "notin")) else {
            return Err(format!("{text:?} is not a requirement"));
        };
        check_key(key.trim())?;
        return values.split(',').try_for_each(|value| check_value(value.trim()));
    }
    let Some(at) = text.find(['=', '!', '<', '>']) else { return check_key(text) };
    let (key, rest) = text.split_at(at);
    check_key(key.trim())?;
    if let Some(number) = rest.strip_prefix(['<', '>']) {
        let refused = |_| format!("{number:?} is not a whole number to compare with");
        return number.trim().parse::<i64>().map(drop).map_err(refused);
    }
    let value = ["==", "!=", "="].iter().find_map(|operator| rest.strip_prefix(operator));
    check_value(value.ok_or_else(|| format!("{text:?} is not a requirement"))?.trim())
}

/// A label's key: a name, with a DNS subdomain and a slash before it or not.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let subdomain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
    let prefix_fits = |prefix: &str| (1..=253).contains(&prefix.len()) && prefix.bytes().all(subdomain);
    if is_name(name) && prefix.is_none_or(prefix_fits) { Ok(()) } else { Err(format!("{key:?} is not a label's key")) }
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) { Ok(()) } else { Err(format!("{value:?} is not a label's value")) }
}

/// 1 to 63 of `[A-Za-z0-9_.-]`, the first and the last alphanumeric.
fn is_name(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= 63
        && text.bytes().all(allowed)
        && ends.iter().all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
    .collect()
}

/// In field selectors a backslash takes the comma after it its meaning.
fn split_unescaped(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_that_the_api_server_takes() {
        for text in [
            "app",
            "!canary",
            "app=web",
            "app == web",
            "app=",
            "app!=web,tier",
            "env in (prod, test),tier notin (db)",
            "app.kubernetes.io/name=web",
            "cores>4,cores < 16",
            "a in (,b)",
        ] {
            assert_eq!(label(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn label_selectors_that_it_does_not() {
        for text in [
            "",
            ",",
            "app=web,",
            "=web",
            "-app",
            "app=we b",
            "app in prod",
            "app in (prod",
            "app near (prod)",
            "a b",
            "app!web",
            "/name=x",
            "Upper/name=x",
            "cores>many",
            "app=(web)",
            "app===web",
            "!",
            "in (a)",
        ] {
            assert!(label(text).is_err(), "{text}");
        }
        assert!(label(&format!("app={}", "x".repeat(64))).is_err());
    }

    #[test]
    fn field_selectors() {
        for text in
            ["status.phase=Running", "spec.nodeName!=", "metadata.name==a,spec.nodeName=b", r"metadata.name=a\,b"]
        {
            assert_eq!(field(text).as_deref(), Ok(text));
        }
        for text in ["", "status.phase", "=x", "status phase=x", "status.phase=Running,", "!=x"] {
            assert!(field(text).is_err(), "{text}");
        }
    }
}
