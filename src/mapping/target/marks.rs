//! Kinds that belong to another one, and whose records would never be found: `item.mark` reads a mark that nothing
//! stores.
//!
//! A record can be a part of one above it, and then has its mark: both are at one address of a list.

use super::{Target, TermWords};
use crate::mapping::{
    kind::Kind,
    place::Error,
    spec::{KindSpec, RecordsSpec},
};

pub(super) fn check(target: &Target, spec: &RecordsSpec, term: &TermWords) -> Vec<Error> {
    let of_kind = |kind: &Kind| {
        let mark = mark(spec, kind)?;
        if kind.parent.is_none() || kind.exclusive || kind.stores_mark || mark.text.contains("{{") {
            return None;
        }
        let of_record = |above: &&Kind| {
            let is_same = || self::mark(spec, above).is_some_and(|other| other.text == mark.text);
            above.stores_mark && is_same() && list(kind, term) == list(above, term)
        };
        if target.above(kind).any(|above| of_record(&above)) {
            return None;
        }
        let what =
            format!("nothing stores the owner mark that `item.mark` reads from records of the kind `{}`", kind.name()?);
        Some(mark.place.error(what, "write `{{ mark }}` into a member of its `body`"))
    };
    target.kinds.iter().filter_map(of_kind).collect()
}

fn mark<'s>(spec: &'s RecordsSpec, kind: &Kind) -> Option<&'s crate::mapping::spec::values::ReadingText> {
    let name = kind.name()?;
    let (_, KindSpec { record, .. }) = spec.kinds.iter().find(|(key, _)| key.text == name)?;
    record.item.as_ref()?.mark.as_ref()
}

/// The address of the list, or else that of lookups, without the query, which may choose other members.
fn list(kind: &Kind, term: &TermWords) -> Option<String> {
    let url = match kind.read_list(term).ok()? {
        Some(mut reader) => reader.request().ok()??.url,
        None => kind.find.as_ref()?.request.render(&kind.find_scope(term, "id", &kind.sample_held()), None).ok()?.url,
    };
    Some(url.split('?').next()?.to_owned())
}
