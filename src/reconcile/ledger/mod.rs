//! The ledger: what the registry is believed to hold, and what is pending.
//!
//! There is one small [`LedgerEntry`] per pod and per record that the registry may hold. Its state is [`Known`]; it
//! begins as unknown, or as absent once the inventory was read:
//!
//! ```text
//!                   a reading begins
//!        unknown <--------------------> assumed
//!         |   |                            |
//!         |   | the inventory names it     | its bucket is equal
//!         |   +--------------+-------------+
//!         |                  v
//!         |              registered <-------------------+
//!         | the inventory    | deleted, or the          | put
//!         | lacks it         v inventory lacks it       |
//!         +--------------> absent ----------------------+
//!
//!        any state  -- an answer is lost, or a reading does not reach it --> uncertain
//!        uncertain  -- a request is acknowledged, or a reading tells ------> registered, absent
//!        any state  -- this process leads no more -------------------------> unknown
//! ```
//!
//! A record is pending while it differs from the desired one and the registry has not acknowledged the change. No
//! count, size or age drops it. The state of its requests is in [`Pending`]:
//!
//! ```text
//!           event                    sent                  acknowledged
//!  nothing -------------> pending ---------> in flight -------------------> nothing, or pending if it
//!     | full               ^   ^               |    |                       changed while in flight
//!     | reconcile    turn  |   | backoff ends  |    |
//!     +----> backlog ------+   +--- waiting <--+    +--> parked
//!                                    failed, or an       rejected; the next resync or another record
//!                                    answer was lost     makes it pending again
//! ```
//!
//! The backlog is a mark on an entry, because a full reconcile may find a million pending records; see [`backlog`].

pub mod backlog;
pub mod entry;
pub mod pending;
pub mod reading;

use std::time::Duration;

use super::{
    deletion::{Deletion, Removal},
    outcome::Verdict,
    retry,
};
use crate::model::{moment::Moment, recent::Recent, uid::Uid, uid_map::UidMap};

use backlog::BacklogCursors;
use entry::{Known, LedgerEntries, LedgerEntry};
use pending::{Applied, AttemptKind, Attempts, Blame, InFlight, Isolation, Pending, Settled};
use reading::InventoryReading;

/// A record that failed this often in a row counts as one that always fails.
const PERSISTENT_AFTER: u32 = 2;
/// A batch that failed as a whole and may have been applied is divided into this many parts. More parts mean fewer
/// retries until the record at fault is found.
const PARTS: usize = 8;

/// The maximum backoff of a record for which the registry asked to wait, unless it asked for longer.
const ASKED_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Ledger entries and pending changes, by pod UID.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: LedgerEntries,
    pending: UidMap<Pending>,
    /// Whether the inventory was read. From then on a UID without an entry is absent.
    seeded: bool,
    /// The reading of the inventory that is under way.
    reading: Option<InventoryReading>,
    /// Deletions that were observed while another replica led. The leader removes these records, so that only the
    /// newest may still be pending when it fails; an older one is found again as an absence.
    recent_deletions: Recent<Deletion>,
    backlog_cursors: BacklogCursors,
}

impl Ledger {
    /// Whether the inventory of the registry was read.
    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// The number of records that the registry may hold.
    pub fn owned(&self) -> usize {
        self.entries.owned()
    }

    pub fn entry(&self, uid: &Uid) -> Option<&LedgerEntry> {
        self.entries.get(uid)
    }

    pub fn pending(&self, uid: &Uid) -> Option<&Pending> {
        self.pending.get(uid)
    }

    /// What the registry is believed to hold for a UID.
    pub fn known(&self, uid: &Uid) -> Known {
        self.known_by(uid, self.entries.get(uid))
    }

    /// As [`Self::known`], for a UID whose entry was looked up already.
    pub fn known_by(&self, uid: &Uid, entry: Option<&LedgerEntry>) -> Known {
        entry.map_or_else(|| self.known_without_entry(uid), |entry| entry.known)
    }

    fn known_without_entry(&self, uid: &Uid) -> Known {
        if self.seeded || self.is_settled(uid) { Known::Absent } else { Known::Unknown }
    }

    /// The entry at a [position](UidMap). There is one at each position below [`Self::entry_count`].
    pub fn entry_at(&self, position: usize) -> Option<(&Uid, &LedgerEntry)> {
        self.entries.at(position)
    }

    pub fn position_of(&self, uid: &Uid) -> Option<usize> {
        self.entries.position_of(uid)
    }

    /// The number of entries.
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    pub fn all_pending(&self) -> impl Iterator<Item = (&Uid, &Pending)> {
        self.pending.iter()
    }

