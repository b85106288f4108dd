//! Values of the template engine and JSON, in both directions.

use std::{fmt, sync::Arc};

use minijinja::{
    Value,
    value::{Object, ObjectRepr, ValueKind},
};
use serde_json::{Map, Number, Value as Json};

use super::json_part::JsonPart;

/// The most values that one rendered tree may have.
const NODES: usize = 20_000;
/// The most bytes of text in one rendered tree.
const BYTES: usize = 1 << 20;
/// How deep lists and maps may be nested.
const DEPTH: usize = 64;

/// Why a value cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "the value is undefined; give a fallback with `| default(…)`, or leave the member out with `| default(omit)`"
    )]
    Undefined,
    #[error("`{0}` is undefined, so it has no members; write `{{{{ {1} if {0} is defined else omit }}}}`")]
    NoOwner(String, String),
    #[error("the value is null, which is never sent; leave the member out with `omit`")]
    Null,
    #[error("the value is {0}, which JSON cannot hold")]
    NotJson(String),
    #[error("the key of a map is not a text")]
    Key,
    #[error("the result has more than {NODES} values")]
    Nodes,
    #[error("the result has more than {BYTES} bytes of text")]
    Bytes,
    #[error("the result is nested more than {DEPTH} levels deep")]
    Depth,
    #[error("{0} cannot be part of a text; write it with `| join(', ')` or `| json`")]
    InText(&'static str),
    #[error("the template does too much work")]
    Work,
    #[error("{0}")]
    LostDigits(LostDigits),
    #[error("{0}")]
    Evaluation(String),
}

/// A number in an answer that has more digits than can be kept. As a text it would be another number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is a number with more digits than can be kept; the registry must return a text")]
pub struct LostDigits(Number);

impl LostDigits {
    pub(super) fn of(number: &Number) -> Option<Self> {
        // From here on, not every integer is a floating-point number.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let is_inexact = number.is_f64() && number.as_f64().is_some_and(|value| value.abs() >= EXACT);
        is_inexact.then(|| Self(number.clone()))
    }
}

impl Error {
    /// Whether a reading with this error reads nothing.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Undefined | Self::NoOwner(..) | Self::Null)
    }
}

/// The word `omit`: a member with this value is left out.
#[derive(Debug)]
struct Omit;

impl Object for Omit {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A member that a PATCH clears. It is the only value that is sent as null.
#[derive(Debug)]
struct Cleared;

impl Object for Cleared {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// Several segments of a path, which are percent-encoded already.
#[derive(Debug)]
pub(super) struct Segments(pub(super) String);

impl Object for Segments {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

pub(super) fn omit() -> Value {
    Value::from_object(Omit)
}

pub(super) fn is_omit(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// The rest of what a rendered tree may hold.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: NODES, bytes: BYTES }
    }
}

impl Budget {
    /// For answers, whose size is limited when they are received.
    pub(super) fn unlimited() -> Self {
        Self { nodes: usize::MAX, bytes: usize::MAX }
    }

    pub(super) fn take_node(&mut self) -> Result<(), Error> {
        self.nodes = self.nodes.checked_sub(1).ok_or(Error::Nodes)?;
        Ok(())
    }

    /// Takes a value at this depth.
    pub(super) fn take_level(&mut self, depth: usize) -> Result<(), Error> {
        self.take_node()?;
        if depth > DEPTH { Err(Error::Depth) } else { Ok(()) }
    }

