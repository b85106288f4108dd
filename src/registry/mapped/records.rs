//! The client's memory of the records: the table, and facts about few of them.
//!
//! | memory | holds | until |
//! | --- | --- | --- |
//! | table | ids, revision and acknowledged fingerprint of every record | the record is deleted, or a list lacks it |
//! | `recent` | writes and lookups that a list may not show yet | `list.lag` is over and no list is being read |
//! | `fresh` | records that were created and may not be shown yet | `list.lag` is over |
//! | `uncertain` | creates without a clear answer | the record is found, or a list begun later lacks it |
//! | `shown` | what the lists of this term say of records that they do not show | the term ends |
//! | `missing` | records that one list lacked, if lists lag | another list shows or lacks them |
//! | `ids` | records of pods that nothing has shown, and listed ones that no pod has | a list shows them, or lacks them |
//! | `differing` | records that the registry returns otherwise than they were sent | they are equal, or the term ends |
//! | `ineffective` | acknowledged writes whose effect no list shows, a thousand at most | a list shows it, or the term ends |
//! | `surplus` | records whose id another record of ours has | the last list |
//! | `unlisted` | records that were there and that a list lacks | they are shown, or not to be written any more |
//! | `attempts` | the version of the first attempt of a change | it is acknowledged, or the record changes |
//! | `strikes` | answers whose check failed, in a row | another answer |
//! | `departed` | the ids of the last records that were deleted | others are deleted |
//! | `moved` | records to which the registry assigned something else, if others refer to it | the event loop takes them |

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use serde_json::Value as Json;
use tokio::time::Instant;

use super::{
    attempt::Attempt,
    deletion_log::DeletionLog,
    departed::DepartedRecords,
    differing::DifferingRecords,
    fresh::FreshRecords,
    ineffective::IneffectiveWrites,
    knowledge::Knowledge,
    memory::ChangeContent,
    renamed::KnownIds,
    shown::ShownRecords,
    table::{Fact, RecordTable, Row},
    unlisted::{Coverage, Unlisted},
};
use crate::{
    mapping::{items::RegistryItem, target::RenderedRecord, writes::Held},
    model::{digest::Fingerprint, ids::Version, uid::Uid},
};

/// A write, or the answer to a lookup, that a list may not show yet.
#[derive(Clone, Copy, Debug)]
struct Recent {
    at: Instant,
    /// None if the record is deleted.
    fingerprint: Option<Fingerprint>,
}

#[derive(Debug)]
pub(super) struct Records {
    pub(super) table: RecordTable,
    lag: Duration,
    /// How long a request may be on its way.
    timeout: Duration,
    pub(super) shown: ShownRecords,
    recent: HashMap<Uid, Recent>,
    fresh: FreshRecords,
    /// Until when the create may arrive at the registry, or be missing in lists and lookups.
    uncertain: HashMap<Uid, Instant>,
    missing: HashMap<Uid, Instant>,
    pub(super) ids: KnownIds,
    pub(super) differing: DifferingRecords,
    pub(super) ineffective: IneffectiveWrites,
    /// By the key of the record that counts: the `remote` of the other.
    surplus: BTreeMap<Uid, Json>,
    pub(super) unlisted: Unlisted,
    strikes: HashMap<Uid, u8>,
    pub(super) attempts: HashMap<Uid, Attempt>,
    pub(super) departed: DepartedRecords,
    /// None if no other record refers to these.
    moved: Option<Vec<Uid>>,
    /// Whether a list is being read.
    is_listing: bool,
    /// Whether a round lasts.
    pub(super) in_round: bool,
    /// Set if an operator asked for the deletions.
    pub(super) deletion_log: Option<DeletionLog>,
}

impl Records {
    /// `is_referred_to` says whether other records use what the registry assigns to these.
    pub(super) fn new(list: Option<Duration>, timeout: Duration, is_referred_to: bool) -> Self {
        let (has_list, lag) = (list.is_some(), list.unwrap_or_default());
        Self {
            table: RecordTable::default(),
            lag,
            timeout,
            shown: ShownRecords::new(has_list, lag, timeout),
            recent: HashMap::new(),
            fresh: FreshRecords::new(lag),
            uncertain: HashMap::new(),
            missing: HashMap::new(),
            ids: KnownIds::default(),
            differing: DifferingRecords::default(),
            ineffective: IneffectiveWrites::default(),
            surplus: BTreeMap::new(),
            unlisted: Unlisted::default(),
            strikes: HashMap::new(),
            attempts: HashMap::new(),
            departed: DepartedRecords::default(),
            moved: is_referred_to.then(Vec::new),
            is_listing: false,
            in_round: false,
            deletion_log: None,
        }
    }

