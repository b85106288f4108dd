//! Writes that the registry acknowledges, and whose effect no list shows: a deletion of another address that is
//! answered 404, or a put that is not stored. Each resync finds the same difference and writes again.
//!
//! ```text
//!   acknowledged --the next list is as before--> without effect, once --the same again, and again--> reported
//! ```
//!
//! A put that is stored otherwise than it was sent is `differing`.

use std::collections::HashMap;

use crate::model::{digest::Fingerprint, uid::Uid};

/// Records that are watched. If a path is wrong, a few of them show it.
const RECORDS_MAX: usize = 1_000;
/// Writes of one record without effect, in a row, before they are reported.
const TIMES: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct IneffectiveWrites {
    writes: HashMap<Uid, Write>,
    /// Whether those that are without effect now were reported.
    is_reported: bool,
}

#[derive(Debug)]
struct Write {
    /// None for a deletion.
    fingerprint: Option<Fingerprint>,
    /// How many times in a row it had no effect.
    times: u8,
    /// Whether it was acknowledged since a list showed that it had no effect.
    is_sent: bool,
    /// Whether the list that is read, or was read last, says something about it.
    is_recent: bool,
    id: String,
}

/// Writes without effect, to be reported.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IneffectiveReport {
    pub(super) records: usize,
    /// That of one of the records.
    pub(super) id: String,
    pub(super) is_deletion: bool,
}

impl IneffectiveWrites {
    /// The registry acknowledged a deletion.
    pub(super) fn deleted(&mut self, key: &Uid) {
        let has_room = self.writes.len() < RECORDS_MAX;
        match self.writes.get_mut(key) {
            Some(write) if write.fingerprint.is_none() => (write.is_sent, write.is_recent) = (true, true),
            None if !has_room => {}
            _ => {
                let id = String::new();
                let write = Write { fingerprint: None, times: 0, is_sent: true, is_recent: true, id };
                self.writes.insert(key.clone(), write);
            }
        }
    }

    /// The registry acknowledged a put.
    pub(super) fn put(&mut self, key: &Uid) {
        if self.writes.get(key).is_some_and(|write| write.fingerprint.is_none()) {
            self.writes.remove(key);
        }
    }

    /// A list shows the record.
    pub(super) fn shown(&mut self, key: &Uid, id: &str) {
        let Some(write) = self.writes.get_mut(key) else { return };
        if write.fingerprint.is_some() {
            self.writes.remove(key);
            return;
        }
        write.is_recent = true;
        if std::mem::take(&mut write.is_sent) {
            write.times = write.times.saturating_add(1);
            id.clone_into(&mut write.id);
        }
    }

    /// A complete list lacks a record that the registry acknowledged since the last list.
    pub(super) fn lacks(&mut self, key: &Uid, id: &str, fingerprint: Fingerprint) {
        let has_room = self.writes.len() < RECORDS_MAX;
        match self.writes.get_mut(key) {
            Some(write) if write.fingerprint == Some(fingerprint) => {
                (write.times, write.is_recent) = (write.times.saturating_add(1), true);
            }
            None if !has_room => {}
            _ => {
                let (fingerprint, id) = (Some(fingerprint), id.to_owned());
                let write = Write { fingerprint, times: 1, is_sent: true, is_recent: true, id };
                self.writes.insert(key.clone(), write);
            }
        }
    }

    /// A list is complete. Returns what to report: once, until all writes have an effect again.
    pub(super) fn end_list(&mut self) -> Option<IneffectiveReport> {
        self.writes.retain(|_, write| std::mem::take(&mut write.is_recent));
        let ineffective = || self.writes.iter().filter(|(_, write)| write.times >= TIMES);
        let records = ineffective().count();
        let was_reported = std::mem::replace(&mut self.is_reported, records > 0);
        let (_, example) = ineffective().min_by_key(|(key, _)| *key).filter(|_| !was_reported)?;
        Some(IneffectiveReport { records, id: example.id.clone(), is_deletion: example.fingerprint.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::Digest;

    impl IneffectiveWrites {
        pub(in crate::registry::mapped) fn is_reported(&self) -> bool {
            self.is_reported
        }
    }

    fn report(records: usize, id: &str, is_deletion: bool) -> Option<IneffectiveReport> {
        Some(IneffectiveReport { records, id: id.to_owned(), is_deletion })
    }

    #[test]
    fn third_deletion_without_effect_is_reported_once() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut writes = IneffectiveWrites::default();
        writes.deleted(&b);
        for round in 1..=5 {
            writes.deleted(&a);
            writes.shown(&a, "1");
            writes.shown(&a, "1");
            assert_eq!(writes.end_list(), if round == 3 { report(1, "1", true) } else { None }, "{round}");
        }
        // It has an effect at last, and later none again.
        writes.deleted(&a);
        assert_eq!((writes.end_list(), writes.end_list()), (None, None));
        assert!(writes.writes.is_empty());
        for round in 1..=3 {
            writes.deleted(&a);
            writes.shown(&a, "1");
            assert_eq!(writes.end_list(), if round == 3 { report(1, "1", true) } else { None }, "{round}");
        }
    }

    #[test]
    fn held_deletion_is_not_counted() {
        let a = Uid::from("a");
        let mut writes = IneffectiveWrites::default();
        writes.deleted(&a);
        for _ in 0..5 {
            writes.shown(&a, "1");
            assert_eq!(writes.end_list(), None);
        }
        // A record that was created again is no deletion without effect.
        for _ in 0..5 {
            writes.deleted(&a);
            writes.put(&a);
            writes.shown(&a, "1");
            assert_eq!(writes.end_list(), None);
        }
    }

    #[test]
    fn put_that_no_list_shows_is_reported() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let [one, other] = [b"1", b"2"].map(|content| Digest::of_canonical(content).fingerprint());
        let mut writes = IneffectiveWrites::default();
        for round in 1..=4 {
            writes.lacks(&b, "2", if round == 2 { other } else { one });
            writes.lacks(&a, "1", one);
            assert_eq!(writes.end_list(), if round == 3 { report(1, "1", false) } else { None }, "{round}");
        }
        writes.shown(&a, "1");
        writes.shown(&b, "2");
        assert!(writes.writes.is_empty());
    }

    #[test]
    fn watched_records_are_bounded() {
        let mut writes = IneffectiveWrites::default();
        let fingerprint = Fingerprint::default();
        let keys: Vec<Uid> = (0..2 * RECORDS_MAX).map(|n| Uid::from(format!("k{n}"))).collect();
        for round in 1..=3 {
            keys.iter().for_each(|key| writes.deleted(key));
            keys.iter().for_each(|key| writes.shown(key, "i"));
            assert_eq!(writes.end_list(), if round == 3 { report(RECORDS_MAX, "i", true) } else { None }, "{round}");
        }
        keys.iter().for_each(|key| writes.lacks(key, "i", fingerprint));
        assert_eq!(writes.writes.len(), RECORDS_MAX);
    }
}
