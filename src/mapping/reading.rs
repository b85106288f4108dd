//! Readings: values in an answer or in an item of it, named by a JSON Pointer or by a template.

use std::borrow::Cow;

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::{
    json_part::JsonPart,
    scope::Scope,
    spec::{
        checks::has_wrong_escape,
        values::{ReadingText, ReadingTree, TemplateText},
    },
    template::{Compiler, Leaf, RenderError},
    tree::{Node, Tree},
    values::{self, Budget},
    words::{Position, Word, WordSet},
};

/// How to read one value.
#[derive(Debug)]
pub struct Reading(How);

#[derive(Debug)]
enum How {
    Pointer(Vec<Step>),
    Template(Leaf),
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A member of a map, or an element of a list.
    Member(String),
    /// Every element of a list, or every member of a map: `*`.
    Every,
}

/// A reading, or a map or list of readings.
#[derive(Debug)]
pub enum Readings {
    One(Reading),
    Map(Vec<(String, Self)>),
    List(Vec<Self>),
}

impl Reading {
    pub(super) fn compile(spec: &ReadingText, position: Position, compiler: &mut Compiler<'_>) -> Option<Self> {
        if !spec.text.contains("{{") {
            if has_wrong_escape(&spec.text) {
                let what = format!("`{}` is not a JSON Pointer: `~` is followed by neither 0 nor 1", spec.text);
                compiler.fail(&spec.place, what, "write `~0` for `~`, and `~1` for `/`");
                return None;
            }
            return Some(Self(How::Pointer(steps(&spec.text))));
        }
        let text = TemplateText { place: spec.place.clone(), text: spec.text.clone() };
        compiler.leaf(position, &text).map(|leaf| Self(How::Template(leaf)))
    }

    /// What is the same for each record tells none from another: it would make the records of others ours.
    pub(super) fn reads_something(&self, name: &str, spec: &ReadingText, compiler: &mut Compiler<'_>) {
        let How::Template(leaf) = &self.0 else { return };
        let told = WordSet::of(&[Word::Answer, Word::Header, Word::Item, Word::Text]);
        if !leaf.uses().words.overlaps(told) {
            let fix = "use a JSON Pointer such as `/owner`, or a template with `item` or `answer`";
            compiler.fail(&spec.place, format!("`{name}` reads nothing of the answer"), fix);
        }
    }

    /// Reads the value. Null and undefined values count as missing.
    ///
    /// # Errors
    /// A template cannot be rendered, for a reason other than a missing value.
    pub fn read<'j>(
        &self,
        root: Option<&'j Json>,
        scope: impl FnOnce() -> Scope,
    ) -> Result<Option<Cow<'j, Json>>, RenderError> {
        match &self.0 {
            How::Pointer(steps) => Ok(root.and_then(|root| follow(steps, root)).filter(|found| !found.is_null())),
            How::Template(leaf) if !leaf.is_expression() => {
                let read = leaf.json(&scope(), &mut Budget::unlimited());
                unless_missing(read.map(|text| text.map(Cow::Owned)))
            }
            How::Template(leaf) => {
                let value = leaf.evaluate(&scope());
                unless_missing(value.and_then(|value| {
                    let part = value.downcast_object_ref::<JsonPart>();
                    match part.zip(root).and_then(|(part, root)| part.json_in(root)) {
                        Some(found) => Ok(Some(Cow::Borrowed(found))),
                        None => Ok(json_of(leaf, &value)?.map(Cow::Owned)),
                    }
                }))
            }
        }
    }

    /// Looks at the value that [`Self::read`] would read.
    fn look<T>(
        &self,
        root: Option<&Json>,
        scope: impl FnOnce() -> Scope,
        look: impl FnOnce(&Json) -> T,
    ) -> Result<Option<T>, RenderError> {
        match &self.0 {
            How::Template(leaf) if leaf.is_expression() => {
                let value = leaf.evaluate(&scope());
                unless_missing(value.and_then(|value| match value.downcast_object_ref::<JsonPart>() {
                    Some(part) => Ok(Some(look(part.json()))),
                    None => Ok(json_of(leaf, &value)?.as_ref().map(look)),
                }))
            }
            _ => Ok(self.read(root, scope)?.map(|found| look(&found))),
        }
    }

    /// Why [`Self::read`] found nothing.
    pub(super) fn why_missing(&self, scope: impl FnOnce() -> Scope) -> String {
        match &self.0 {
            How::Pointer(_) => "there is nothing at its JSON Pointer".to_owned(),
            How::Template(leaf) => match leaf.json(&scope(), &mut Budget::unlimited()) {
                Ok(_) => "the value is left out".to_owned(),
                Err(error) => error.to_string(),
            },
        }
    }

    /// Reads a text. Numbers and booleans are written as JSON. A list or a map counts as missing.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn text(&self, root: Option<&Json>, scope: impl FnOnce() -> Scope) -> Result<Option<String>, RenderError> {
        Ok(self.read(root, scope)?.and_then(|json| into_text(json.into_owned())))
    }

    /// Whether the value is there, and neither false, zero nor empty.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn holds(&self, root: Option<&Json>, scope: impl FnOnce() -> Scope) -> Result<bool, RenderError> {
        Ok(self.read(root, scope)?.is_some_and(|json| values::of_json(&json).is_true()))
    }
}