    pub(super) fn begin_term(&mut self) {
        self.table.begin_term();
        self.differing = DifferingRecords::default();
        self.ineffective = IneffectiveWrites::default();
        self.unlisted = Unlisted::default();
        self.in_round = false;
        self.shown.begin_term();
    }

    pub(super) fn knowledge(&self, key: &Uid) -> Knowledge {
        let is_uncertain = self.uncertain.contains_key(key);
        let Some(row) = self.table.get(key) else { return Knowledge { is_uncertain, ..Knowledge::default() } };
        Knowledge {
            id: row.id().map(str::to_owned),
            held: Held { remote: row.remote(), seen: row.seen() },
            shown: None,
            facts: row.facts(),
            is_uncertain,
        }
    }

    /// The record was read, and is ours.
    pub(super) fn learn(&mut self, key: &Uid, id: &str, item: &RegistryItem) {
        if let Some(until) = self.uncertain.remove(key).filter(|_| !item.gone) {
            self.fresh.appeared(key, until);
        }
        self.unlisted.shown(key);
        self.change(key, |row| {
            row.set_id(key, id);
            if item.remote.is_some() {
                row.set_remote(item.remote.as_ref());
            }
            row.set_seen(item.seen.as_ref());
            row.set(Fact::Verified, true);
            row.set(Fact::Shown, true);
            row.set(Fact::Exists, !item.gone);
        });
    }

    /// The registry contradicts what is known: the record has to be read before it is written again.
    pub(super) fn mark_uncertain(&mut self, key: &Uid) {
        self.uncertain.insert(key.clone(), Instant::now() + self.lag);
    }

    /// The registry has no such record.
    pub(super) fn is_absent(&mut self, key: &Uid) {
        self.uncertain.remove(key);
        self.fresh.remove(key);
        self.unlisted.is_absent(key);
        self.remove(key);
    }

    /// A create is about to be sent. Until its answer is clear, the record may exist. Its id is kept, because only that
    /// finds the record.
    pub(super) fn begin_create(&mut self, key: &Uid, id: &str) {
        self.table.change(key, |row| row.set_id(key, id));
        // The request may be given up without an answer, and then arrive for as long again.
        self.uncertain.insert(key.clone(), Instant::now() + 2 * self.timeout + self.lag);
    }

    /// A create had no answer of the registry, which may still receive it.
    pub(super) fn create_unanswered(&mut self, key: &Uid) {
        let left = self.timeout + self.lag;
        if let Some(until) = self.uncertain.get_mut(key) {
            *until = Instant::now() + left;
        }
    }

