//! The records of one pod: of each kind none, one, or one per element of a list.
//!
//! Kinds are a tree. A record of a kind with `of` belongs to a record of that kind, its parent, and exists only beside
//! it.

use std::collections::HashSet;

use minijinja::Value;
use serde_json::Value as Json;

use super::{RenderedRecord, Target, TermWords};
use crate::{
    mapping::{
        kind::{Kind, with_each},
        record_words,
        scope::Scope,
        template::RenderError,
        values,
        words::Word,
    },
    model::{record::Record, uid::Uid},
};

/// What the registry assigned to a record of the kind at this position, if it is known.
pub type Assigned<'a> = &'a dyn Fn(usize, &Uid) -> Option<Json>;

/// One record of a pod.
#[derive(Debug)]
pub struct PodRecord {
    /// The position of its kind among those of the target.
    pub kind: usize,
    pub key: Uid,
    pub id: String,
    /// The key of the record that it belongs to.
    pub parent: Option<Uid>,
    pub state: RecordRendering,
}

/// Whether a record could be rendered.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all records are rendered")]
pub enum RecordRendering {
    Rendered(RenderedRecord),
    /// It uses what the registry assigns to a record that it belongs to, and that is not known yet.
    Waits,
    Failed(RenderError),
}

/// A record of a pod before it is rendered.
pub(in crate::mapping) struct PlacedRecord<'t> {
    pub(in crate::mapping) kind: &'t Kind,
    pub(in crate::mapping) key: Uid,
    pub(in crate::mapping) id: String,
    /// The position of its parent among the records of the pod.
    parent: Option<usize>,
    each: Option<Value>,
}

impl Target {
    /// The records of a pod, each behind its parent. `None` if `select` excludes the pod.
    ///
    /// # Errors
    /// It is not known which records the pod has. Those that it had stay as they are.
    pub fn records(
        &self,
        record: &Record,
        term: &TermWords,
        assigned: Assigned<'_>,
    ) -> Result<Option<Vec<PodRecord>>, RenderError> {
        let Some(scope) = self.selected(record, term)? else { return Ok(None) };
        self.records_in(&scope, &record.pod.uid, assigned).map(Some)
    }

    /// The keys that the records of a pod would have if `select` selected it. Empty if they cannot be made.
    pub fn keys_of(&self, record: &Record, term: &TermWords) -> Vec<Uid> {
        let scope = || term.0.with(record_words::values(record, self.needed));
        if self.keys_are_uids() {
            return vec![Uid::from(record.pod.uid.as_str())];
        }
        let placed = self.placed(&scope(), &record.pod.uid);
        placed.map_or_else(|_| Vec::new(), |placed| placed.into_iter().map(|placed| placed.key).collect())
    }

    /// The records of a pod with these words, also if `select` excludes it.
    pub(in crate::mapping) fn records_in(
        &self,
        scope: &Scope,
        pod: &str,
        assigned: Assigned<'_>,
    ) -> Result<Vec<PodRecord>, RenderError> {
        let placed = self.placed(scope, pod)?;
        let record = |at: usize| {
            let PlacedRecord { kind, key, id, parent, .. } = &placed[at];
            let parent = parent.map(|parent| placed[parent].key.clone());
            let state = match self.words_of(&placed, at, scope, assigned) {
                None => RecordRendering::Waits,
                Some(scope) => match kind.body(scope, id.clone(), key.clone()) {
                    Ok(rendered) => RecordRendering::Rendered(RenderedRecord { parent: parent.clone(), ..rendered }),
                    Err(error) => RecordRendering::Failed(error),
                },
            };
            PodRecord { kind: kind.index(), key: key.clone(), id: id.clone(), parent, state }
        };
        Ok((0..placed.len()).map(record).collect())
    }

    /// Which records a pod with these words has.
    pub(in crate::mapping) fn placed(&self, scope: &Scope, pod: &str) -> Result<Vec<PlacedRecord<'_>>, RenderError> {
        let mut all: Vec<PlacedRecord<'_>> = Vec::with_capacity(self.kinds.len());
        for kind in &self.kinds {
            for parent in parents(kind, &all) {
                let inherited = parent.and_then(|parent| all[parent].each.clone());
                for each in kind.elements(scope, inherited.as_ref())? {
                    let scope = with_each(scope, each.as_ref());
                    if kind.exists(&scope)? {
                        let (id, key) = kind.identify(pod, &scope)?;
                        all.push(PlacedRecord { kind, key, id, parent, each });
                    }
                }
            }
        }
        differ(&all)?;
        Ok(all)
    }

    /// The words of the body of a record. `None` if one of them is not known yet.
    pub(in crate::mapping) fn words_of(
        &self,
        placed: &[PlacedRecord<'_>],
        at: usize,
        scope: &Scope,
        assigned: Assigned<'_>,
    ) -> Option<Scope> {
        let PlacedRecord { kind, id, each, parent, .. } = &placed[at];
        let mut words = vec![(Word::Id, Value::from(id.as_str()))];
        words.extend(each.iter().map(|each| (Word::Each, each.clone())));
        if kind.refers_to_parent() {
            words.push((Word::Of, above(placed, *parent, assigned)?));
        }
        Some(scope.with(words))
    }
}

/// The places of a kind's records: once without a parent, or beside each record of the kind that it belongs to.
fn parents(kind: &Kind, all: &[PlacedRecord<'_>]) -> Vec<Option<usize>> {
    let Some(of) = kind.parent else { return vec![None] };
    let parents = all.iter().enumerate().filter(|(_, placed)| placed.kind.index() == of);
    parents.map(|(at, _)| Some(at)).collect()
}

/// The word `of`: a parent, its parent, and so on. `None` if the registry has not told what it assigned to one of them.
fn above(placed: &[PlacedRecord<'_>], parent: Option<usize>, assigned: Assigned<'_>) -> Option<Value> {
    let mut members = Vec::new();
    let mut next = parent;
    while let Some(PlacedRecord { kind, key, id, parent, .. }) = next.and_then(|at| placed.get(at)) {
        let mut words = vec![("id", Value::from(id.as_str()))];
        if kind.reads_remote() {
            words.push(("remote", values::of_json(&assigned(kind.index(), key)?)));
        }
        members.push((kind.name().unwrap_or_default(), Value::from_pairs(words)));
        next = *parent;
    }
    Some(Value::from_pairs(members))
}

/// Records with one id would replace each other.
fn differ(all: &[PlacedRecord<'_>]) -> Result<(), RenderError> {
    if all.len() < 2 {
        return Ok(());
    }
    let mut keys = HashSet::with_capacity(all.len());
    let again = all.iter().find(|placed| !keys.insert(&placed.key));
    again.and_then(|placed| placed.kind.same_id(&placed.id)).map_or(Ok(()), Err)
}
