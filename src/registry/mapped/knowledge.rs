//! What is known about one record before it is written or deleted.

use serde_json::Value as Json;

use super::table::{Fact, Facts};
use crate::mapping::{
    words::{Word, WordSet},
    writes::Held,
};

/// What is known about a record before it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    /// None if the record's id is its key.
    pub(super) id: Option<String>,
    pub(super) held: Held,
    /// What is compared of the record, if it was looked up for this write.
    pub(super) shown: Option<Json>,
    pub(super) facts: Facts,
    /// A create had no clear answer.
    pub(super) is_uncertain: bool,
}

impl Knowledge {
    pub(super) fn has(&self, fact: Fact) -> bool {
        self.facts.has(fact)
    }

    /// Whether the registry may hold the record because this process, or one before it with the memory, wrote it.
    pub(super) fn may_be_written(&self) -> bool {
        self.has(Fact::Written) || self.has(Fact::Tried)
    }

    /// Whether a request with these words uses one that the registry tells, and that is not known.
    pub(super) fn lacks(&self, words: WordSet) -> bool {
        (words.has(Word::Remote) && self.held.remote.is_none()) || (words.has(Word::Seen) && self.held.seen.is_none())
    }
}
