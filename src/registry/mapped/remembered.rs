//! What the client writes to its memory, and how it begins a term with it.
//!
//! The memory holds what the tables of all kinds know. Rows that changed are written before a request is sent, and when
//! a call ends. The inventory of such a target is the tables themselves.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    KindClient, TargetClient,
    attempt::{Arrival, Attempt},
    memory::{ChangeContent, Error, Recalled, RoundNote, RowChange, RowStore, StoredAttempt, StoredRow},
    records::Records,
    table::{Fact, Row},
};
use crate::{
    mapping::target::RenderedRecord,
    model::{digest::Fingerprint, uid::Uid, uid_map::UidMap},
    reconcile::{election, outcome::Failure},
    registry::inventory::{InventoryItem, InventoryPage},
};

/// A record as the memory knows it.
struct RememberedRecord {
    key: Uid,
    parent: Option<Uid>,
    /// None if the registry may hold the record or not.
    held: Option<Fingerprint>,
}

/// The pages of the inventory that are still to be read.
pub(super) struct RememberedPages {
    /// Identifies the next page, for the caller.
    token: String,
    rest: std::vec::IntoIter<(Uid, Option<Fingerprint>)>,
    count: u64,
}

/// Keeps the rows of a target for the next process. Its kinds share it, because a row may follow from that of another
/// kind.
#[derive(Default)]
pub(super) struct TargetMemory {
    store: Option<Box<dyn RowStore>>,
    /// Of each kind: its name and its records.
    kinds: Vec<(Option<&'static str>, Arc<Mutex<Records>>)>,
    term: Mutex<MemoryTerm>,
    /// Held while the memory is opened.
    opening: tokio::sync::Mutex<()>,
}

impl TargetMemory {
    pub(super) fn is_used(&self) -> bool {
        self.store.is_some()
    }
}

/// For which terms the memory is used.
#[derive(Debug, Default)]
struct MemoryTerm {
    /// The term that lasts, once it is prepared.
    wanted: Option<u64>,
    open: Option<u64>,
}

/// The rows of the memory, by the names of their kinds.
type RowsByKind = HashMap<Option<String>, Vec<(Uid, StoredRow)>>;

impl Records {
    /// A put is about to be sent. From now on, the registry may hold the record.
    pub(super) fn begin_put(&mut self, key: &Uid, record: &RenderedRecord) {
        let (in_round, is_saved) = (self.in_round, self.table.is_saved());
        let is_first = self.table.change(key, |row| {
            let is_first = !row.has(Fact::Tried) && !row.has(Fact::Exists);
            row.set_id(key, &record.id);
            if is_first {
                row.set_parent(record.parent.as_ref().filter(|_| is_saved));
            }
            row.set(Fact::Tried, true);
            row.set(Fact::SentInRound, in_round);
            is_first
        });
        self.begin_request(key, is_first);
    }

    /// A deletion is about to be sent.
    pub(super) fn begin_deletion(&mut self, key: &Uid) {
        self.deletion_log.iter().for_each(|log| log.note(key));
        self.begin_request(key, false);
    }

    fn begin_request(&mut self, key: &Uid, is_first: bool) {
        let Some(attempt) = self.attempts.get_mut(key) else { return };
        attempt.arrival = match attempt.arrival {
            // Nothing was sent before that counts.
            _ if is_first => Arrival::OnItsWay { is_first },
            Arrival::No => Arrival::OnItsWay { is_first },
            // The request before was given up.
            Arrival::OnItsWay { .. } | Arrival::Maybe => Arrival::Maybe,
        };
        self.table.note_unsaved(key);
    }

    /// The registry clearly did not take the request that was on its way.
    pub(super) fn not_taken(&mut self, key: &Uid) {
        let is_first =
            self.attempts.get(key).is_some_and(|attempt| attempt.arrival == Arrival::OnItsWay { is_first: true });
        if is_first && self.table.get(key).is_some_and(|row| row.has(Fact::Tried) && !row.has(Fact::Exists)) {
            self.table.remove(key);
        }
    }

    /// The same, and nothing says that the registry holds something else than what it acknowledged last.
    pub(super) fn refused(&mut self, key: &Uid) {
        self.not_taken(key);
        if let Some(attempt) = self.attempts.get_mut(key)
            && matches!(attempt.arrival, Arrival::OnItsWay { .. })
        {
            attempt.arrival = Arrival::No;
            self.table.note_unsaved(key);
        }
    }

