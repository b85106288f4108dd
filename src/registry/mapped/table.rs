//! The table of the records in the registry: the id and the revision of each, and the last acknowledged content.
//!
//! The ledger of the event loop holds what the registry is believed to hold, and decides what is sent. A row has what
//! the requests for a record need besides: its id, its revision, and the content that the registry acknowledged last.
//!
//! A row takes at most 120 bytes with short ids, because there is one for each record.

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::model::{digest::Fingerprint, uid::Uid, uid_map::UidMap};

/// The rows by record key.
#[derive(Debug, Default)]
pub(super) struct RecordTable {
    rows: UidMap<Row>,
    /// The keys of rows that changed since the memory was written. None without a memory.
    unsaved: Option<HashSet<Uid>>,
}

/// What is known about one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    texts: Texts,
    fingerprint: Fingerprint,
    facts: Facts,
}

/// Facts about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Fact {
    /// The registry acknowledged the record with the row's fingerprint.
    Held = 1,
    /// The record's mark was read in this term.
    Verified = 2,
    /// This process wrote the record.
    Written = 4,
    /// The registry holds a record, to our knowledge.
    Exists = 8,
    /// A list or a lookup showed the record to this process.
    Shown = 16,
    /// A put was begun: the registry may hold the record.
    Tried = 32,
    /// The registry acknowledged the record in the round that lasts.
    InRound = 64,
    /// The last put was begun in the round that lasts.
    SentInRound = 128,
    /// A list or a lookup showed the record equal to the acknowledged one: the registry stores it as it was sent.
    Kept = 256,
    /// A list showed the record to this process under its id.
    Listed = 512,
}

/// The facts that hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts(u16);

impl Facts {
    pub(super) fn has(self, fact: Fact) -> bool {
        self.0 & fact as u16 != 0
    }

    pub(super) fn set(&mut self, fact: Fact, holds: bool) {
        self.0 = if holds { self.0 | fact as u16 } else { self.0 & !(fact as u16) };
    }
}

impl Row {
    pub(super) fn facts(&self) -> Facts {
        self.facts
    }

    pub(super) fn has(&self, fact: Fact) -> bool {
        self.facts.has(fact)
    }

    pub(super) fn set(&mut self, fact: Fact, holds: bool) {
        self.facts.set(fact, holds);
    }

    /// The fingerprint of the record that the registry holds, as far as it is known.
    pub(super) fn held(&self) -> Option<Fingerprint> {
        self.has(Fact::Held).then_some(self.fingerprint)
    }

    /// The registry acknowledged this record.
    pub(super) fn hold(&mut self, fingerprint: Fingerprint) {
        if self.fingerprint != fingerprint {
            self.set(Fact::Kept, false);
        }
        self.fingerprint = fingerprint;
        self.set(Fact::Held, true);
        self.set(Fact::Exists, true);
    }

    /// The record's id. None if it is the key.
    pub(super) fn id(&self) -> Option<&str> {
        self.texts.get(0)
    }

    pub(super) fn set_id(&mut self, key: &Uid, id: &str) {
        if self.texts.get(0) != Some(id) {
            self.texts.set(0, (*key.text() != *id).then_some(id));
        }
    }

    /// The id, or the map of ids, that the registry assigned.
    pub(super) fn remote(&self) -> Option<Json> {
        serde_json::from_str(self.texts.get(1)?).ok()
    }

    /// The same as JSON text.
    pub(super) fn remote_text(&self) -> Option<&str> {
        self.texts.get(1)
    }

    /// Whether the registry has not told what it assigned.
    pub(super) fn is_unnamed(&self) -> bool {
        self.remote_text().is_none()
    }

    pub(super) fn seen_text(&self) -> Option<&str> {
        self.texts.get(2)
    }

    /// The key of the record that it belongs to, if the table is saved.
    pub(super) fn parent(&self) -> Option<Uid> {
        self.texts.get(3).map(Uid::from)
    }

    pub(super) fn set_parent(&mut self, parent: Option<&Uid>) {
        self.texts.set(3, parent.map(Uid::text).as_deref());
    }

    /// Sets all texts: those of `remote` and `seen` are JSON, and the last is the key of the parent.
    pub(super) fn set_texts(&mut self, texts: [Option<&str>; TEXTS]) {
        texts.into_iter().enumerate().for_each(|(index, text)| self.texts.set(index, text));
    }

    pub(super) fn set_remote(&mut self, remote: Option<&Json>) {
        self.texts.set(1, remote.map(Json::to_string).as_deref());
    }

    /// The record's revision, as the registry last reported it.
    pub(super) fn seen(&self) -> Option<Json> {
        serde_json::from_str(self.texts.get(2)?).ok()
    }

    pub(super) fn set_seen(&mut self, seen: Option<&Json>) {
        self.texts.set(2, seen.map(Json::to_string).as_deref());
    }
}

impl RecordTable {
    pub(super) fn get(&self, key: &Uid) -> Option<&Row> {
        self.rows.get(key)
    }

    pub(super) fn change<T>(&mut self, key: &Uid, change: impl FnOnce(&mut Row) -> T) -> T {
        self.note_unsaved(key);
        change(self.rows.get_or_insert_with(key, Row::default))
    }

