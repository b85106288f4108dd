//! Compiled templates: single texts, and trees of them.
//!
//! A text that is exactly one `{{ expression }}` keeps the type of its value. All other texts are joined from their
//! parts. A result never holds null or an undefined value.

use std::fmt;

use minijinja::{Value, value::ValueKind};
use serde_json::{Map, Value as Json};

use super::{
    check::{KindAbove, Uses},
    engine::Compiled,
    place::{self, Place},
    reading::text_of,
    scope::Scope,
    values::{self, Budget, push_text, to_json},
    vars::Vars,
    words::{Word, WordSet},
};

mod clear;
mod compile;
pub(super) mod view;

/// A template that cannot be rendered.
#[derive(Clone, PartialEq, Eq)]
pub struct RenderError {
    pub place: Place,
    pub cause: values::Error,
    pub(super) uses: Uses,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.cause)
    }
}

impl fmt::Debug for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for RenderError {}

/// A compiled text.
#[derive(Debug)]
pub struct Leaf {
    place: Place,
    parts: Vec<Part>,
    uses: Uses,
    /// Whether it is `{{ mark }}` or `{{ digest }}`, and nothing else.
    is_identity: bool,
}

#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    Expression(Compiled),
}

/// A compiled value, whose texts may be templates.
#[derive(Debug)]
pub enum Template {
    Constant(Json),
    Leaf(Leaf),
    List(Vec<Self>, Uses),
    Map(Box<MapTemplate>),
}

#[derive(Debug)]
pub struct MapTemplate {
    members: Vec<(String, Template)>,
    each: Option<Each>,
    uses: Uses,
}

/// Which parts of a tree are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    All,
    /// Those that the digest covers: all but `{{ mark }}` and `{{ digest }}`.
    Digested,
}

/// `$each`, `$key` and `$value`: a list or, with a key, members of a map.
#[derive(Debug)]
struct Each {
    items: Leaf,
    key: Option<Leaf>,
    value: Template,
}

impl Uses {
    fn and(self, other: Self) -> Self {
        Self { words: self.words.and(other.words), keys: self.keys || other.keys }
    }
}

impl Leaf {
    pub(super) fn uses(&self) -> Uses {
        self.uses
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(super) fn error(&self, cause: values::Error) -> RenderError {
        RenderError { place: self.place.clone(), cause, uses: self.uses }
    }

    /// The text of a leaf without expressions.
    pub(super) fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_expression(&self) -> bool {
        matches!(&*self.parts, [Part::Expression(_)])
    }

    /// The value as the engine has it: it may be undefined.
    pub(super) fn evaluate(&self, scope: &Scope) -> Result<Value, RenderError> {
        match &*self.parts {
            [Part::Expression(one)] => one.evaluate(&scope.value()).map_err(|cause| self.error(cause)),
            _ => self.joined(scope, &mut Budget::default()).map(Value::from),
        }
    }

    /// The value with its type. `None` for `omit`.
    pub(super) fn json(&self, scope: &Scope, budget: &mut Budget) -> Result<Option<Json>, RenderError> {
        match &*self.parts {
            [Part::Expression(_)] => to_json(&self.evaluate(scope)?, budget).map_err(|cause| self.error(cause)),
            _ => self.joined(scope, budget).map(|text| Some(Json::String(text))),
        }
    }

    /// The value as a text. `None` for `omit`.
    pub(super) fn text(&self, scope: &Scope) -> Result<Option<String>, RenderError> {
        if let [Part::Expression(_)] = &*self.parts {
            let value = self.evaluate(scope)?;
            if values::is_omit(&value) {
                return Ok(None);
            }
            let mut text = String::new();
            push_text(&value, &mut text, &mut Budget::default()).map_err(|cause| self.error(cause))?;
            return Ok(Some(text));
        }
        self.joined(scope, &mut Budget::default()).map(Some)
    }

    /// The value of a condition.
    pub(super) fn holds(&self, scope: &Scope) -> Result<bool, RenderError> {
        let value = self.evaluate(scope)?;
        if value.is_undefined() { Err(self.error(values::Error::Undefined)) } else { Ok(value.is_true()) }
    }

    /// The value of a condition that has to be a boolean.
    pub(super) fn is_true(&self, scope: &Scope) -> Result<bool, RenderError> {
        let value = self.evaluate(scope)?;
        match value.kind() {
            ValueKind::Bool => Ok(value.is_true()),
            ValueKind::Undefined => Err(self.error(values::Error::Undefined)),
            kind => Err(self.error(values::Error::Evaluation(format!("the condition is {kind}, not a boolean")))),
        }
    }

    fn joined(&self, scope: &Scope, budget: &mut Budget) -> Result<String, RenderError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => {
                    budget.take_text(literal).map_err(|cause| self.error(cause))?;
                    text.push_str(literal);
                }
                Part::Expression(expression) => {
                    let value = expression.evaluate(&scope.value()).map_err(|cause| self.error(cause))?;
                    push_text(&value, &mut text, budget).map_err(|cause| self.error(cause))?;
                }
            }
        }
        Ok(text)
    }
}

