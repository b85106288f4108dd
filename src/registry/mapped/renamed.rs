//! Ids that the registry returns in another form: a UUID in upper case, `a-b` instead of `a:b`, an id that it cut.
//!
//! Its list lacks a record under the id that was written, and shows a stranger: a record under an id that no pod has.
//! To delete the stranger would remove the record of a living pod.
//!
//! | the stranger is like a record that the list lacks, and | then |
//! | --- | --- |
//! | this process wrote that record, or looked it up | the list contradicts itself, and counts for nothing |
//! | a pod has that record, and nothing has shown it yet | the list counts, and the deletion of the stranger waits until a list shows that record |
//!
//! If the list shows both, there are two records, and nothing is wrong. What makes two records alike is in `alike`.

use std::collections::{HashMap, HashSet};

use super::{
    alike::{Alike, AlikeIndex},
    records::Records,
    table::{Fact, Row},
};
use crate::{
    mapping::{items::RegistryItem, target::RenderedRecord, values::shorten},
    model::{digest::Fingerprint, uid::Uid},
};

/// What tells strangers from the records of pods.
#[derive(Debug, Default)]
pub(super) struct KnownIds {
    /// The records of pods that neither a write nor the registry has shown to exist.
    awaited: HashMap<Uid, Awaited>,
    /// The strangers of the last lists, with their content.
    strangers: HashMap<Uid, Option<Fingerprint>>,
    /// Strangers that are not deleted, by the record of a pod that they may be.
    doubted: HashMap<Uid, Uid>,
    /// Bytes of the longest id in the last list. A registry that cuts ids shows none that is longer than a cut one.
    longest: usize,
    /// Whether a list showed a record under the id that a pod's record has.
    are_kept: bool,
    /// Of the records that no list has shown. Made for the first deletion of a stranger after a list.
    unlisted: Option<AlikeIndex>,
}

/// A record that a pod has.
#[derive(Debug)]
struct Awaited {
    /// None if it is the key.
    id: Option<Box<str>>,
    content: Fingerprint,
}

/// The strangers of a list that are like other records.
#[derive(Debug, Default)]
pub(super) struct RenamedRecords {
    /// Of the records that exist. None before the list shows a stranger.
    index: Option<AlikeIndex>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    key: Uid,
    id: String,
    item: RegistryItem,
    alike: Vec<(Uid, Alike)>,
}

impl RenamedRecords {
    /// Takes a listed record. Returns it, unless it waits until the list has shown the other ids.
    pub(super) fn take(
        &mut self,
        records: &mut Records,
        key: Uid,
        id: String,
        item: RegistryItem,
    ) -> Option<(Uid, String, RegistryItem)> {
        records.ids.longest = records.ids.longest.max(id.len());
        if !records.is_stranger(&key) {
            return Some((key, id, item));
        }
        let index = self.index.get_or_insert_with(|| index_of(records.rows(|row| row.has(Fact::Exists))));
        let alike = index.alike(&key, &id, item.content.fingerprint(), |_| true);
        if alike.is_empty() {
            return Some((key, id, item));
        }
        self.waiting.push(Waiting { key, id, item, alike });
        None
    }

    /// The list has shown these keys, and no others. Returns the records that waited.
    ///
    /// # Errors
    /// The list lacks a record, and shows another form of its id.
    pub(super) fn end(
        self,
        records: &Records,
        shown: &HashSet<Uid>,
    ) -> Result<Vec<(Uid, String, RegistryItem)>, String> {
        let ended = |waiting: Waiting| {
            let Waiting { key, id, item, alike } = waiting;
            let lacks = |key: &Uid| !shown.contains(key) && records.exists(key);
            match alike.iter().find(|(other, how)| lacks(other) && records.ids.may_be(&id, *how)) {
                Some((other, _)) => Err(records.contradiction(&id, other)),
                None => Ok((key, id, item)),
            }
        };
        self.waiting.into_iter().map(ended).collect()
    }
}

impl KnownIds {
    fn may_be(&self, id: &str, how: Alike) -> bool {
        match how {
            Alike::InForm => true,
            Alike::Cut => id.len() >= self.longest,
            Alike::InContent => !self.are_kept,
        }
    }

    pub(super) fn begin_list(&mut self) {
        self.longest = 0;
    }

    /// No pod has the record any more, or it was deleted.
    pub(super) fn not_desired(&mut self, key: &Uid) {
        self.awaited.remove(key);
    }

    /// The registry acknowledged a put.
    pub(super) fn acknowledged(&mut self, key: &Uid) {
        self.strangers.remove(key);
    }

    pub(super) fn deleted(&mut self, key: &Uid) {
        self.not_desired(key);
        self.strangers.remove(key);
        self.doubted.remove(key);
    }

    /// The record of a pod that a listed record may be, under another form of its id.
    pub(super) fn may_be_that_of(&self, key: &Uid) -> Option<&Uid> {
        self.doubted.get(key)
    }
}

