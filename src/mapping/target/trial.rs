//! Tries every template of a target when a file is loaded, on pods that run, were just created, and finished.
//!
//! Templates whose words are unknown now cannot be judged: those that use an answer, what a registry assigned, or the
//! value of a label.

use minijinja::Value;
use serde_json::Value as Json;

use super::{RenderedRecord, Target, TermWords, one_record};
use crate::{
    mapping::{
        kind::{Kind, with_each},
        notices::NoticeWords,
        place, record_words, samples,
        scope::Scope,
        template::RenderError,
        values,
        words::{Word, WordSet},
        writes::{ChangeKind, ChangeWords, Held, RemovalWords, Writes},
    },
    model::{ids::RecordOwner, record::Record},
};

/// The errors of all templates, one per template.
pub(super) fn try_samples(target: &Target, owner: &RecordOwner) -> Vec<place::Error> {
    let term = target.sample_term();
    let mut trial = Trial { errors: Vec::new(), term: &term };
    let records = samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner);
    for (record, name) in records.iter().zip(samples::NAMES) {
        trial.record(target, record, name);
    }
    trial.others(target);
    if trial.errors.is_empty() {
        trial.errors = one_record::check(target, &term);
    }
    trial.errors
}

struct Trial<'t> {
    errors: Vec<place::Error>,
    term: &'t TermWords,
}

/// A record of a sample pod, for those that belong to it.
#[derive(Clone)]
struct TriedRecord {
    kind: usize,
    each: Option<Value>,
    /// The word `of` of the records that belong to it.
    with_own: Vec<(String, Value)>,
}