    /// The registry contradicts what it acknowledged last.
    pub(super) fn contradicted(&mut self, key: &Uid) {
        if let Some(attempt) = self.attempts.get_mut(key) {
            attempt.arrival = Arrival::Maybe;
            self.table.note_unsaved(key);
        }
    }

    /// The change of a record that the registry may have taken without an acknowledgement.
    fn open_attempt(&self, key: &Uid) -> Option<&Attempt> {
        self.attempts.get(key).filter(|attempt| attempt.is_open())
    }

    /// Whether every record was put in the round that lasts.
    pub(super) fn are_in_round(&self) -> bool {
        self.table.iter().all(|(_, row)| row.has(Fact::InRound))
    }

    fn stored(&self, kind: Option<&str>, key: &Uid) -> Option<StoredRow> {
        let row = self.table.get(key)?;
        let text = |text: Option<&str>| text.map(str::to_owned);
        let attempt = self.open_attempt(key).map(|attempt| StoredAttempt {
            content: attempt.content,
            version: attempt.version,
            began: attempt.began,
        });
        Some(StoredRow {
            kind: text(kind),
            parent: row.parent(),
            id: text(row.id()),
            remote: text(row.remote_text()),
            seen: text(row.seen_text()),
            held: row.held(),
            attempt,
        })
    }

    /// Takes the rows of records that the registry has removed with these, before a process could note it.
    fn take_removed(&self, children: &mut Vec<(Uid, StoredRow)>) -> Vec<Uid> {
        let is_removed = |row: &StoredRow| {
            let parent = row.parent.as_ref();
            row.attempt.is_none() && parent.is_some_and(|parent| self.table.get(parent).is_none())
        };
        children.extract_if(.., |(_, row)| is_removed(row)).map(|(key, _)| key).collect()
    }

    /// Begins a term with the rows of the memory, and drops those of the records that are `gone`. `reads_again` says
    /// that what each record holds is not known.
    fn recall(&mut self, rows: Vec<(Uid, StoredRow)>, gone: &[Uid], reads_again: bool, can_find: bool) {
        let mut table = UidMap::default();
        self.attempts.clear();
        self.all_have_moved();
        for (key, stored) in rows {
            let StoredRow { kind: _, parent, id, remote, seen, held, attempt } = stored;
            let (mut row, parent) = (Row::default(), parent.as_ref().map(Uid::text));
            row.set_texts([id.as_deref(), remote.as_deref(), seen.as_deref(), parent.as_deref()]);
            row.set(Fact::Tried, true);
            if let Some(held) = held {
                row.hold(if reads_again { Fingerprint::default() } else { held });
                row.set(Fact::Written, true);
                row.set(Fact::Verified, true);
            } else if can_find {
                self.mark_uncertain(&key);
            }
            if let Some(StoredAttempt { content, version, began }) = attempt {
                let attempt = Attempt { content, version, began, arrival: Arrival::Maybe };
                self.attempts.insert(key.clone(), attempt);
            }
            table.insert(&key, row);
        }
        self.table.recall(table);
        gone.iter().for_each(|key| self.table.note_unsaved(key));
        self.all_have_moved();
    }

    /// All records, and what the registry acknowledged. What is on its way may be held or not. What the round that
    /// lasts has not put is of no known content, so that it is sent again.
    fn remembered(&self) -> Vec<RememberedRecord> {
        let shown = |(key, row): (&Uid, &Row)| {
            let is_again = self.in_round && !row.has(Fact::InRound);
            let content = |held| if is_again { Fingerprint::default() } else { held };
            // Other leaders may have removed it.
            let is_uncertain = row.held() == Some(Fingerprint::default());
            let held = row.held().filter(|_| !is_uncertain && self.open_attempt(key).is_none()).map(content);
            RememberedRecord { key: key.clone(), parent: row.parent(), held }
        };
        self.table.iter().map(shown).collect()
    }

    /// Whether the registry may have deleted this record, so that the records that it removes with it may be gone.
    fn may_be_deleted(&self, key: &Uid) -> bool {
        let is_deletion = |attempt: &Attempt| matches!(attempt.content, ChangeContent::Delete(_));
        self.table.get(key).is_none() || self.open_attempt(key).is_some_and(is_deletion)
    }

