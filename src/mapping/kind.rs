//! One kind of records of a target: what they look like, and which requests write and read them.
//!
//! A target without `kinds` has one kind, which has no name.

use std::sync::Arc;

use minijinja::{Value, value::ValueKind};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::facts::WriteFacts;
use super::{
    answer::Answer,
    batch::BatchRequest,
    items::{FindRequest, ItemReading, Keep, RegistryItem},
    paging::{ListReader, ListRequest},
    request::RequestTemplate,
    scope::Scope,
    target::{RenderedRecord, TermWords, fingerprint},
    template::{Leaf, RenderError, Template, view::RecordView},
    values,
    words::{Word, WordSet},
    writes::{ChangeKind, ChangeWords, Held, RemovalWords, WriteTemplate, Writes},
};
use crate::model::{digest::Fingerprint, uid::Uid};

pub(super) mod compile;
pub(super) mod facts;

/// Bytes of an id. Ids of records whose id is not a pod's UID are kept in memory.
const ID_BYTES: usize = 1_024;
/// Records of one kind that a pod can have.
const ELEMENTS: usize = 500;

/// One kind of records.
#[derive(Debug)]
pub struct Kind {
    /// `None`: the only kind of a target without `kinds`.
    pub(super) name: Option<String>,
    /// Its position among the kinds of the target.
    pub(super) index: usize,
    pub(super) mark: String,
    /// Whether no other writer uses the ids and the collection of the target.
    pub exclusive: bool,
    /// The kind of the record that this one belongs to.
    pub parent: Option<usize>,
    /// Whether the registry removes the record together with its parent.
    pub cascade: bool,
    each: Option<Leaf>,
    when: Option<Leaf>,
    /// `None`: the pod's UID.
    id: Option<Leaf>,
    body: Option<Arc<Template>>,
    pub writes: Writes,
    pub delete: Option<RequestTemplate>,
    pub find: Option<FindRequest>,
    /// Finds what may be taken over for a pod. `None`: `find` does.
    pub adopt: Option<FindRequest>,
    list: Option<ListRequest>,
    item: Option<ItemReading>,
    pub batches: Vec<BatchRequest>,
    pub(super) facts: WriteFacts,
    /// Whether a write stores the owner mark.
    pub(super) stores_mark: bool,
    /// The words of the record that templates use.
    pub(super) needed: WordSet,
    pages: u32,
}

impl Kind {
    /// The name in the file. `None` if the target has no `kinds`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its position among the kinds of the target.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether records show whose they are.
    pub fn reads_mark(&self) -> bool {
        self.item.as_ref().is_some_and(ItemReading::reads_mark)
    }

    /// Whether records that others made can be found and recognised.
    pub fn can_be_adopted(&self) -> bool {
        (self.adopt.is_some() || self.find.is_some()) && self.reads_mark()
    }

    /// Whether a write may replace the record of another writer, unless that record was read before.
    pub fn replaces_unread(&self) -> bool {
        let puts = matches!(self.writes, Writes::Put(_)) || self.batches.iter().any(BatchRequest::puts);
        puts && !self.exclusive && !self.facts.compares
    }

    /// Whether a record that is not known may be another writer's, so that it is looked up before it is written. That
    /// shows nothing if its mark is not read.
    pub fn may_meet_others(&self) -> bool {
        let creates = matches!(self.writes, Writes::CreateUpdate { .. });
        (self.replaces_unread() && self.reads_mark()) || (creates && !self.exclusive && !self.id_is_uid())
    }

    /// Whether each way to write a record names the order of changes.
    pub fn orders_writes(&self) -> bool {
        self.facts.orders
    }

    /// Whether the id is the pod's UID, so that no other writer has it.
    pub fn id_is_uid(&self) -> bool {
        self.id.is_none()
    }

    /// Whether the key of a record is its id, which is the pod's UID.
    pub fn key_is_id(&self) -> bool {
        self.id.is_none() && self.name.is_none()
    }

