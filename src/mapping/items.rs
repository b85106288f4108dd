//! Records as a registry returns them.

use std::{borrow::Cow, cell::OnceCell, sync::Arc};

use serde_json::Value as Json;

use super::{
    answer::Answer,
    members::instead,
    outcome::RequestPurpose,
    reading::{Reading, Readings, into_text},
    request::{RequestTemplate, Shared},
    scope::Scope,
    spec::reading::{FindSpec, ItemSpec},
    target::fingerprint,
    template::{Compiler, RenderError, Template, view::RecordView},
    tree::{Node, Tree},
    values,
    words::{Position, Word},
    writes::rounded,
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
    /// Why the record must not be used, if a number in its id, `remote` or `seen` has lost digits.
    pub rounded: Option<String>,
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
    /// What is compared of the record, or nothing if it is missing.
    Body(Json),
    /// The fingerprint of that.
    BodyFingerprint(Fingerprint),
    /// Only that the record exists.
    Presence,
}

/// What is kept of the body of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// What is compared, for people.
    Body,
    /// Only what the client needs to compare it. A list would otherwise take a copy of each body.
    Fingerprint,
}

/// How one record is read.
#[derive(Debug)]
pub struct ItemReading {
    id: Reading,
    remote: Option<Readings>,
    seen: Option<Readings>,
    mark: Option<Reading>,
    digest: Option<Reading>,
    body: Option<BodyReading>,
    gone: Option<Reading>,
}

/// How the body of a record is read.
#[derive(Debug)]
struct BodyReading {
    readings: Readings,
    /// Whether all members of `ours` are read.
    is_whole: bool,
    /// The body of our records: only its members are compared.
    ours: Arc<Template>,
}

/// The request that reads one record.
#[derive(Debug)]
pub struct FindRequest {
    pub request: RequestTemplate,
    at: Reading,
}

impl ItemContent {
    /// What is compared with the fingerprint of the desired record. `None` if only the existence of the record is read.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Digest(digest) => Some(digest.unwrap_or_default()),
            Self::Body(view) => Some(fingerprint(view)),
            Self::BodyFingerprint(fingerprint) => Some(*fingerprint),
            Self::Presence => None,
        }
    }
}

impl ItemReading {
    /// `ours` is the body of our records.
    pub(super) fn compile(spec: &ItemSpec, ours: Option<&Arc<Template>>, compiler: &mut Compiler<'_>) -> Option<Self> {
        let mut reading = |text: &Option<_>| match text {
            None => Some(None),
            Some(text) => Reading::compile(text, Position::Item, compiler).map(Some),
        };
        let (mark, digest, gone) = (reading(&spec.mark), reading(&spec.digest), reading(&spec.gone));
        let mut readings = |tree: &Option<_>| match tree {
            None => Some(None),
            Some(tree) => Readings::compile(tree, Position::Item, compiler).map(Some),
        };
        let (remote, seen, body) = (readings(&spec.remote), readings(&spec.seen), readings(&spec.body));
        let id = Reading::compile(&spec.id, Position::Item, compiler);
        if let Some(id) = &id {
            id.reads_something("item.id", &spec.id, compiler);
        }
        if let (Some(Some(mark)), Some(text)) = (&mark, &spec.mark) {
            mark.reads_something("item.mark", text, compiler);
        }
        if let (Some(read), Some(ours)) = (&spec.body, ours) {
            reads_members(&read.0, ours, compiler);
        }
        // Without a body, no record can be rendered.
        let body = body?.zip(ours).map(|(readings, ours)| {
            let is_whole = reads_all(&readings, ours);
            BodyReading { readings, is_whole, ours: ours.clone() }
        });
        Some(Self { id: id?, remote: remote?, seen: seen?, mark: mark?, digest: digest?, body, gone: gone? })
    }

    pub fn reads_mark(&self) -> bool {
        self.mark.is_some()
    }

    pub fn reads_remote(&self) -> bool {
        self.remote.is_some()
    }

    pub fn reads_seen(&self) -> bool {
        self.seen.is_some()
    }

    pub fn reads_digest(&self) -> bool {
        self.digest.is_some()
    }

    /// A made-up id, or map of ids, of the kind that the registry assigns.
    pub(super) fn sample_remote(&self) -> Option<Json> {
        self.remote.as_ref().map(|remote| remote.sample("REMOTE"))
    }

    /// A made-up revision.
    pub(super) fn sample_seen(&self) -> Option<Json> {
        self.seen.as_ref().map(|seen| seen.sample("SEEN"))
    }

    /// A revision of the same shape, with one value everywhere.
    pub(super) fn seen_of(&self, value: &Json) -> Option<Json> {
        self.seen.as_ref().map(|seen| seen.filled_with(value))
    }