impl Readings {
    /// A made-up value of this shape.
    pub(super) fn sample(&self, text: &str) -> Json {
        match self {
            Self::One(_) => Json::from(text),
            Self::List(items) => items.iter().map(|item| item.sample(text)).collect(),
            Self::Map(entries) => {
                let sample = |(name, value): &(String, Self)| {
                    (name.clone(), value.sample(&format!("{text}-{}", name.to_uppercase())))
                };
                Json::Object(entries.iter().map(sample).collect())
            }
        }
    }

    /// A value of this shape that has one value everywhere.
    pub(super) fn filled_with(&self, value: &Json) -> Json {
        match self {
            Self::One(_) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.filled_with(value)).collect(),
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(name, entry)| (name.clone(), entry.filled_with(value))).collect())
            }
        }
    }

    /// The part of a value that has the shape of what is read: of a map, the members that a map of readings names.
    pub(super) fn part_of<'j>(&self, whole: &'j Json) -> Cow<'j, Json> {
        match (self, whole) {
            (Self::Map(entries), Json::Object(members)) => {
                let part = entries
                    .iter()
                    .filter_map(|(name, entry)| Some((name.clone(), entry.part_of(members.get(name)?).into_owned())));
                Cow::Owned(Json::Object(part.collect()))
            }
            _ => Cow::Borrowed(whole),
        }
    }

    pub(super) fn compile(spec: &ReadingTree, position: Position, compiler: &mut Compiler<'_>) -> Option<Self> {
        Self::compile_tree(&spec.0, position, compiler)
    }

    fn compile_tree(tree: &Tree, position: Position, compiler: &mut Compiler<'_>) -> Option<Self> {
        match &tree.node {
            Node::Map(entries) => {
                let read = entries
                    .iter()
                    .map(|(key, value)| Some((key.text.clone(), Self::compile_tree(value, position, compiler)?)));
                read.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Self::Map)
            }
            Node::List(items) => {
                let read = items.iter().map(|item| Self::compile_tree(item, position, compiler));
                read.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Self::List)
            }
            Node::Text(text) => {
                let spec = ReadingText { place: tree.place.clone(), text: text.clone() };
                Reading::compile(&spec, position, compiler).map(Self::One)
            }
            _ => {
                compiler.fail(
                    &tree.place,
                    format!("the reading is {}", tree.kind()),
                    "write a JSON Pointer or a template",
                );
                None
            }
        }
    }

    /// Looks at the value that [`Self::read`] would read, without a copy if possible.
    ///
    /// # Errors
    /// As [`Reading::read`].
    pub fn look<T>(
        &self,
        root: Option<&Json>,
        scope: &dyn Fn() -> Scope,
        look: impl FnOnce(&Json) -> T,
    ) -> Result<Option<T>, RenderError> {
        match self {
            Self::One(reading) => reading.look(root, scope, look),
            several => Ok(several.read(root, scope)?.as_ref().map(look)),
        }
    }

    /// Reads the value. A map leaves out members that are missing; it is missing if all of them are.
    ///
    /// # Errors
    /// As [`Reading::read`].
    pub fn read(&self, root: Option<&Json>, scope: &dyn Fn() -> Scope) -> Result<Option<Json>, RenderError> {
        match self {
            Self::One(reading) => Ok(reading.read(root, scope)?.map(Cow::into_owned)),
            Self::Map(members) => {
                let mut found = Map::new();
                for (name, readings) in members {
                    found.extend(readings.read(root, scope)?.map(|json| (name.clone(), json)));
                }
                Ok((!found.is_empty()).then_some(Json::Object(found)))
            }
            Self::List(items) => {
                let mut found = Vec::new();
                for readings in items {
                    found.extend(readings.read(root, scope)?);
                }
                Ok((!found.is_empty()).then_some(Json::Array(found)))
            }
        }
    }
}

