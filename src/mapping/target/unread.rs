//! Requests that use what the registry assigned to a record, or its revision, where nothing tells it after a start. A
//! fallback does not help: the record would be written as if it were new, or deleted whatever it holds.

use super::Target;
use crate::mapping::{
    kind::Kind,
    place::{Error, Place},
    words::{Word, WordSet},
    writes::Writes,
};

pub(super) fn check(target: &Target) -> Vec<Error> {
    target.kinds.iter().flat_map(|kind| of_kind(kind, target.remembers)).collect()
}

fn of_kind(kind: &Kind, remembers: bool) -> Vec<Error> {
    let mut requests: Vec<(&str, &Place, WordSet)> = Vec::new();
    match &kind.writes {
        Writes::Put(put) => requests.push(("put", put.request.place(), put.request.uses())),
        Writes::CreateUpdate { update, .. } => {
            requests.push(("update", update.request.place(), update.request.uses()));
        }
        Writes::Batches | Writes::Nothing => {}
    }
    requests.extend(kind.delete.iter().map(|delete| ("delete", delete.place(), delete.uses())));
    for batch in &kind.batches {
        requests.push(("batch", batch.place(), batch.put_uses().and(batch.delete_uses())));
    }
    let unread = kind.unread(remembers);
    let words = [("remote", Word::Remote), ("seen", Word::Seen)];
    let of_word = |(name, word): (&'static str, Word)| {
        let using = requests.iter().find(|(_, _, uses)| unread.has(word) && uses.has(word))?;
        let (request, place, _) = using;
        Some(match kind.item() {
            Some(_) => {
                let what =
                    format!("`{request}` uses `{name}`, which `item` does not read, so it is unknown after a start");
                place.error(what, format!("add `{name}` to `item`"))
            }
            None => place.error(
                format!("`{request}` uses `{name}`, and nothing reads it"),
                format!("add `{name}` to the request that writes the record"),
            ),
        })
    };
    words.into_iter().filter_map(of_word).collect()
}
