//! Targets of one file, and kinds of one target, that would delete each other's records: both take the records of one
//! list for theirs.

use std::collections::HashMap;

use super::Target;
use crate::mapping::{
    kind::Kind,
    load::LoadedTarget,
    place,
    spec::{KindSpec, RecordSpec, RecordsSpec},
    tree::{Key, Tree},
};

/// Which records of a list a kind takes for its own: those with a mark where it is read, or all.
struct Claim<'t> {
    /// The position of the target.
    target: usize,
    /// None if the target has no `kinds`.
    kind: Option<&'t (Key, KindSpec)>,
    mark: Option<(&'t str, &'t str)>,
}

impl Claim<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        let has_mark = self.mark.is_none() || other.mark.is_none() || self.mark == other.mark;
        has_mark && (self.target != other.target || self.is_other_kind(other))
    }

    /// Whether this kind has other records than that one. Two kinds can be parts of one record: then both have the same
    /// ids, or `gone` says for each which records have it.
    fn is_other_kind(&self, other: &Self) -> bool {
        let Some(((_, kind), (_, before))) = self.kind.zip(other.kind) else { return false };
        gone(kind) == gone(before) && ids(kind) != ids(before)
    }
}

fn gone(kind: &KindSpec) -> Option<&str> {
    Some(&kind.record.item.as_ref()?.gone.as_ref()?.text)
}

/// What decides which records a pod has.
fn ids(kind: &KindSpec) -> [Option<&str>; 3] {
    [&kind.record.id, &kind.each, &kind.when].map(|text| text.as_ref().map(|text| text.text.as_str()))
}

/// One error per target that shares records with one before it, and one per kind that does within its target. Other
/// credentials may show other records.
pub fn check(targets: &[(&LoadedTarget, Target)]) -> Vec<place::Error> {
    let mut lists: HashMap<String, Vec<Claim<'_>>> = HashMap::new();
    let mut errors = Vec::new();
    for (at, (loaded, target)) in targets.iter().enumerate() {
        let mut shared = None;
        for kind in &target.kinds {
            let Some((list, claim)) = claim(at, loaded, target, kind) else { continue };
            let claims = lists.entry(list).or_default();
            match claims.iter().find(|before| before.overlaps(&claim)) {
                Some(Claim { target, kind: Some((before, _)), .. }) if *target == at => {
                    errors.extend(claim.kind.map(|(kind, _)| of_kinds(loaded, before, kind)));
                }
                overlap => shared = shared.or(overlap.map(|before| before.target)),
            }
            claims.push(claim);
        }
        let Some((before, _)) = shared.and_then(|before| targets.get(before)) else { continue };
        errors.push(of_targets(before, loaded));
    }
    errors
}

fn of_targets(before: &LoadedTarget, loaded: &LoadedTarget) -> place::Error {
    let (name, before) = (&loaded.spec.connection.name, &before.spec.connection.name.text);
    let what = format!("`{before}` and `{}` take the same records for theirs, and would delete them", name.text);
    let mark = format!("pod-registrar:{{{{ cluster.id }}}}:{{{{ owner }}}}:{}", name.text);
    name.place.error(what, format!("make them one target, or add `mark: \"{mark}\"`, which `item.mark` has to read"))
}

fn of_kinds(loaded: &LoadedTarget, before: &Key, kind: &Key) -> place::Error {
    let what = format!(
        "the kinds `{}` and `{}` take the same records for theirs, and would delete them",
        before.text, kind.text
    );
    let target = &loaded.spec.connection.name.place;
    // A preset's kind is not in the file.
    let place = if kind.place.source == target.source { &kind.place } else { target };
    place.error(what, "give each a `list` that shows only its own records, or a member of its own for `item.mark`")
}

/// The list of a kind, and what it takes of it. None if it takes only what it wrote itself.
fn claim<'t>(at: usize, loaded: &'t LoadedTarget, target: &'t Target, kind: &Kind) -> Option<(String, Claim<'t>)> {
    let request = kind.read_list(&target.sample_term()).ok()??.request().ok()??;
    let records = &loaded.spec.records;
    let of_kinds = kind_spec(records, kind);
    let spec: &RecordSpec = of_kinds.map_or(&records.only, |(_, kind)| &kind.record);
    let mark = spec.item.as_ref()?.mark.as_ref().map(|mark| (mark.text.as_str(), target.mark()));
    if mark.is_none() && !kind.exclusive {
        return None;
    }
    let auth = loaded.tree.get("auth").map(Tree::to_json);
    let items = spec.list.as_ref().map(|list| &list.items.text);
    let body = request.body.as_deref().map(String::from_utf8_lossy);
    let list = format!("{request:?} {:?} {body:?} {items:?} {auth:?}", request.headers);
    Some((list, Claim { target: at, kind: of_kinds, mark }))
}

fn kind_spec<'t>(records: &'t RecordsSpec, kind: &Kind) -> Option<&'t (Key, KindSpec)> {
    let name = kind.name()?;
    records.kinds.iter().find(|(key, _)| key.text == name)
}
