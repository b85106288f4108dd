//! Reads typed values from a [`Tree`], and describes them as JSON Schema.
//!
//! The macro `members!` declares a struct, its reader and its schema from one list of members, so that they cannot
//! disagree. Reading goes on after an error: the operator sees all errors of a file at once.

use serde_json::Value;

use super::{
    place::{Error, Place},
    tree::{Key, Node, Tree},
};

/// A value that can be read from a document.
pub trait FromTree: Sized {
    /// `None` after an error was added.
    fn from_tree(tree: &Tree, errors: &mut Vec<Error>) -> Option<Self>;

    /// The value of a member that is absent or `null`; `None` if the member is required.
    fn absent() -> Option<Self> {
        None
    }

    /// The JSON Schema of the value.
    fn schema() -> Value;
}

/// Several members of a map, which are read together.
pub trait MemberGroup: Sized {
    fn read(members: &mut Members<'_>) -> Option<Self>;
    fn describe(schema: &mut ObjectSchema);
}

/// The members of one map, while they are read.
pub struct Members<'t> {
    /// What the map is, as errors name it.
    owner: &'static str,
    place: &'t Place,
    entries: &'t [(Key, Tree)],
    known: Vec<&'static str>,
    errors: &'t mut Vec<Error>,
}

/// The schema of a map with fixed members.
#[derive(Default)]
pub struct ObjectSchema {
    properties: serde_json::Map<String, Value>,
    required: Vec<Value>,
}

impl<'t> Members<'t> {
    pub fn new(owner: &'static str, tree: &'t Tree, errors: &'t mut Vec<Error>) -> Option<Self> {
        let Node::Map(entries) = &tree.node else {
            errors.push(wrong_kind(tree, owner, "a map"));
            return None;
        };
        Some(Self { owner, place: &tree.place, entries, known: Vec::new(), errors })
    }

    pub fn place(&self) -> &Place {
        self.place
    }

    pub fn member<T: FromTree>(&mut self, name: &'static str) -> Option<T> {
        self.known.push(name);
        let entry = self.entries.iter().find(|(key, tree)| key.text == name && !tree.is_null());
        if let Some((_, tree)) = entry {
            return T::from_tree(tree, self.errors);
        }
        let absent = T::absent();
        if absent.is_none() {
            self.errors.push(self.place.error(format!("{} has no `{name}`", self.owner), format!("add `{name}`")));
        }
        absent
    }

    pub fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Ends a choice: exactly one member has to be there. `before` is the number of errors before it was read.
    pub fn finish_with_one<T>(self, mut found: Vec<T>, before: usize) -> Option<T> {
        let (place, owner, known) = (self.place, self.owner, self.known.clone());
        let failed = self.errors.len() > before;
        let unknown = self.entries.iter().any(|(key, _)| !known.contains(&key.text.as_str()));
        let errors = self.finish();
        if found.len() == 1 {
            return found.pop();
        }
        if !failed && !unknown {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let what = format!("{owner} has {} members", if found.is_empty() { "no" } else { "several" });
            errors.push(place.error(what, format!("write exactly one of {}", names.join(", "))));
        }
        None
    }

    /// Reports the members that nothing asked for.
    pub fn finish(self) -> &'t mut Vec<Error> {
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.known.contains(&key.text.as_str())) {
            let what = format!("{} has no member `{}`", self.owner, key.text);
            self.errors.push(key.place.error(what, instead(&key.text, &self.known)));
        }
        self.errors
    }
}

impl ObjectSchema {
    pub fn member<T: FromTree>(&mut self, name: &str, about: &[&str]) {
        let mut schema = T::schema();
        if let Value::Object(members) = &mut schema {
            let about: Vec<&str> = about.iter().map(|line| line.trim()).collect();
            members.insert("description".to_owned(), about.join(" ").into());
        }
        if T::absent().is_none() {
            self.required.push(name.into());
        } else {
            allow_null(&mut schema);
        }
        self.properties.insert(name.to_owned(), schema);
    }

    pub fn finish_with_one(self) -> Value {
        let mut schema = self.finish();
        schema["minProperties"] = 1.into();
        schema["maxProperties"] = 1.into();
        schema
    }