    pub(super) fn take_text(&mut self, text: &str) -> Result<(), Error> {
        self.bytes = self.bytes.checked_sub(text.len()).ok_or(Error::Bytes)?;
        Ok(())
    }
}

/// Converts the result of an expression. Returns `None` for `omit`.
///
/// # Errors
/// The value or a part of it is undefined, null, too large, or has no JSON form.
pub fn to_json(value: &Value, budget: &mut Budget) -> Result<Option<Json>, Error> {
    convert(value, budget, 0)
}

fn convert(value: &Value, budget: &mut Budget, depth: usize) -> Result<Option<Json>, Error> {
    budget.take_level(depth)?;
    if let Some(object) = value.downcast_object_ref::<JsonPart>() {
        return object.to_json(budget, depth).map(Some);
    }
    Ok(Some(match value.kind() {
        ValueKind::Undefined => return Err(Error::Undefined),
        ValueKind::None => return Err(Error::Null),
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => Json::Number(number(value)?),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            budget.take_text(text)?;
            Json::String(text.to_owned())
        }
        ValueKind::Seq | ValueKind::Iterable => list(value, budget, depth)?,
        ValueKind::Map => map(value, budget, depth)?,
        ValueKind::Invalid => return Err(invalid(value)),
        ValueKind::Plain if is_omit(value) => return Ok(None),
        ValueKind::Plain if value.downcast_object_ref::<Cleared>().is_some() => Json::Null,
        kind => return Err(Error::NotJson(kind.to_string())),
    }))
}

fn list(value: &Value, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
    let mut items = Vec::new();
    for item in value.try_iter().map_err(evaluation)? {
        items.extend(convert(&item, budget, depth + 1)?);
    }
    Ok(Json::Array(items))
}

fn map(value: &Value, budget: &mut Budget, depth: usize) -> Result<Json, Error> {
    let mut members = Map::new();
    for key in value.try_iter().map_err(evaluation)? {
        let name = key.as_str().ok_or(Error::Key)?;
        budget.take_text(name)?;
        let member = value.get_item(&key).map_err(evaluation)?;
        if let Some(member) = convert(&member, budget, depth + 1)? {
            members.insert(name.to_owned(), member);
        }
    }
    Ok(Json::Object(members))
}

fn number(value: &Value) -> Result<Number, Error> {
    if value.is_integer() {
        let number = value.as_i64().map(Number::from);
        return number
            .or_else(|| u64::try_from(value.clone()).ok().map(Number::from))
            .ok_or_else(|| Error::NotJson("an integer of more than 64 bits".to_owned()));
    }
    let float = f64::try_from(value.clone()).ok();
    float.and_then(Number::from_f64).ok_or_else(|| Error::NotJson("a number that is not finite".to_owned()))
}

/// Appends a value to a text.
///
/// # Errors
/// The value is undefined, null, a list or a map.
pub fn push_text(value: &Value, text: &mut String, budget: &mut Budget) -> Result<(), Error> {
    let before = text.len();
    match value.kind() {
        ValueKind::String => text.push_str(value.as_str().unwrap_or_default()),
        // The engine writes `True`.
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => text.push_str(&number(value)?.to_string()),
        ValueKind::Undefined => return Err(Error::Undefined),
        ValueKind::None => return Err(Error::Null),
        ValueKind::Invalid => return Err(invalid(value)),
        ValueKind::Map => return Err(Error::InText("a map")),
        ValueKind::Plain if is_omit(value) => return Err(Error::InText("`omit`")),
        ValueKind::Seq | ValueKind::Iterable => return Err(Error::InText("a list")),
        kind => return Err(Error::NotJson(kind.to_string())),
    }
    budget.take_text(text.get(before..).unwrap_or_default())
}

fn invalid(value: &Value) -> Error {
    // The engine reports the error that an invalid value stands for when the value is used.
    value.try_iter().err().map_or_else(|| Error::NotJson("an invalid value".to_owned()), evaluation)
}

/// Why an expression cannot be evaluated.
#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(super) fn evaluation(error: minijinja::Error) -> Error {
    let source = std::error::Error::source(&error);
    if let Some(lost) = source.and_then(|source| source.downcast_ref::<LostDigits>()) {
        return Error::LostDigits(lost.clone());
    }
    match error.kind() {
        minijinja::ErrorKind::UndefinedError => Error::Undefined,
        minijinja::ErrorKind::OutOfFuel => Error::Work,
        kind => Error::Evaluation(error.detail().map_or_else(|| kind.to_string(), |detail| shorten(detail, 200))),
    }
}

/// A text for an error or a log: one line of at most `limit` characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut line: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        line.push('…');
    }
    line
}

/// A JSON value as a word. Null becomes undefined, so that `default` gives a fallback for both.
pub fn of_json(json: &Json) -> Value {
    convert_json(json, of_number)
}

/// The body of a record as a word. It has null only where a PATCH clears a member, and sends it.
pub(super) fn of_body(body: &Json) -> Value {
    match body {
        Json::Null => Value::from_object(Cleared),
        Json::Object(members) => {
            Value::from_pairs(members.iter().map(|(name, member)| (name.as_str(), of_body(member))))
        }
        other => of_json(other),
    }
}

/// The same for what a registry answers. A number that has lost digits is an error when a template uses it.
pub(super) fn of_answer(json: &Json) -> Value {
    convert_json(json, |number| match LostDigits::of(number) {
        None => of_number(number),
        Some(lost) => {
            minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, lost.to_string()).with_source(lost).into()
        }
    })
}

fn convert_json(json: &Json, number: fn(&Number) -> Value) -> Value {
    match json {
        Json::Null => Value::UNDEFINED,
        Json::Bool(value) => Value::from(*value),
        Json::Number(json) => number(json),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(|item| convert_json(item, number)).collect(),
        // A member that is null is missing, and not iterated over.
        Json::Object(members) => {
            let present = members.iter().filter(|(_, member)| !member.is_null());
            Value::from_pairs(present.map(|(name, member)| (name.as_str(), convert_json(member, number))))
        }
    }
}

