//! The ledger: what the registry is believed to hold, and what is owed to it.
//!
//! An id is owed while the registry may hold something else than is desired. What is owed leaves the ledger only by an
//! acknowledgement: no count, size or age ever drops it. What is not owed costs a belief and nothing else, so that
//! memory is bounded by living pods and ids that the registry may hold.
//!
//! There may be a million beliefs, and [`LedgerEntry`] is as small as can be. There is little work at a time, but for what
//! changes during an outage; what a look at everything finds to be owed waits in the [`BacklogMark`], which is a mark on a
//! belief.

pub mod backlog;
pub mod entry;
pub mod pending;
pub mod reading;
mod recent_deletions;

use std::time::Duration;

use super::{
    deletion::{Deletion, Removal},
    outcome::Verdict,
    retry,
};
use crate::model::{moment::Moment, uid::Uid, uid_map::UidMap};

use backlog::BacklogCursors;
use entry::{Known, LedgerEntries, LedgerEntry};
use pending::{Applied, AttemptKind, Attempts, Blame, InFlight, Isolation, Pending, Settled};
use reading::InventoryReading;
use recent_deletions::RecentDeletions;

/// After this many failures in a row, a record counts as one that always fails.
const PERSISTENT_AFTER: u32 = 2;
/// Parts that a batch is divided into when it fails as a whole and may have been applied: the more there are, the fewer
/// records are sent again to find the one that is to blame.
const PARTS: usize = 8;

/// The longest backoff of a record for which the registry asked to wait, unless it asked for longer.
const TOLD_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Beliefs and work, by pod UID.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: LedgerEntries,
    pending: UidMap<Pending>,
    /// Whether the registry's inventory was read: from then on, an id without a belief is not there.
    seeded: bool,
    /// While the inventory is read: what it may say of the time before.
    reading: Option<InventoryReading>,
    /// What ended while nothing was said to the registry.
    recent_deletions: RecentDeletions,
    /// What is owed and has no work yet.
    backlog_cursors: BacklogCursors,
}

impl Ledger {
    /// Whether the registry's inventory was read.
    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// How many ids the registry may hold.
    pub fn owned(&self) -> usize {
        self.entries.owned()
    }

    /// The belief about an id, if there is one.
    pub fn entry(&self, uid: &Uid) -> Option<&LedgerEntry> {
        self.entries.get(uid)
    }

    /// The work on an id, if there is any.
    pub fn pending(&self, uid: &Uid) -> Option<&Pending> {
        self.pending.get(uid)
    }

    /// What the registry is believed to hold of an id.
    pub fn known(&self, uid: &Uid) -> Known {
        self.known_by(uid, self.entries.get(uid))
    }

    /// The same, of the id with this belief.
    pub fn known_by(&self, uid: &Uid, entry: Option<&LedgerEntry>) -> Known {
        entry.map_or_else(|| self.known_without_entry(uid), |entry| entry.known)
    }

    /// What is known of an id without a belief.
    fn known_without_entry(&self, uid: &Uid) -> Known {
        if self.seeded || self.is_settled(uid) { Known::Absent } else { Known::Unknown }
    }

    /// The id and the belief at a position, as [`UidMap`] tells of positions: below [`Self::believed`] there is one at each.
    pub fn entry_at(&self, position: usize) -> Option<(&Uid, &LedgerEntry)> {
        self.entries.at(position)
    }

    /// The position of an id with a belief.
    pub fn position_of(&self, uid: &Uid) -> Option<usize> {
        self.entries.position_of(uid)
    }

    /// How many ids have a belief: what the ledger takes in memory.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Every id with work.
    pub fn all_pending(&self) -> impl Iterator<Item = (&Uid, &Pending)> {
        self.pending.iter()
    }

    /// For how many ids something is owed, with work or in the backlog.
    pub fn pending_count(&self) -> usize {
        self.pending.len() + self.backlog()
    }

    fn set_known(&mut self, uid: &Uid, known: Known) {
        self.entries.change(uid, known, |entry| entry.known = known);
    }

    /// A watch showed the pod at `at`.
    pub fn pod_seen(&mut self, uid: &Uid, watch: usize, at: Moment) {
        self.entries.change(uid, self.known_without_entry(uid), |entry| {
            entry.see(at);
            entry.set_watch(watch);
        });
        self.recent_deletions.remove(uid);
        if let Some(pending) = self.pending.get_mut(uid) {
            // It is there after all: whatever said otherwise is void.
            pending.deletion = None;
            pending.confirmed = None;
        }
    }

    /// Only this watch can show the pod, which none has shown yet.
    pub fn set_watch(&mut self, uid: &Uid, watch: usize) {
        self.entries.change_existing(uid, |entry| entry.set_watch(watch));
    }

    /// A watch showed the pod's end.
    pub fn deleted(&mut self, uid: &Uid, why: Deletion, now: Moment) {
        self.entries.change(uid, self.known_without_entry(uid), |_| ());
        self.mark_pending(uid, now).deletion = Some(why);
    }

