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

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::{Each, MapTemplate, Template};
use crate::{
    mapping::fingerprint::{self, Exact},
    model::digest::Fingerprint,
};

/// What is compared of a record. It borrows from the record, because a list shows many and each is compared once.
#[derive(Debug)]
pub(in crate::mapping) enum RecordView<'j> {
    /// Neither a list nor a map.
    Simple(&'j Json),
    List(Vec<Self>),
    /// In the order of their names.
    Map(Vec<(&'j str, Self)>),
}

impl RecordView<'_> {
    /// The view of a record that is missing.
    pub(in crate::mapping) const NONE: RecordView<'static> = RecordView::Simple(&Json::Null);

    pub(in crate::mapping) fn fingerprint(&self) -> Fingerprint {
        fingerprint::of(self)
    }

    pub(in crate::mapping) fn to_json(&self) -> Json {
        match self {
            Self::Simple(json) => (*json).clone(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => {
                Json::Object(members.iter().map(|(name, member)| ((*name).to_owned(), member.to_json())).collect())
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Simple(Json::Null) => true,
            Self::Simple(Json::String(text)) => text.is_empty(),
            Self::Simple(_) => false,
            Self::List(items) => items.is_empty(),
            Self::Map(members) => members.is_empty(),
        }
    }
}

impl Serialize for RecordView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Simple(json) => Exact(json).serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(members) => serializer.collect_map(members.iter().map(|(name, member)| (name, member))),
        }
    }
}

impl Template {
    /// What is compared of a record that this template made, as sent or as a registry shows it.
    pub(in crate::mapping) fn view<'j>(&self, found: &'j Json) -> RecordView<'j> {
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
    fn view<'j>(&self, found: &'j Json) -> RecordView<'j> {
        let fixed = |name: &str| self.members.iter().find(|(fixed, _)| fixed == name).map(|(_, member)| member);
        match (&self.each, found) {
            (None, Json::Object(found)) => members(found, |name, member| Some(fixed(name)?.view(member))),
            (Some(Each { key: Some(_), value, .. }), Json::Object(found)) => {
                members(found, |name, member| Some(fixed(name).unwrap_or(value).view(member)))
            }
            (Some(Each { key: None, value, .. }), Json::Array(found)) => {
                elements(found, |_, element| Some(value.view(element)))
            }
            _ => whole(found),
        }
    }
}

fn of_constant<'j>(constant: &Json, found: &'j Json) -> RecordView<'j> {
    match (constant, found) {
        (Json::Object(constant), Json::Object(found)) => {
            members(found, |name, member| Some(of_constant(constant.get(name)?, member)))
        }
        (Json::Array(constant), Json::Array(found)) => {
            elements(found, |index, element| constant.get(index).map(|constant| of_constant(constant, element)))
        }
        _ => whole(found),
    }
}

/// Everything below a value.
fn whole(found: &Json) -> RecordView<'_> {
    match found {
        Json::Object(found) => members(found, |_, member| Some(whole(member))),
        Json::Array(found) => elements(found, |_, _| None),
        simple => RecordView::Simple(simple),
    }
}

/// The elements of a list. One without a view is taken as a whole.
fn elements<'j>(found: &'j [Json], view: impl Fn(usize, &'j Json) -> Option<RecordView<'j>>) -> RecordView<'j> {
    let shown = found.iter().enumerate();
    RecordView::List(shown.map(|(index, element)| view(index, element).unwrap_or_else(|| whole(element))).collect())
}

/// The members of a map. One without a view is left out.
fn members<'j>(
    found: &'j Map<String, Json>,
    view: impl Fn(&str, &'j Json) -> Option<RecordView<'j>>,
) -> RecordView<'j> {
    let mut members = Vec::with_capacity(found.len());
    for (name, member) in found {
        members.extend(view(name, member).filter(|member| !member.is_empty()).map(|member| (name.as_str(), member)));
    }
    RecordView::Map(members)
}