impl Template {
    pub(super) fn uses(&self) -> Uses {
        match self {
            Self::Constant(_) => Uses::default(),
            Self::Leaf(leaf) => leaf.uses,
            Self::List(_, uses) => *uses,
            Self::Map(map) => map.uses,
        }
    }

    /// The value as the engine has it: it may be undefined.
    pub(super) fn evaluate(&self, scope: &Scope) -> Result<Value, RenderError> {
        match self {
            Self::Leaf(leaf) => leaf.evaluate(scope),
            other => Ok(other.render(scope)?.map_or(Value::UNDEFINED, |json| values::of_json(&json))),
        }
    }

    /// The value. `None` for `omit`.
    ///
    /// # Errors
    /// A template in it cannot be rendered, or the result is too large.
    pub fn render(&self, scope: &Scope) -> Result<Option<Json>, RenderError> {
        self.render_parts(Parts::All, scope, &mut Budget::default())
    }

    /// The value that the digest covers: without texts that are `{{ mark }}` or `{{ digest }}` alone. `scope` has a
    /// digest that stands for the one that is not known yet.
    pub(super) fn render_digested(&self, scope: &Scope) -> Result<Option<Json>, RenderError> {
        self.render_parts(Parts::Digested, scope, &mut Budget::default())
    }

    fn render_parts(&self, parts: Parts, scope: &Scope, budget: &mut Budget) -> Result<Option<Json>, RenderError> {
        match self {
            Self::Constant(json) => Ok(Some(json.clone())),
            Self::Leaf(leaf) if leaf.is_identity && parts == Parts::Digested => Ok(None),
            Self::Leaf(leaf) => leaf.json(scope, budget),
            Self::List(items, _) => {
                let mut rendered = Vec::with_capacity(items.len());
                for item in items {
                    rendered.extend(item.render_parts(parts, scope, budget)?);
                }
                Ok(Some(Json::Array(rendered)))
            }
            Self::Map(map) => map.render_parts(parts, scope, budget),
        }
    }

    /// Whether it is `{{ mark }}` or `{{ digest }}`, and nothing else.
    pub(super) fn is_identity(&self) -> bool {
        matches!(self, Self::Leaf(leaf) if leaf.is_identity)
    }

    /// The members of a map whose names are all known.
    pub(super) fn members(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Map(map) if map.each.is_none() => Some(&map.members),
            _ => None,
        }
    }

    /// Renders each part of the tree, and reports each error.
    pub(super) fn try_parts(&self, scope: &Scope, report: &mut dyn FnMut(RenderError)) {
        match self {
            Self::Constant(_) => {}
            Self::Leaf(leaf) => _ = leaf.json(scope, &mut Budget::default()).map_err(report),
            Self::List(items, _) => items.iter().for_each(|item| item.try_parts(scope, report)),
            Self::Map(map) => {
                map.members.iter().for_each(|(_, member)| member.try_parts(scope, report));
                if let Some(each) = &map.each {
                    _ = each.render(scope, &mut Budget::default()).map_err(report);
                }
            }
        }
    }

    /// Texts and numbers without templates that are members of maps, with their names.
    pub(super) fn literals(&self, found: &mut Vec<(String, String)>) {
        match self {
            Self::Constant(json) => literals(json, found),
            Self::Map(map) => map.members.iter().for_each(|(name, member)| match member {
                Self::Constant(json) => found.extend(text_of(json).map(|text| (name.clone(), text))),
                other => other.literals(found),
            }),
            Self::List(items, _) => items.iter().for_each(|item| item.literals(found)),
            Self::Leaf(_) => {}
        }
    }

    /// Whether [`Self::render_digested`] rendered it without the digest or the mark.
    fn is_filled(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.is_identity || leaf.uses.words.has(Word::Digest),
            other => other.uses().words.overlaps(WordSet::IDENTITY),
        }
    }

    /// Completes what [`Self::render_digested`] rendered. Only the parts that use the digest, and those that were left
    /// out, are rendered again.
    pub(super) fn fill(&self, json: &mut Json, scope: &Scope) -> Result<(), RenderError> {
        if !self.is_filled() {
            return Ok(());
        }
        match (self, json) {
            (Self::Map(map), Json::Object(members)) => map.fill(members, scope),
            // An element that was left out moves the others.
            (Self::List(items, _), Json::Array(elements)) if !items.iter().any(Self::may_be_omitted) => {
                items.iter().zip(elements).try_for_each(|(item, element)| item.fill(element, scope))
            }
            (_, json) => {
                *json = self.render(scope)?.unwrap_or_default();
                Ok(())
            }
        }
    }
}

