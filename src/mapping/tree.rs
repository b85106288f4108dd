//! A document as a tree whose nodes know their places.

use serde_json::{Number, Value};

use super::place::Place;

/// A value of a document. Aliases and merge keys are expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// Where the value begins; for the parts of an alias, where they are defined.
    pub place: Place,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    /// In the order of the document; no key occurs twice.
    Map(Vec<(Key, Tree)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub place: Place,
    pub text: String,
}

impl Tree {
    pub fn is_null(&self) -> bool {
        self.node == Node::Null
    }

    pub fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A member of a map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Node::Map(entries) = &self.node else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, tree)| tree)
    }

    /// The kind of value, as errors name it.
    pub fn kind(&self) -> &'static str {
        match &self.node {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }

    /// The same document without places.
    pub fn to_json(&self) -> Value {
        match &self.node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Number(number) => Value::Number(number.clone()),
            Node::Text(text) => Value::String(text.clone()),
            Node::List(items) => items.iter().map(Self::to_json).collect(),
            Node::Map(entries) => {
                Value::Object(entries.iter().map(|(key, tree)| (key.text.clone(), tree.to_json())).collect())
            }
        }
    }
}
