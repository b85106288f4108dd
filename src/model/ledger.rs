//! The ledger: what the registry is believed to hold, and what is owed to it.
//!
//! An id is owed while the registry may hold something else than is desired. What is owed leaves the ledger only by an
//! acknowledgement: no count, size or age ever drops it. What is not owed costs a belief and nothing else, so that
//! memory is bounded by living pods and ids that the registry may hold.

use std::collections::{HashMap, HashSet};

use super::{Buckets, Digest, Moment, OperationKind, Removal, Uid, Verdict, Version, ends::Ends, retry};

/// What the registry is believed to hold of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Not read yet: it may hold anything.
    Unread,
    /// Being read, on the supposition that it holds this, which a bucket's digest will confirm or refute.
    Supposed(Digest),
    /// It holds nothing.
    Absent,
    /// It holds the record with this digest.
    Holds(Digest),
    /// It may hold anything, as an answer was lost or could not be trusted.
    Doubt,
}

impl Known {
    fn is_owned(self) -> bool {
        matches!(self, Self::Holds(_) | Self::Doubt)
    }
}

/// Why a pod ended, as its watch told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// The object is gone.
    Deleted,
    /// It is gone or no longer selected: with a selector set, an event cannot tell.
    DeletedOrLeftRule,
}

/// The belief about one id.
#[derive(Clone, Debug)]
pub struct Belief {
    /// What the registry holds.
    pub known: Known,
    /// When there was last evidence that the pod exists: absence counts only in a list begun later.
    pub sighted: Moment,
    /// Which watch showed the pod; none for an id that only the registry named.
    pub watch: Option<usize>,
    /// When an operation on the id was last sent or settled.
    touched: Option<Moment>,
}

/// A request that was sent and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// What it does.
    pub kind: OperationKind,
    /// What the registry holds once it is acknowledged.
    pub result: Known,
    /// Its version.
    pub version: Version,
}

/// Work on one id: owed, in flight, waiting or parked.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// When the oldest change that is not acknowledged was seen.
    pub since: Moment,
    /// When the first change was seen that came while a request was in flight.
    pub again: Option<Moment>,
    /// The request under way: at most one.
    pub flight: Option<Flight>,
    /// That the request was sent in a term that is over: whatever its answer, others may have written since.
    pub overtaken: bool,
    /// What the last request was to bring about that was not acknowledged.
    pub tried: Option<Known>,
    /// Whether the request under way repeats the one before it.
    pub repeats: bool,
    /// That the pod's end was watched.
    pub ended: Option<Ended>,
    /// That the deletion of this absent id was confirmed, and what is said of it.
    pub approved: Option<Removal>,
    /// Not to be tried before.
    pub not_before: Moment,
    /// The part of that which the registry asked for.
    pub told_until: Moment,
    /// Failures in a row.
    pub failures: u32,
    /// A batch with this id failed as a whole: it goes into batches of this size at most, half as large each time. Zero is
    /// for one that was too large as a batch by itself: it goes as a request of its own.
    pub batch_at_most: Option<usize>,
    /// The record that the registry refuses, and why: it waits for another body or the next resync.
    pub parked: Option<(Digest, String)>,
}

/// What came of an operation's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Acknowledged; since when the change had waited.
    Acknowledged(Moment),
    /// To be tried again.
    Again,
    /// Parked, with the reason.
    Parked(String),
    /// The version was too low; the counter has to pass this one.
    Outrun(Option<Version>),
}

/// How an inventory differed from the belief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drift {
    /// We believed the record to be there.
    Missing,
    /// We did not know of it.
    Extra,
    /// We believed it to be another.
    Differing,
}

/// Beliefs and work, by pod UID.
#[derive(Debug, Default)]
pub struct Ledger {
    beliefs: HashMap<Uid, Belief>,
    work: HashMap<Uid, Work>,
    /// Whether the registry's inventory was read: from then on, an id without a belief is not there.
    seeded: bool,
    owned: usize,
    /// While the inventory is read: ids that were forgotten since it began, of which it may still speak.
    forgotten: Option<HashSet<Uid>>,
    /// What ended while nothing was said to the registry.
    ends: Ends,
}

impl Ledger {
    /// Whether the registry's inventory was read.
    pub fn is_seeded(&self) -> bool {
        self.seeded
    }

    /// How many ids the registry may hold.
    pub fn owned(&self) -> usize {
        self.owned
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
        self.beliefs.get(uid).map_or(self.unheard(), |belief| belief.known)
    }

