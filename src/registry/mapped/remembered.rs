//! What the client writes to its memory, and how it begins a term with it.
//!
//! The memory holds what the table knows. Rows that changed are written before a request is sent, and when a call ends.
//! The inventory of such a target is the table itself.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::{
    KindClient, TargetClient,
    memory::{Error, Recalled, RoundNote, RowChange, RowStore, StoredAttempt, StoredRow},
    records::{Arrival, Attempt, Records},
    table::{Fact, Row},
};
use crate::{
    model::{digest::Fingerprint, uid::Uid, uid_map::UidMap},
    reconcile::{election, outcome::Failure},
    registry::inventory::{InventoryItem, InventoryPage},
};

/// The pages of the inventory that are still to be read.
pub(super) struct RememberedPages {
    /// Identifies the next page, for the caller.
    token: String,
    rest: std::vec::IntoIter<(Uid, Fingerprint)>,
    count: u64,
}

/// Keeps the rows of a kind for the next process. Only a target without `kinds` has a memory.
#[derive(Default)]
pub(super) struct KindMemory {
    store: Option<Box<dyn RowStore>>,
    term: Mutex<MemoryTerm>,
    /// Held while the memory is opened.
    opening: tokio::sync::Mutex<()>,
    /// The inventory that is being read from the memory, or from the table.
    pages: Mutex<Option<RememberedPages>>,
}

impl KindMemory {
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

impl Records {
    /// A put is about to be sent. From now on, the registry may hold the record.
    pub(super) fn begin_put(&mut self, key: &Uid, id: &str) {
        if !self.tracks_puts {
            return;
        }
        let in_round = self.in_round;
        let is_first = self.table.change(key, |row| {
            let is_first = !row.has(Fact::Tried) && !row.has(Fact::Exists);
            row.set_id(key, id);
            row.set(Fact::Tried, true);
            row.set(Fact::SentInRound, in_round);
            is_first
        });
        self.begin_request(key, is_first);
    }

    /// A deletion is about to be sent.
    pub(super) fn begin_deletion(&mut self, key: &Uid) {
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
        self.attempts.get(key).filter(|attempt| attempt.arrival != Arrival::No)
    }

    /// Whether every record was put in the round that lasts.
    pub(super) fn are_in_round(&self) -> bool {
        self.table.iter().all(|(_, row)| row.has(Fact::InRound))
    }

    fn stored(&self, key: &Uid) -> Option<StoredRow> {
        let row = self.table.get(key)?;
        let text = |text: Option<&str>| text.map(str::to_owned);
        let attempt = self.open_attempt(key).map(|attempt| StoredAttempt {
            fingerprint: attempt.fingerprint,
            version: attempt.version,
            began: attempt.began,
        });
        Some(StoredRow {
            id: text(row.id()),
            remote: text(row.remote_text()),
            seen: text(row.seen_text()),
            held: row.held(),
            attempt,
        })
    }

    /// Begins a term with the rows of the memory. `reads_again` says that what each record holds is not known.
    fn recall(&mut self, rows: Vec<(Uid, StoredRow)>, reads_again: bool, can_find: bool) {
        let mut table = UidMap::default();
        self.attempts.clear();
        for (key, stored) in rows {
            let StoredRow { id, remote, seen, held, attempt } = stored;
            let mut row = Row::default();
            row.set_texts([id.as_deref(), remote.as_deref(), seen.as_deref()]);
            row.set(Fact::Tried, true);
            if let Some(held) = held {
                row.hold(if reads_again { Fingerprint::default() } else { held });
                row.set(Fact::Written, true);
                row.set(Fact::Verified, true);
            } else if can_find {
                self.doubt(&key);
            }
            if let Some(StoredAttempt { fingerprint, version, began }) = attempt {
                let attempt = Attempt { fingerprint, version, began, arrival: Arrival::Maybe };
                self.attempts.insert(key.clone(), attempt);
            }
            table.insert(&key, row);
        }
        self.table.recall(table);
        self.tracks_puts = true;
    }

    /// The keys of all records, and what the registry acknowledged. What is on its way is of no known content, so that
    /// it is sent again, and so is what the round that lasts has not put.
    fn remembered(&self) -> Vec<(Uid, Fingerprint)> {
        let shown = |(key, row): (&Uid, &Row)| {
            let is_known = self.open_attempt(key).is_none() && (!self.in_round || row.has(Fact::InRound));
            let held = row.held().filter(|_| is_known);
            (key.clone(), held.unwrap_or_default())
        };
        self.table.iter().map(shown).collect()
    }
}

impl TargetClient {
    /// The same with a memory.
    #[must_use]
    pub fn with_memory(mut self, memory: Box<dyn RowStore>) -> Self {
        if let Some(kind) = self.kinds.first_mut() {
            kind.memory.store = Some(memory);
        }
        self
    }

