//! Reads YAML into a [`Tree`].
//!
//! The parser follows YAML 1.2: `yes`, `0x1f_f` and `007` are texts. The size, the depth and the work of a document are
//! bounded, also when aliases repeat parts of it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use serde_saphyr::{Location, Options, Spanned};

use super::{
    place::{Error, Place, Source},
    tree::{Key, Node, Tree},
};

/// Bytes of a document.
pub const MOST_BYTES: usize = 1 << 20;
/// Values of a document, and of the parts that aliases repeat.
const MOST_NODES: usize = 100_000;
/// Levels of maps and lists.
const MOST_LEVELS: usize = 48;
/// All whole numbers up to this one have a floating point number of their own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Parses one document.
pub fn parse(source: &Source) -> Result<Tree, Vec<Error>> {
    if source.text.len() > MOST_BYTES {
        return Err(vec![
            source.at(1, 1).error("the file is larger than 1 MiB", "split it, or remove what is not used"),
        ]);
    }
    let parsed: Result<Spanned<Value>, _> = serde_saphyr::from_str_with_options(&source.text, options());
    let value = parsed.map_err(|error| vec![syntax_error(source, &error)])?;
    let mut reading = Reading { source, errors: Vec::new() };
    let tree = reading.tree(value);
    if reading.errors.is_empty() { Ok(tree) } else { Err(reading.errors) }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MOST_NODES, max_events: 4 * MOST_NODES, max_depth: MOST_LEVELS },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 2 * MOST_NODES },
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn syntax_error(source: &Source, error: &serde_saphyr::Error) -> Error {
    use serde_saphyr::Error as Yaml;
    let place = error.location().map_or_else(|| source.at(1, 1), |location| place(source, location));
    let mut cause = error.without_snippet();
    while let Yaml::AliasError { error, .. } = cause {
        cause = error.without_snippet();
    }
    match cause {
        Yaml::DuplicateMappingKey { key: Some(key), .. } => {
            place.error(format!("`{key}` is written twice"), "remove one of the two")
        }
        Yaml::DuplicateMappingKey { key: None, .. } => place.error("a key is written twice", "remove one of the two"),
        Yaml::MultipleDocuments { .. } => {
            place.error("the file has several documents", "remove `---` and what follows it")
        }
        Yaml::UnknownAnchor { .. } => {
            place.error("the alias has no anchor before it", "write `&name` at the value to repeat")
        }
        Yaml::Budget { .. } | Yaml::AliasReplayLimitExceeded { .. } | Yaml::AliasExpansionLimitExceeded { .. } => {
            let fix = format!("use at most {MOST_LEVELS} levels and {MOST_NODES} values, also after aliases");
            place.error("the document is too large", fix)
        }
        Yaml::RecursiveReferencesRequireWeakTypes { .. } => {
            place.error("the alias stands inside of what it repeats", "remove the alias")
        }
        Yaml::MergeValueNotMapOrSeqOfMaps { .. } => {
            place.error("`<<` needs a map, or a list of maps", "write an alias of a map, such as `<<: *name`")
        }
        Yaml::NonFiniteFloat { .. } => not_json(&place),
        other => {
            let not_yaml = || {
                place.error(format!("this is not valid YAML: {}", first_line(&other.to_string())), "correct the syntax")
            };
            template_before(source, &place).map_or_else(not_yaml, |template| unquoted_template(&template))
        }
    }
}

/// A bounded part of the parser's message, without the place that it may repeat.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or_default();
    line.chars().take(200).collect()
}

fn not_json(place: &Place) -> Error {
    place.error("JSON cannot hold this number exactly", "write another number, or a text in quotes")
}

fn unquoted_template(place: &Place) -> Error {
    place.error("a template is not in quotes", "write \"{{ … }}\"")
}

/// The template outside of quotes that the parser may have read as a map: on this line, or before it, since the parser
/// notices some only on a later line.
fn template_before(source: &Source, place: &Place) -> Option<Place> {
    let lines: Vec<&str> = source.text.lines().take(place.line as usize).collect();
    let (line, before) = lines.split_last()?;
    if starts(line).any(|at| !is_quoted(&line[..at])) {
        return Some(place.clone());
    }
    let (index, at) = before.iter().enumerate().rev().find_map(|(index, line)| {
        let is_bare = |at: &usize| is_value(line, *at) && !is_quoted(&line[..*at]);
        Some((index, starts(line).find(is_bare)?))
    })?;
    let number = |number: usize| u32::try_from(number + 1).ok();
    Some(source.at(number(index)?, number(before[index][..at].chars().count())?))
}