pub(super) fn text_of(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(json.to_string()),
        _ => None,
    }
}

fn json_of(leaf: &Leaf, value: &Value) -> Result<Option<Json>, RenderError> {
    values::to_json(value, &mut Budget::unlimited()).map_err(|cause| leaf.error(cause))
}

/// Null and undefined values count as missing.
fn unless_missing<T>(read: Result<Option<T>, RenderError>) -> Result<Option<T>, RenderError> {
    match read {
        Err(error) if error.cause.is_missing() => Ok(None),
        read => read,
    }
}

/// The text of a simple value.
pub(super) fn into_text(json: Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text),
        other => text_of(&other),
    }
}

/// The steps of a JSON Pointer (RFC 6901).
fn steps(pointer: &str) -> Vec<Step> {
    let step = |step: &str| match step {
        "*" => Step::Every,
        name => Step::Member(name.replace("~1", "/").replace("~0", "~")),
    };
    pointer.split('/').skip(1).map(step).collect()
}

fn follow<'j>(steps: &[Step], root: &'j Json) -> Option<Cow<'j, Json>> {
    let mut at = root;
    for (index, step) in steps.iter().enumerate() {
        match (step, at) {
            (Step::Member(name), Json::Object(members)) => at = members.get(name)?,
            (Step::Member(name), Json::Array(items)) => at = items.get(name.parse::<usize>().ok()?)?,
            (Step::Every, Json::Array(items)) => return Some(every(&steps[index + 1..], items.iter())),
            (Step::Every, Json::Object(members)) => return Some(every(&steps[index + 1..], members.values())),
            _ => return None,
        }
    }
    Some(Cow::Borrowed(at))
}

/// What each value has at the other steps, as one list.
fn every<'j>(rest: &[Step], values: impl Iterator<Item = &'j Json>) -> Cow<'static, Json> {
    let found = values.filter_map(|value| follow(rest, value)).map(Cow::into_owned);
    let list = if rest.contains(&Step::Every) {
        let lists = found.filter_map(|list| if let Json::Array(items) = list { Some(items) } else { None });
        lists.flatten().collect()
    } else {
        found.collect()
    };
    Cow::Owned(Json::Array(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pointer_finds_members_elements_and_lists() {
        let root = json!({"a": {"b": [{"c": 1}, {"c": 2}, {}], "x/y": "z", "n": null}});
        let found = |pointer: &str| follow(&steps(pointer), &root).map(Cow::into_owned);
        assert_eq!(found(""), Some(root.clone()));
        assert_eq!(found("/a/b/1/c"), Some(json!(2)));
        assert_eq!(found("/a/b/*/c"), Some(json!([1, 2])));
        assert_eq!(found("/a/x~1y"), Some(json!("z")));
        let items = json!([{"index": {"id": 1}}, {"delete": {"id": 2}}, {}]);
        let found_in = |pointer: &str| follow(&steps(pointer), &items).map(Cow::into_owned);
        assert_eq!(found_in("/*/*/id"), Some(json!([1, 2])), "one list, also of members");
        assert_eq!(found_in("/*/*"), Some(json!([{"id": 1}, {"id": 2}])));
        for missing in ["/a/q", "/a/b/9", "/a/b/-1", "/a/x~1y/q", "/a/x~1y/*", "/a/b/one"] {
            assert_eq!(found(missing), None, "{missing}");
        }
    }

    #[test]
    fn text_of_simple_values() {
        assert_eq!(text_of(&json!(12)), Some("12".to_owned()));
        assert_eq!(text_of(&json!(["a"])), None);
    }
}
