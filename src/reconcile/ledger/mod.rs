//! The ledger: what the registry is believed to hold, and what is owed to it.
//!
//! An id is owed while the registry may hold something else than is desired. What is owed leaves the ledger only by an
//! acknowledgement: no count, size or age ever drops it. What is not owed costs a belief and nothing else, so that
//! memory is bounded by living pods and ids that the registry may hold.
//!
//! There may be a million beliefs, and [`Belief`] is as small as can be. There is little work at a time, but for what
//! changes during an outage; what a look at everything finds to be owed waits in the [`Backlog`], which is a mark on a
//! belief.

pub mod backlog;
pub mod belief;
pub mod reading;
pub mod work;

use std::time::Duration;

use super::{decide::Removal, outcome::Verdict, recent_deletions::Ends, retry};
use crate::model::{moment::Moment, uid::Uid, uid_map::UidMap};

use belief::{Belief, Known};

use work::{Applied, Attempt, Blame, Ended, Flight, Isolation, Settled, Tries, Work};

use backlog::Walks;
use belief::Beliefs;
use reading::Reading;

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
    beliefs: Beliefs,
    work: UidMap<Work>,
    /// Whether the registry's inventory was read: from then on, an id without a belief is not there.
    seeded: bool,
    /// While the inventory is read: what it may say of the time before.
    reading: Option<Reading>,
    /// What ended while nothing was said to the registry.
    ends: Ends,
    /// What is owed and has no work yet.
    walks: Walks,
}

impl Ledger {
    /// Whether the registry's inventory was read.
    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// How many ids the registry may hold.
    pub fn owned(&self) -> usize {
        self.beliefs.owned()
    }

    /// The belief about an id, if there is one.
    pub fn belief(&self, uid: &Uid) -> Option<&Belief> {
        self.beliefs.get(uid)
    }

    /// The work on an id, if there is any.
    pub fn work(&self, uid: &Uid) -> Option<&Work> {
        self.work.get(uid)
    }

    /// What the registry is believed to hold of an id.
    pub fn known(&self, uid: &Uid) -> Known {
        self.known_by(uid, self.beliefs.get(uid))
    }

    /// The same, of the id with this belief.
    pub fn known_by(&self, uid: &Uid, belief: Option<&Belief>) -> Known {
        belief.map_or_else(|| self.unheard(uid), |belief| belief.known)
    }

    /// What is known of an id without a belief.
    fn unheard(&self, uid: &Uid) -> Known {
        if self.seeded || self.is_settled(uid) { Known::Absent } else { Known::Unread }
    }

    /// The id and the belief at a position, as [`UidMap`] tells of positions: below [`Self::believed`] there is one at each.
    pub fn belief_at(&self, position: usize) -> Option<(&Uid, &Belief)> {
        self.beliefs.at(position)
    }

    /// The position of an id with a belief.
    pub fn position_of(&self, uid: &Uid) -> Option<usize> {
        self.beliefs.position_of(uid)
    }

    /// How many ids have a belief: what the ledger takes in memory.
    pub fn believed(&self) -> usize {
        self.beliefs.len()
    }

    /// Every id with work.
    pub fn working(&self) -> impl Iterator<Item = (&Uid, &Work)> {
        self.work.iter()
    }

    /// For how many ids something is owed, with work or in the backlog.
    pub fn owed(&self) -> usize {
        self.work.len() + self.backlog()
    }

    fn believe(&mut self, uid: &Uid, known: Known) {
        self.beliefs.change(uid, known, |belief| belief.known = known);
    }

    /// A watch showed the pod at `at`.
    pub fn sighted(&mut self, uid: &Uid, watch: usize, at: Moment) {
        self.beliefs.change(uid, self.unheard(uid), |belief| {
            belief.sight(at);
            belief.show(watch);
        });
        self.ends.remove(uid);
        if let Some(work) = self.work.get_mut(uid) {
            // It is there after all: whatever said otherwise is void.
            work.ended = None;
            work.approved = None;
        }
    }

    /// Only this watch can show the pod, which none has shown yet.
    pub fn place(&mut self, uid: &Uid, watch: usize) {
        self.beliefs.change_existing(uid, |belief| belief.show(watch));
    }

    /// A watch showed the pod's end.
    pub fn ended(&mut self, uid: &Uid, why: Ended, now: Moment) {
        self.beliefs.change(uid, self.unheard(uid), |_| ());
        self.owe(uid, now).ended = Some(why);
    }