    /// A watch showed the pod's end to one who says nothing to the registry. Of those the newest are remembered, so many at
    /// least and less than twice as many; the inventory tells later which of them the registry still holds.
    pub fn remember_deletion(&mut self, uid: &Uid, why: Deletion, at_least: usize) {
        match self.pending.get_mut(uid) {
            Some(pending) if pending.attempts().in_flight.is_some() => pending.deletion = Some(why),
            _ => {
                self.forget(uid);
                self.recent_deletions.insert(uid, why, at_least);
            }
        }
    }

    /// How many ends are remembered.
    pub fn remembered_deletions(&self) -> usize {
        self.recent_deletions.len()
    }

    /// Another writes from now on, so that nothing is known of the registry any more. What is known of pods stays; what was
    /// owed is the other's to find, and watched ends are remembered, as in [`Self::remember_deletion`].
    pub fn step_down(&mut self, at_least: usize) {
        self.seeded = false;
        self.drop_backlog();
        let (entries, recent_deletions) = (&mut self.entries, &mut self.recent_deletions);
        for (uid, pending) in std::mem::take(&mut self.pending).iter() {
            if let Some(why) = pending.deletion {
                entries.remove(uid);
                recent_deletions.insert(uid, why, at_least);
            }
        }
        entries.retain(|_, entry| entry.watch().is_some());
        entries.change_all(|_, entry| entry.known = Known::Unknown);
    }

    /// The deletion of an absent id was confirmed.
    pub fn confirm(&mut self, uid: &Uid, removal: Removal, now: Moment) {
        self.mark_pending(uid, now).confirmed = Some(removal);
    }

    /// No confirmation counts any more, as another writer may be alive.
    pub fn withdraw_confirmations(&mut self) {
        self.pending.iter_mut().for_each(|(_, pending)| pending.confirmed = None);
    }

    /// Something is owed for the id, since `now` if it was not before.
    pub fn mark_pending(&mut self, uid: &Uid, now: Moment) -> &mut Pending {
        let found = self.backlog_since().unwrap_or(now);
        let since = if self.clear_mark(uid) { found } else { now };
        self.pending.get_or_insert_with(uid, || Pending::pending_since(since))
    }

    /// Something changed while a request was in flight.
    pub fn changed_in_flight(&mut self, uid: &Uid, now: Moment) {
        self.mark_pending(uid, now).attempts_mut().again.get_or_insert(now);
    }

    /// Nothing is owed for the id.
    pub fn clear_pending(&mut self, uid: &Uid) {
        self.clear_mark(uid);
        self.pending.remove(uid);
    }

    /// The pod is gone and the registry does not hold it: nothing about it is kept.
    pub fn forget(&mut self, uid: &Uid) {
        self.clear_pending(uid);
        self.entries.remove(uid);
        if let Some(reading) = &mut self.reading {
            reading.forget(uid);
        }
    }

    /// A request for the id was sent.
    pub fn begin(&mut self, uid: &Uid, in_flight: InFlight, now: Moment) {
        self.entries.change(uid, self.known_without_entry(uid), |entry| entry.touched = true);
        let attempt = self.attempt(uid, in_flight.result);
        let attempts = self.mark_pending(uid, now).attempts_mut();
        (attempts.attempt, attempts.in_flight, attempts.unparked) = (attempt, Some(in_flight), false);
        (attempts.mixed, attempts.not_applied) =
            (attempts.mixed || attempts.tried.is_some_and(|other| other != in_flight.result), false);
        attempts.parked = attempts.parked.filter(|rejected| in_flight.result == Known::Registered(*rejected));
    }

    /// What kind of attempt a request with this result would be. Whatever has changed since the last one is a first try.
    pub fn attempt(&self, uid: &Uid, result: Known) -> AttemptKind {
        let Some(attempts) = self.pending.get(uid).map(Pending::attempts) else { return AttemptKind::First };
        match attempts {
            attempts if attempts.parked.is_some_and(|rejected| result == Known::Registered(rejected)) => {
                AttemptKind::Rejected
            }
            attempts if attempts.tried != Some(result) => AttemptKind::First,
            attempts if attempts.failures >= PERSISTENT_AFTER => AttemptKind::Persistent,
            attempts if attempts.not_applied => AttemptKind::First,
            _ => AttemptKind::Retry,
        }
    }

    /// Whether the registry's state of an id is uncertain although the id was sent again by itself.
    pub fn stays_uncertain(&self, uid: &Uid) -> bool {
        let failures = self.pending.get(uid).map_or(0, |pending| pending.attempts().failures);
        failures > PERSISTENT_AFTER && self.known(uid) == Known::Uncertain
    }