    /// Reads the memory for a term, unless it was read in this term.
    pub(super) async fn recall(&self, term: u64) -> Result<(), Failure> {
        let every = self.target.notices.round.as_ref().map(|round| round.every);
        for kind in &self.kinds {
            kind.recall(term, |last_round| self.rounds.lock().recall(last_round, every)).await?;
        }
        Ok(())
    }

    /// Whether the memory can be used. If it could not be read for the term, it is read now.
    pub(super) async fn check_memory(&self) -> Result<(), Failure> {
        let wanted = self.kinds.iter().find_map(|kind| kind.memory.term.lock().wanted);
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
        self.save_with(None).await
    }

    /// The same, and notes what became of a round.
    pub(super) async fn save_with(&self, round: Option<RoundNote>) -> Result<(), Failure> {
        for kind in &self.kinds {
            kind.save_with(round).await?;
        }
        Ok(())
    }

    /// A page of what this client remembers as an inventory.
    pub(super) fn remembered_page(&self, token: Option<&str>, limit: usize) -> Result<InventoryPage, Failure> {
        self.kinds.first().map_or(Err(Failure::Expired), |kind| kind.remembered_page(token, limit))
    }

    /// The term ended: another process may use the memory.
    pub(super) fn forget_term(&self) {
        self.kinds.iter().for_each(KindClient::forget_term);
    }
}

impl KindClient {
    /// `recalled` learns when the last round ended.
    async fn recall(&self, term: u64, recalled: impl FnOnce(Option<i64>)) -> Result<(), Failure> {
        let Some(memory) = &self.memory.store else { return Ok(()) };
        self.memory.term.lock().wanted = Some(term);
        // One at a time: opening it again would close it for the writes of the first.
        let _opening = self.memory.opening.lock().await;
        if self.memory.term.lock().open == Some(term) {
            return Ok(());
        }
        let Recalled { rows, last_term, last_round } = memory.open(term).await.map_err(|error| unusable(&error))?;
        recalled(last_round);
        let (count, follows) = (rows.len(), last_term.is_none_or(|last| election::follows(last, term)));
        self.records.lock().recall(rows, !follows, self.kind.find.is_some());
        let mut memory_term = self.memory.term.lock();
        if memory_term.wanted != Some(term) {
            // The term ended, and another process may need it.
            memory.close();
            return Err(unusable(&Error::Closed));
        }
        memory_term.open = Some(term);
        drop(memory_term);
        match last_term {
            None => tracing::info!("the memory is new; it holds no records of earlier processes"),
            Some(_) if follows => tracing::info!(records = count, "memory read"),
            Some(_) => tracing::warn!(
                records = count,
                "the memory did not follow the leader; writing every record again. Records that other leaders wrote and \
                 whose pods are gone stay in the registry"
            ),
        }
        Ok(())
    }

    /// Waits until everything that changed is in the memory.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        self.save_with(None).await
    }

    /// The same, and notes what became of a round.
    async fn save_with(&self, round: Option<RoundNote>) -> Result<(), Failure> {
        let Some(memory) = &self.memory.store else { return Ok(()) };
        // Under the lock, so that a later call waits for what an earlier one took.
        let (keys, written) = {
            let mut records = self.records.lock();
            let keys = records.table.take_unsaved();
            let rows: Vec<RowChange> = keys.iter().map(|key| (key.clone(), records.stored(key))).collect();
            (keys, memory.write(rows, round))
        };
        let guard = Unsaved { client: self, keys };
        let result = written.await.map_err(|error| unusable(&error));
        if result.is_ok() {
            guard.saved();
        }
        result
    }

    fn remembered_page(&self, token: Option<&str>, limit: usize) -> Result<InventoryPage, Failure> {
        let mut current = self.memory.pages.lock();
        let mut pages = match (token, current.take()) {
            (None, _) => {
                let all = self.records.lock().remembered();
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
        let next = (pages.rest.len() > 0).then(|| self.next_token());
        if let Some(next) = &next {
            pages.token.clone_from(next);
            *current = Some(pages);
        }
        Ok(InventoryPage { items, next, count, as_of: 0 })
    }

    fn forget_term(&self) {
        if let Some(memory) = &self.memory.store {
            *self.memory.term.lock() = MemoryTerm::default();
            memory.close();
        }
    }
}

/// Keys whose rows are being written. They stay unsaved if that fails or is given up.
struct Unsaved<'a> {
    client: &'a KindClient,
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
            let mut records = self.client.records.lock();
            self.keys.iter().for_each(|key| records.table.note_unsaved(key));
        }
    }
}

fn unusable(error: &Error) -> Failure {
    Failure::Memory(error.to_string())
}
