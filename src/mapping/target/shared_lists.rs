//! Targets of one file that would delete each other's records: both take the records of one list for theirs.

use std::collections::HashMap;

use super::Target;
use crate::mapping::{
    kind::Kind,
    load::LoadedTarget,
    place,
    spec::{RecordSpec, RecordsSpec},
    tree::Tree,
};

/// Which records of a list a kind takes for its own: those with a mark where it is read, or all.
#[derive(PartialEq)]
struct Claim<'t> {
    /// The position of the target.
    target: usize,
    mark: Option<(&'t str, &'t str)>,
}

impl Claim<'_> {
    fn overlaps(&self, other: &Self) -> bool {
        self.mark.is_none() || other.mark.is_none() || self.mark == other.mark
    }
}

/// One error per target that shares records with one before it. Other credentials may show other records.
pub fn check(targets: &[(&LoadedTarget, Target)]) -> Vec<place::Error> {
    let mut lists: HashMap<String, Vec<Claim<'_>>> = HashMap::new();
    let mut errors = Vec::new();
    for (at, (loaded, target)) in targets.iter().enumerate() {
        let mut shared = None;
        for kind in &target.kinds {
            let Some((list, claim)) = claim(at, loaded, target, kind) else { continue };
            let claims = lists.entry(list).or_default();
            let overlap = claims.iter().find(|before| before.target != at && before.overlaps(&claim));
            shared = shared.or(overlap.map(|before| before.target));
            claims.push(claim);
        }
        let Some((before, _)) = shared.and_then(|before| targets.get(before)) else { continue };
        let (name, before) = (&loaded.spec.connection.name, &before.spec.connection.name.text);
        let what = format!("`{before}` and `{}` take the same records for theirs, and would delete them", name.text);
        let mark = format!("pod-registrar:{{{{ cluster.id }}}}:{{{{ owner }}}}:{}", name.text);
        let fix = format!("make them one target, or add `mark: \"{mark}\"`, which `item.mark` has to read");
        errors.push(name.place.error(what, fix));
    }
    errors
}

/// The list of a kind, and what it takes of it. None if it takes only what it wrote itself.
fn claim<'t>(at: usize, loaded: &'t LoadedTarget, target: &'t Target, kind: &Kind) -> Option<(String, Claim<'t>)> {
    let request = kind.read_list(&target.sample_term()).ok()??.request().ok()??;
    let spec = spec_of(&loaded.spec.records, kind)?;
    let mark = spec.item.as_ref()?.mark.as_ref().map(|mark| (mark.text.as_str(), target.mark()));
    if mark.is_none() && !kind.exclusive {
        return None;
    }
    let auth = loaded.tree.get("auth").map(Tree::to_json);
    let items = spec.list.as_ref().map(|list| &list.items.text);
    let body = request.body.as_deref().map(String::from_utf8_lossy);
    let list = format!("{request:?} {:?} {body:?} {items:?} {auth:?}", request.headers);
    Some((list, Claim { target: at, mark }))
}

fn spec_of<'t>(records: &'t RecordsSpec, kind: &Kind) -> Option<&'t RecordSpec> {
    match kind.name() {
        None => Some(&records.only),
        Some(name) => records.kinds.iter().find(|(key, _)| key.text == name).map(|(_, kind)| &kind.record),
    }
}
