//! Whether a request that has to name one record is another one for another record.
//!
//! The words of a template do not show it: `{{ id[:0] }}` uses the id, and a filter `id eq ''` may mean all records.

use serde_json::Value as Json;

use super::{Target, TermWords};
use crate::mapping::{
    kind::Kind,
    place,
    request::RequestTemplate,
    scope::Scope,
    writes::{ChangeKind, ChangeWords, Held, RemovalWords},
};

/// Two records that have nothing in common.
const RECORDS: [(&str, &str); 2] =
    [("5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33", "17"), ("0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", "28")];

/// The requests that are the same for two records. One that cannot be rendered for these is not judged.
pub(super) fn check(target: &Target, term: &TermWords) -> Vec<place::Error> {
    target.kinds.iter().flat_map(|kind| of_kind(kind, term)).collect()
}

fn of_kind(kind: &Kind, term: &TermWords) -> Vec<place::Error> {
    let deletions = RECORDS.map(|(id, remote)| {
        let removal = RemovalWords { reason: "deleted".to_owned(), observed: true };
        let time = "2026-01-02T03:04:05.000Z".to_owned();
        let change = ChangeWords { id: "change".to_owned(), order: 1, time, kind: ChangeKind::Delete };
        kind.delete_scope(term, id, &held(remote), &change, &removal)
    });
    let lookups = RECORDS.map(|(id, remote)| kind.find_scope(term, id, &held(remote)));
    let delete = kind.delete.as_ref().filter(|request| is_same(request, &deletions));
    let find = kind.find.as_ref().map(|find| &find.request).filter(|request| is_same(request, &lookups));
    let requests = [("delete", delete), ("find", find)].into_iter();
    let errors = requests.filter_map(|(name, request)| {
        let what = format!("`{name}` is the same request for two records");
        Some(request?.place().error(what, "use `{{ id }}` or `{{ remote }}` so that it names one record"))
    });
    let batches = kind.batches.iter().filter(|batch| batch.deletes());
    let batches = batches.filter_map(|batch| {
        let [one, other] = deletions.each_ref().map(|scope| batch.delete_operations(scope).ok());
        let what = "`delete` of the batch is the same for two records";
        (one? == other?)
            .then(|| batch.place().error(what, "use `{{ id }}` or `{{ remote }}` so that it names one record"))
    });
    errors.chain(batches).collect()
}

fn held(remote: &str) -> Held {
    Held { remote: Some(Json::from(remote)), seen: Some(Json::from("1")) }
}

fn is_same(request: &RequestTemplate, scopes: &[Scope; 2]) -> bool {
    let [one, other] = scopes.each_ref().map(|scope| request.render(scope, None).ok());
    one.is_some_and(|one| {
        other.is_some_and(|other| (one.url, one.headers, one.body) == (other.url, other.headers, other.body))
    })
}
