//! Single values of a targets file.

use std::{ops::Deref, time::Duration};

use serde_json::{Value, json};

use super::checks;
use crate::mapping::{
    members::{FromTree, names, wrong_kind},
    place::{Error, Place},
    tree::{Key, Node, Tree},
};

names! {
    /// A description of a registry that is part of the program.
    pub enum PresetName("a preset") {
        /// A registry that speaks protocol v1.
        V1 = "v1",
        /// A registry with one JSON document per record.
        Rest = "rest",
        /// etcd, with records as JSON values.
        Etcd = "etcd",
        /// Names in CoreDNS through etcd.
        Skydns = "skydns",
        /// Services in Consul's catalog.
        Consul = "consul",
        /// Virtual machines with interfaces and addresses in NetBox.
        Netbox = "netbox",
        /// Documents in an index of Elasticsearch or OpenSearch.
        Elasticsearch = "elasticsearch",
        /// Virtual machines in Nautobot.
        Nautobot = "nautobot",
        /// Entities in Port.
        Port = "port",
        /// Rows of a table that PostgREST serves.
        Postgrest = "postgrest",
        /// Configuration items in ServiceNow.
        Servicenow = "servicenow",
        /// Messages of Standard Webhooks.
        Webhook = "webhook",
        /// CloudEvents in structured mode.
        Cloudevents = "cloudevents",
        /// CloudEvents in binary mode.
        CloudeventsBinary = "cloudevents-binary",
        /// CloudEvents in batched mode.
        CloudeventsBatched = "cloudevents-batched",
    }
}

/// A text with templates, or without.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateText {
    pub place: Place,
    pub text: String,
}

/// A value of any type whose texts may hold templates.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateTree(pub Tree);

/// How to read one value from an answer: a JSON Pointer, where `*` stands for every element, or a template.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingText {
    pub place: Place,
    pub text: String,
}

/// A reading, or a map or list of readings.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingTree(pub Tree);

/// A map with names that the operator chooses, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries<T>(pub Vec<(Key, T)>);

/// The parameters of a query. One with a list of values is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryParameters(pub Entries<TemplateText>);

/// A boolean whose default is false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A whole number from 1 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MAX: u32>(pub u32);

/// A number of requests per second: 0.01 to 10000.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

/// A duration, such as `500ms`, `10s` or `1h30m`; at most a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    pub place: Place,
    pub duration: Duration,
}

/// A size, such as `512KiB`: 1KiB to 256MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u32);

/// Statuses of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPatterns(pub Vec<StatusPattern>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPattern {
    Exact(u16),
    /// The first digit: 5 for 5xx.
    Class(u16),
}

impl StatusPatterns {
    pub fn matches(&self, status: u16) -> bool {
        self.0.iter().any(|pattern| match pattern {
            StatusPattern::Exact(exact) => status == *exact,
            StatusPattern::Class(class) => status / 100 == *class,
        })
    }
}

/// Declares a type for a text without templates that has to pass a check.
macro_rules! checked_texts {
    ($( $(#[doc = $doc:literal])+ pub struct $name:ident($owner:literal) = $check:path; )*) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            pub place: Place,
            pub text: String,
        }

        impl FromTree for $name {
            fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
                let text = literal(tree, $owner, errors)?;
                match $check(text) {
                    Ok(()) => Some(Self { place: tree.place.clone(), text: text.to_owned() }),
                    Err((what, fix)) => {
                        errors.push(tree.place.error(format!("{} {what}", $owner), fix));
                        None
                    }
                }
            }

            fn schema() -> Value {
                json!({"type": "string"})
            }
        }
    )* };
}

