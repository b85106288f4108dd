//! Rules for several kinds of records.

use super::{records, requests};
use crate::mapping::{
    members::instead,
    place::{Error, Place},
    spec::{KindSpec, RecordSpec, RecordsSpec},
};

pub(super) fn check(all: &RecordsSpec, errors: &mut Vec<Error>) {
    let RecordsSpec { kinds, only, .. } = all;
    requests::words(kinds, errors);
    for (name, place) in members_of_one(only) {
        let what = format!("the target has `kinds` and `{name}`");
        errors.push(place.error(what, format!("move `{name}` into a kind")));
    }
    for (key, kind) in kinds.iter() {
        let owner = format!("the kind `{}`", key.text);
        records::record(&kind.record, &owner, kind.cascade.0, errors);
        belongs(all, kind, errors);
    }
    // The other rules follow a kind to the one that it belongs to.
    let before = errors.len();
    circles(all, errors);
    if errors.len() == before {
        kinds.iter().for_each(|(key, kind)| has_ids(all, &key.text, kind, errors));
    }
    lists(all, errors);
}

/// The members that a target with `kinds` has only in its kinds.
fn members_of_one(only: &RecordSpec) -> impl Iterator<Item = (&'static str, &Place)> {
    let RecordSpec { id, body, put, create, update, delete, list, find, item, adopt, batch, .. } = only;
    let writes = [("put", put), ("create", create), ("update", update)];
    let writes = writes.into_iter().filter_map(|(name, write)| Some((name, &write.as_ref()?.place)));
    let others = [
        ("id", id.as_ref().map(|id| &id.place)),
        ("body", body.as_ref().map(|body| &body.0.place)),
        ("delete", delete.as_ref().map(|delete| &delete.place)),
        ("list", list.as_ref().map(|list| &list.place)),
        ("find", find.as_ref().map(|find| &find.place)),
        ("item", item.as_ref().map(|item| &item.place)),
        ("adopt", adopt.as_ref().map(|adopt| &adopt.place)),
        ("batch", batch.first().map(|batch| &batch.place)),
    ];
    writes.chain(others.into_iter().filter_map(|(name, place)| Some((name, place?))))
}

fn parent<'s>(all: &'s RecordsSpec, kind: &KindSpec) -> Option<&'s (crate::mapping::tree::Key, KindSpec)> {
    let of = kind.of.as_ref()?;
    all.kinds.iter().find(|(key, _)| key.text == of.text)
}

fn belongs(all: &RecordsSpec, kind: &KindSpec, errors: &mut Vec<Error>) {
    match &kind.of {
        Some(of) if parent(all, kind).is_none() => {
            let names: Vec<&str> = all.kinds.iter().map(|(key, _)| key.text.as_str()).collect();
            errors.push(of.place.error(format!("there is no kind `{}`", of.text), instead(&of.text, &names)));
        }
        None if kind.cascade.0 => {
            errors.push(kind.place.error("`cascade` needs `of`", "add `of: KIND`, or remove `cascade`"));
        }
        _ => {}
    }
}

fn circles(all: &RecordsSpec, errors: &mut Vec<Error>) {
    for (key, kind) in all.kinds.iter() {
        let mut above = kind;
        // A path that is longer than the number of kinds has a circle.
        for _ in 0..all.kinds.len() {
            let Some((name, next)) = parent(all, above) else { break };
            if name.text == key.text {
                let place = kind.of.as_ref().map_or(&kind.place, |of| &of.place);
                errors.push(place.error(format!("the kind `{}` belongs to itself", key.text), "remove the circle"));
                break;
            }
            above = next;
        }
    }
}

/// Elements of a list with one id would be one record.
fn has_ids(all: &RecordsSpec, name: &str, kind: &KindSpec, errors: &mut Vec<Error>) {
    if kind.record.id.is_some() {
        return;
    }
    let mut above = Some(kind);
    while let Some(of_chain) = above {
        if of_chain.each.is_some() {
            let what = format!("the kind `{name}` has several records per pod and no `id`");
            errors.push(kind.place.error(what, "add an `id` that uses `each`"));
            return;
        }
        above = parent(all, of_chain).map(|(_, next)| next);
    }
}

/// A list without some of the records would show that they are absent.
fn lists(all: &RecordsSpec, errors: &mut Vec<Error>) {
    let Some((listed, _)) = all.kinds.iter().find(|(_, kind)| kind.record.list.is_some()) else { return };
    for (key, kind) in all.kinds.iter().filter(|(_, kind)| kind.record.list.is_none()) {
        let what = format!("the kind `{}` has a `list`, and the kind `{}` has none", listed.text, key.text);
        errors.push(kind.place.error(what, "add `list` to each kind, or to none"));
    }
}