impl MapTemplate {
    fn render_parts(&self, parts: Parts, scope: &Scope, budget: &mut Budget) -> Result<Option<Json>, RenderError> {
        let mut members = match &self.each {
            Some(each) => match each.render(scope, budget)? {
                Json::Object(members) => members,
                list => return Ok(Some(list)),
            },
            None => Map::new(),
        };
        // A member with a fixed name hides one whose name was made of data.
        for (name, template) in &self.members {
            match template.render_parts(parts, scope, budget)? {
                Some(member) => _ = members.insert(name.clone(), member),
                None => _ = members.remove(name),
            }
        }
        Ok(Some(Json::Object(members)))
    }

    fn fill(&self, members: &mut Map<String, Json>, scope: &Scope) -> Result<(), RenderError> {
        if let Some(each) = self.each.as_ref().filter(|each| each.uses().words.has(Word::Digest))
            && let Json::Object(made) = each.render(scope, &mut Budget::default())?
        {
            let is_fixed = |name: &str| self.members.iter().any(|(fixed, _)| fixed == name);
            members.retain(|name, _| is_fixed(name));
            members.extend(made.into_iter().filter(|(name, _)| !is_fixed(name)));
        }
        for (name, template) in self.members.iter().filter(|(_, member)| member.is_filled()) {
            match (template, members.get_mut(name)) {
                (Template::Leaf(_), _) | (_, None) => match template.render(scope)? {
                    Some(member) => _ = members.insert(name.clone(), member),
                    None => _ = members.remove(name),
                },
                (_, Some(member)) => template.fill(member, scope)?,
            }
        }
        Ok(())
    }
}

impl Each {
    fn uses(&self) -> Uses {
        let key = self.key.as_ref().map(|key| key.uses).unwrap_or_default();
        self.items.uses.and(key).and(self.value.uses())
    }

    fn render(&self, scope: &Scope, budget: &mut Budget) -> Result<Json, RenderError> {
        let items = self.items.evaluate(scope)?;
        if items.is_undefined() {
            return Err(self.items.error(values::Error::Undefined));
        }
        // The engine would iterate over the letters of a text.
        if !matches!(items.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
            let what = format!("`$each` is {}, not a list", items.kind());
            return Err(self.items.error(values::Error::Evaluation(what)));
        }
        let (mut list, mut map) = (Vec::new(), Map::new());
        for item in items.try_iter().map_err(|error| self.items.error(values::evaluation(error)))? {
            budget.take_node().map_err(|cause| self.items.error(cause))?;
            let scope = scope.with(vec![(Word::It, item)]);
            let key = match &self.key {
                None => None,
                // An omitted key leaves its member out.
                Some(key) => match key.text(&scope)? {
                    Some(text) => Some(text),
                    None => continue,
                },
            };
            let Some(value) = self.value.render_parts(Parts::All, &scope, budget)? else { continue };
            match key {
                Some(key) => _ = map.insert(key, value),
                None => list.push(value),
            }
        }
        Ok(if self.key.is_some() { Json::Object(map) } else { Json::Array(list) })
    }
}

/// Compiles the templates of a target, and collects what is wrong with them.
pub(super) struct Compiler<'a> {
    pub(super) vars: &'a Vars,
    pub(super) variables: &'a [String],
    /// The names of `prepare`, with the words that each keeps.
    pub(super) prepared: &'a [(String, Vec<String>)],
    pub(super) kind: KindWords<'a>,
    pub(super) errors: &'a mut Vec<place::Error>,
}

/// What the templates of one kind of records may use.
#[derive(Clone, Copy)]
pub(super) struct KindWords<'a> {
    /// Words that other kinds have.
    pub(super) lacking: WordSet,
    /// The kinds of the records that this one belongs to.
    pub(super) above: &'a [KindAbove],
    /// The names of the secrets of a login.
    pub(super) secrets: &'a [&'a str],
}

impl KindWords<'_> {
    /// For templates that are not those of a kind.
    pub(super) const NONE: Self = Self { lacking: WordSet::OF_KINDS, above: &[], secrets: &[] };
}

fn literals(json: &Json, found: &mut Vec<(String, String)>) {
    match json {
        Json::Object(members) => {
            for (name, member) in members {
                found.extend(text_of(member).map(|text| (name.clone(), text)));
                literals(member, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| literals(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