checked_texts! {
    /// A DNS label.
    pub struct TargetName("a target's name") = checks::target_name;
    /// The full name of a namespace.
    pub struct NamespaceName("a namespace") = checks::namespace;
    /// A name that templates use: letters, digits and `_`.
    pub struct WordName("the name") = checks::word;
    /// The base address of a registry.
    pub struct BaseUrl("`url`") = checks::base_url;
    /// The address of a token endpoint.
    pub struct RemoteUrl("`tokenUrl`") = checks::base_url;
    /// A text without templates that is not empty.
    pub struct LiteralText("the text") = checks::not_empty;
    /// The path of a file.
    pub struct FilePath("the file's path") = checks::not_empty;
    /// The name of a header.
    pub struct HeaderName("the header's name") = checks::header_name;
    /// A method of HTTP in upper case.
    pub struct Method("`method`") = checks::method;
    /// A label selector as for kubectl; [`crate::mapping::selector`] evaluates it.
    pub struct LabelSelectorText("`labelSelector`") = checks::label_selector;
}

fn literal<'t>(tree: &'t Tree, what: &str, errors: &mut Vec<Error>) -> Option<&'t str> {
    let Some(text) = tree.text() else {
        errors.push(wrong_kind(tree, what, "a text"));
        return None;
    };
    if text.contains("{{") || text.contains("{%") {
        errors.push(tree.place.error(format!("{what} holds a template"), "write it literally"));
        return None;
    }
    Some(text)
}

impl FromTree for TemplateText {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let text = match &tree.node {
            Node::Text(text) => text.clone(),
            Node::Bool(value) => value.to_string(),
            Node::Number(number) if !number.is_f64() => number.to_string(),
            Node::Number(_) => {
                // 1.10 would be sent as 1.1.
                errors.push(tree.place.error("the number has a fraction", "put it in quotes"));
                return None;
            }
            _ => {
                errors.push(wrong_kind(tree, "the value", "a text"));
                return None;
            }
        };
        Some(Self { place: tree.place.clone(), text })
    }

    fn schema() -> Value {
        json!({"type": ["string", "integer", "boolean"]})
    }
}

impl FromTree for ReadingText {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let Some(text) = tree.text() else {
            errors.push(wrong_kind(tree, "the reading", "a text"));
            return None;
        };
        if !checks::is_reading(text) {
            let what = format!("`{text}` is neither a JSON Pointer nor a template");
            errors.push(tree.place.error(what, format!("write `/{text}` or `{{{{ … }}}}`")));
            return None;
        }
        Some(Self { place: tree.place.clone(), text: text.to_owned() })
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl FromTree for TemplateTree {
    fn from_tree(tree: &Tree, _: &mut Vec<Error>) -> Option<Self> {
        Some(Self(tree.clone()))
    }

    fn schema() -> Value {
        json!({})
    }
}

impl FromTree for ReadingTree {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let before = errors.len();
        check_readings(tree, errors);
        (errors.len() == before).then(|| Self(tree.clone()))
    }

    fn schema() -> Value {
        json!({"type": ["string", "object", "array"]})
    }
}

fn check_readings(tree: &Tree, errors: &mut Vec<Error>) {
    match &tree.node {
        Node::List(items) => items.iter().for_each(|item| check_readings(item, errors)),
        Node::Map(entries) => entries.iter().for_each(|(_, entry)| check_readings(entry, errors)),
        _ => {
            ReadingText::from_tree(tree, errors);
        }
    }
}

impl FromTree for Flag {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        if let Node::Bool(value) = tree.node {
            return Some(Self(value));
        }
        errors
            .push(tree.place.error(format!("the value must be a boolean, not {}", tree.kind()), "write true or false"));
        None
    }

    fn absent() -> Option<Self> {
        Some(Self(false))
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

impl<const MAX: u32> FromTree for Count<MAX> {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let number = match &tree.node {
            Node::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        let number = number.filter(|number| (1..=MAX).contains(number));
        if number.is_none() {
            errors.push(tree.place.error("the value is not a number within the bounds", format!("use 1 to {MAX}")));
        }
        number.map(Self)
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 1, "maximum": MAX})
    }
}

impl FromTree for Rate {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let number = match &tree.node {
            Node::Number(number) => number.as_f64().filter(|number| (0.01..=10_000.0).contains(number)),
            _ => None,
        };
        if number.is_none() {
            errors.push(tree.place.error("the value is not a rate within the bounds", "use 0.01 to 10000"));
        }
        number.map(Self)
    }

    fn schema() -> Value {
        json!({"type": "number", "minimum": 0.01, "maximum": 10_000})
    }
}

