//! What the writes of a kind say, found by rendering them for sample pods.
//!
//! | fact | two renderings differ in | holds if |
//! | --- | --- | --- |
//! | the registry refuses to replace what was not read | whether `seen` is known | the one without it says something else |
//! | writes have an order | `change.order`, `sequence` and `time` | they are not equal |
//!
//! A header that is only left out while `seen` is unknown is no condition: without it, a registry replaces any record.

use serde_json::Value as Json;

use super::Kind;
use crate::{
    mapping::{
        batch::BatchRequest,
        record_words,
        request::RequestTemplate,
        samples,
        scope::Scope,
        target::{RenderedRecord, Target, records::RecordRendering},
        template::RenderError,
        words::WordSet,
        writes::{ChangeKind, ChangeWords, Held, Writes},
    },
    model::ids::RecordOwner,
};

/// Facts about the requests that write. Those that no sample pod shows do not hold.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mapping) struct WriteFacts {
    /// Whether each put names the revision of the record that it replaces, or that there is none.
    pub(in crate::mapping) compares: bool,
    /// Whether each way to write a record names the order of changes.
    pub(in crate::mapping) orders: bool,
}

/// The facts of each kind, in the order of the target.
pub(in crate::mapping) fn of(target: &Target, owner: &RecordOwner) -> Vec<WriteFacts> {
    let (term, assigned) = (target.sample_term(), |kind: usize, _: &_| target.kinds.get(kind)?.sample_remote());
    let mut facts = vec![WriteFacts::default(); target.kinds.len()];
    for record in samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner) {
        // Also those that `select` excludes.
        let scope = term.0.with(record_words::values(&record, WordSet::RECORD));
        for record in target.records_in(&scope, &record.pod.uid, &assigned).unwrap_or_default() {
            let (RecordRendering::Rendered(rendered), kind) = (record.state, &target.kinds[record.kind]) else {
                continue;
            };
            let facts = &mut facts[record.kind];
            facts.compares = facts.compares || compares(kind, &rendered);
            facts.orders = facts.orders || orders(kind, &rendered);
        }
    }
    facts
}

/// Texts and numbers, because templates may calculate with it.
fn revisions(kind: &Kind) -> [Json; 2] {
    [Json::from("1"), Json::from(1)].map(|value| {
        let seen = kind.item.as_ref().and_then(|item| item.seen_of(&value));
        seen.unwrap_or(value)
    })
}

fn compares(kind: &Kind, record: &RenderedRecord) -> bool {
    let puts: Vec<PutTemplate<'_>> = puts(kind).collect();
    let scope = |seen| kind.write_scope(record, &Held { remote: None, seen }, &change(1));
    let says_more = |put: &PutTemplate<'_>| {
        let Ok(unread) = put.render(&scope(None), record) else { return false };
        let read = revisions(kind).map(|seen| put.render(&scope(Some(seen)), record));
        read.into_iter().flatten().any(|read| !is_part(&unread, &read))
    };
    !puts.is_empty() && puts.iter().all(says_more)
}

fn orders(kind: &Kind, record: &RenderedRecord) -> bool {
    let [seen, _] = revisions(kind);
    let held = Held { remote: Some(Json::from("1")), seen: Some(seen) };
    let scope = |order| kind.write_scope(record, &held, &change(order));
    let names_order = |put: &PutTemplate<'_>| {
        let rendered = [1, 2].map(|order| put.render(&scope(order), record));
        matches!(rendered, [Ok(one), Ok(other)] if one != other)
    };
    let mut ways: Vec<Vec<PutTemplate<'_>>> = puts(kind).map(|put| vec![put]).collect();
    if let Writes::CreateUpdate { create, update } = &kind.writes {
        ways.push(vec![PutTemplate::Request(&create.request), PutTemplate::Request(&update.request)]);
    }
    !ways.is_empty() && ways.iter().all(|way| way.iter().any(names_order))
}

/// Something that replaces a record, if there is one.
enum PutTemplate<'a> {
    Request(&'a RequestTemplate),
    Batch(&'a BatchRequest),
}

fn puts(kind: &Kind) -> impl Iterator<Item = PutTemplate<'_>> {
    let single = if let Writes::Put(put) = &kind.writes { Some(PutTemplate::Request(&put.request)) } else { None };
    single.into_iter().chain(kind.batches.iter().filter(|batch| batch.puts()).map(PutTemplate::Batch))
}

impl PutTemplate<'_> {
    /// The parts of the request as JSON.
    fn render(&self, scope: &Scope, record: &RenderedRecord) -> Result<Json, RenderError> {
        let request = match self {
            Self::Batch(batch) => return batch.put_operations(scope).map(Json::Array),
            Self::Request(request) => request.render(scope, Some(&record.body))?,
        };
        let (path, query) = request.url.split_once('?').unwrap_or((&request.url, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(Json::from);
        let body = request.body.as_deref().unwrap_or_default();
        // What is no JSON is a form.
        let pairs = || String::from_utf8_lossy(body).split('&').map(Json::from).collect();
        let body: Json = serde_json::from_slice(body).unwrap_or_else(|_| pairs());
        let headers = request.headers.iter().map(|(name, value)| Json::from(format!("{name}: {value}")));
        Ok(Json::from(vec![path.into(), query.collect(), headers.collect(), body]))
    }
}

/// Whether a value says nothing that another one does not say, too.
fn is_part(part: &Json, whole: &Json) -> bool {
    match (part, whole) {
        (Json::Object(part), Json::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|other| is_part(value, other)))
        }
        (Json::Array(part), Json::Array(whole)) => {
            part.iter().all(|value| whole.iter().any(|other| is_part(value, other)))
        }
        (part, whole) => part == whole,
    }
}

fn change(order: u64) -> ChangeWords {
    let time = format!("2026-01-02T03:04:0{order}.000Z");
    ChangeWords { id: "change".to_owned(), order, time, kind: ChangeKind::Put }
}
