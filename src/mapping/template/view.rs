//! What of a record is compared: the members that its template has, without empty ones.
//!
//! A record that was sent and the one that the registry shows are compared by their views, so a view of a record that
//! is shown as it was sent, or with further members, is the view of what was sent.
//!
//! | template | of the record |
//! | --- | --- |
//! | a map | the members that the template has |
//! | a map with `$key` | all members, because their names are not known |
//! | a list, or `$each` without `$key` | each element by its own template |
//! | a text that is one expression | everything below it |
//!
//! Many registries return null, or nothing, for an empty value, so maps lose members that are empty.

use serde_json::{Map, Value as Json};

use super::{Each, MapTemplate, Template};

impl Template {
    /// What is compared of a record that this template made, as sent or as a registry shows it.
    pub(in crate::mapping) fn view(&self, found: &Json) -> Json {
        match (self, found) {
            (Self::Constant(constant), _) => of_constant(constant, found),
            (Self::Map(map), _) => map.view(found),
            // An element that is left out moves the others.
            (Self::List(items, _), Json::Array(found)) if !items.iter().any(Self::may_be_omitted) => {
                elements(found, |index, element| items.get(index).map(|item| item.view(element)))
            }
            (Self::List(..) | Self::Leaf(_), _) => whole(found),
        }
    }

    pub(super) fn may_be_omitted(&self) -> bool {
        matches!(self, Self::Leaf(leaf) if leaf.is_expression())
    }
}

impl MapTemplate {
    fn view(&self, found: &Json) -> Json {
        match (&self.each, found) {
            (None, Json::Object(found)) => {
                let shown =
                    self.members.iter().filter_map(|(name, member)| Some((name, member.view(found.get(name)?))));
                members(shown)
            }
            (Some(Each { key: Some(_), value, .. }), Json::Object(found)) => {
                let fixed = |name: &String| self.members.iter().find(|(fixed, _)| fixed == name);
                let template = |name| fixed(name).map_or(value, |(_, member)| member);
                members(found.iter().map(|(name, member)| (name, template(name).view(member))))
            }
            (Some(Each { key: None, value, .. }), Json::Array(found)) => {
                elements(found, |_, element| Some(value.view(element)))
            }
            _ => whole(found),
        }
    }
}

fn of_constant(constant: &Json, found: &Json) -> Json {
    match (constant, found) {
        (Json::Object(constant), Json::Object(found)) => {
            let shown =
                constant.iter().filter_map(|(name, member)| Some((name, of_constant(member, found.get(name)?))));
            members(shown)
        }
        (Json::Array(constant), Json::Array(found)) => {
            elements(found, |index, element| constant.get(index).map(|constant| of_constant(constant, element)))
        }
        _ => whole(found),
    }
}

/// Everything below a value.
fn whole(found: &Json) -> Json {
    match found {
        Json::Object(found) => members(found.iter().map(|(name, member)| (name, whole(member)))),
        Json::Array(found) => elements(found, |_, _| None),
        other => other.clone(),
    }
}

/// The elements of a list. One without a view is taken as a whole.
fn elements(found: &[Json], view: impl Fn(usize, &Json) -> Option<Json>) -> Json {
    let shown = found.iter().enumerate();
    shown.map(|(index, element)| view(index, element).unwrap_or_else(|| whole(element))).collect()
}

fn members<'n>(shown: impl Iterator<Item = (&'n String, Json)>) -> Json {
    let present = shown.filter(|(_, member)| !is_empty(member));
    Json::Object(present.map(|(name, member)| (name.clone(), member)).collect::<Map<_, _>>())
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        Json::Bool(_) | Json::Number(_) => false,
    }
}