impl FromTree for Period {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let duration = tree.text().and_then(checks::duration);
        if duration.is_none() {
            let fix = "use a number and a unit, such as 500ms, 10s or 1h30m";
            errors.push(tree.place.error("the value is not a duration", fix));
        }
        duration.map(|duration| Self { place: tree.place.clone(), duration })
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl FromTree for ByteSize {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let bytes = tree.text().and_then(checks::byte_size);
        if bytes.is_none() {
            let fix = "use a whole number and a unit, such as 512KiB or 1MiB, from 1KiB to 256MiB";
            errors.push(tree.place.error("the value is not a size", fix));
        }
        bytes.map(Self)
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9]+(KiB|MiB)$"})
    }
}

impl FromTree for StatusPattern {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let text = match &tree.node {
            Node::Number(number) => number.to_string(),
            Node::Text(text) => text.clone(),
            _ => String::new(),
        };
        let pattern = checks::status(&text);
        if pattern.is_none() {
            errors.push(
                tree.place.error("the value is not a status", "use a status such as 409, or 5xx for all of them"),
            );
        }
        pattern
    }

    fn schema() -> Value {
        json!({"type": ["integer", "string"], "pattern": "^[1-5](xx|[0-9][0-9])$", "minimum": 100, "maximum": 599})
    }
}

impl FromTree for StatusPatterns {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        match &tree.node {
            Node::List(_) => Vec::from_tree(tree, errors).map(Self),
            _ => StatusPattern::from_tree(tree, errors).map(|pattern| Self(vec![pattern])),
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [StatusPattern::schema(), {"type": "array", "items": StatusPattern::schema()}]})
    }
}

impl<T> Deref for Entries<T> {
    type Target = [(Key, T)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: FromTree> FromTree for Entries<T> {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let Node::Map(entries) = &tree.node else {
            errors.push(wrong_kind(tree, "the value", "a map"));
            return None;
        };
        let read = |(key, value): &(Key, Tree)| Some((key.clone(), T::from_tree(value, errors)?));
        let read: Vec<Option<(Key, T)>> = entries.iter().map(read).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

impl Deref for QueryParameters {
    type Target = Entries<TemplateText>;

    fn deref(&self) -> &Entries<TemplateText> {
        &self.0
    }
}

impl FromTree for QueryParameters {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let Node::Map(entries) = &tree.node else {
            errors.push(wrong_kind(tree, "the value", "a map"));
            return None;
        };
        let mut read = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match &value.node {
                // Without its parameter, a request may mean all records.
                Node::List(values) if values.is_empty() => {
                    errors.push(value.place.error("the list is empty", "write a text, or remove the parameter"));
                    read.push(None);
                }
                Node::List(values) => {
                    read.extend(values.iter().map(|value| Some((key.clone(), TemplateText::from_tree(value, errors)?))))
                }
                _ => read.push(TemplateText::from_tree(value, errors).map(|text| (key.clone(), text))),
            }
        }
        read.into_iter().collect::<Option<_>>().map(|entries| Self(Entries(entries)))
    }

    fn absent() -> Option<Self> {
        Some(Self(Entries(Vec::new())))
    }

    fn schema() -> Value {
        let text = TemplateText::schema();
        json!({"type": "object", "additionalProperties": {"anyOf": [
            text, {"type": "array", "items": text, "minItems": 1}]}})
    }
}

impl<T: FromTree> FromTree for Vec<T> {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        let Node::List(items) = &tree.node else {
            errors.push(wrong_kind(tree, "the value", "a list"));
            return None;
        };
        let read: Vec<Option<T>> = items.iter().map(|item| T::from_tree(item, errors)).collect();
        read.into_iter().collect()
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: FromTree> FromTree for Option<T> {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        T::from_tree(tree, errors).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema() -> Value {
        T::schema()
    }
}

impl<T: FromTree> FromTree for Box<T> {
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self> {
        T::from_tree(tree, errors).map(Self::new)
    }

    fn absent() -> Option<Self> {
        T::absent().map(Self::new)
    }

    fn schema() -> Value {
        T::schema()
    }
}