    fn unheard(&self) -> Known {
        if self.seeded { Known::Absent } else { Known::Unread }
    }

    /// Every id with a belief.
    pub fn uids(&self) -> impl Iterator<Item = &Uid> {
        self.beliefs.keys()
    }

    /// How many ids have a belief: what the ledger takes in memory.
    pub fn believed(&self) -> usize {
        self.beliefs.len()
    }

    /// Every id with work.
    pub fn working(&self) -> impl Iterator<Item = (&Uid, &Work)> {
        self.work.iter()
    }

    /// How many ids have work.
    pub fn working_len(&self) -> usize {
        self.work.len()
    }

    fn believe(&mut self, uid: &Uid, known: Known) -> &mut Belief {
        let fresh = || Belief { known: Known::Unread, sighted: Moment::ZERO, watch: None, touched: None };
        let belief = self.beliefs.entry(uid.clone()).or_insert_with(fresh);
        self.owned += usize::from(known.is_owned());
        self.owned -= usize::from(belief.known.is_owned());
        belief.known = known;
        belief
    }

    /// A watch showed the pod at `at`.
    pub fn sighted(&mut self, uid: &Uid, watch: usize, at: Moment) {
        let known = self.known(uid);
        let belief = self.believe(uid, known);
        belief.sighted = belief.sighted.max(at);
        belief.watch = Some(watch);
        self.ends.remove(uid);
        if let Some(work) = self.work.get_mut(uid) {
            // It is there after all: whatever said otherwise is void.
            work.ended = None;
            work.approved = None;
        }
    }

    /// A watch showed the pod's end.
    pub fn ended(&mut self, uid: &Uid, why: Ended, now: Moment) {
        let known = self.known(uid);
        self.believe(uid, known);
        self.owe(uid, now).ended = Some(why);
    }

    /// A watch showed the pod's end to one who says nothing to the registry: at most so many of those are remembered. The
    /// inventory tells later which of them the registry still holds.
    pub fn remember_end(&mut self, uid: &Uid, why: Ended, most: usize) {
        match self.work.get_mut(uid) {
            Some(work) if work.flight.is_some() => work.ended = Some(why),
            _ => {
                self.forget(uid);
                self.ends.insert(uid, why, most);
            }
        }
    }

    /// How many ends are remembered.
    pub fn remembered(&self) -> usize {
        self.ends.len()
    }

    /// Another writes from now on, so that nothing is known of the registry any more. What is known of pods stays; what was
    /// owed is the other's to find, and watched ends are remembered, at most so many.
    pub fn step_down(&mut self, most: usize) {
        self.seeded = false;
        self.owned = 0;
        for (uid, mut work) in std::mem::take(&mut self.work) {
            if work.flight.is_some() {
                work.overtaken = true;
                self.work.insert(uid, work);
            } else if let Some(why) = work.ended {
                self.beliefs.remove(&uid);
                self.ends.insert(&uid, why, most);
            }
        }
        let (beliefs, work) = (&mut self.beliefs, &self.work);
        beliefs.retain(|uid, belief| belief.watch.is_some() || work.contains_key(uid));
        for belief in beliefs.values_mut() {
            belief.known = Known::Unread;
        }
    }

    /// The deletion of an absent id was confirmed.
    pub fn approve(&mut self, uid: &Uid, removal: Removal, now: Moment) {
        self.owe(uid, now).approved = Some(removal);
    }

    /// Something is owed for the id, since `now` if it was not before.
    pub fn owe(&mut self, uid: &Uid, now: Moment) -> &mut Work {
        self.work.entry(uid.clone()).or_insert_with(|| Work { since: now, ..Work::default() })
    }

    /// Something changed while a request was in flight.
    pub fn changed_in_flight(&mut self, uid: &Uid, now: Moment) {
        self.owe(uid, now).again.get_or_insert(now);
    }

    /// Nothing is owed for the id.
    pub fn rest(&mut self, uid: &Uid) {
        self.work.remove(uid);
    }

    /// The pod is gone and the registry does not hold it: nothing about it is kept.
    pub fn forget(&mut self, uid: &Uid) {
        self.work.remove(uid);
        if let Some(belief) = self.beliefs.remove(uid) {
            self.owned -= usize::from(belief.known.is_owned());
        }
        if let Some(forgotten) = &mut self.forgotten {
            forgotten.insert(uid.clone());
        }
    }