    /// A watch showed the pod's end to one who says nothing to the registry. Of those the newest are remembered, so many at
    /// least and less than twice as many; the inventory tells later which of them the registry still holds.
    pub fn remember_end(&mut self, uid: &Uid, why: Ended, at_least: usize) {
        match self.work.get_mut(uid) {
            Some(work) if work.tries().flight.is_some() => work.ended = Some(why),
            _ => {
                self.forget(uid);
                self.ends.insert(uid, why, at_least);
            }
        }
    }

    /// How many ends are remembered.
    pub fn remembered(&self) -> usize {
        self.ends.len()
    }

    /// Another writes from now on, so that nothing is known of the registry any more. What is known of pods stays; what was
    /// owed is the other's to find, and watched ends are remembered, as in [`Self::remember_end`].
    pub fn step_down(&mut self, at_least: usize) {
        self.seeded = false;
        self.drop_backlog();
        let (beliefs, ends) = (&mut self.beliefs, &mut self.ends);
        for (uid, work) in std::mem::take(&mut self.work).iter() {
            if let Some(why) = work.ended {
                beliefs.remove(uid);
                ends.insert(uid, why, at_least);
            }
        }
        beliefs.retain(|_, belief| belief.watch().is_some());
        beliefs.change_all(|_, belief| belief.known = Known::Unread);
    }

    /// The deletion of an absent id was confirmed.
    pub fn approve(&mut self, uid: &Uid, removal: Removal, now: Moment) {
        self.owe(uid, now).approved = Some(removal);
    }

    /// No confirmation counts any more, as another writer may be alive.
    pub fn withdraw_approvals(&mut self) {
        self.work.iter_mut().for_each(|(_, work)| work.approved = None);
    }

    /// Something is owed for the id, since `now` if it was not before.
    pub fn owe(&mut self, uid: &Uid, now: Moment) -> &mut Work {
        let found = self.backlog_since().unwrap_or(now);
        let since = if self.reached(uid) { found } else { now };
        self.work.get_or_insert_with(uid, || Work::owed_since(since))
    }

    /// Something changed while a request was in flight.
    pub fn changed_in_flight(&mut self, uid: &Uid, now: Moment) {
        self.owe(uid, now).tries_mut().again.get_or_insert(now);
    }

    /// Nothing is owed for the id.
    pub fn rest(&mut self, uid: &Uid) {
        self.reached(uid);
        self.work.remove(uid);
    }

    /// The pod is gone and the registry does not hold it: nothing about it is kept.
    pub fn forget(&mut self, uid: &Uid) {
        self.rest(uid);
        self.beliefs.remove(uid);
        if let Some(reading) = &mut self.reading {
            reading.forget(uid);
        }
    }

    /// A request for the id was sent.
    pub fn begin(&mut self, uid: &Uid, flight: Flight, now: Moment) {
        self.beliefs.change(uid, self.unheard(uid), |belief| belief.touched = true);
        let attempt = self.attempt(uid, flight.result);
        let tries = self.owe(uid, now).tries_mut();
        (tries.attempt, tries.flight, tries.unparked) = (attempt, Some(flight), false);
        (tries.mixed, tries.not_applied) =
            (tries.mixed || tries.tried.is_some_and(|other| other != flight.result), false);
        tries.parked = tries.parked.filter(|rejected| flight.result == Known::Holds(*rejected));
    }

    /// What kind of attempt a request with this result would be. Whatever has changed since the last one is a first try.
    pub fn attempt(&self, uid: &Uid, result: Known) -> Attempt {
        let Some(tries) = self.work.get(uid).map(Work::tries) else { return Attempt::First };
        match tries {
            tries if tries.parked.is_some_and(|rejected| result == Known::Holds(rejected)) => Attempt::Rejected,
            tries if tries.tried != Some(result) => Attempt::First,
            tries if tries.failures >= PERSISTENT_AFTER => Attempt::Persistent,
            tries if tries.not_applied => Attempt::First,
            _ => Attempt::Retry,
        }
    }

    /// Whether the registry's state of an id is uncertain although the id was sent again by itself.
    pub fn stays_uncertain(&self, uid: &Uid) -> bool {
        let failures = self.work.get(uid).map_or(0, |work| work.tries().failures);
        failures > PERSISTENT_AFTER && self.known(uid) == Known::Doubt
    }