    /// Whether records cannot be rendered before the steps of `prepare` are done.
    pub fn needs_prepared(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.uses().words.has(Word::Prepared))
    }

    pub fn list(&self) -> Option<&ListRequest> {
        self.list.as_ref()
    }

    pub fn item(&self) -> Option<&ItemReading> {
        self.item.as_ref()
    }

    /// Whether a record can only be rendered when it is known what the registry assigned to the records above it.
    pub fn refers_to_parent(&self) -> bool {
        self.needed.has(Word::Of)
    }

    /// Whether a second create would make a second record.
    pub fn assigns(&self) -> bool {
        let in_items = self.item.as_ref().is_some_and(ItemReading::reads_remote);
        matches!(&self.writes, Writes::CreateUpdate { create, .. } if in_items || create.reads_remote())
            || self.batches.iter().any(|batch| batch.puts() && batch.assigns())
    }

    /// Whether what the registry assigns to a record is read.
    pub fn reads_remote(&self) -> bool {
        let by_write = match &self.writes {
            Writes::Put(put) => put.reads_remote(),
            Writes::CreateUpdate { create, .. } => create.reads_remote(),
            Writes::Batches | Writes::Nothing => false,
        };
        by_write || self.item.as_ref().is_some_and(ItemReading::reads_remote)
    }

    /// Of the words that the registry tells, those that are unknown after a start: `item` does not read them, and no
    /// write does whose answer is remembered. Without `item`, they are those that no write reads.
    pub(super) fn unread(&self, remembers: bool) -> WordSet {
        let unless = |is_read: bool, word| if is_read { WordSet::NONE } else { WordSet::of(&[word]) };
        let unread = |is_remote, is_seen| unless(is_remote, Word::Remote).and(unless(is_seen, Word::Seen));
        if let Some(item) = self.item.as_ref().filter(|_| !remembers) {
            return unread(item.reads_remote(), item.reads_seen());
        }
        let in_items = self.item.as_ref().is_some_and(ItemReading::reads_seen);
        let by_write = match &self.writes {
            Writes::Put(put) => put.reads_seen(),
            Writes::CreateUpdate { create, update } => create.reads_seen() || update.reads_seen(),
            Writes::Batches | Writes::Nothing => false,
        };
        let is_remote = self.reads_remote() || self.batches.iter().any(BatchRequest::reads_remote);
        unread(is_remote, in_items || by_write || self.batches.iter().any(BatchRequest::reads_seen))
    }

    /// What the registry might assign to a record.
    pub(super) fn sample_remote(&self) -> Option<Json> {
        let made_up = || self.item.as_ref().and_then(ItemReading::sample_remote);
        self.reads_remote().then(|| made_up().unwrap_or_else(|| Json::from("REMOTE")))
    }

    /// What the registry might say about a record.
    pub(super) fn sample_held(&self) -> Held {
        let or_text = |made_up: Option<Json>, text: &str| Some(made_up.unwrap_or_else(|| Json::from(text)));
        let item = self.item.as_ref();
        Held {
            remote: or_text(item.and_then(ItemReading::sample_remote), "REMOTE"),
            seen: or_text(item.and_then(ItemReading::sample_seen), "SEEN"),
        }
    }

    /// The elements of `each`, or the one that is inherited.
    pub(super) fn elements(&self, scope: &Scope, inherited: Option<&Value>) -> Result<Vec<Option<Value>>, RenderError> {
        let Some(each) = &self.each else { return Ok(vec![inherited.cloned()]) };
        let scope = with_each(scope, inherited);
        let list = each.evaluate(&scope)?;
        let wrong = |what: String| each.error(values::Error::Evaluation(what));
        if list.is_undefined() {
            return Err(each.error(values::Error::Undefined));
        }
        if !matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) {
            return Err(wrong(format!("the value is {}, not a list", list.kind())));
        }
        let elements = list.try_iter().map_err(|error| each.error(values::evaluation(error)))?;
        let elements: Vec<Option<Value>> = elements.take(ELEMENTS + 1).map(Some).collect();
        if elements.len() > ELEMENTS {
            return Err(wrong(format!("the list has more than {ELEMENTS} elements")));
        }
        Ok(elements)
    }

    /// Whether the pod has the record.
    pub(super) fn exists(&self, scope: &Scope) -> Result<bool, RenderError> {
        self.when.as_ref().map_or(Ok(true), |when| when.is_true(scope))
    }

    /// The id and the key of the record of a pod.
    pub(super) fn identify(&self, pod: &str, scope: &Scope) -> Result<(String, Uid), RenderError> {
        let Some(leaf) = &self.id else { return Ok((pod.to_owned(), self.key(pod))) };
        let id = leaf.text(scope)?.unwrap_or_default();
        if id.is_empty() || id.len() > ID_BYTES {
            let what = format!("the id {:?} is empty or longer than {ID_BYTES} bytes", values::shorten(&id, 60));
            return Err(leaf.error(values::Error::Evaluation(what)));
        }
        let key = self.key(&id);
        Ok((id, key))
    }

    /// Two records of one pod have the same id.
    pub(super) fn same_id(&self, id: &str) -> Option<RenderError> {
        let what = format!("two records of the pod have the id {:?}", values::shorten(id, 60));
        self.id.as_ref().map(|leaf| leaf.error(values::Error::Evaluation(what)))
    }

    /// The key of a record whose id a registry returns.
    pub fn key(&self, id: &str) -> Uid {
        match &self.name {
            None if self.id.is_none() => Uid::from(id),
            None => key_of([id.as_bytes()]),
            // Two kinds may have the same ids.
            Some(name) => key_of([name.as_bytes(), &[0], id.as_bytes()]),
        }
    }

    pub(super) fn body(&self, scope: Scope, id: String, key: Uid) -> Result<RenderedRecord, RenderError> {
        let kind = self.index;
        let Some(template) = &self.body else {
            let fingerprint = Fingerprint::default();
            let scope = scope.with(vec![(Word::Digest, Value::from(fingerprint.hex()))]);
            let (body, digest) = (Json::Null, Some(fingerprint));
            return Ok(RenderedRecord { kind, key, id, parent: None, body, fingerprint, digest, scope });
        };
        if !self.compares_bodies() {
            let (body, digest, scope) = digested(template, &scope)?;
            let (fingerprint, digest) = (digest, Some(digest));
            return Ok(RenderedRecord { kind, key, id, parent: None, body, fingerprint, digest, scope });
        }
        let (body, digest, scope) = if self.needed.has(Word::Digest) {
            let (body, digest, scope) = digested(template, &scope)?;
            (body, Some(digest), scope)
        } else {
            (template.render(&scope)?.unwrap_or_default(), None, scope)
        };
        let fingerprint = self.with_view(&body, |view| view.fingerprint());
        Ok(RenderedRecord { kind, key, id, parent: None, body, fingerprint, digest, scope })
    }

    /// Renders each part of the body, and reports each error.
    pub(super) fn try_body(&self, scope: &Scope, report: &mut dyn FnMut(RenderError)) {
        self.body.iter().for_each(|body| body.try_parts(scope, report));
    }

    fn compares_bodies(&self) -> bool {
        self.item.as_ref().is_some_and(ItemReading::reads_body)
    }

    /// What is compared of a body, if `item.body` is read.
    pub fn view(&self, body: &Json) -> Json {
        self.with_view(body, |view| view.to_json())
    }

    fn with_view<T>(&self, body: &Json, look: impl FnOnce(RecordView<'_>) -> T) -> T {
        match (&self.body, &self.item) {
            (Some(template), Some(item)) => look(template.view(&item.part_of_body(body))),
            _ => look(RecordView::NONE),
        }
    }

    /// The words of a request that writes the record.
    pub fn write_scope(&self, record: &RenderedRecord, held: &Held, change: &ChangeWords) -> Scope {
        let mut words = held.words();
        words.push((Word::Change, change.value()));
        if self.needed.has(Word::Body) {
            words.push((Word::Body, values::of_body(&record.body)));
        }
        record.scope.with(words)
    }

    /// Why no request can write this record. `held` is what the registry says about it, if it has one.
    ///
    /// # Errors
    /// A template cannot be rendered for this record. One that lacks what a lookup would tell is no error.
    pub fn try_write(&self, record: &RenderedRecord, held: Option<&Held>) -> Result<(), RenderError> {
        let change = ChangeWords {
            id: "change".to_owned(),
            order: 1,
            time: "2026-01-02T03:04:05.000Z".to_owned(),
            kind: ChangeKind::Put,
        };
        let known = held.cloned().unwrap_or_default();
        let scope = self.write_scope(record, &known, &change);
        let is_judged = |error: &RenderError| {
            let lacks = |word, value: &Option<Json>| value.is_none() && error.uses.words.has(word);
            !lacks(Word::Remote, &known.remote) && !lacks(Word::Seen, &known.seen)
        };
        let write = match &self.writes {
            Writes::Put(write) => Some(write),
            Writes::CreateUpdate { create, update } => Some(if held.is_none() { create } else { update }),
            Writes::Batches | Writes::Nothing => None,
        };
        let written = write.map_or(Ok(()), |write| write.request.render(&scope, Some(&record.body)).map(|_| ()));
        written.or_else(|error| if is_judged(&error) { Err(error) } else { Ok(()) })?;
        for batch in self.batches.iter().filter(|batch| batch.puts()) {
            batch
                .put_operations(&scope)
                .map(|_| ())
                .or_else(|error| if is_judged(&error) { Err(error) } else { Ok(()) })?;
        }
        Ok(())
    }

    /// The record with null for each member that its body leaves out. `shown` is what is compared of the record that
    /// the registry holds: only that tells the names which are made of data.
    #[must_use]
    pub fn clearing(&self, record: &RenderedRecord, shown: Option<&Json>) -> RenderedRecord {
        let mut clearing = record.clone();
        if let Some(template) = &self.body {
            template.clear(&mut clearing.body, shown);
        }
        clearing
    }

    /// Whether a member with a fixed name may be missing in a body.
    pub(super) fn omits_members(&self) -> bool {
        self.body.as_ref().is_some_and(|template| template.omits_members())
    }

    /// Whether the body of a record has a map whose names are made of data.
    pub(super) fn makes_names(&self, record: &RenderedRecord) -> bool {
        self.body.as_ref().is_some_and(|template| template.has_made_names(&record.body))
    }

    /// Whether a write clears members whose names only the registry tells.
    pub fn clears_shown_names(&self, write: &WriteTemplate, record: &RenderedRecord) -> bool {
        write.clears() && self.makes_names(record)
    }

    /// The words of a request that deletes a record.
    pub fn delete_scope(
        &self,
        term: &TermWords,
        id: &str,
        held: &Held,
        change: &ChangeWords,
        removal: &RemovalWords,
    ) -> Scope {
        let mut words = held.words();
        words.push((Word::Id, Value::from(id)));
        words.push((Word::Change, change.value()));
        words.push((Word::Removal, removal.value()));
        term.0.with(words)
    }

    /// The words of a request that finds a record.
    pub fn find_scope(&self, term: &TermWords, id: &str, held: &Held) -> Scope {
        let mut words = held.words();
        words.push((Word::Id, Value::from(id)));
        term.0.with(words)
    }

    /// The words of a request that finds the record of others for a pod.
    pub fn adopt_scope(&self, record: &RenderedRecord) -> Scope {
        match self.needed.has(Word::Body) {
            true => record.scope.with(vec![(Word::Body, values::of_json(&record.body))]),
            false => record.scope.clone(),
        }
    }

    /// The owner mark of a record, whose ever it is.
    pub fn read_mark(&self, item: &Json, answer: &Answer, term: &TermWords) -> Option<String> {
        self.item.as_ref().and_then(|reading| reading.mark_of(item, answer, &term.0))
    }

    /// Begins to read all records. `None` if the registry cannot list them.
    ///
    /// # Errors
    /// The first page cannot be rendered.
    pub fn read_list(&self, term: &TermWords) -> Result<Option<ListReader<'_>>, RenderError> {
        let (Some(list), Some(_)) = (&self.list, &self.item) else { return Ok(None) };
        // Otherwise, a record that a list skips is found, or written with the same id.
        let is_strict = self.assigns() && self.find.is_none();
        list.read(&term.0, self.pages, is_strict).map(Some)
    }

    /// Reads a record that `find` returned. `None` if the target has no `item`.
    pub fn read_item(&self, item: &Json, answer: &Answer, term: &TermWords) -> Option<RegistryItem> {
        self.item.as_ref().map(|reading| reading.read(item, answer, &term.0, &self.mark, Keep::Body))
    }

    /// The same with the fingerprint of its body instead of the body.
    pub fn read_to_compare(&self, item: &Json, answer: &Answer, term: &TermWords) -> Option<RegistryItem> {
        self.item.as_ref().map(|reading| reading.read(item, answer, &term.0, &self.mark, Keep::Fingerprint))
    }
}

/// Adds the word `each`.
pub(super) fn with_each(scope: &Scope, each: Option<&Value>) -> Scope {
    each.map_or_else(|| scope.clone(), |each| scope.with(vec![(Word::Each, each.clone())]))
}

/// Renders a body in two steps: with zeros as the digest, and then with the digest of that. Returns also the digest,
/// and the scope that has it.
fn digested(template: &Template, scope: &Scope) -> Result<(Json, Fingerprint, Scope), RenderError> {
    let with = |digest: Fingerprint| scope.with(vec![(Word::Digest, Value::from(digest.hex()))]);
    let mut body = template.render_digested(&with(Fingerprint::default()))?.unwrap_or_default();
    let digest = fingerprint(&body);
    let scope = with(digest);
    template.fill(&mut body, &scope)?;
    Ok((body, digest, scope))
}

/// A UUID made of the first 128 bits of SHA-256 of these parts, because the ledger keeps UUIDs in 16 bytes.
fn key_of<const N: usize>(parts: [&[u8]; N]) -> Uid {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let hash = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uid::from(Uuid::from_bytes(bytes).hyphenated().to_string())
}