    /// The registry may have removed the record together with its parent.
    pub(super) fn may_be_removed(&mut self, key: &Uid) {
        if self.table.is_saved() && self.table.get(key).is_some() {
            self.table.change(key, |row| row.set(Fact::Held, false));
        }
    }
}

impl TargetClient {
    /// The same with a memory.
    #[must_use]
    pub fn with_memory(mut self, memory: Box<dyn RowStore>) -> Self {
        let kinds = self.kinds.iter().map(|kind| (kind.kind.name(), kind.records.clone())).collect();
        self.memory = Arc::new(TargetMemory { store: Some(memory), kinds, ..TargetMemory::default() });
        self.kinds.iter_mut().for_each(|kind| kind.memory = self.memory.clone());
        self
    }

    /// Reads the memory for a term, unless it was read in this term.
    pub(super) async fn recall(&self, term: u64) -> Result<(), Failure> {
        let Some(store) = &self.memory.store else { return Ok(()) };
        self.memory.term.lock().wanted = Some(term);
        // One at a time: opening it again would close it for the writes of the first.
        let _opening = self.memory.opening.lock().await;
        if self.memory.term.lock().open == Some(term) {
            return Ok(());
        }
        let Recalled { rows, last_term, last_round, was_empty } =
            store.open(term).await.map_err(|error| unusable(&error))?;
        let every = self.target.notices.round.as_ref().map(|round| round.every);
        self.rounds.lock().recall(last_round, every);
        let (count, follows) = (rows.len(), last_term.is_none_or(|last| election::follows(last, term)));
        self.recall_rows(rows, !follows);
        let mut memory_term = self.memory.term.lock();
        if memory_term.wanted != Some(term) {
            // The term ended, and another process may need it.
            store.close();
            return Err(unusable(&Error::Closed));
        }
        memory_term.open = Some(term);
        drop(memory_term);
        match last_term {
            None if was_empty => tracing::warn!(
                "the memory file is empty; if it was emptied, records whose pods are gone since stay in the registry"
            ),
            None => tracing::info!("the memory file is new; it holds no records of earlier processes"),
            Some(_) if follows => tracing::info!(records = count, "memory file read"),
            Some(_) => tracing::warn!(
                records = count,
                "the memory file did not follow the leader; writing every record again. Records that other leaders wrote \
                 and whose pods are gone stay in the registry"
            ),
        }
        Ok(())
    }

    fn recall_rows(&self, rows: Vec<(Uid, StoredRow)>, reads_again: bool) {
        let mut by_kind = RowsByKind::new();
        for (key, row) in rows {
            by_kind.entry(row.kind.clone()).or_default().push((key, row));
        }
        // Each kind stands behind the one that it belongs to.
        for kind in &self.kinds {
            let mut rows = by_kind.remove(&kind.kind.name().map(str::to_owned)).unwrap_or_default();
            let gone = match kind.kind.parent.filter(|_| kind.kind.cascade).and_then(|of| self.kinds.get(of)) {
                Some(above) => above.records.lock().take_removed(&mut rows),
                None => Vec::new(),
            };
            kind.records.lock().recall(rows, &gone, reads_again, kind.kind.find.is_some());
        }
        // Nothing says how to delete these.
        for (kind, rows) in by_kind {
            tracing::warn!(
                kind = kind.as_deref().unwrap_or("none"),
                records = rows.len(),
                "the memory file has records of a kind that the target no longer has; leaving them in the registry"
            );
        }
    }

    /// Whether the memory can be used. If it could not be read for the term, it is read now.
    pub(super) async fn check_memory(&self) -> Result<(), Failure> {
        let wanted = self.memory.term.lock().wanted;
        match wanted {
            Some(term) => {
                self.recall(term).await?;
                self.save().await
            }
            None => Ok(()),
        }
    }

    /// Waits until everything that changed is in the memory.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        self.memory.save(None).await
    }

    /// The same, and notes what became of a round.
    pub(super) async fn save_with(&self, round: Option<RoundNote>) -> Result<(), Failure> {
        self.memory.save(round).await
    }

    /// All records. What the registry may have removed with its parent may be held or not.
    fn remembered(&self) -> Vec<(Uid, Option<Fingerprint>)> {
        let (mut all, mut gone) = (Vec::new(), HashSet::new());
        // Each kind stands behind the one that it belongs to.
        for kind in &self.kinds {
            let mut records = kind.records.lock().remembered();
            if let Some(above) = kind.kind.parent.filter(|_| kind.kind.cascade).and_then(|of| self.kinds.get(of)) {
                let parents = above.records.lock();
                for record in &mut records {
                    let is_gone = |parent: &Uid| gone.contains(parent) || parents.may_be_deleted(parent);
                    if record.parent.as_ref().is_some_and(is_gone) {
                        record.held = None;
                        gone.insert(record.key.clone());
                    }
                }
            }
            all.extend(records.into_iter().map(|record| (record.key, record.held)));
        }
        all
    }