    /// The registry judged the operation that was in flight.
    pub fn settle(&mut self, uid: &Uid, verdict: Verdict, now: Moment, random: u64) -> Settled {
        let Some(in_flight) = self.take_in_flight(uid) else { return Settled::Again };
        let (known, settled) = match verdict {
            Verdict::Done => (in_flight.result, Settled::Acknowledged(self.mark_pending(uid, now).since())),
            Verdict::Stale { current } => {
                let ours =
                    current.filter(|c| c.version.epoch == in_flight.version.epoch && c.version > in_flight.version);
                let known = ours.map_or(Known::Uncertain, |c| {
                    c.digest.map_or(Known::Absent, |digest| Known::Registered(digest.fingerprint()))
                });
                (known, Settled::Superseded(current.map(|c| c.version)))
            }
            // Something with a higher version removed it: a pod that is gone is gone there too.
            Verdict::Tombstoned { current } => (Known::Absent, Settled::Superseded(current.map(|c| c.version))),
            Verdict::Retry { after, .. } => {
                self.delay(uid, now, random, after);
                (self.known(uid), Settled::Again)
            }
            Verdict::Uncertain { .. } => {
                self.mark_pending(uid, now).attempts_mut().tried = Some(in_flight.result);
                self.delay(uid, now, random, None);
                (Known::Uncertain, Settled::Again)
            }
            Verdict::Rejected { cause } => {
                match in_flight.result {
                    Known::Registered(rejected) => self.mark_pending(uid, now).attempts_mut().parked = Some(rejected),
                    _ => self.delay(uid, now, random, None),
                }
                (self.known(uid), Settled::Parked(cause))
            }
        };
        self.set_known(uid, known);
        if matches!(settled, Settled::Acknowledged(_)) {
            self.mark_pending(uid, now).acknowledged(now);
        } else if matches!(settled, Settled::Superseded(_)) {
            self.delay(uid, now, random, None);
        }
        settled
    }

    /// The whole request failed. A record that may be to blame goes into smaller batches, and waits once it was alone.
    pub fn fail(&mut self, uid: &Uid, applied: Applied, blame: Blame, now: Moment, random: u64) {
        let Some(in_flight) = self.take_in_flight(uid) else { return };
        if applied != Applied::No {
            self.set_known(uid, Known::Uncertain);
        }
        match applied {
            Applied::No => {}
            // The next request is a first try, though this one may still arrive.
            Applied::Hardly => self.mark_pending(uid, now).attempts_mut().mixed = true,
            Applied::Maybe => self.mark_pending(uid, now).attempts_mut().tried = Some(in_flight.result),
        }
        match blame {
            Blame::Elsewhere => {}
            Blame::OneOf(size) => {
                let parts = if applied == Applied::Maybe { PARTS } else { 2 };
                self.mark_pending(uid, now).attempts_mut().isolation = Isolation::part_of(size, parts);
            }
            Blame::Alone => self.delay(uid, now, random, None),
            Blame::TooLarge => self.mark_pending(uid, now).attempts_mut().isolation = Isolation::Alone,
        }
    }

    fn take_in_flight(&mut self, uid: &Uid) -> Option<InFlight> {
        let attempts = self.pending.get_mut(uid)?.attempts.as_mut()?;
        let in_flight = attempts.in_flight.take()?;
        self.entries.change_existing(uid, |entry| entry.touched = true);
        Some(in_flight)
    }

    fn delay(&mut self, uid: &Uid, now: Moment, random: u64, after: Option<Duration>) {
        let attempts = self.mark_pending(uid, now).attempts_mut();
        attempts.failures = attempts.failures.saturating_add(1);
        let asked_until = now + after.unwrap_or_default();
        let own = retry::key_backoff(attempts.failures, random);
        // The registry knows when it is well again: growing far beyond its own wait would only be late.
        let own = if after.is_some() { own.min(TOLD_BACKOFF_MAX) } else { own };
        (attempts.asked_until, attempts.not_before) = (Some(asked_until), Some(asked_until.max(now + own)));
    }

    /// The registry is well again: what failed while it was not waits no longer than it was told to. Says which ids.
    pub fn end_backoffs(&mut self, now: Moment) -> Vec<Uid> {
        self.change_attempts(|attempts| {
            let waits = attempts.not_before > attempts.asked_until.max(Some(now));
            if waits {
                attempts.not_before = attempts.asked_until;
            }
            waits
        })
    }

    /// Rejected records are tried once more.
    pub fn unpark(&mut self) -> Vec<Uid> {
        self.change_attempts(|attempts| {
            let parked = attempts.parked.is_some() && !attempts.unparked;
            attempts.unparked |= parked;
            parked
        })
    }

    /// Changes what came of requests, and says of which ids it did.
    fn change_attempts(&mut self, change: impl Fn(&mut Attempts) -> bool) -> Vec<Uid> {
        let tried = self.pending.iter_mut().filter_map(|(uid, pending)| Some((uid, pending.attempts.as_mut()?)));
        tried.filter_map(|(uid, attempts)| change(attempts).then(|| uid.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
