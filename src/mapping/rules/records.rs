//! Rules for the members that describe records.

use std::time::Duration;

use super::{kinds, requests};
use crate::mapping::{
    place::{Error, Place},
    spec::{RecordSpec, RecordsSpec},
};

/// Longer than registries need to show a write, and shorter than the default time between resyncs.
const LONGEST_LAG: Duration = Duration::from_secs(3600);

const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
/// A round writes every record.
const SHORTEST_ROUND: Duration = Duration::from_secs(60);

pub(super) fn check(records: &RecordsSpec, errors: &mut Vec<Error>) {
    mark(records, errors);
    prepare(records, errors);
    notices(records, errors);
    requests::headers(&records.headers, errors);
    requests::words(&records.vars, errors);
    records.requests().for_each(|request| requests::request(request, errors));
    if records.kinds.is_empty() {
        record(&records.only, "the target", false, errors);
    } else {
        kinds::check(records, errors);
    }
}

/// `owner` is what has these members, as errors name it. `goes_along` says whether the registry may be the only one
/// that removes the record.
pub(super) fn record(record: &RecordSpec, owner: &str, goes_along: bool, errors: &mut Vec<Error>) {
    writes(record, owner, goes_along, errors);
    reads(record, errors);
    adopt(record, owner, errors);
    requests::outcome(&record.outcome, errors);
    record.batch.iter().for_each(|batch| requests::batch(batch, errors));
}

fn writes(record: &RecordSpec, owner: &str, goes_along: bool, errors: &mut Vec<Error>) {
    let RecordSpec { place, put, create, update, delete, find, list, batch, .. } = record;
    let batch_puts = batch.iter().any(|batch| !batch.put.is_empty());
    let mut refuse =
        |place: &Place, what: &str, fix: &str| errors.push(place.error(format!("{owner} has {what}"), fix));
    if record.body.is_none() {
        refuse(place, "no `body`", "add it, or name a `preset`");
    }
    match (put, create, update) {
        (Some(_), Some(other), _) | (Some(_), _, Some(other)) => {
            refuse(&other.place, "`put` and `create` or `update`", "use either `put`, or `create` and `update`");
        }
        (None, Some(create), None) => refuse(&create.place, "`create` and no `update`", "add `update`"),
        (None, None, Some(update)) => refuse(&update.place, "`update` and no `create`", "add `create`"),
        (None, None, None) if !batch_puts => {
            refuse(place, "no `put`", "add `put`, or `create` and `update`, or a `batch` with `put`");
        }
        _ => {}
    }
    if delete.is_none() && !goes_along && batch.iter().all(|batch| batch.delete.is_empty()) {
        refuse(place, "no `delete`", "add `delete`, or a `batch` with `delete`");
    }
    if let Some(create) = create.as_ref().filter(|_| find.is_none() && list.is_none()) {
        // After a request without an answer, only reading tells whether the record was created.
        errors.push(create.place.error("`create` needs `find` or `list`", "add one of the two"));
    }
}

fn mark(records: &RecordsSpec, errors: &mut Vec<Error>) {
    if let Some(mark) = records.mark.as_ref().filter(|mark| !mark.text.contains("cluster.id")) {
        // Two clusters with one mark would delete each other's records.
        errors.push(mark.place.error("the mark does not contain `cluster.id`", "write `{{ cluster.id }}` into it"));
    }
}

fn reads(record: &RecordSpec, errors: &mut Vec<Error>) {
    let reader = record.list.as_ref().map(|list| &list.place).or(record.find.as_ref().map(|find| &find.place));
    match (&record.item, reader) {
        (None, Some(place)) => errors.push(place.error("nothing says how to read a record", "add `item`")),
        (Some(item), None) => errors.push(item.place.error("`item` needs `list` or `find`", "add one of the two")),
        _ => {}
    }
    if let Some(item) = &record.item
        && let (Some(_), Some(body)) = (&item.digest, &item.body)
    {
        errors.push(body.0.place.error("`item` has `digest` and `body`", "use one of the two"));
    }
    if let Some(list) = &record.list {
        list.next.iter().for_each(|next| requests::next(next, errors));
        if let Some(lag) = list.lag.as_ref().filter(|lag| lag.duration > LONGEST_LAG) {
            errors.push(lag.place.error("the lag is out of bounds", "use at most 1h"));
        }
    }
}

fn adopt(record: &RecordSpec, owner: &str, errors: &mut Vec<Error>) {
    if let (Some(adopt), None) = (&record.adopt, &record.update) {
        // `put` would make a record of its own beside the one that was found.
        let what = format!("`adopt` finds records under ids of others, and {owner} has no `update`");
        errors.push(adopt.place.error(what, "remove `adopt`, or use `create` and `update` with `remote`"));
    }
}

fn notices(records: &RecordsSpec, errors: &mut Vec<Error>) {
    if let Some(every) = records.keepalive.as_ref().map(|keepalive| &keepalive.every)
        && every.duration < SHORTEST_KEEPALIVE
    {
        errors.push(every.place.error("the interval is out of bounds", "use 1s to 24h"));
    }
    let Some(round) = &records.round else { return };
    if round.every.duration < SHORTEST_ROUND {
        errors.push(round.every.place.error("the interval is out of bounds", "use 1m to 24h"));
    }
    if records.each_kind().any(|record| record.list.is_some() || record.find.is_some()) {
        let fix = "remove `round`: what differs is found and written again without it";
        errors.push(round.place.error("the target has `round`, and `list` or `find`", fix));
    }
}

fn prepare(records: &RecordsSpec, errors: &mut Vec<Error>) {
    for (at, prepare) in records.prepare.iter().enumerate() {
        if records.prepare[..at].iter().any(|before| before.name.text == prepare.name.text) {
            let what = format!("`{}` is prepared twice", prepare.name.text);
            errors.push(prepare.name.place.error(what, "rename one of the two"));
        }
        if prepare.find.is_none() && prepare.create.is_none() {
            errors.push(prepare.place.error("nothing is prepared", "add `find` or `create`"));
        }
        requests::words(&prepare.keep, errors);
    }
}