    /// The registry judged the operation that was in flight.
    pub fn settle(&mut self, uid: &Uid, verdict: Verdict, now: Moment, random: u64) -> Settled {
        let Some(flight) = self.land(uid) else { return Settled::Again };
        let (known, settled) = match verdict {
            Verdict::Done => (flight.result, Settled::Acknowledged(self.owe(uid, now).since())),
            Verdict::Stale { current } => {
                let ours = current.filter(|c| c.version.epoch == flight.version.epoch && c.version > flight.version);
                let known = ours.map_or(Known::Doubt, |c| {
                    c.digest.map_or(Known::Absent, |digest| Known::Holds(digest.fingerprint()))
                });
                (known, Settled::Outrun(current.map(|c| c.version)))
            }
            // Something with a higher version removed it: a pod that is gone is gone there too.
            Verdict::Tombstoned { current } => (Known::Absent, Settled::Outrun(current.map(|c| c.version))),
            Verdict::Retry { after, .. } => {
                self.delay(uid, now, random, after);
                (self.known(uid), Settled::Again)
            }
            Verdict::Doubt { .. } => {
                self.owe(uid, now).tries_mut().tried = Some(flight.result);
                self.delay(uid, now, random, None);
                (Known::Doubt, Settled::Again)
            }
            Verdict::Rejected { cause } => {
                match flight.result {
                    Known::Holds(rejected) => self.owe(uid, now).tries_mut().parked = Some(rejected),
                    _ => self.delay(uid, now, random, None),
                }
                (self.known(uid), Settled::Parked(cause))
            }
        };
        self.believe(uid, known);
        if matches!(settled, Settled::Acknowledged(_)) {
            self.owe(uid, now).acknowledged(now);
        } else if matches!(settled, Settled::Outrun(_)) {
            self.delay(uid, now, random, None);
        }
        settled
    }

    /// The whole request failed. A record that may be to blame goes into smaller batches, and waits once it was alone.
    pub fn fail(&mut self, uid: &Uid, applied: Applied, blame: Blame, now: Moment, random: u64) {
        let Some(flight) = self.land(uid) else { return };
        if applied != Applied::No {
            self.believe(uid, Known::Doubt);
        }
        match applied {
            Applied::No => {}
            // The next request is a first try, though this one may still arrive.
            Applied::Hardly => self.owe(uid, now).tries_mut().mixed = true,
            Applied::Maybe => self.owe(uid, now).tries_mut().tried = Some(flight.result),
        }
        match blame {
            Blame::Elsewhere => {}
            Blame::OneOf(size) => {
                let parts = if applied == Applied::Maybe { PARTS } else { 2 };
                self.owe(uid, now).tries_mut().isolation = Isolation::part_of(size, parts);
            }
            Blame::Alone => self.delay(uid, now, random, None),
            Blame::TooLarge => self.owe(uid, now).tries_mut().isolation = Isolation::Alone,
        }
    }

    fn land(&mut self, uid: &Uid) -> Option<Flight> {
        let tries = self.work.get_mut(uid)?.tries.as_mut()?;
        let flight = tries.flight.take()?;
        self.beliefs.change_existing(uid, |belief| belief.touched = true);
        Some(flight)
    }

    fn delay(&mut self, uid: &Uid, now: Moment, random: u64, after: Option<Duration>) {
        let tries = self.owe(uid, now).tries_mut();
        tries.failures = tries.failures.saturating_add(1);
        let told_until = now + after.unwrap_or_default();
        let own = retry::key_backoff(tries.failures, random);
        // The registry knows when it is well again: growing far beyond its own wait would only be late.
        let own = if after.is_some() { own.min(TOLD_BACKOFF_MAX) } else { own };
        (tries.told_until, tries.not_before) = (Some(told_until), Some(told_until.max(now + own)));
    }

    /// The registry is well again: what failed while it was not waits no longer than it was told to. Says which ids.
    pub fn hasten(&mut self, now: Moment) -> Vec<Uid> {
        self.of_tries(|tries| {
            let waits = tries.not_before > tries.told_until.max(Some(now));
            if waits {
                tries.not_before = tries.told_until;
            }
            waits
        })
    }

    /// Rejected records are tried once more.
    pub fn unpark(&mut self) -> Vec<Uid> {
        self.of_tries(|tries| {
            let parked = tries.parked.is_some() && !tries.unparked;
            tries.unparked |= parked;
            parked
        })
    }

    /// Changes what came of requests, and says of which ids it did.
    fn of_tries(&mut self, change: impl Fn(&mut Tries) -> bool) -> Vec<Uid> {
        let tried = self.work.iter_mut().filter_map(|(uid, work)| Some((uid, work.tries.as_mut()?)));
        tried.filter_map(|(uid, tries)| change(tries).then(|| uid.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
