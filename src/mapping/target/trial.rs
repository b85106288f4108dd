//! Tries every template of a target when a file is loaded, on pods that run, were just created, and finished.
//!
//! Templates whose words are unknown now cannot be judged: those that use an answer, what a registry assigned, or the
//! value of a label.

use serde_json::{Map, Value as Json};

use super::{RenderedRecord, Target, TermWords, one_record};
use crate::{
    mapping::{
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
    let mut trial = Trial { errors: Vec::new() };
    let kept = target.prepare.iter().map(|step| (step.name.clone(), step.sample()));
    let term = target.term(1, &Json::Object(kept.collect::<Map<_, _>>()));
    let records = samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner);
    for (record, name) in records.iter().zip(samples::NAMES) {
        trial.record(target, record, name, &term);
    }
    trial.others(target, &term);
    if trial.errors.is_empty() {
        trial.errors = one_record::check(target, &term);
    }
    trial.errors
}

struct Trial {
    errors: Vec<place::Error>,
}

impl Trial {
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

    fn record(&mut self, target: &Target, record: &Record, sample: &str, term: &TermWords) {
        let scope = term.0.with(record_words::values(record, target.needed));
        match target.select.when.as_ref().map(|when| when.is_true(&scope)) {
            Some(Ok(false)) => return,
            Some(Err(error)) => self.note(&error, WordSet::UNKNOWN, sample),
            None | Some(Ok(true)) => {}
        }
        let (id, key) = match target.identify(record, &scope) {
            Ok(identity) => identity,
            Err(error) => {
                self.note(&error, WordSet::UNKNOWN, sample);
                (record.pod.uid.clone(), record.pod.uid.as_str().into())
            }
        };
        let scope = scope.with(vec![(Word::Id, id.as_str().into())]);
        if let Some(body) = &target.body {
            let with_digest = scope.with(vec![(Word::Digest, "0".repeat(32).into())]);
            body.try_parts(&with_digest, &mut |error| self.note(&error, WordSet::UNKNOWN, sample));
        }
        if let Ok(rendered) = target.body(scope, id, key) {
            self.writes(target, &rendered, sample);
        }
    }

    fn writes(&mut self, target: &Target, record: &RenderedRecord, sample: &str) {
        // A record that is written for the first time has neither.
        let is_missing = WordSet::of(&[Word::Remote, Word::Seen]);
        let unknown = WordSet::UNKNOWN.without(is_missing);
        let first = target.write_scope(record, &Held::default(), &change(ChangeKind::Put));
        let later = target.write_scope(record, &held(), &change(ChangeKind::Put));
        match &target.writes {
            Writes::Put(put) => put.request.try_parts(&first, &mut |error| self.note(&error, unknown, sample)),
            Writes::CreateUpdate { create, update } => {
                create.request.try_parts(&first, &mut |error| self.note(&error, unknown, sample));
                update.request.try_parts(&later, &mut |error| self.note(&error, WordSet::UNKNOWN, sample));
            }
            Writes::Batches | Writes::Nothing => {}
        }
        if let Some(adopt) = &target.adopt {
            let scope = target.adopt_scope(record);
            adopt.request.try_parts(&scope, &mut |error| self.note(&error, WordSet::UNKNOWN, sample));
        }
        for batch in &target.batches {
            batch.try_puts(&first, &mut |error| self.note(&error, unknown, sample));
        }
    }

    /// The requests that do not depend on a pod.
    fn others(&mut self, target: &Target, term: &TermWords) {
        let removal = RemovalWords { reason: "deleted".to_owned(), observed: true };
        let id = "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33";
        let delete = target.delete_scope(term, id, &held(), &change(ChangeKind::Delete), &removal);
        let find = target.find_scope(term, id, &held());
        let mut note = |error: RenderError| self.note(&error, WordSet::UNKNOWN, "");
        let requests = target.prepare.iter().flat_map(|step| step.requests()).map(|request| (request, &term.0));
        let requests = requests.chain(target.delete.iter().map(|request| (request, &delete)));
        let requests = requests.chain(target.find.iter().map(|one| (&one.request, &find)));
        requests.for_each(|(request, scope): (_, &Scope)| request.try_parts(scope, &mut note));
        for (_, kind, request) in target.notices.all() {
            let words = NoticeWords { id: "change".to_owned(), time: "2026-01-02T03:04:05.000Z".to_owned(), kind };
            request.try_parts(&target.notice_scope(term, &words), &mut note);
        }
        for batch in &target.batches {
            batch.try_deletes(&delete, &mut note);
            batch.try_request(&term.0, &mut note);
        }
        if let Ok(Some(mut reader)) = target.read_list(term).map_err(&mut note) {
            // The first page is known, so that its request can be judged.
            if let Err(crate::mapping::paging::Error::Render(error)) = reader.request() {
                note(error);
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
