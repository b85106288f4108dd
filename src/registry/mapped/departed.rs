//! The ids of records that were deleted lately, for people who are shown the last changes.

use std::collections::VecDeque;

use super::records::Records;
use crate::model::uid::Uid;

/// More than people are shown.
const KEPT: usize = 100;

/// The last deletions, the oldest first.
#[derive(Debug, Default)]
pub(super) struct DepartedRecords(VecDeque<(Uid, String)>);

impl DepartedRecords {
    pub(super) fn note(&mut self, key: &Uid, id: &str) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((key.clone(), id.to_owned()));
    }

    fn id(&self, key: &Uid) -> Option<&str> {
        self.0.iter().rev().find(|(other, _)| other == key).map(|(_, id)| id.as_str())
    }
}

impl Records {
    /// The id of a record that is held, or was deleted lately.
    pub(super) fn known_id(&self, key: &Uid) -> Option<String> {
        let row = self.table.get(key);
        let held = row.map(|row| row.id().map_or_else(|| key.to_string(), str::to_owned));
        held.or_else(|| self.departed.id(key).map(str::to_owned))
    }
}