    /// The part of the body of a record that is read.
    pub(super) fn part_of_body<'j>(&self, body: &'j Json) -> Cow<'j, Json> {
        match &self.body {
            Some(BodyReading { readings, .. }) => readings.part_of(body),
            None => Cow::Borrowed(body),
        }
    }

    pub fn reads_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether an edit of each member of our records is seen.
    pub fn reads_whole_body(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.is_whole)
    }

    /// The mark in a record, if it has one that can be read.
    pub fn mark_of(&self, item: &Json, answer: &Answer, scope: &Scope) -> Option<String> {
        let scope = || answer.scope(scope).with(vec![(Word::Item, values::of_answer(item))]);
        self.mark.as_ref()?.text(Some(item), scope).ok().flatten()
    }

    /// Reads a record of an answer. `scope` holds the words of the term, `mark` is our mark.
    ///
    /// A template that cannot be rendered counts as a missing value. A record whose mark is missing is foreign.
    pub(super) fn read(&self, item: &Json, answer: &Answer, scope: &Scope, mark: &str, keep: Keep) -> RegistryItem {
        // Made once, so that a variable is evaluated once for all readings.
        let made = OnceCell::new();
        let of_item = || answer.scope(scope).with(vec![(Word::Item, values::of_answer(item))]);
        let scope = || made.get_or_init(of_item).clone();
        let root = Some(item);
        let text = |reading: &Reading| reading.text(root, scope).ok().flatten();
        let mut cause = None;
        let mut exact = |name: &str, read: Result<Option<Json>, RenderError>| {
            let why = match &read {
                Ok(found) => found.as_ref().and_then(|found| rounded(name, found)),
                Err(RenderError { cause: values::Error::LostDigits(lost), .. }) => Some(format!("`{name}`: {lost}")),
                Err(_) => None,
            };
            cause = cause.take().or(why);
            read.ok().flatten()
        };
        let id = exact("id", self.id.read(root, scope).map(|id| id.map(Cow::into_owned))).and_then(into_text);
        let remote = self.remote.as_ref().and_then(|remote| exact("remote", remote.read(root, &scope)));
        let seen = self.seen.as_ref().and_then(|seen| exact("seen", seen.read(root, &scope)));
        let digest =
            |reading: &Reading| ItemContent::Digest(text(reading).and_then(|text| Fingerprint::from_hex(&text)));
        let content = match (&self.digest, &self.body) {
            (Some(reading), _) => digest(reading),
            (None, Some(BodyReading { readings, ours, .. })) => {
                let content = |view: RecordView<'_>| match keep {
                    Keep::Body => ItemContent::Body(view.to_json()),
                    Keep::Fingerprint => ItemContent::BodyFingerprint(view.fingerprint()),
                };
                let found = readings.look(root, &scope, |found| content(ours.view(found)));
                found.ok().flatten().unwrap_or_else(|| content(RecordView::NONE))
            }
            (None, None) => ItemContent::Presence,
        };
        let mark = match &self.mark {
            None => ItemMark::NotRead,
            Some(reading) if text(reading).as_deref() == Some(mark) => ItemMark::Ours,
            Some(_) => ItemMark::Foreign,
        };
        RegistryItem {
            id,
            remote,
            seen,
            mark,
            content,
            rounded: cause,
            gone: self.gone.as_ref().is_some_and(|reading| reading.holds(root, scope).unwrap_or_default()),
        }
    }
}

/// Whether all members of our records are read, but for the mark and the digest.
fn reads_all(read: &Readings, ours: &Template) -> bool {
    let (Readings::Map(entries), Some(members)) = (read, ours.members()) else { return true };
    members.iter().filter(|(_, member)| !member.is_identity()).all(|(name, member)| {
        entries.iter().find(|(read, _)| read == name).is_some_and(|(_, entry)| reads_all(entry, member))
    })
}

/// A reading of a member that our records do not have would compare nothing.
fn reads_members(read: &Tree, ours: &Template, compiler: &mut Compiler<'_>) {
    let (Node::Map(entries), Some(members)) = (&read.node, ours.members()) else { return };
    for (key, read) in entries {
        match members.iter().find(|(name, _)| *name == key.text) {
            Some((_, member)) => reads_members(read, member, compiler),
            None => {
                let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                let what = format!("`item.body` reads `{}`, which `body` does not have", key.text);
                compiler.fail(&key.place, what, instead(&key.text, &names));
            }
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
        Ok(self.at.read(answer.json(), || answer.scope(scope))?.map(Cow::into_owned))
    }
}