impl Records {
    /// A pod has this record.
    pub(super) fn expect(&mut self, record: &RenderedRecord) {
        let RenderedRecord { key, id, fingerprint, .. } = record;
        self.ids.are_kept |= self.ids.strangers.remove(key).is_some();
        if self.exists(key) {
            return;
        }
        let known = self.ids.awaited.get(key);
        if known.is_none()
            && let Some(index) = &mut self.ids.unlisted
        {
            index.insert(key, id, Some(*fingerprint));
        }
        let id = (*key.text() != **id).then(|| id.as_str().into());
        self.ids.awaited.insert(key.clone(), Awaited { id, content: *fingerprint });
    }

    /// A list shows one of our records.
    pub(super) fn note_listed_id(&mut self, key: &Uid, item: &RegistryItem) {
        if self.is_stranger(key) {
            self.ids.strangers.insert(key.clone(), item.content.fingerprint());
            return;
        }
        let row = self.table.get(key);
        self.ids.are_kept |= row.is_none_or(is_unlisted);
        if row.is_some() {
            self.table.change(key, |row| row.set(Fact::Listed, true));
        }
    }

    /// A list is complete, and showed these keys.
    pub(super) fn complete_ids(&mut self, shown: &HashSet<Uid>) {
        let Self { ids: KnownIds { awaited, strangers, doubted, unlisted, .. }, table, .. } = self;
        awaited.retain(|key, _| !table.get(key).is_some_and(|row| row.has(Fact::Exists)));
        awaited.shrink_to_fit();
        strangers.retain(|key, _| shown.contains(key));
        strangers.shrink_to_fit();
        doubted.retain(|key, _| strangers.contains_key(key));
        *unlisted = None;
    }

    /// Why a listed record is not deleted yet, if it may be that of a pod under another form of the pod's id.
    pub(super) fn may_be_renamed(&mut self, key: &Uid, id: &str) -> Option<String> {
        let content = *self.ids.strangers.get(key)?;
        let index = match self.ids.unlisted.take() {
            Some(index) => index,
            None => {
                let mut index = index_of(self.rows(is_unlisted));
                for (key, Awaited { id, content }) in &self.ids.awaited {
                    index.insert(key, id.as_deref().unwrap_or(&key.text()), Some(*content));
                }
                index
            }
        };
        let is_unlisted =
            |key: &Uid| self.ids.awaited.contains_key(key) || self.table.get(key).is_some_and(is_unlisted);
        let alike = index.alike(key, id, content, is_unlisted);
        let other = alike.into_iter().find(|(_, how)| self.ids.may_be(id, *how));
        self.ids.unlisted = Some(index);
        let Some((other, _)) = other else {
            self.ids.doubted.remove(key);
            return None;
        };
        self.ids.doubted.insert(key.clone(), other.clone());
        if self.exists(&other) {
            return Some(self.contradiction(id, &other));
        }
        let (id, other) = (shorten(id, 100), self.id_of(&other));
        Some(format!(
            "the id {id:?} may be another form of {other:?}, which a pod has; waiting for a list that shows both"
        ))
    }

    /// Whether no pod is known to have a listed record, and this process did not write it.
    fn is_stranger(&self, key: &Uid) -> bool {
        !self.ids.awaited.contains_key(key) && (self.ids.strangers.contains_key(key) || !self.exists(key))
    }

    fn exists(&self, key: &Uid) -> bool {
        self.table.get(key).is_some_and(|row| row.has(Fact::Exists))
    }

    fn rows(&self, is_meant: fn(&Row) -> bool) -> impl Iterator<Item = (&Uid, &Row)> {
        self.table.iter().filter(move |(_, row)| is_meant(row))
    }

    fn id_of(&self, key: &Uid) -> String {
        let row = self.table.get(key).and_then(Row::id);
        let id = row.or_else(|| self.ids.awaited.get(key)?.id.as_deref());
        shorten(id.unwrap_or(&key.text()), 100)
    }

    fn contradiction(&self, id: &str, other: &Uid) -> String {
        let (id, other) = (shorten(id, 100), self.id_of(other));
        format!(
            "the registry shows the id {id:?} and not {other:?}, which this process wrote or looked up; make `item.id` \
             read ids as they are written, for example with `| lower`, or write ids that the registry keeps"
        )
    }
}

/// Whether a write or a lookup showed the record to exist, and no list did.
fn is_unlisted(row: &Row) -> bool {
    row.has(Fact::Exists) && !row.has(Fact::Listed)
}

fn index_of<'a>(rows: impl Iterator<Item = (&'a Uid, &'a Row)>) -> AlikeIndex {
    let mut index = AlikeIndex::default();
    for (key, row) in rows {
        index.insert(key, row.id().unwrap_or(&key.text()), row.held());
    }
    index
}
