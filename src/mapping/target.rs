//! A target whose templates are compiled. It renders records and requests, and reads answers.

use std::sync::Arc;

use minijinja::Value;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::facts::WriteFacts;
use super::{
    answer::Answer,
    batch::BatchRequest,
    items::{FindRequest, ItemReading, RegistryItem},
    notices::TargetNotices,
    paging::{ListReader, ListRequest},
    place, record_words,
    request::RequestTemplate,
    scope::Scope,
    selector::LabelSelector,
    spec::TargetSpec,
    template::{Leaf, RenderError, Template},
    values,
    words::{Word, WordSet},
    writes::{ChangeWords, Held, PrepareStep, RemovalWords, Writes},
};
use crate::model::{
    canonical,
    digest::{Digest, Fingerprint},
    ids::RecordOwner,
    record::Record,
    uid::Uid,
};

mod compile;
mod facts;
mod one_record;
mod trial;

/// Bytes of an id. Ids of records whose id is not a pod's UID are kept in memory.
const ID_BYTES: usize = 1_024;

/// A compiled target.
#[derive(Debug)]
pub struct Target {
    name: String,
    /// The words that never change: `cluster owner mark omit`.
    base: Scope,
    mark: String,
    /// Whether no other writer uses the ids and the collection of this target.
    pub exclusive: bool,
    /// Whether a file remembers the records.
    pub remembers: bool,
    select: Selection,
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
    pub prepare: Vec<PrepareStep>,
    pub notices: TargetNotices,
    facts: WriteFacts,
    /// The words of the record that templates use.
    needed: WordSet,
    pages: u32,
}

/// Which pods have a record.
#[derive(Debug, Default)]
struct Selection {
    namespaces: Vec<String>,
    labels: Option<LabelSelector>,
    when: Option<Leaf>,
}

/// The words of a term, for everything that is sent or read in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TermWords(Scope);

impl TermWords {
    /// For judging and reading answers.
    pub fn scope(&self) -> &Scope {
        &self.0
    }
}

/// A record as the registry should hold it.
#[derive(Clone, Debug)]
pub struct RenderedRecord {
    /// The record's key in the ledger.
    pub key: Uid,
    pub id: String,
    /// Null if the target has no `body`.
    pub body: Json,
    /// What tells this record from others: of what `item.body` shows of it, or else its digest.
    pub fingerprint: Fingerprint,
    /// The first half of the digest of `body`, without texts that are `{{ mark }}` or `{{ digest }}` alone. `None` if
    /// nothing uses it.
    pub digest: Option<Fingerprint>,
    scope: Scope,
}

