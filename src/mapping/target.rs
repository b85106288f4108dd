//! A target whose templates are compiled. It renders the records of pods; its [kinds](Kind) render requests and read
//! answers.

use minijinja::Value;
use serde_json::Value as Json;

use super::{
    fingerprint::{self, Exact},
    kind::{Kind, facts},
    notices::TargetNotices,
    place, record_words,
    scope::Scope,
    selector::LabelSelector,
    spec::TargetSpec,
    template::{Leaf, RenderError},
    values,
    words::{Word, WordSet},
    writes::PrepareStep,
};
use crate::model::{digest::Fingerprint, ids::RecordOwner, record::Record, uid::Uid};

mod compile;
mod marks;
mod merges;
mod one_record;
pub mod records;
pub mod shared_lists;
mod trial;
mod unread;

/// A compiled target.
#[derive(Debug)]
pub struct Target {
    name: String,
    /// The words that never change: `cluster owner mark omit`.
    base: Scope,
    mark: String,
    /// Whether a file remembers the records.
    pub remembers: bool,
    select: Selection,
    pub prepare: Vec<PrepareStep>,
    pub notices: TargetNotices,
    /// Each kind stands behind the one that it belongs to. There is at least one.
    pub kinds: Vec<Kind>,
    /// The words of the record that templates use.
    needed: WordSet,
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
pub struct TermWords(pub(super) Scope);

impl TermWords {
    /// For judging and reading answers.
    pub fn scope(&self) -> &Scope {
        &self.0
    }
}

/// A record as the registry should hold it.
#[derive(Clone, Debug)]
pub struct RenderedRecord {
    /// The position of its kind among those of the target.
    pub kind: usize,
    /// The record's key in the ledger.
    pub key: Uid,
    pub id: String,
    /// The key of the record that it belongs to.
    pub parent: Option<Uid>,
    /// Null if the target has no `body`.
    pub body: Json,
    /// What tells this record from others: of what `item.body` shows of it, or else its digest.
    pub fingerprint: Fingerprint,
    /// The first half of the digest of `body`, without texts that are `{{ mark }}` or `{{ digest }}` alone. `None` if
    /// nothing uses it.
    pub digest: Option<Fingerprint>,
    pub(super) scope: Scope,
}

impl Target {
    /// Compiles the templates of a target and tries them on sample pods.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file's members.
    pub fn compile(spec: &TargetSpec, owner: &RecordOwner) -> Result<Self, Vec<place::Error>> {
        let mut target = compile::target(spec, owner)?;
        let mut errors = trial::try_samples(&target, owner);
        if errors.is_empty() {
            let term = target.sample_term();
            errors.extend(unread::check(&target));
            errors.extend(marks::check(&target, &spec.records, &term));
            errors.extend(merges::check(&target, &term, owner));
        }
        let facts = facts::of(&target, owner);
        target.kinds.iter_mut().zip(facts).for_each(|(kind, facts)| kind.facts = facts);
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

    /// Whether the key of each record is the UID of its pod, so that no two pods share a record and no pod has several.
    pub fn keys_are_uids(&self) -> bool {
        self.kinds.iter().all(Kind::key_is_id)
    }

    /// Whether records cannot be rendered before the steps of `prepare` are done.
    pub fn needs_prepared(&self) -> bool {
        self.kinds.iter().any(Kind::needs_prepared)
    }

    /// Whether the registry can list all records.
    pub fn lists(&self) -> bool {
        self.kinds.iter().all(|kind| kind.list().is_some())
    }

    /// Whether no other writer uses the ids and the collection of the target.
    pub fn is_exclusive(&self) -> bool {
        self.kinds.iter().all(|kind| kind.exclusive)
    }

    /// How many kinds stand above this one.
    pub fn depth(&self, kind: &Kind) -> usize {
        self.above(kind).count()
    }

    /// The kinds that a kind belongs to, the nearest first.
    fn above(&self, kind: &Kind) -> impl Iterator<Item = &Kind> {
        let parent_of = |kind: &Kind| self.kinds.get(kind.parent?);
        std::iter::successors(parent_of(kind), move |kind| parent_of(kind))
    }

    /// Whether the file has `kinds`, so that a pod may have several records.
    pub fn has_kinds(&self) -> bool {
        self.kinds.iter().any(|kind| kind.name().is_some())
    }

    /// Whether records of a kind use what the registry assigns to records of another kind, which they belong to.
    pub fn refers_to(&self, kind: &Kind, above: &Kind) -> bool {
        kind.refers_to_parent() && self.above(kind).any(|parent| parent.index() == above.index())
    }

    /// The words of a term. `prepared` is a map with one member per step of `prepare` that is done.
    pub fn term(&self, number: u64, prepared: &Json) -> TermWords {
        let words = vec![(Word::Term, Value::from(number)), (Word::Prepared, values::of_json(prepared))];
        TermWords(self.base.with(words))
    }

    /// The words of a term in which every step of `prepare` kept made-up values.
    pub fn sample_term(&self) -> TermWords {
        let kept = self.prepare.iter().map(|step| (step.name.clone(), step.sample()));
        self.term(1, &Json::Object(kept.collect()))
    }

    /// Whether the namespaces and labels of `select` select a pod, whatever its condition says.
    pub fn has_in_scope(&self, record: &Record) -> bool {
        self.select.may_select(record)
    }

    /// Whether `select` selects a pod.
    ///
    /// # Errors
    /// Its condition cannot be evaluated.
    pub fn selects(&self, record: &Record, term: &TermWords) -> Result<bool, RenderError> {
        self.selected(record, term).map(|scope| scope.is_some())
    }

    /// The words of a pod that `select` selects.
    fn selected(&self, record: &Record, term: &TermWords) -> Result<Option<Scope>, RenderError> {
        if !self.select.may_select(record) {
            return Ok(None);
        }
        let scope = term.0.with(record_words::values(record, self.needed));
        match &self.select.when {
            Some(when) if !when.is_true(&scope)? => Ok(None),
            _ => Ok(Some(scope)),
        }
    }
}

impl Selection {
    fn may_select(&self, record: &Record) -> bool {
        let namespace = self.namespaces.is_empty() || self.namespaces.contains(&record.pod.namespace);
        let label = |key: &str| record.pod.labels.get(key).map(String::as_str);
        namespace && self.labels.as_ref().is_none_or(|labels| labels.matches(label))
    }
}

/// The fingerprint of a body, or of what is compared of it.
pub fn fingerprint(body: &Json) -> Fingerprint {
    fingerprint::of(&Exact(body))
}

#[cfg(test)]
mod tests;