    /// A request for the id was sent.
    pub fn begin(&mut self, uid: &Uid, flight: Flight, now: Moment) {
        let known = self.known(uid);
        self.believe(uid, known).touched = Some(now);
        let repeats = self.repeats(uid, flight.result);
        let work = self.owe(uid, now);
        (work.repeats, work.tried, work.flight) = (repeats, Some(flight.result), Some(flight));
    }

    /// Whether this was tried last and not acknowledged, so that a request for it would repeat the one before. What has
    /// changed since then is another matter, and a first try.
    pub fn repeats(&self, uid: &Uid, result: Known) -> bool {
        self.work.get(uid).is_some_and(|work| work.tried == Some(result))
    }

    /// The registry judged the operation that was in flight.
    pub fn settle(&mut self, uid: &Uid, verdict: Verdict, now: Moment, random: u64) -> Settled {
        let Some(flight) = self.land(uid, now) else { return Settled::Again };
        let (known, settled) = match verdict {
            Verdict::Done => (flight.result, Settled::Acknowledged(self.owe(uid, now).since)),
            Verdict::Stale { current } => {
                let ours = current.filter(|c| c.version.epoch == flight.version.epoch && c.version > flight.version);
                let known = ours.map_or(Known::Doubt, |c| c.digest.map_or(Known::Absent, Known::Holds));
                (known, Settled::Outrun(current.map(|c| c.version)))
            }
            // Something with a higher version removed it: a pod that is gone is gone there too.
            Verdict::Tombstoned { current } => (Known::Absent, Settled::Outrun(current.map(|c| c.version))),
            Verdict::Retry { after, .. } => {
                self.delay(uid, now, random, after);
                (self.known(uid), Settled::Again)
            }
            Verdict::Doubt { .. } => {
                self.delay(uid, now, random, None);
                (Known::Doubt, Settled::Again)
            }
            Verdict::Rejected { cause } => {
                let work = self.owe(uid, now);
                match flight.result {
                    Known::Holds(digest) => work.parked = Some((digest, cause.clone())),
                    _ => self.delay(uid, now, random, None),
                }
                (self.known(uid), Settled::Parked(cause))
            }
        };
        self.believe(uid, known);
        if matches!(settled, Settled::Acknowledged(_)) {
            let work = self.owe(uid, now);
            (work.failures, work.batch_at_most, work.parked, work.tried) = (0, None, None, None);
            work.since = work.again.take().unwrap_or(now);
        } else if matches!(settled, Settled::Outrun(_)) {
            self.delay(uid, now, random, None);
        }
        settled
    }

    /// The whole request failed. `applied` says whether the registry may have applied it all the same, `isolate` whether
    /// this id may be why, and of how many: then it goes into smaller batches, and alone it waits. Of none, if it cannot be
    /// in a batch at all.
    pub fn fail(&mut self, uid: &Uid, applied: bool, isolate: Option<usize>, now: Moment, random: u64) {
        if self.land(uid, now).is_none() {
            return;
        }
        if applied {
            self.believe(uid, Known::Doubt);
        }
        match isolate {
            Some(0) => self.owe(uid, now).batch_at_most = Some(0),
            Some(1) => self.delay(uid, now, random, None),
            // In powers of two, so that those of many batches that failed can be gathered into one.
            Some(size) => self.owe(uid, now).batch_at_most = Some((size.next_power_of_two() / 2).max(1)),
            None => {}
        }
    }

    fn land(&mut self, uid: &Uid, now: Moment) -> Option<Flight> {
        let work = self.work.get_mut(uid)?;
        let flight = work.flight.take()?;
        let overtaken = work.overtaken;
        if let Some(belief) = self.beliefs.get_mut(uid) {
            belief.touched = Some(now);
        }
        if overtaken {
            self.land_overtaken(uid);
            return None;
        }
        Some(flight)
    }

    /// A request of an earlier term was answered: that tells nothing of now.
    fn land_overtaken(&mut self, uid: &Uid) {
        let Some(Work { since, ended, .. }) = self.work.remove(uid) else { return };
        if self.seeded {
            self.believe(uid, Known::Doubt);
        }
        if self.seeded || ended.is_some() {
            self.owe(uid, since).ended = ended;
        }
    }

    fn delay(&mut self, uid: &Uid, now: Moment, random: u64, after: Option<Moment>) {
        let work = self.owe(uid, now);
        work.failures = work.failures.saturating_add(1);
        work.told_until = now + after.unwrap_or_default();
        work.not_before = work.told_until.max(now + retry::key_backoff(work.failures, random));
    }

