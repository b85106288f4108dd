//! Rules for memories.

use crate::mapping::{load::LoadedTarget, place::Error, spec::TargetSpec};

pub(super) fn check(target: &TargetSpec, errors: &mut Vec<Error>) {
    let Some(memory) = &target.connection.memory else { return };
    if target.records.each_kind().any(|record| record.list.is_some()) {
        let fix = "remove `memory`: `list` shows what the registry holds, also what others changed";
        errors.push(memory.place.error("the target has `memory` and `list`", fix));
    }
}

/// Only one target can use a file.
pub(super) fn are_unique(targets: &[LoadedTarget], errors: &mut Vec<Error>) {
    let memories: Vec<_> = targets.iter().filter_map(|target| target.spec.connection.memory.as_ref()).collect();
    for (at, memory) in memories.iter().enumerate() {
        if memories[..at].iter().any(|before| before.text == memory.text) {
            let what = format!("two targets have the memory `{}`", memory.text);
            errors.push(memory.place.error(what, "give each target a path of its own"));
        }
    }
}
