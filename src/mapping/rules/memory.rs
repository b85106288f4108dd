//! Rules for memories.

use crate::mapping::{load::LoadedTarget, place::Error, spec::TargetSpec};

pub(super) fn check(target: &TargetSpec, errors: &mut Vec<Error>) {
    if let (Some(memory), Some(_)) = (&target.connection.memory, &target.records.only.list) {
        let fix = "remove `memory`: `list` shows what the registry holds, also what others changed";
        errors.push(memory.place.error("the target has `memory` and `list`", fix));
    }
    if let (Some(memory), false) = (&target.connection.memory, target.records.kinds.is_empty()) {
        let fix = "remove one of the two";
        errors.push(memory.place.error("the target has `kinds` and `memory`", fix));
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
