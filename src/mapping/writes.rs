//! Requests that write one record, and what a registry says about a record.

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::{
    answer::Answer,
    items::FindRequest,
    outcome::RequestPurpose,
    reading::{Reading, Readings},
    request::{RequestTemplate, Shared},
    scope::Scope,
    spec::{
        reading::PrepareSpec,
        request::WriteSpec,
        values::{Entries, ReadingText, ReadingTree},
    },
    template::Compiler,
    values::{self, LostDigits},
    words::{Position, Word},
};

/// What the registry said about a record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// The id, or a map of ids, that the registry assigned.
    pub remote: Option<Json>,
    /// The record's revision.
    pub seen: Option<Json>,
}

/// The word `change`: one write of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeWords {
    /// The same for each attempt to send the same bytes.
    pub id: String,
    /// Grows over the changes of a term, and over terms.
    pub order: u64,
    /// RFC 3339, in UTC.
    pub time: String,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Put,
    Delete,
}

/// The word `removal`: why a record is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovalWords {
    pub reason: String,
    /// Whether a watch reported the deletion. Otherwise it was inferred from a list.
    pub observed: bool,
}

/// The requests that write one record.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one per target")]
pub enum Writes {
    /// We choose the id.
    Put(WriteTemplate),
    /// The registry assigns the id, or refuses to write a record that does not exist.
    CreateUpdate { create: WriteTemplate, update: WriteTemplate },
    /// Only batches write.
    Batches,
    /// Nothing is written.
    Nothing,
}

/// A request that writes one record.
#[derive(Debug)]
pub struct WriteTemplate {
    pub request: RequestTemplate,
    /// Whether members that the body leaves out are sent as null. `None` if the file does not say it.
    pub(super) clear: Option<bool>,
    remote: Option<Readings>,
    seen: Option<Readings>,
}

/// Something that records refer to. It is found, or created, before the first write of a term.
#[derive(Debug)]
pub struct PrepareStep {
    /// Used as `prepared.NAME`.
    pub name: String,
    pub find: Option<FindRequest>,
    pub create: Option<RequestTemplate>,
    keep: Vec<(String, Reading)>,
}

impl Held {
    pub(super) fn words(&self) -> Vec<(Word, Value)> {
        let word = |json: &Option<Json>| json.as_ref().map(values::of_json).unwrap_or_default();
        vec![(Word::Remote, word(&self.remote)), (Word::Seen, word(&self.seen))]
    }

    /// Why this must not be used, if a number in it has lost digits.
    pub fn rounded(&self) -> Option<String> {
        let read = [("remote", &self.remote), ("seen", &self.seen)];
        read.into_iter().find_map(|(name, value)| rounded(name, value.as_ref()?))
    }
}

/// Why an id or a revision must not be used, if a number in it has lost digits: it would name another record.
pub(super) fn rounded(name: &str, value: &Json) -> Option<String> {
    lost_digits(value).map(|lost| format!("`{name}`: {lost}"))
}

fn lost_digits(value: &Json) -> Option<LostDigits> {
    match value {
        Json::Number(number) => LostDigits::of(number),
        Json::Array(items) => items.iter().find_map(lost_digits),
        Json::Object(members) => members.values().find_map(lost_digits),
        _ => None,
    }
}

impl ChangeWords {
    pub(super) fn value(&self) -> Value {
        Value::from_pairs([
            ("id", Value::from(self.id.as_str())),
            (
                "kind",
                Value::from(match self.kind {
                    ChangeKind::Put => "put",
                    ChangeKind::Delete => "delete",
                }),
            ),
            ("order", Value::from(self.order)),
            ("sequence", Value::from(format!("{:020}", self.order))),
            ("time", Value::from(self.time.as_str())),
        ])
    }
}

impl RemovalWords {
    pub(super) fn value(&self) -> Value {
        Value::from_pairs([("observed", Value::from(self.observed)), ("reason", Value::from(self.reason.as_str()))])
    }
}