    /// How long a create of this record may still arrive at the registry, or be missing in lookups.
    pub(super) fn create_may_show(&self, key: &Uid) -> Option<Duration> {
        let left = self.uncertain.get(key)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// For how long the registry may not show a record yet that it acknowledged to have created.
    pub(super) fn hidden_for(&self, key: &Uid) -> Option<Duration> {
        self.fresh.hidden_for(key)
    }

    /// A create had no clear answer.
    pub(super) fn create_ended(&mut self, key: &Uid) {
        let lag = self.lag;
        if let Some(until) = self.uncertain.get_mut(key) {
            *until = Instant::now() + lag;
        }
    }

    /// The registry did not create the record.
    pub(super) fn not_created(&mut self, key: &Uid) {
        self.uncertain.remove(key);
    }

    /// The registry acknowledged a put.
    pub(super) fn acknowledged(&mut self, key: &Uid, record: &RenderedRecord, answer: &Held) {
        self.uncertain.remove(key);
        self.strikes.remove(key);
        self.attempts.remove(key);
        self.missing.remove(key);
        if self.table.get(key).is_none_or(|row| !row.has(Fact::Exists)) {
            self.fresh.created(key);
        }
        self.unlisted.acknowledged(key, &record.id);
        self.ids.acknowledged(key);
        self.ineffective.put(key);
        let is_saved = self.table.is_saved();
        self.change(key, |row| {
            row.set_id(key, &record.id);
            row.set_parent(record.parent.as_ref().filter(|_| is_saved));
            if answer.remote.is_some() {
                row.set_remote(answer.remote.as_ref());
            }
            // The revision before the write is of no use any more.
            row.set_seen(answer.seen.as_ref());
            row.hold(record.fingerprint);
            row.set(Fact::Written, true);
            row.set(Fact::Verified, true);
            // One that was on its way when the round began may have arrived before.
            row.set(Fact::InRound, row.has(Fact::SentInRound));
        });
        self.differing.acknowledged(key, record.fingerprint, &record.body);
        self.remember(key, Some(record.fingerprint));
    }

    /// The registry holds the record already, so nothing was written.
    pub(super) fn found_equal(&mut self, key: &Uid, record: &RenderedRecord) {
        self.attempts.remove(key);
        let is_saved = self.table.is_saved();
        self.change(key, |row| {
            row.set_id(key, &record.id);
            row.set_parent(record.parent.as_ref().filter(|_| is_saved));
            row.hold(record.fingerprint);
            row.set(Fact::Kept, true);
        });
    }

    /// The record was looked up and is ours. `equal` is the record that it holds already, if it does. A list that lags
    /// may not show it yet.
    pub(super) fn found(&mut self, key: &Uid, id: &str, item: &RegistryItem, equal: Option<&RenderedRecord>) {
        if self.unlisted.is_list_short(key) {
            tracing::warn!(id, "the list lacks a record that `find` shows; check its query, its pages and the rights");
        }
        self.learn(key, id, item);
        if let Some(record) = equal {
            self.found_equal(key, record);
        }
        // That of no record: what is found differs from what is to be written.
        let fingerprint = equal.map_or_else(Fingerprint::default, |record| record.fingerprint);
        self.remember(key, (!item.gone).then_some(fingerprint));
    }

    /// The registry acknowledged a deletion.
    pub(super) fn deleted(&mut self, key: &Uid) {
        self.deletion_log.iter().for_each(|log| log.end(key));
        self.table.get(key).and_then(Row::id).into_iter().for_each(|id| self.departed.note(key, id));
        self.end_deletion(key);
    }

    /// The record to be deleted is not ours.
    pub(super) fn is_foreign(&mut self, key: &Uid) {
        self.deletion_log.iter().for_each(|log| log.strike_out(key));
        self.end_deletion(key);
    }

    fn end_deletion(&mut self, key: &Uid) {
        self.is_absent(key);
        self.strikes.remove(key);
        self.attempts.remove(key);
        self.differing.remove(key);
        self.ineffective.deleted(key);
        self.missing.remove(key);
        self.ids.deleted(key);
        self.remember(key, None);
        self.shown.deleted(key);
    }

    /// The registry removed the record together with its parent.
    pub(super) fn removed_with_parent(&mut self, key: &Uid) {
        if self.table.get(key).is_some() {
            self.deleted(key);
        }
    }

    /// The first attempt to send this change, so that all attempts have the same id, time and content. `now` is the
    /// version and the time of this one.
    pub(super) fn first_attempt(
        &mut self,
        key: &Uid,
        content: ChangeContent,
        (version, began): (Version, i64),
    ) -> Attempt {
        match self.attempts.get(key) {
            Some(attempt) if attempt.repeats(content) => *attempt,
            before => {
                // What was sent before may still be taken.
                let arrival = before.map(|before| before.arrival).unwrap_or_default();
                let attempt = Attempt { content, version, began, arrival };
                self.attempts.insert(key.clone(), attempt);
                self.table.note_unsaved(key);
                attempt
            }
        }
    }

    /// Counts an answer whose check failed. Returns how many there were in a row.
    pub(super) fn strike(&mut self, key: &Uid) -> u8 {
        let strikes = self.strikes.entry(key.clone()).or_default();
        *strikes = strikes.saturating_add(1);
        *strikes
    }

    fn change(&mut self, key: &Uid, change: impl FnOnce(&mut Row)) {
        let before = self.moved.is_some().then(|| self.assigned(key));
        self.table.change(key, change);
        if before.is_some_and(|before| before != self.assigned(key)) {
            self.has_moved(key);
        }
    }

    fn remove(&mut self, key: &Uid) {
        if self.table.remove(key).is_some() {
            self.has_moved(key);
        }
    }

    fn has_moved(&mut self, key: &Uid) {
        self.moved.iter_mut().for_each(|moved| moved.push(key.clone()));
    }

    /// What the registry assigned to each record may be another thing than before.
    pub(super) fn all_have_moved(&mut self) {
        if let Some(moved) = &mut self.moved {
            moved.extend(self.table.iter().map(|(key, _)| key.clone()));
        }
    }

    /// What the registry assigned to a record that it holds.
    pub(super) fn assigned(&self, key: &Uid) -> Option<Json> {
        self.table.get(key).filter(|row| row.has(Fact::Exists))?.remote()
    }

    /// The records to which the registry assigned something else since the last call, or that are new or gone.
    pub(super) fn take_moved(&mut self) -> Vec<Uid> {
        self.moved.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn remember(&mut self, key: &Uid, fingerprint: Option<Fingerprint>) {
        if self.lag.is_zero() && !self.is_listing {
            return;
        }
        let now = Instant::now();
        if !self.is_listing && self.recent.len() == self.recent.capacity() {
            let lag = self.lag;
            self.recent.retain(|_, recent| now.duration_since(recent.at) <= lag);
        }
        self.recent.insert(key.clone(), Recent { at: now, fingerprint });
    }
}

/// Lists.
impl Records {
    /// A list begins.
    pub(super) fn begin_list(&mut self, begun: Instant) {
        let lag = self.lag;
        self.recent.retain(|_, recent| begun.duration_since(recent.at) <= lag);
        self.fresh.forget_shown(begun);
        self.ids.begin_list();
        self.is_listing = true;
    }

    pub(super) fn abandon_list(&mut self) {
        self.is_listing = false;
    }

    /// One of our records is in a list. Returns the fingerprint to report. None if it does not count as held.
    pub(super) fn listed(&mut self, key: &Uid, id: &str, item: &RegistryItem) -> Option<Fingerprint> {
        self.missing.remove(key);
        self.unlisted.shown(key);
        self.note_listed_id(key, item);
        // The list may be older than this write, so that also the revision in it is out of date.
        if let Some(Recent { fingerprint, .. }) = self.recent.get(key).copied() {
            // Its name does not change. The answer to its create may not have told it.
            if fingerprint.is_some() && item.remote.is_some() && self.table.get(key).is_some_and(Row::is_unnamed) {
                self.change(key, |row| row.set_remote(item.remote.as_ref()));
            }
            return fingerprint;
        }
        self.learn(key, id, item);
        self.table.change(key, |row| row.set(Fact::Listed, true));
        if item.gone {
            return None;
        }
        self.ineffective.shown(key, id);
        let row = self.table.get(key);
        let (held, is_kept) = (row.and_then(Row::held), row.is_some_and(|row| row.has(Fact::Kept)));
        let shown = item.content.fingerprint().or(held).unwrap_or_default();
        match held {
            // A record that the registry stored as it was sent was edited since.
            Some(sent) if sent != shown && !is_kept => return Some(self.differing.listed(key, sent, shown)),
            Some(sent) if sent == shown && !is_kept => self.table.change(key, |row| row.set(Fact::Kept, true)),
            _ => {}
        }
        self.differing.remove(key);
        Some(shown)
    }

    /// The list showed these surplus records. Returns the first that the list before did not show.
    pub(super) fn report_surplus(&mut self, surplus: BTreeMap<Uid, Json>) -> Option<(Uid, Json)> {
        let before = std::mem::replace(&mut self.surplus, surplus);
        let mut news = self.surplus.iter().filter(|(key, remote)| before.get(*key) != Some(remote));
        news.next().map(|(key, remote)| (key.clone(), remote.clone()))
    }

    /// The list is complete and showed these keys. If it has gaps, a second list has to agree. Returns further records
    /// that count as held, although it lacks them.
    pub(super) fn complete_list(
        &mut self,
        begun: Instant,
        shown: &HashSet<Uid>,
        coverage: Coverage,
    ) -> Vec<(Uid, Fingerprint)> {
        self.is_listing = false;
        self.shown.complete_list(begun);
        let lag = self.lag;
        let recent = self.recent.iter().filter(|(key, _)| !shown.contains(*key));
        let mut further: Vec<(Uid, Fingerprint)> =
            recent.filter_map(|(key, recent)| Some((key.clone(), recent.fingerprint?))).collect();
        let written: HashSet<Uid> = self.recent.keys().cloned().collect();
        let Self { table, missing, uncertain, attempts, unlisted, ineffective, moved, .. } = self;
        unlisted.end_list(shown.is_empty(), coverage);
        // A create without a clear answer is sent again only after two lists without its record.
        uncertain.iter_mut().filter(|(key, until)| begun > **until && !shown.contains(*key)).for_each(
            |(key, until)| {
                if unlisted.is_skipped_once(key) {
                    *until = begun;
                }
            },
        );
        table.retain(|key, row| {
            if shown.contains(key) || written.contains(key) {
                return true;
            }
            // A list that lags may lack a record once.
            let held = row.held().filter(|_| !lag.is_zero() && row.has(Fact::Written));
            if let Some(fingerprint) = held {
                let since = *missing.entry(key.clone()).or_insert(begun);
                if begun.duration_since(since) < lag {
                    further.push((key.clone(), fingerprint));
                    return true;
                }
            } else if uncertain.get(key).is_some_and(|until| begun <= *until) {
                // A create without a clear answer may have made it since.
                return true;
            } else if !row.has(Fact::Exists) && attempts.get(key).is_some_and(Attempt::is_open) {
                // So may a put without an answer. Only this row tells that it was sent.
                return true;
            }
            if row.has(Fact::Exists) {
                unlisted.lacks(key, row.has(Fact::Shown));
            }
            if let Some(fingerprint) = row.held().filter(|_| row.has(Fact::Written) && !row.has(Fact::Shown)) {
                ineffective.lacks(key, row.id().unwrap_or(&key.text()), fingerprint);
            }
            moved.iter_mut().for_each(|moved| moved.push(key.clone()));
            false
        });
        let table = &*table;
        missing.retain(|key, _| table.get(key).is_some());
        // In the same order each time.
        further.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        uncertain.retain(|_, until| begun <= *until);
        self.complete_ids(shown);
        further
    }
}