    /// The number of pending changes, including the backlog.
    pub fn pending_count(&self) -> usize {
        self.pending.len() + self.backlog()
    }

    fn set_known(&mut self, uid: &Uid, known: Known) {
        self.entries.change(uid, known, |entry| entry.known = known);
    }

    /// A watch showed the pod.
    pub fn pod_seen(&mut self, uid: &Uid, watch: usize, at: Moment) {
        self.entries.change(uid, self.known_without_entry(uid), |entry| {
            entry.see(at);
            entry.set_watch(watch);
        });
        self.recent_deletions.remove(uid);
        if let Some(pending) = self.pending.get_mut(uid) {
            // The pod exists, so neither a deletion nor a confirmed absence counts any more.
            pending.deletion = None;
            pending.confirmed = None;
        }
    }

    /// Notes the only watch that can show a pod, which only the registry has named so far.
    pub fn set_watch(&mut self, uid: &Uid, watch: usize) {
        self.entries.change_existing(uid, |entry| entry.set_watch(watch));
    }

    /// A watch reported the deletion of the pod.
    pub fn deleted(&mut self, uid: &Uid, why: Deletion, now: Moment) {
        self.entries.change(uid, self.known_without_entry(uid), |_| ());
        self.mark_pending(uid, now).deletion = Some(why);
    }

    /// A watch reported the deletion of the pod to a standby. The newest deletions are remembered, at least `at_least`
    /// and fewer than twice as many. A later reading of the inventory tells which of their records still exist.
    pub fn remember_deletion(&mut self, uid: &Uid, why: Deletion, at_least: usize) {
        match self.pending.get_mut(uid) {
            Some(pending) if pending.attempts().in_flight.is_some() => pending.deletion = Some(why),
            _ => {
                self.forget(uid);
                self.recent_deletions.insert(uid, why, at_least);
            }
        }
    }

    /// Whether a standby has seen the deletion of the pod.
    pub fn remembers_deletion(&self, uid: &Uid) -> bool {
        self.recent_deletions.get(uid).is_some()
    }

    pub fn remembered_deletions(&self) -> usize {
        self.recent_deletions.len()
    }

    /// Another replica leads from now on, so nothing is known about the registry any more. Entries of pods stay;
    /// pending changes are dropped, because the new leader finds them itself; observed deletions are remembered as in
    /// [`Self::remember_deletion`].
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

    /// The absence guard confirmed that the pod is absent. `approved` says whether an operator approved the deletion.
    pub fn confirm(&mut self, uid: &Uid, removal: Removal, approved: bool, now: Moment) {
        let pending = self.mark_pending(uid, now);
        (pending.confirmed, pending.approved) = (Some(removal), approved);
    }

    /// Drops all confirmations, approved or not, because another writer took over.
    pub fn withdraw_confirmations(&mut self) {
        self.pending.iter_mut().for_each(|(_, pending)| pending.confirmed = None);
    }

    /// Drops the confirmations that no operator approved, because another writer may be alive. Returns whether there
    /// was one.
    pub fn withdraw_unapproved(&mut self) -> bool {
        let unapproved = self.pending.iter_mut().map(|(_, pending)| pending).filter(|pending| !pending.approved);
        unapproved.fold(false, |found, pending| found | pending.confirmed.take().is_some())
    }

    /// Makes a UID pending since `now`, unless it is pending or in the backlog since an earlier time.
    pub fn mark_pending(&mut self, uid: &Uid, now: Moment) -> &mut Pending {
        let found = self.backlog_since().unwrap_or(now);
        let since = if self.leave_backlog(uid) { found } else { now };
        self.pending.get_or_insert_with(uid, || Pending::pending_since(since))
    }

    /// The pod changed while a request is in flight.
    pub fn changed_in_flight(&mut self, uid: &Uid, now: Moment) {
        self.mark_pending(uid, now).attempts_mut().again.get_or_insert(now);
    }

    /// Nothing is pending for the UID any more.
    pub fn clear_pending(&mut self, uid: &Uid) {
        self.leave_backlog(uid);
        self.pending.remove(uid);
    }

    /// Drops everything about a UID that neither the cluster nor the registry has.
    pub fn forget(&mut self, uid: &Uid) {
        self.clear_pending(uid);
        self.entries.remove(uid);
        if let Some(reading) = &mut self.reading {
            reading.forget(uid);
        }
    }

