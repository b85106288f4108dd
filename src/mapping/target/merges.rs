//! Updates by PATCH that leave something in the registry which no comparison would show.
//!
//! | the body may lack a member, and the target | then |
//! | --- | --- |
//! | says `clear: true` | null is sent for it; names that are made of data are those that a lookup shows |
//! | says `clear: false` | the registry clears it |
//! | lists records with all members of the body | the list shows that it is still there |
//! | does none of these | the registry would count as equal: an error |

use super::{Target, TermWords, records::RecordRendering};
use crate::{
    mapping::{
        items::ItemReading,
        kind::Kind,
        place::Error,
        record_words, samples,
        words::WordSet,
        writes::{WriteTemplate, Writes},
    },
    model::ids::RecordOwner,
};

pub(super) fn check(target: &Target, term: &TermWords, owner: &RecordOwner) -> Vec<Error> {
    let of_kind = |kind: &Kind| {
        let (name, update) = match &kind.writes {
            Writes::Put(put) => ("put", put),
            Writes::CreateUpdate { update, .. } => ("update", update),
            Writes::Batches | Writes::Nothing => return None,
        };
        of_update(kind, name, update, makes_names(target, kind, term, owner))
    };
    target.kinds.iter().filter_map(of_kind).chain(target.kinds.iter().filter_map(of_create)).collect()
}

fn of_create(kind: &Kind) -> Option<Error> {
    let Writes::CreateUpdate { create, .. } = &kind.writes else { return None };
    create.clear?;
    let fix = "remove it, or move it to `update`";
    Some(create.request.place().error("`create` has `clear`, and there is nothing to clear", fix))
}

fn of_update(kind: &Kind, name: &str, update: &WriteTemplate, makes_names: bool) -> Option<Error> {
    let shows_body = kind.item().is_some_and(ItemReading::reads_whole_body);
    let place = update.request.place();
    if update.clears() && makes_names && !(shows_body && kind.find.is_some()) {
        let what = format!("`clear` of `{name}` does not know the members of a map whose names are made of data");
        let fix = "add `find` and `item.body`, which show them, or use fixed names, or PUT";
        return Some(place.error(what, fix));
    }
    let is_unseen = update.merges() && (makes_names || kind.omits_members()) && !(shows_body && kind.list().is_some());
    is_unseen.then(|| {
        let what = format!("`{name}` is a PATCH: what `body` leaves out may stay in the registry, and nothing shows it");
        let fix = "add `clear: true` to send null for it, or `clear: false` if your registry clears it; or read it with \
                   `item.body` and `list`";
        place.error(what, fix)
    })
}

/// Whether the body of a kind has a map whose names are made of data, for a sample pod.
fn makes_names(target: &Target, kind: &Kind, term: &TermWords, owner: &RecordOwner) -> bool {
    let assigned = |kind: usize, _: &_| target.kinds.get(kind)?.sample_remote();
    samples::all(&owner.cluster_id, &owner.cluster_name, &owner.owner).iter().any(|record| {
        // Also those that `select` excludes.
        let scope = term.0.with(record_words::values(record, WordSet::RECORD));
        let records = target.records_in(&scope, &record.pod.uid, &assigned).unwrap_or_default();
        records.into_iter().filter(|record| record.kind == kind.index()).any(|record| match record.state {
            RecordRendering::Rendered(rendered) => kind.makes_names(&rendered),
            RecordRendering::Waits | RecordRendering::Failed(_) => false,
        })
    })
}