fn of_number(number: &Number) -> Value {
    let integer = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    integer.or_else(|| number.as_f64().map(Value::from)).unwrap_or_default()
}

/// Formats JSON for a reason or a text: texts as they are, all others as JSON.
pub struct Plain<'a>(pub &'a Json);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Json::String(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::engine::Compiled;
    use serde_json::json;

    fn result(text: &str) -> Result<Option<Json>, Error> {
        let words = Value::from_pairs([("omit", omit()), ("none_of", of_json(&json!({"a": null, "b": [null, 1]})))]);
        let value = Compiled::new(text).unwrap().evaluate(&words)?;
        to_json(&value, &mut Budget::default())
    }

    #[test]
    fn values_keep_their_types() {
        for (text, json) in [
            ("1", json!(1)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775807", json!(-9_223_372_036_854_775_807_i64)),
            ("1.5", json!(1.5)),
            ("true", json!(true)),
            ("'😀\"\\n'", json!("😀\"\n")),
            ("{'a': [1, {'b': 'c'}]}", json!({"a": [1, {"b": "c"}]})),
            ("[1, omit, 2]", json!([1, 2])),
            ("{'a': 1, 'b': omit}", json!({"a": 1})),
            ("[3, 1] | sort", json!([1, 3])),
            ("[1, 2] | map('int')", json!([1, 2])),
        ] {
            assert_eq!(result(text), Ok(Some(json)), "{text}");
        }
        assert_eq!(result("omit"), Ok(None));
    }

    #[test]
    fn undefined_and_null_are_errors_everywhere() {
        for text in ["missing", "[missing]", "{'a': [missing]}", "'a' if false", "none_of.a", "[1, none_of.a]"] {
            assert_eq!(result(text), Err(Error::Undefined), "{text}");
        }
        for text in ["none", "[none]", "{'a': none}"] {
            assert_eq!(result(text), Err(Error::Null), "{text}");
        }
        assert_eq!(result("none_of.b[1]"), Ok(Some(json!(1))));
        assert_eq!(result("none_of.a | default('b')"), Ok(Some(json!("b"))));
    }

    #[test]
    fn values_without_json_form_are_errors() {
        for text in ["1e308 * 10", "dict", "340282366920938463463374607431768211455"] {
            assert!(matches!(result(text), Err(Error::NotJson(_))), "{text}: {:?}", result(text));
        }
        assert_eq!(result("{1: 2}"), Err(Error::Key));
    }

    #[test]
    fn results_are_bounded() {
        for text in ["[[0] * 10000, [0] * 10000]", "(range(9000) | list) * 9000"] {
            assert_eq!(result(text), Err(Error::Nodes), "{text}");
        }
        let (deep, text) = (Json::Array((0..100).fold(vec![], |inner, _| vec![Json::Array(inner)])), "a".repeat(BYTES));
        assert_eq!(to_json(&of_json(&deep), &mut Budget::default()), Err(Error::Depth));
        assert_eq!(to_json(&of_json(&json!([text, "b"])), &mut Budget::default()), Err(Error::Bytes));
    }

    #[test]
    fn number_that_lost_digits_is_no_text() {
        let document: Json = serde_json::from_str(r#"{"id": 100000000000000000000000000021, "n": {"a": 1}}"#).unwrap();
        let words = Value::from_pairs([("item", of_answer(&document))]);
        for text in ["item.id", "'a' ~ item.id", "[item.id] | join", "item.id | b64", "item.id + 1"] {
            let value = Compiled::new(text).unwrap().evaluate(&words);
            let error = value.and_then(|value| to_json(&value, &mut Budget::default())).unwrap_err();
            assert!(error.to_string().contains("1e+29 is a number with more digits"), "{text}: {error}");
        }
        let value = Compiled::new("item.n.a").unwrap().evaluate(&words).unwrap();
        assert_eq!(to_json(&value, &mut Budget::default()), Ok(Some(json!(1))));
    }

    #[test]
    fn text_takes_only_simple_values() {
        let text = |value: Json| {
            let mut text = String::new();
            push_text(&of_json(&value), &mut text, &mut Budget::default()).map(|()| text)
        };
        assert_eq!(text(json!(true)), Ok("true".to_owned()));
        assert_eq!(text(json!(1.0)), Ok("1.0".to_owned()));
        assert_eq!(text(json!("a")), Ok("a".to_owned()));
        assert_eq!(text(json!([])), Err(Error::InText("a list")));
        assert_eq!(text(json!({})), Err(Error::InText("a map")));
        assert_eq!(text(Json::Null), Err(Error::Undefined));
    }

    #[test]
    fn shortened_text_is_one_line() {
        assert_eq!(shorten("a\nb\u{1b}[0m", 100), "a b [0m");
        assert_eq!(shorten("äöü", 2), "äö…");
    }
}
