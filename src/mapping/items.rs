//! Records as a registry returns them.

use serde_json::Value as Json;

use super::{
    answer::Answer,
    outcome::RequestPurpose,
    reading::{Reading, Readings},
    request::{RequestTemplate, Shared},
    scope::Scope,
    spec::reading::{FindSpec, ItemSpec},
    template::{Compiler, RenderError},
    values,
    words::{Position, Word},
};
use crate::model::digest::Fingerprint;

/// A record of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryItem {
    /// `None` if the registry returns no id; such a record can only be foreign.
    pub id: Option<String>,
    /// The id, or a map of ids, that the registry assigned.
    pub remote: Option<Json>,
    /// The record's revision.
    pub seen: Option<Json>,
    pub mark: ItemMark,
    pub content: ItemContent,
    /// Whether it counts as deleted.
    pub gone: bool,
}

/// Whose a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemMark {
    Ours,
    /// Another mark, or none.
    Foreign,
    /// The target reads no mark.
    NotRead,
}

/// What is compared with the desired record.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemContent {
    /// `None` if it is missing or not a digest, so it differs from every desired one.
    Digest(Option<Fingerprint>),
    /// The members to compare, or nothing if they are missing.
    Body(Json),
    /// Only that the record exists.
    Presence,
}

/// How one record is read.
#[derive(Debug)]
pub struct ItemReading {
    id: Reading,
    remote: Option<Readings>,
    seen: Option<Reading>,
    mark: Option<Reading>,
    digest: Option<Reading>,
    body: Option<Readings>,
    gone: Option<Reading>,
}

/// The request that reads one record.
#[derive(Debug)]
pub struct FindRequest {
    pub request: RequestTemplate,
    at: Reading,
}

impl ItemReading {
    pub(super) fn compile(spec: &ItemSpec, compiler: &mut Compiler<'_>) -> Option<Self> {
        let mut reading = |text: &Option<_>| match text {
            None => Some(None),
            Some(text) => Reading::compile(text, Position::Item, compiler).map(Some),
        };
        let (seen, mark, digest, gone) =
            (reading(&spec.seen), reading(&spec.mark), reading(&spec.digest), reading(&spec.gone));
        let mut readings = |tree: &Option<_>| match tree {
            None => Some(None),
            Some(tree) => Readings::compile(tree, Position::Item, compiler).map(Some),
        };
        let (remote, body) = (readings(&spec.remote), readings(&spec.body));
        let id = Reading::compile(&spec.id, Position::Item, compiler);
        Some(Self { id: id?, remote: remote?, seen: seen?, mark: mark?, digest: digest?, body: body?, gone: gone? })
    }

    pub fn reads_mark(&self) -> bool {
        self.mark.is_some()
    }

    pub fn reads_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// A made-up id, or map of ids, of the kind that the registry assigns.
    pub(super) fn sample_remote(&self) -> Option<Json> {
        self.remote.as_ref().map(|remote| remote.sample("REMOTE"))
    }

    pub fn reads_body(&self) -> bool {
        self.body.is_some()
    }

    /// Reads a record of an answer. `scope` holds the words of the term, `mark` is our mark.
    ///
    /// A template that cannot be rendered counts as a missing value. A record whose mark is missing is foreign.
    pub fn read(&self, item: &Json, answer: &Answer, scope: &Scope, mark: &str) -> RegistryItem {
        let scope = || answer.scope(scope).with(vec![(Word::Item, values::of_json(item))]);
        let root = Some(item);
        let text = |reading: &Reading| reading.text(root, scope).ok().flatten();
        let tree = |readings: &Readings| readings.read(root, &scope).ok().flatten();
        let digest =
            |reading: &Reading| ItemContent::Digest(text(reading).and_then(|text| Fingerprint::from_hex(&text)));
        let content = match (&self.digest, &self.body) {
            (Some(reading), _) => digest(reading),
            (None, Some(readings)) => ItemContent::Body(tree(readings).unwrap_or_default()),
            (None, None) => ItemContent::Presence,
        };
        let mark = match &self.mark {
            None => ItemMark::NotRead,
            Some(reading) if text(reading).as_deref() == Some(mark) => ItemMark::Ours,
            Some(_) => ItemMark::Foreign,
        };
        RegistryItem {
            id: text(&self.id),
            remote: self.remote.as_ref().and_then(tree),
            seen: self
                .seen
                .as_ref()
                .and_then(|reading| reading.read(root, scope).ok()?)
                .map(std::borrow::Cow::into_owned),
            mark,
            content,
            gone: self.gone.as_ref().is_some_and(|reading| reading.holds(root, scope).unwrap_or_default()),
        }
    }
}

impl FindRequest {
    pub(super) fn compile(
        spec: &FindSpec,
        purpose: RequestPurpose,
        shared: &Shared<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<Self> {
        let at = Reading::compile(&spec.at, Position::Answer, compiler);
        let request = RequestTemplate::compile(&spec.request, purpose, false, shared, compiler)?;
        Some(Self { request, at: at? })
    }

    /// The record in a successful answer. `None` if there is none.
    ///
    /// # Errors
    /// A template cannot be rendered.
    pub fn item(&self, answer: &Answer, scope: &Scope) -> Result<Option<Json>, RenderError> {
        Ok(self.at.read(answer.json(), || answer.scope(scope))?.map(std::borrow::Cow::into_owned))
    }
}

/// Whether a record contains what we render. Members that others added do not matter.
pub fn contains(found: &Json, desired: &Json) -> bool {
    match (found, desired) {
        (Json::Object(found), Json::Object(desired)) => desired.iter().all(|(name, desired)| {
            // Many registries return null, or nothing, for an empty value.
            let is_empty = |json: &Json| match json {
                Json::String(text) => text.is_empty(),
                Json::Array(items) => items.is_empty(),
                Json::Object(members) => members.is_empty(),
                _ => false,
            };
            match found.get(name) {
                None | Some(Json::Null) => is_empty(desired),
                Some(found) => contains(found, desired),
            }
        }),
        (Json::Array(found), Json::Array(desired)) => {
            found.len() == desired.len() && found.iter().zip(desired).all(|(found, desired)| contains(found, desired))
        }
        (Json::Number(found), Json::Number(desired)) => found == desired || found.as_f64() == desired.as_f64(),
        (found, desired) => found == desired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn record_contains_what_is_rendered() {
        let found = json!({"a": {"b": 1.0, "theirs": true}, "list": [{"x": 1, "y": 2}], "none": null});
        for desired in [json!({}), json!({"a": {"b": 1}}), json!({"list": [{"x": 1}]}), json!({"none": "", "q": []})] {
            assert!(contains(&found, &desired), "{desired}");
        }
        for desired in [json!({"a": {"b": 2}}), json!({"list": []}), json!({"list": [{"x": 1}, 2]}), json!({"q": 0})] {
            assert!(!contains(&found, &desired), "{desired}");
        }
    }
}