    /// The registry is well again: what failed while it was not waits no longer than it was told to. Says which ids.
    pub fn hasten(&mut self, now: Moment) -> Vec<Uid> {
        let waiting = self.work.iter_mut().filter(|(_, work)| work.not_before > work.told_until.max(now));
        waiting.map(|(uid, work)| (uid.clone(), work.not_before = work.told_until).0).collect()
    }

    /// Refused records are tried once more.
    pub fn unpark(&mut self) -> Vec<Uid> {
        let parked = self.work.iter_mut().filter(|(_, work)| work.parked.is_some());
        parked.map(|(uid, work)| (uid.clone(), work.parked = None).0).collect()
    }

    // Reading the inventory.

    /// A reading begins: of what is unread, the registry is supposed to hold what is desired.
    pub fn suppose(&mut self, desired: impl Fn(&Uid) -> Option<Digest>) {
        self.forgotten = Some(HashSet::new());
        for (uid, belief) in &mut self.beliefs {
            if matches!(belief.known, Known::Unread | Known::Supposed(_)) {
                belief.known = desired(uid).map_or(Known::Unread, Known::Supposed);
            }
        }
    }

    /// The inventory as we believe or suppose it to be: per bucket how many records, and the xor of their digests.
    pub fn buckets(&self, division: Buckets) -> Vec<(u64, Digest)> {
        let mut buckets = vec![(0, Digest::default()); division.count()];
        for (uid, belief) in &self.beliefs {
            if let Known::Holds(digest) | Known::Supposed(digest) = belief.known {
                let bucket = &mut buckets[division.of(&uid.text())];
                bucket.0 += 1;
                bucket.1.xor(&digest);
            }
        }
        buckets
    }

    fn is_settled_since(&self, uid: &Uid, began: Moment) -> bool {
        if self.forgotten.as_ref().is_some_and(|forgotten| forgotten.contains(uid)) {
            return false;
        }
        let touched = self.beliefs.get(uid).and_then(|belief| belief.touched);
        !self.work.contains_key(uid) && touched.is_none_or(|touched| touched < began)
    }

    /// The registry's bucket equals ours: what was supposed in it holds.
    pub fn confirm_bucket(&mut self, division: Buckets, matches: impl Fn(usize) -> bool) {
        let supposed = self.beliefs.iter().filter_map(|(uid, belief)| match belief.known {
            Known::Supposed(digest) if matches(division.of(&uid.text())) => Some((uid.clone(), digest)),
            _ => None,
        });
        for (uid, digest) in supposed.collect::<Vec<_>>() {
            self.believe(&uid, Known::Holds(digest));
        }
    }

    /// The registry named this id in a reading that began at `began` and is over `now`.
    pub fn inventory_has(&mut self, uid: &Uid, digest: Digest, began: Moment, now: Moment) -> Option<Drift> {
        if !self.is_settled_since(uid, began) {
            return None;
        }
        let before = self.beliefs.get(uid).map(|belief| belief.known);
        if let Some(why) = self.ends.remove(uid) {
            self.owe(uid, now).ended = Some(why);
        }
        let belief = self.believe(uid, Known::Holds(digest));
        match before {
            None | Some(Known::Absent) => {
                belief.sighted = now;
                self.seeded.then_some(Drift::Extra)
            }
            Some(Known::Holds(believed)) if believed != digest => Some(Drift::Differing),
            Some(_) => None,
        }
    }

    /// The registry did not name this id, in the part of the inventory that was read.
    pub fn inventory_lacks(&mut self, uid: &Uid, began: Moment) -> Option<Drift> {
        if !self.is_settled_since(uid, began) {
            return None;
        }
        let before = self.known(uid);
        self.believe(uid, Known::Absent);
        matches!(before, Known::Holds(_)).then_some(Drift::Missing)
    }

    /// The reading came to nothing.
    pub fn abandon_reading(&mut self) {
        self.forgotten = None;
    }

    /// The reading is over: what it did not settle is in doubt, and an id without a belief is not there.
    pub fn finish_reading(&mut self) {
        self.seeded = true;
        self.forgotten = None;
        self.ends.clear();
        let open = self.beliefs.iter().filter(|(_, b)| matches!(b.known, Known::Unread | Known::Supposed(_)));
        for uid in open.map(|(uid, _)| uid.clone()).collect::<Vec<_>>() {
            self.believe(&uid, Known::Doubt);
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