/// Whether the line has a value that begins with a template outside of quotes.
fn has_unquoted_template(source: &Source, place: &Place) -> bool {
    let line = source.text.lines().nth((place.line as usize).saturating_sub(1)).unwrap_or_default();
    starts(line).any(|at| is_value(line, at))
}

fn is_value(line: &str, at: usize) -> bool {
    let before = line[..at].trim_end();
    before.is_empty() || before.ends_with([':', '-', ',', '['])
}

/// Where templates begin in a line.
fn starts(line: &str) -> impl Iterator<Item = usize> {
    ["{{", "{%"].into_iter().flat_map(move |start| line.match_indices(start).map(|(at, _)| at))
}

/// Whether what follows this part of a line is in quotes or in a comment.
fn is_quoted(before: &str) -> bool {
    let mut quote = None;
    for (at, c) in before.char_indices() {
        match (quote, c) {
            (None, '#') if before[..at].ends_with([' ', '\t']) || at == 0 => return true,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    quote.is_some()
}

fn place(source: &Source, location: Location) -> Place {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    source.at(number(location.line()), number(location.column()))
}

/// A value as the parser gives it.
enum Value {
    Null,
    Bool(bool),
    Number(Number),
    /// A number that JSON cannot hold.
    Unrepresentable,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

struct Reading<'s> {
    source: &'s Source,
    errors: Vec<Error>,
}

impl Reading<'_> {
    fn tree(&mut self, value: Spanned<Value>) -> Tree {
        let place = place(self.source, value.defined);
        let node = match value.value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(value),
            Value::Number(number) => Node::Number(number),
            Value::Unrepresentable => {
                self.errors.push(not_json(&place));
                Node::Null
            }
            Value::Text(text) => Node::Text(text),
            Value::List(items) => Node::List(items.into_iter().map(|item| self.tree(item)).collect()),
            Value::Map(entries) => Node::Map(entries.into_iter().filter_map(|entry| self.entry(entry)).collect()),
        };
        Tree { place, node }
    }

    fn entry(&mut self, (key, value): (Spanned<Value>, Spanned<Value>)) -> Option<(Key, Tree)> {
        let place = place(self.source, key.defined);
        let text = match key.value {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Map(_) if has_unquoted_template(self.source, &place) => {
                self.errors.push(unquoted_template(&place));
                return None;
            }
            _ => {
                self.errors.push(place.error("the key is not a text", "put it in quotes"));
                return None;
            }
        };
        Some((Key { place, text }, self.tree(value)))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Unrepresentable)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Unrepresentable)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // The parser reads whole numbers that are too large as floating point.
        let exact = value.fract() != 0.0 || value.abs() < EXACT;
        Ok(Number::from_f64(value).filter(|_| exact).map_or(Value::Unrepresentable, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree(text: &str) -> Tree {
        parse(&Source::new("f.yaml", text)).unwrap()
    }

    #[test]
    fn scalars_follow_yaml_1_2() {
        let text = "{a: yes, b: true, c: 007, d: 1_000, e: 12, f: -3, g: 1.50, h: ~, i: '', j: \"1\", k: 2024-01-01}";
        let expected = json!({"a": "yes", "b": true, "c": "007", "d": "1_000", "e": 12, "f": -3, "g": 1.5, "h": null,
            "i": "", "j": "1", "k": "2024-01-01"});
        assert_eq!(tree(text).to_json(), expected);
    }

    #[test]
    fn places_are_those_of_the_text() {
        let tree = tree("# ö\na:\n  - é: {b: \"c\"}\n");
        let Node::List(items) = &tree.get("a").unwrap().node else { panic!() };
        let map = items[0].get("é").unwrap();
        assert_eq!(map.place.to_string(), "f.yaml:3:8");
        assert_eq!(map.get("b").unwrap().place.to_string(), "f.yaml:3:12");
        let Node::Map(entries) = &map.node else { panic!() };
        assert_eq!(entries[0].0.place.to_string(), "f.yaml:3:9");
    }

    #[test]
    fn aliases_and_merge_keys_are_expanded() {
        let tree = tree("a: &a {x: 1, y: [2]}\nb: *a\nc: {<<: *a, x: 3}\n");
        assert_eq!(tree.to_json(), json!({"a": {"x": 1, "y": [2]}, "b": {"x": 1, "y": [2]}, "c": {"x": 3, "y": [2]}}));
        assert_eq!(tree.get("b").unwrap().get("x").unwrap().place.to_string(), "f.yaml:1:11", "where it is defined");
        assert_eq!(tree.get("c").unwrap().get("y").unwrap().place.to_string(), "f.yaml:1:17");
    }
}
