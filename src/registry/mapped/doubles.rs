//! Records of ours that have the same id in one list.
//!
//! | such records have | they are |
//! | --- | --- |
//! | the same `remote`, or none | one record that is listed twice, so that the list contradicts itself |
//! | different `remote`s | two records: one counts, and the other is surplus |
//!
//! A record counts if it is not gone and the table knows its `remote`. Without such a record, the first one counts. A
//! surplus record is reported and not deleted: a list is read beside the writes and goes on when the term ends, so that
//! a deletion could arrive after another process leads, whose table may know just this record.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::{mapping::items::RegistryItem, model::uid::Uid};

/// The records of a list whose ids may come again.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    /// Records that count unless the list shows a better one, with their ids.
    waiting: BTreeMap<Uid, (String, RegistryItem)>,
    surplus: BTreeMap<Uid, Json>,
}

/// What becomes of a listed record.
#[derive(Debug, PartialEq)]
pub(super) enum DoublePlace {
    Counts,
    /// It is not the record that counts, or not yet.
    Aside,
    /// It was listed before.
    Repeated,
}

impl Doubles {
    /// Decides about a record. `known` is the `remote` of the table. `is_counted` says whether one with this id counts.
    pub(super) fn place(
        &mut self,
        key: &Uid,
        id: &str,
        item: &RegistryItem,
        known: Option<&Json>,
        is_counted: bool,
    ) -> DoublePlace {
        let Some(remote) = &item.remote else {
            return if is_counted || self.waiting.contains_key(key) {
                DoublePlace::Repeated
            } else {
                DoublePlace::Counts
            };
        };
        if is_counted {
            if known.is_none_or(|known| known == remote) {
                return DoublePlace::Repeated;
            }
            self.add_surplus(key, item);
            return DoublePlace::Aside;
        }
        match self.waiting.remove(key) {
            Some((_, other)) if other.remote.as_ref() == Some(remote) => return DoublePlace::Repeated,
            Some((other_id, other)) if rank(&other, known) >= rank(item, known) => {
                self.add_surplus(key, item);
                self.waiting.insert(key.clone(), (other_id, other));
                return DoublePlace::Aside;
            }
            Some((_, other)) => self.add_surplus(key, &other),
            None => {}
        }
        if rank(item, known) == (true, true) {
            return DoublePlace::Counts;
        }
        self.waiting.insert(key.clone(), (id.to_owned(), item.clone()));
        DoublePlace::Aside
    }

    /// The list is complete. Returns the records that count because it showed no better ones.
    pub(super) fn take_waiting(&mut self) -> BTreeMap<Uid, (String, RegistryItem)> {
        std::mem::take(&mut self.waiting)
    }

    /// The `remote`s of surplus records by the key of the record that counts.
    pub(super) fn into_surplus(self) -> BTreeMap<Uid, Json> {
        self.surplus
    }

    /// A record that is gone is expected beside the one that took its place.
    fn add_surplus(&mut self, key: &Uid, item: &RegistryItem) {
        if let Some(remote) = item.remote.clone().filter(|_| !item.gone) {
            self.surplus.insert(key.clone(), remote);
        }
    }
}

/// Of two records, the one with the higher rank counts.
fn rank(item: &RegistryItem, known: Option<&Json>) -> (bool, bool) {
    (!item.gone, known.is_none() || item.remote.as_ref() == known)
}