    pub(super) fn remove(&mut self, key: &Uid) -> Option<Row> {
        self.note_unsaved(key);
        self.rows.remove(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, &Row)> {
        self.rows.iter()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Uid, &mut Row) -> bool) {
        self.rows.retain(keep);
    }

    /// A new term began: other processes may have written since.
    pub(super) fn begin_term(&mut self) {
        self.rows.retain(|_, row| {
            row.set(Fact::Verified, false);
            true
        });
    }
}

/// The rows of a target with a memory.
impl RecordTable {
    pub(super) fn is_saved(&self) -> bool {
        self.unsaved.is_some()
    }

    pub(super) fn note_unsaved(&mut self, key: &Uid) {
        if let Some(unsaved) = &mut self.unsaved
            && !unsaved.contains(key)
        {
            unsaved.insert(key.clone());
        }
    }

    pub(super) fn note_all_unsaved(&mut self) {
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.extend(self.rows.iter().map(|(key, _)| key.clone()));
        }
    }

    /// A round begins: no record was put in it yet.
    pub(super) fn begin_round(&mut self) {
        self.rows.retain(|_, row| {
            row.set(Fact::InRound, false);
            row.set(Fact::SentInRound, false);
            true
        });
    }

    /// The keys that changed since the last call.
    pub(super) fn take_unsaved(&mut self) -> HashSet<Uid> {
        self.unsaved.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Begins with the rows of a memory.
    pub(super) fn recall(&mut self, rows: UidMap<Row>) {
        *self = Self { rows, unsaved: Some(HashSet::new()) };
    }
}

/// The texts of a row.
const TEXTS: usize = 4;

/// Some texts in one allocation: each has two bytes of length before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts(Box<[u8]>);

/// The length of a text that is not there, or too long to be kept.
const NONE: u16 = u16::MAX;

impl Texts {
    fn all(&self) -> [Option<&str>; TEXTS] {
        let (mut rest, mut texts) = (&*self.0, [None; TEXTS]);
        for text in &mut texts {
            let Some((length, after)) = rest.split_first_chunk::<2>() else { return texts };
            let length = u16::from_le_bytes(*length);
            let (bytes, after) = after.split_at(if length == NONE { 0 } else { usize::from(length).min(after.len()) });
            rest = after;
            *text = if length == NONE { None } else { std::str::from_utf8(bytes).ok() };
        }
        texts
    }

    fn get(&self, index: usize) -> Option<&str> {
        self.all()[index]
    }

    fn set(&mut self, index: usize, text: Option<&str>) {
        let mut texts = self.all();
        if texts[index] == text {
            return;
        }
        texts[index] = text;
        let last = texts.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let mut bytes = Vec::new();
        for text in &texts[..last] {
            let text = text.filter(|text| text.len() < usize::from(NONE));
            let length = text.map_or(NONE, |text| u16::try_from(text.len()).unwrap_or(NONE));
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        self.0 = bytes.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::digest::Digest;

    impl RecordTable {
        fn len(&self) -> usize {
            self.rows.len()
        }

        fn memory(&self) -> usize {
            self.rows.memory() + self.rows.iter().map(|(_, row)| row.texts.0.len()).sum::<usize>()
        }
    }

    #[test]
    fn row_keeps_texts_with_their_types() {
        let key = Uid::from("5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33");
        let mut row = Row::default();
        for remote in [Some(json!(7)), Some(json!({"vm": "a", "ip": [1]})), None, Some(json!(""))] {
            for seen in [Some(json!("\"etag\"")), None, Some(json!(12))] {
                for id in ["a/b", "5f3c0a4e-7a53-4b4e-9b0a-0a6c1f0c2d33", "ä"] {
                    row.set_remote(remote.as_ref());
                    row.set_seen(seen.as_ref());
                    row.set_id(&key, id);
                    assert_eq!((row.remote(), row.seen()), (remote.clone(), seen.clone()));
                    assert_eq!(row.id(), (id != &*key.text()).then_some(id));
                }
            }
        }
        row.set_seen(Some(&json!("x".repeat(70_000))));
        assert_eq!(row.seen(), None, "a text that is too long is not kept");
        row.set_parent(Some(&key));
        assert_eq!((row.parent(), row.remote()), (Some(key), Some(json!(""))));
        row.set_parent(None);
        assert_eq!(row.parent(), None);
    }

    #[test]
    fn facts_are_independent() {
        let (mut row, print) = (Row::default(), Digest::of_canonical(b"a").fingerprint());
        row.set(Fact::Written, true);
        assert_eq!(row.held(), None);
        row.hold(print);
        row.set(Fact::Written, false);
        assert!(row.held() == Some(print) && !row.has(Fact::Written) && !row.has(Fact::Verified));
    }

    #[test]
    fn row_takes_at_most_120_bytes() {
        let mut table = RecordTable::default();
        for n in 0..50_000_u128 {
            let key = Uid::from(uuid::Uuid::from_u128(n).to_string());
            table.change(&key, |row| {
                row.set_remote(Some(&json!(n)));
                row.set_seen(Some(&json!(n * 3)));
            });
        }
        // An allocation takes some bytes besides its content.
        let each = table.memory() / table.len() + 16;
        assert!(each <= 120, "{each} bytes");
    }
}