impl Trial<'_> {
    fn note(&mut self, error: &RenderError, unknown: WordSet, sample: &str) {
        let is_known = !error.uses.words.overlaps(unknown) && !error.uses.keys;
        if !is_known || self.errors.iter().any(|known| known.place == error.place) {
            return;
        }
        let (what, fix) = match &error.cause {
            values::Error::Undefined => (
                "the value is undefined".to_owned(),
                "give a fallback with `| default(…)`, or leave the member out with `| default(omit)`".to_owned(),
            ),
            values::Error::NoOwner(owner, member) => (
                format!("`{owner}` is undefined"),
                format!("write `{{{{ {member} if {owner} is defined else omit }}}}`"),
            ),
            cause => (cause.to_string(), "correct the template".to_owned()),
        };
        let what = if sample.is_empty() { what } else { format!("for {sample}, {what}") };
        self.errors.push(error.place.error(what, fix));
    }

    fn record(&mut self, target: &Target, record: &Record, sample: &str) {
        let scope = self.term.0.with(record_words::values(record, target.needed));
        match target.select.when.as_ref().map(|when| when.is_true(&scope)) {
            Some(Ok(false)) => return,
            Some(Err(error)) => self.note(&error, WordSet::UNKNOWN, sample),
            None | Some(Ok(true)) => {}
        }
        let mut tried: Vec<TriedRecord> = Vec::new();
        for kind in &target.kinds {
            let parents = tried.iter().filter(|above| Some(above.kind) == kind.parent).cloned().map(Some);
            let parents: Vec<Option<TriedRecord>> = if kind.parent.is_none() { vec![None] } else { parents.collect() };
            for parent in parents {
                tried.extend(self.kind(kind, parent.as_ref(), &scope, &record.pod.uid, sample));
            }
        }
        // Two of its records may have one id.
        _ = target.placed(&scope, &record.pod.uid).map_err(|error| self.note(&error, WordSet::UNKNOWN, sample));
    }

    /// The records of a kind that belong to `parent`.
    fn kind(
        &mut self,
        kind: &Kind,
        parent: Option<&TriedRecord>,
        scope: &Scope,
        pod: &str,
        sample: &str,
    ) -> Vec<TriedRecord> {
        let inherited = parent.and_then(|parent| parent.each.as_ref());
        let elements = kind.elements(scope, inherited).unwrap_or_else(|error| {
            self.note(&error, WordSet::UNKNOWN, sample);
            Vec::new()
        });
        let record = |each| self.element(kind, parent, each, scope, pod, sample);
        elements.into_iter().filter_map(record).collect()
    }

    fn element(
        &mut self,
        kind: &Kind,
        parent: Option<&TriedRecord>,
        each: Option<Value>,
        scope: &Scope,
        pod: &str,
        sample: &str,
    ) -> Option<TriedRecord> {
        let scope = with_each(scope, each.as_ref());
        match kind.exists(&scope) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => self.note(&error, WordSet::UNKNOWN, sample),
        }
        let identified = kind.identify(pod, &scope);
        match &identified {
            Ok((id, _)) if !kind.id_is_uid() => self.by_id(kind, id),
            Ok(_) => {}
            Err(error) => self.note(error, WordSet::UNKNOWN, sample),
        }
        let (id, key) = identified.unwrap_or_else(|_| (pod.to_owned(), kind.key(pod)));
        let above = parent.map_or_else(Vec::new, |parent| parent.with_own.clone());
        let of = Value::from_pairs(above.iter().map(|(name, words)| (name.as_str(), words.clone())));
        let scope = scope.with(vec![(Word::Id, id.as_str().into()), (Word::Of, of)]);
        self.body(kind, &scope, sample);
        if let Ok(rendered) = kind.body(scope, id.clone(), key) {
            self.writes(kind, &rendered, sample);
        }
        let remote = kind.sample_remote().as_ref().map(values::of_json).unwrap_or_default();
        let own = Value::from_pairs([("id", Value::from(id)), ("remote", remote)]);
        let with_own = above.into_iter().chain([(kind.name().unwrap_or_default().to_owned(), own)]).collect();
        Some(TriedRecord { kind: kind.index(), each, with_own })
    }

    fn writes(&mut self, kind: &Kind, record: &RenderedRecord, sample: &str) {
        // A record that is written for the first time has neither.
        let is_missing = WordSet::of(&[Word::Remote, Word::Seen]);
        let unknown = WordSet::UNKNOWN.without(is_missing);
        let first = kind.write_scope(record, &Held::default(), &change(ChangeKind::Put));
        let later = kind.write_scope(record, &held(), &change(ChangeKind::Put));
        match &kind.writes {
            Writes::Put(put) => put.request.try_parts(&first, &mut |error| self.note(&error, unknown, sample)),
            Writes::CreateUpdate { create, update } => {
                create.request.try_parts(&first, &mut |error| self.note(&error, unknown, sample));
                update.request.try_parts(&later, &mut |error| self.note(&error, WordSet::UNKNOWN, sample));
            }
            Writes::Batches | Writes::Nothing => {}
        }
        if let Some(adopt) = &kind.adopt {
            let scope = kind.adopt_scope(record);
            adopt.request.try_parts(&scope, &mut |error| self.note(&error, WordSet::UNKNOWN, sample));
        }
        for batch in &kind.batches {
            batch.try_puts(&first, &mut |error| self.note(&error, unknown, sample));
        }
    }

    fn body(&mut self, kind: &Kind, scope: &Scope, sample: &str) {
        let with_digest = scope.with(vec![(Word::Digest, "0".repeat(32).into())]);
        kind.try_body(&with_digest, &mut |error| self.note(&error, WordSet::UNKNOWN, sample));
    }

    /// The requests that do not depend on a pod.
    fn others(&mut self, target: &Target) {
        let term = self.term;
        let mut note = |error: RenderError| self.note(&error, WordSet::UNKNOWN, "");
        for request in target.prepare.iter().flat_map(|step| step.requests()) {
            request.try_parts(&term.0, &mut note);
        }
        for (_, kind, request) in target.notices.all() {
            let words = NoticeWords { id: "change".to_owned(), time: "2026-01-02T03:04:05.000Z".to_owned(), kind };
            request.try_parts(&target.notice_scope(term, &words), &mut note);
        }
        target.kinds.iter().for_each(|kind| self.others_of_kind(kind));
    }

    /// The requests that know a record by its id.
    fn by_id(&mut self, kind: &Kind, id: &str) {
        let term = self.term;
        let removal = RemovalWords { reason: "deleted".to_owned(), observed: true };
        let delete = kind.delete_scope(term, id, &held(), &change(ChangeKind::Delete), &removal);
        let find = kind.find_scope(term, id, &held());
        let mut note = |error: RenderError| self.note(&error, WordSet::UNKNOWN, "");
        let requests = kind.delete.iter().map(|request| (request, &delete));
        let requests = requests.chain(kind.find.iter().map(|one| (&one.request, &find)));
        requests.for_each(|(request, scope): (_, &Scope)| request.try_parts(scope, &mut note));
        for batch in &kind.batches {
            batch.try_deletes(&delete, &mut note);
        }
    }

    fn others_of_kind(&mut self, kind: &Kind) {
        if kind.id_is_uid() {
            self.by_id(kind, "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33");
        }
        let term = self.term;
        let mut note = |error: RenderError| self.note(&error, WordSet::UNKNOWN, "");
        for batch in &kind.batches {
            batch.try_request(&term.0, &mut note);
        }
        if let Ok(Some(mut reader)) = kind.read_list(term).map_err(&mut note) {
            // The first page is known, so that its request can be judged.
            if let Err(crate::mapping::paging::Error::Render(error)) = reader.request() {
                self.note(&error, WordSet::UNKNOWN.without(WordSet::of(&[Word::Page])), "");
            }
        }
    }
}

fn held() -> Held {
    Held { remote: Some(Json::from("1")), seen: Some(Json::from("1")) }
}

fn change(kind: ChangeKind) -> ChangeWords {
    ChangeWords { id: "change".to_owned(), order: 1, time: "2026-01-02T03:04:05.000Z".to_owned(), kind }
}