impl WriteTemplate {
    pub(super) fn compile(
        spec: &WriteSpec,
        purpose: RequestPurpose,
        shared: &Shared<'_>,
        compiler: &mut Compiler<'_>,
    ) -> Option<Self> {
        let request = RequestTemplate::compile(&spec.request, purpose, false, shared, compiler);
        let mut readings = |tree: &Option<ReadingTree>| match tree {
            None => Some(None),
            Some(tree) => Readings::compile(tree, Position::Answer, compiler).map(Some),
        };
        let (remote, seen) = (readings(&spec.remote), readings(&spec.seen));
        let clear = spec.clear.map(|clear| clear.0);
        Some(Self { request: request?, clear, remote: remote?, seen: seen? })
    }

    /// Whether members that the body leaves out are sent as null.
    pub fn clears(&self) -> bool {
        self.clear == Some(true)
    }

    /// Whether it changes the members of the record's body, and leaves those that the body lacks as they are.
    pub(super) fn merges(&self) -> bool {
        self.clear.is_none() && self.request.patches_with_record()
    }

    pub fn reads_remote(&self) -> bool {
        self.remote.is_some()
    }

    pub fn reads_seen(&self) -> bool {
        self.seen.is_some()
    }

    /// What a successful answer says about the record. A value that cannot be read is missing.
    pub fn held(&self, answer: &Answer, scope: &Scope) -> Held {
        let read = |readings: &Option<Readings>| {
            readings.as_ref()?.read(answer.json(), &|| answer.scope(scope)).ok().flatten()
        };
        Held { remote: read(&self.remote), seen: read(&self.seen) }
    }
}

impl PrepareStep {
    pub(super) fn compile(spec: &PrepareSpec, shared: &Shared<'_>, compiler: &mut Compiler<'_>) -> Option<Self> {
        let find = match &spec.find {
            None => Some(None),
            Some(find) => FindRequest::compile(find, RequestPurpose::PrepareFind, shared, compiler).map(Some),
        };
        let create = match &spec.create {
            None => Some(None),
            Some(create) => {
                RequestTemplate::compile(&create.request, RequestPurpose::PrepareCreate, false, shared, compiler)
                    .map(Some)
            }
        };
        let keep = readings(&spec.keep, compiler);
        Some(Self { name: spec.name.text.clone(), find: find?, create: create?, keep: keep? })
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &RequestTemplate> {
        self.find.iter().map(|find| &find.request).chain(&self.create)
    }

    /// A value of `prepared.NAME` with all words, to try templates with.
    pub(super) fn sample(&self) -> Json {
        Json::Object(self.keep.iter().map(|(name, _)| (name.clone(), Json::from("1"))).collect())
    }

    pub fn keeps(&self) -> bool {
        !self.keep.is_empty()
    }

    /// The value of `prepared.NAME`. `item` is what `find` found, or the answer to `create`: `request` says which.
    ///
    /// # Errors
    /// The name of a value that is missing, and why it is missing.
    pub fn kept(&self, item: &Json, request: &str, answer: &Answer, scope: &Scope) -> Result<Json, String> {
        let scope = answer.scope(scope).with(vec![(Word::Item, values::of_answer(item))]);
        let mut kept = Map::new();
        for (name, reading) in &self.keep {
            match reading.read(Some(item), || scope.clone()) {
                Ok(Some(json)) => {
                    if let Some(cause) = rounded(name, &json) {
                        return Err(format!("the answer to `{request}`: {cause}"));
                    }
                    kept.insert(name.clone(), json.into_owned());
                }
                Ok(None) => {
                    let cause = match answer.not_json() {
                        Some(cause) => format!("the answer is not JSON: {cause}"),
                        None => reading.why_missing(|| scope.clone()),
                    };
                    return Err(format!("the answer to `{request}` has no value for `{}.{name}`: {cause}", self.name));
                }
                Err(error) => return Err(format!("the answer to `{request}`: {error}")),
            }
        }
        Ok(Json::Object(kept))
    }
}

fn readings(spec: &Entries<ReadingText>, compiler: &mut Compiler<'_>) -> Option<Vec<(String, Reading)>> {
    let read = spec.iter().map(|(key, text)| {
        let reading = Reading::compile(text, Position::Item, compiler)?;
        Some((key.text.clone(), reading))
    });
    read.collect::<Vec<_>>().into_iter().collect()
}