impl Target {
    /// Compiles the templates of a target and tries them on sample pods.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file's members.
    pub fn compile(spec: &TargetSpec, owner: &RecordOwner) -> Result<Self, Vec<place::Error>> {
        let mut target = compile::target(spec, owner)?;
        let errors = trial::try_samples(&target, owner);
        target.facts = facts::of(&target, owner);
        if errors.is_empty() { Ok(target) } else { Err(errors) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same target without its `select`. Its templates were tried only on sample pods that `select` selects, so the
    /// record of another pod may fail to render.
    #[must_use]
    pub fn selecting_all(self) -> Self {
        Self { select: Selection::default(), ..self }
    }

    /// The owner mark, as it is rendered.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Whether records show whose they are.
    pub fn reads_mark(&self) -> bool {
        self.item.as_ref().is_some_and(ItemReading::reads_mark)
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

    /// Whether the id is the pod's UID, so that no two pods share a record.
    pub fn id_is_uid(&self) -> bool {
        self.id.is_none()
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

    /// The words of a term. `prepared` is a map with one member per step of `prepare` that is done.
    pub fn term(&self, number: u64, prepared: &Json) -> TermWords {
        let words = vec![(Word::Term, Value::from(number)), (Word::Prepared, values::of_json(prepared))];
        TermWords(self.base.with(words))
    }

    /// Renders the record of a pod. `None` if `select` excludes the pod.
    ///
    /// # Errors
    /// A template cannot be rendered. The registered record stays as it is.
    pub fn render(&self, record: &Record, term: &TermWords) -> Result<Option<RenderedRecord>, RenderError> {
        if !self.select.may_select(record) {
            return Ok(None);
        }
        let scope = term.0.with(record_words::values(record, self.needed));
        if let Some(when) = &self.select.when
            && !when.is_true(&scope)?
        {
            return Ok(None);
        }
        let (id, key) = self.identify(record, &scope)?;
        let scope = scope.with(vec![(Word::Id, Value::from(id.as_str()))]);
        self.body(scope, id, key).map(Some)
    }

    /// The key that the record of a pod would have if `select` selected the pod. None if it cannot be made.
    pub fn key_of_record(&self, record: &Record, term: &TermWords) -> Option<Uid> {
        let Some(_) = &self.id else { return Some(Uid::from(record.pod.uid.as_str())) };
        let scope = term.0.with(record_words::values(record, self.needed));
        self.identify(record, &scope).ok().map(|(_, key)| key)
    }

    /// Whether the namespaces and labels of `select` select a pod, whatever its condition says.
    pub fn has_in_scope(&self, record: &Record) -> bool {
        self.select.may_select(record)
    }

    fn identify(&self, record: &Record, scope: &Scope) -> Result<(String, Uid), RenderError> {
        let Some(leaf) = &self.id else {
            return Ok((record.pod.uid.clone(), Uid::from(record.pod.uid.as_str())));
        };
        let id = leaf.text(scope)?.unwrap_or_default();
        if id.is_empty() || id.len() > ID_BYTES {
            let what = format!("the id {:?} is empty or longer than {ID_BYTES} bytes", values::shorten(&id, 60));
            return Err(leaf.error(values::Error::Evaluation(what)));
        }
        let key = key_of(&id);
        Ok((id, key))
    }

    fn body(&self, scope: Scope, id: String, key: Uid) -> Result<RenderedRecord, RenderError> {
        let Some(template) = &self.body else {
            let fingerprint = Fingerprint::default();
            let scope = scope.with(vec![(Word::Digest, Value::from(fingerprint.hex()))]);
            return Ok(RenderedRecord { key, id, body: Json::Null, fingerprint, digest: Some(fingerprint), scope });
        };
        if !self.compares_bodies() {
            let (body, digest, scope) = digested(template, &scope)?;
            return Ok(RenderedRecord { key, id, body, fingerprint: digest, digest: Some(digest), scope });
        }
        let (body, digest, scope) = if self.needed.has(Word::Digest) {
            let (body, digest, scope) = digested(template, &scope)?;
            (body, Some(digest), scope)
        } else {
            (template.render(&scope)?.unwrap_or_default(), None, scope)
        };
        let fingerprint = fingerprint(&self.view(&body));
        Ok(RenderedRecord { key, id, body, fingerprint, digest, scope })
    }

    fn compares_bodies(&self) -> bool {
        self.item.as_ref().is_some_and(ItemReading::reads_body)
    }

    /// What is compared of a body, if `item.body` is read.
    pub fn view(&self, body: &Json) -> Json {
        let (Some(template), Some(item)) = (&self.body, &self.item) else { return Json::Null };
        template.view(&item.part_of_body(body))
    }

    /// The key of a record whose id a registry returns.
    pub fn key(&self, id: &str) -> Uid {
        if self.id_is_uid() { Uid::from(id) } else { key_of(id) }
    }

    /// The words of a request that writes the record.
    pub fn write_scope(&self, record: &RenderedRecord, held: &Held, change: &ChangeWords) -> Scope {
        let mut words = held.words();
        words.push((Word::Change, change.value()));
        if self.needed.has(Word::Body) {
            words.push((Word::Body, values::of_json(&record.body)));
        }
        record.scope.with(words)
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
        match (&self.list, &self.item) {
            (Some(list), Some(item)) => list.read(item, &self.mark, &term.0, self.pages).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads a record that `find` returned. `None` if the target has no `item`.
    pub fn read_item(&self, item: &Json, answer: &Answer, term: &TermWords) -> Option<RegistryItem> {
        self.item.as_ref().map(|reading| reading.read(item, answer, &term.0, &self.mark))
    }
}

impl Selection {
    fn may_select(&self, record: &Record) -> bool {
        let namespace = self.namespaces.is_empty() || self.namespaces.contains(&record.pod.namespace);
        let label = |key: &str| record.pod.labels.get(key).map(String::as_str);
        namespace && self.labels.as_ref().is_none_or(|labels| labels.matches(label))
    }
}

/// Renders a body in two steps: with zeros as the digest, and then with the digest of that. Returns also the digest, and
/// the scope that has it.
fn digested(template: &Template, scope: &Scope) -> Result<(Json, Fingerprint, Scope), RenderError> {
    let with = |digest: Fingerprint| scope.with(vec![(Word::Digest, Value::from(digest.hex()))]);
    let mut body = template.render_digested(&with(Fingerprint::default()))?.unwrap_or_default();
    let digest = fingerprint(&body);
    let scope = with(digest);
    template.fill(&mut body, &scope)?;
    Ok((body, digest, scope))
}

/// The first half of the digest of a body. RFC 8785 has a form for every JSON value.
pub fn fingerprint(body: &Json) -> Fingerprint {
    Digest::of_canonical(&canonical::to_vec(body).unwrap_or_default()).fingerprint()
}

/// A UUID made of the first 128 bits of SHA-256 of the id, because the ledger keeps UUIDs in 16 bytes.
fn key_of(id: &str) -> Uid {
    let hash = Sha256::digest(id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uid::from(Uuid::from_bytes(bytes).hyphenated().to_string())
}

#[cfg(test)]
mod tests;