    /// A page of what this client remembers as an inventory.
    pub(super) fn remembered_page(&self, token: Option<&str>, limit: usize) -> Result<InventoryPage, Failure> {
        let mut current = self.pages.lock();
        let mut pages = match (token, current.take()) {
            (None, _) => {
                let all = self.remembered();
                let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
                RememberedPages { token: String::new(), rest: all.into_iter(), count }
            }
            (Some(token), Some(pages)) if pages.token == token => pages,
            // It was begun again by another caller.
            _ => return Err(Failure::Expired),
        };
        let item = |(uid, fingerprint)| InventoryItem { uid, fingerprint, version: None };
        let items = pages.rest.by_ref().take(limit.max(1)).map(item).collect();
        let count = pages.count;
        let token = || self.kinds.first().map(KindClient::next_token);
        let next = if pages.rest.len() > 0 { token() } else { None };
        if let Some(next) = &next {
            pages.token.clone_from(next);
            *current = Some(pages);
        }
        Ok(InventoryPage { items, next, count, as_of: 0 })
    }

    /// The term ended: another process may use the memory.
    pub(super) fn forget_term(&self) {
        if let Some(store) = &self.memory.store {
            *self.memory.term.lock() = MemoryTerm::default();
            store.close();
        }
    }
}

impl KindClient {
    /// Waits until everything that changed is in the memory.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        self.memory.save(None).await
    }
}

impl TargetMemory {
    /// Hands this row to the memory without waiting for it: no request may follow that would save it. It counts as
    /// unsaved, so that the next save repeats what fails now.
    pub(super) fn keep_soon(&self, key: &Uid) {
        let Some(store) = &self.store else { return };
        // Under the locks, so that no older row follows that of a save.
        let locked: Vec<_> = self.kinds.iter().map(|(kind, records)| (kind, records.lock())).collect();
        let row = locked.iter().find_map(|(kind, records)| records.stored(**kind, key));
        drop(store.write(vec![(key.clone(), row)], None));
    }

    /// Waits until everything that changed is in the memory. Notes what became of a round.
    async fn save(&self, round: Option<RoundNote>) -> Result<(), Failure> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut result = self.write_unsaved(&**store, round, false).await;
        if let Err(Error::Overwritten { .. }) = result {
            result = self.write_unsaved(&**store, round, true).await;
        }
        result.map_err(|error| unusable(&error))
    }

    /// `is_new` says that the file lost its rows, so that all are written.
    async fn write_unsaved(&self, store: &dyn RowStore, round: Option<RoundNote>, is_new: bool) -> Result<(), Error> {
        // Under the locks, so that a later call waits for what an earlier one took.
        let (unsaved, written) = {
            let mut locked: Vec<_> = self.kinds.iter().map(|(kind, records)| (kind, records.lock())).collect();
            if is_new {
                store.renew();
                locked.iter_mut().for_each(|(_, records)| records.table.note_all_unsaved());
            }
            let (mut rows, mut unsaved) = (Vec::<RowChange>::new(), Vec::new());
            for (kind, records) in &mut locked {
                let keys = records.table.take_unsaved();
                rows.extend(keys.iter().map(|key| (key.clone(), records.stored(**kind, key))));
                unsaved.push(keys);
            }
            (unsaved, store.write(rows, round))
        };
        let tables = self.kinds.iter().map(|(_, records)| &**records);
        let unsaved: Vec<_> = tables.zip(unsaved).map(|(records, keys)| Unsaved { records, keys }).collect();
        let result = written.await;
        if result.is_ok() {
            unsaved.into_iter().for_each(Unsaved::saved);
        }
        result
    }
}

/// Keys whose rows are being written. They stay unsaved if that fails or is given up.
struct Unsaved<'a> {
    records: &'a Mutex<Records>,
    keys: HashSet<Uid>,
}

impl Unsaved<'_> {
    fn saved(mut self) {
        self.keys.clear();
    }
}

impl Drop for Unsaved<'_> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            let mut records = self.records.lock();
            self.keys.iter().for_each(|key| records.table.note_unsaved(key));
        }
    }
}

fn unusable(error: &Error) -> Failure {
    Failure::Memory(error.to_string())
}