    pub fn finish(self) -> Value {
        let mut schema = serde_json::json!({
            "type": "object",
            "properties": self.properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            schema["required"] = Value::Array(self.required);
        }
        schema
    }
}

/// `null` stands for an absent member.
fn allow_null(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    if let Some(types) = keywords.get_mut("type") {
        let one = types.take();
        *types = match one {
            Value::Array(several) => several.into_iter().chain(["null".into()]).collect(),
            one => serde_json::json!([one, "null"]),
        };
    } else if let Some(Value::Array(names)) = keywords.get_mut("enum") {
        names.push(Value::Null);
    } else if let Some(Value::Array(choices)) = keywords.get_mut("anyOf") {
        choices.push(serde_json::json!({"type": "null"}));
    }
}

/// An error about a value of another type.
pub fn wrong_kind(tree: &Tree, what: &str, expected: &str) -> Error {
    tree.place.error(format!("{what} must be {expected}, not {}", tree.kind()), format!("write {expected}"))
}

/// The fix for an unknown name: the nearest known one, or all.
pub fn instead(name: &str, known: &[&str]) -> String {
    let distance = |known: &str| edit_distance(&name.to_lowercase(), &known.to_lowercase());
    // Who mistypes a word gets its first letter right. Another word, such as `gone` for `done`, is no typo.
    let first = |text: &str| text.to_lowercase().chars().next();
    let begins_alike = |known: &&&str| first(known) == first(name);
    let nearest = known.iter().filter(begins_alike).map(|known| (distance(known), *known)).min();
    match nearest {
        Some((distance, nearest)) if distance * 3 <= name.chars().count().max(3) => format!("write `{nearest}`"),
        _ if known.len() == 1 => format!("write `{}`", known[0]),
        _ => {
            let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
            format!("use one of {}", known.join(", "))
        }
    }
}

/// The number of insertions, removals, replacements and swaps of neighbours that turn one text into the other.
fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = last[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(before_last[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

/// Declares a struct whose members are read from a map. A member is `pub field: Type = "name"`, or
/// `pub field: Type = flatten` for a struct whose members stand in the same map. The text behind the struct's name is
/// what errors call the map.
macro_rules! members {
    (
        $(#[doc = $about:literal])*
        pub struct $struct:ident($owner:literal) {
            $( $(#[doc = $doc:literal])+ pub $field:ident: $type:ty = $member:tt, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub struct $struct {
            /// Where the map begins.
            pub place: $crate::mapping::place::Place,
            $( $(#[doc = $doc])+ pub $field: $type, )*
        }

        impl $crate::mapping::members::MemberGroup for $struct {
            fn read(members: &mut $crate::mapping::members::Members<'_>) -> Option<Self> {
                // All members are read before one that failed ends it, so that all errors are found.
                $( let $field = members!(@read $type, members, $member); )*
                Some(Self { place: members.place().clone(), $( $field: $field?, )* })
            }

            fn describe(schema: &mut $crate::mapping::members::ObjectSchema) {
                $( members!(@describe $type, schema, $member, &[$($doc),+]); )*
            }
        }

        impl $crate::mapping::members::FromTree for $struct {
            fn from_tree(
                tree: &$crate::mapping::tree::Tree,
                errors: &mut Vec<$crate::mapping::place::Error>,
            ) -> Option<Self> {
                let mut members = $crate::mapping::members::Members::new($owner, tree, errors)?;
                let read = <Self as $crate::mapping::members::MemberGroup>::read(&mut members);
                members.finish();
                read
            }

            fn schema() -> serde_json::Value {
                let mut schema = $crate::mapping::members::ObjectSchema::default();
                <Self as $crate::mapping::members::MemberGroup>::describe(&mut schema);
                schema.finish()
            }
        }
    };
    (@read $type:ty, $members:ident, flatten) => {
        <$type as $crate::mapping::members::MemberGroup>::read($members)
    };
    (@read $type:ty, $members:ident, $name:literal) => { $members.member::<$type>($name) };
    (@describe $type:ty, $schema:ident, flatten, $about:expr) => {
        <$type as $crate::mapping::members::MemberGroup>::describe($schema)
    };
    (@describe $type:ty, $schema:ident, $name:literal, $about:expr) => { $schema.member::<$type>($name, $about) };
}

/// Declares an enum that is written as a map with exactly one member.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        pub enum $enum:ident($owner:literal) {
            $( $(#[doc = $doc:literal])+ $variant:ident($type:ty) = $name:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        pub enum $enum {
            $( $(#[doc = $doc])+ $variant($type), )*
        }

        impl $crate::mapping::members::FromTree for $enum {
            fn from_tree(
                tree: &$crate::mapping::tree::Tree,
                errors: &mut Vec<$crate::mapping::place::Error>,
            ) -> Option<Self> {
                let mut members = $crate::mapping::members::Members::new($owner, tree, errors)?;
                let before = members.error_count();
                let read = [$( members.member::<Option<$type>>($name).flatten().map(Self::$variant) ),*];
                let found = read.into_iter().flatten().collect::<Vec<_>>();
                members.finish_with_one(found, before)
            }

            fn schema() -> serde_json::Value {
                let mut schema = $crate::mapping::members::ObjectSchema::default();
                $( schema.member::<Option<$type>>($name, &[$($doc),+]); )*
                schema.finish_with_one()
            }
        }
    };
}

/// Declares an enum that is written as one of several names.
macro_rules! names {
    (
        $(#[doc = $about:literal])*
        pub enum $enum:ident($owner:literal) {
            $( $(#[doc = $doc:literal])+ $variant:ident = $name:literal, )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $( $(#[doc = $doc])+ $variant, )*
        }

        impl $enum {
            pub const NAMES: &[&str] = &[$($name),*];

            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $name, )*
                }
            }
        }

        impl $crate::mapping::members::FromTree for $enum {
            fn from_tree(
                tree: &$crate::mapping::tree::Tree,
                errors: &mut Vec<$crate::mapping::place::Error>,
            ) -> Option<Self> {
                match tree.text() {
                    $( Some($name) => return Some(Self::$variant), )*
                    Some(text) => {
                        let fix = $crate::mapping::members::instead(text, Self::NAMES);
                        errors.push(tree.place.error(format!("`{text}` is not {}", $owner), fix));
                    }
                    None => errors.push($crate::mapping::members::wrong_kind(tree, $owner, "a text")),
                }
                None
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": Self::NAMES})
            }
        }
    };
}

pub(crate) use choice;
pub(crate) use members;
pub(crate) use names;