    /// A request for the UID was sent.
    pub fn begin(&mut self, uid: &Uid, in_flight: InFlight, now: Moment) {
        self.entries.change(uid, self.known_without_entry(uid), |entry| entry.touched = true);
        let attempt = self.attempt(uid, in_flight.result);
        let attempts = self.mark_pending(uid, now).attempts_mut();
        (attempts.attempt, attempts.in_flight, attempts.unparked) = (attempt, Some(in_flight), false);
        (attempts.mixed, attempts.not_applied) =
            (attempts.mixed || attempts.tried.is_some_and(|other| other != in_flight.result), false);
        attempts.parked = attempts.parked.filter(|rejected| in_flight.result == Known::Registered(*rejected));
    }

    /// The kind of attempt that a request with this result would be. A changed record makes it a first attempt.
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

    /// Whether the entry is uncertain although the record was sent again in a request of its own.
    pub fn stays_uncertain(&self, uid: &Uid) -> bool {
        let failures = self.pending.get(uid).map_or(0, |pending| pending.attempts().failures);
        failures > PERSISTENT_AFTER && self.known(uid) == Known::Uncertain
    }

    /// The registry answered the operation that was in flight.
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
            // A delete with a higher version was applied, so the registry holds nothing.
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
        match settled {
            Settled::Acknowledged(_) => self.mark_pending(uid, now).acknowledged(now),
            Settled::Parked(_) => {}
            Settled::Again => self.not_rejected_now(uid),
            Settled::Superseded(_) => {
                self.delay(uid, now, random, None);
                self.not_rejected_now(uid);
            }
        }
        settled
    }

    /// A record that was rejected before was tried again, and the registry has not judged it yet: it is not parked
    /// again.
    fn not_rejected_now(&mut self, uid: &Uid) {
        if let Some(attempts) = self.pending.get_mut(uid).and_then(|pending| pending.attempts.as_mut()) {
            attempts.unparked = attempts.parked.is_some();
        }
    }

    /// The registry removed the record together with the one that it belonged to, or may have. Returns whether that is
    /// news. A request in flight says itself what became of it.
    pub fn follow_parent(&mut self, uid: &Uid, known: Known) -> bool {
        let is_in_flight = self.pending.get(uid).is_some_and(|pending| pending.attempts().in_flight.is_some());
        let before = self.known(uid);
        if is_in_flight || before == Known::Absent || before == known {
            return false;
        }
        self.entries.change_existing(uid, |entry| (entry.known, entry.touched) = (known, true)).is_some()
    }

    /// Whether a put had no clear answer, so that it may have been applied or may still arrive.
    pub fn may_be_put(&self, uid: &Uid) -> bool {
        let attempts = self.pending.get(uid).map(Pending::attempts);
        attempts.is_some_and(|tried| tried.mixed || matches!(tried.tried, Some(Known::Registered(_))))
    }

    /// The whole request failed. A record that may be at fault goes into smaller batches, and waits once it was alone.
    pub fn fail(&mut self, uid: &Uid, applied: Applied, blame: Blame, now: Moment, random: u64) {
        let Some(in_flight) = self.take_in_flight(uid) else { return };
        self.not_rejected_now(uid);
        if applied != Applied::No {
            self.set_known(uid, Known::Uncertain);
        }
        match applied {
            Applied::No => {}
            // The next request is a first attempt, although this one may still arrive.
            Applied::Unlikely => self.mark_pending(uid, now).attempts_mut().mixed = true,
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
        // The registry says when it works again; a much longer backoff would only add delay.
        let own = if after.is_some() { own.min(ASKED_BACKOFF_MAX) } else { own };
        (attempts.asked_until, attempts.not_before) = (Some(asked_until), Some(asked_until.max(now + own)));
    }

    /// The registry works again: backoffs end, except for the time that the registry asked for. Returns the UIDs that
    /// changed.
    pub fn end_backoffs(&mut self, now: Moment) -> Vec<Uid> {
        self.change_attempts(|attempts| {
            let waits = attempts.not_before > attempts.asked_until.max(Some(now));
            if waits {
                attempts.not_before = attempts.asked_until;
            }
            waits
        })
    }

    /// Rejected records are tried once more. Returns their UIDs.
    pub fn unpark(&mut self) -> Vec<Uid> {
        self.change_attempts(|attempts| {
            let parked = attempts.parked.is_some() && !attempts.unparked;
            attempts.unparked |= parked;
            parked
        })
    }

    /// Changes the attempts of every pending UID, and returns those for which `change` is true.
    fn change_attempts(&mut self, change: impl Fn(&mut Attempts) -> bool) -> Vec<Uid> {
        let tried = self.pending.iter_mut().filter_map(|(uid, pending)| Some((uid, pending.attempts.as_mut()?)));
        tried.filter_map(|(uid, attempts)| change(attempts).then(|| uid.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
