//! Ids that the registry returns in another form, such as UUIDs in upper case.
//!
//! Its list lacks a record under the id that was written, and shows one under an id that no pod has. The absence of
//! that pod would be confirmed, and the deletion would remove the record of a living pod. Such a list contradicts
//! itself. If it shows both ids, there are two records, and nothing is wrong.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::table::{Fact, RecordTable, Row};
use crate::{
    mapping::{items::RegistryItem, values::shorten},
    model::uid::Uid,
};

/// The records of a list that may be ones that this process wrote under another form of their ids.
#[derive(Debug, Default)]
pub(super) struct RenamedRecords {
    /// The records that this process wrote and that nothing has shown, by the common form of their ids. None before the
    /// list shows a record that this process did not write.
    written: Option<HashMap<String, Uid>>,
    waiting: Vec<WaitingRecord>,
}

/// A listed record that may be a written one under another form of its id.
#[derive(Debug)]
struct WaitingRecord {
    /// The key of the written record.
    written: Uid,
    key: Uid,
    id: String,
    item: RegistryItem,
}

impl RenamedRecords {
    /// Takes a listed record. Returns it, unless it waits until the list has shown the other ids.
    pub(super) fn take(
        &mut self,
        table: &RecordTable,
        key: Uid,
        id: String,
        item: RegistryItem,
    ) -> Option<(Uid, String, RegistryItem)> {
        if table.get(&key).is_some_and(|row| row.has(Fact::Written)) {
            return Some((key, id, item));
        }
        let written = self.written.get_or_insert_with(|| {
            unshown(table).map(|(key, row)| (common_form(row.id().unwrap_or(&key.text())), key.clone())).collect()
        });
        // Mostly, there are none.
        let other = if written.is_empty() { None } else { written.get(&common_form(&id)) };
        let Some(other) = other.filter(|other| **other != key) else { return Some((key, id, item)) };
        self.waiting.push(WaitingRecord { written: other.clone(), key, id, item });
        None
    }

    /// The list has shown these keys, and no others. Returns the records that waited.
    ///
    /// # Errors
    /// The list lacks a record, and shows another form of its id.
    pub(super) fn end(self, shown: &HashSet<Uid>) -> Result<Vec<(Uid, String, RegistryItem)>, String> {
        let ended = |WaitingRecord { written, key, id, item }| {
            if shown.contains(&written) { Ok((key, id, item)) } else { Err(problem(&id, &written)) }
        };
        self.waiting.into_iter().map(ended).collect()
    }
}

/// Says that a record is not deleted because it may be one that this process wrote under another form of this id.
pub(super) fn is_renamed(table: &RecordTable, id: &str) -> Option<String> {
    let common = common_form(id);
    let same = |(key, row): &(&Uid, &Row)| {
        let text = key.text();
        let other = row.id().unwrap_or(&text);
        other != id && common_form(other) == common
    };
    unshown(table).find(same).map(|(key, _)| problem(id, key))
}

fn unshown(table: &RecordTable) -> impl Iterator<Item = (&Uid, &Row)> {
    table.iter().filter(|(_, row)| row.has(Fact::Written) && row.has(Fact::Exists) && !row.has(Fact::Shown))
}

/// The same for all forms of an id.
fn common_form(id: &str) -> String {
    Uuid::try_parse(id).map_or_else(|_| id.to_lowercase(), |uuid| uuid.hyphenated().to_string())
}

fn problem(id: &str, written: &Uid) -> String {
    let (id, written) = (shorten(id, 100), written.to_string());
    format!(
        "the registry shows the id {id:?} and not {written:?}, which this process wrote; make `item.id` read ids as \
         they are written, for example with `| lower`"
    )
}
