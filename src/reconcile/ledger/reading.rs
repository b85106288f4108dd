//! Reading the registry's inventory and comparing it with the ledger.
//!
//! Requests go on during a reading. It may be outdated for records that were sent, answered or forgotten since it
//! began, so it does not change their entries.
//!
//! A reading comes in parts. A bucket is settled once it was read to its end or equals the ledger's. From then on a UID
//! of that bucket without an entry is absent.

use super::{
    Ledger,
    entry::{Known, LedgerEntry},
};
use crate::model::{
    digest::{Buckets, Fingerprint},
    moment::Moment,
    recent::Recent,
    uid::Uid,
    uid_map::UidMap,
};

/// How the inventory differs from the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drift {
    /// The ledger has a record that the registry lacks.
    Missing,
    /// The registry has a record that the ledger lacks.
    Extra,
    /// The two have different records.
    Differing,
}

/// The most forgotten UIDs that a reading remembers. Beyond it, every UID without an entry may have been forgotten and
/// is left to the next reading.
const FORGOTTEN_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct InventoryReading {
    /// UIDs that were forgotten since the reading began, and which it may still name.
    forgotten: UidMap<()>,
    /// Which buckets are settled.
    settled: Option<(Buckets, Vec<bool>)>,
}

impl InventoryReading {
    pub(super) fn forget(&mut self, uid: &Uid) {
        if self.forgotten.len() < FORGOTTEN_MAX && !self.is_settled(uid) {
            self.forgotten.insert(uid, ());
        }
    }

    fn is_settled(&self, uid: &Uid) -> bool {
        let Some((division, buckets)) = &self.settled else { return false };
        let bucket = division.of_prefix(Buckets::prefix(&uid.text()));
        buckets.get(bucket).copied().unwrap_or(false)
    }

    fn may_have_forgotten(&self, uid: &Uid, has_entry: bool) -> bool {
        self.forgotten.contains(uid) || (!has_entry && self.forgotten.len() >= FORGOTTEN_MAX)
    }
}

impl Ledger {
    /// Begins a reading: assumes that unread entries equal the desired records.
    pub fn assume(&mut self, desired: impl Fn(&Uid, &LedgerEntry) -> Option<Fingerprint>) {
        self.reading = Some(InventoryReading::default());
        self.entries.change_all(|uid, entry| {
            (entry.touched, entry.named) = (false, false);
            if matches!(entry.known, Known::Unknown | Known::Assumed(_)) {
                entry.known = desired(uid, entry).map_or(Known::Unknown, Known::Assumed);
            }
        });
    }

    /// The number of records per bucket and the xor of their fingerprints, with assumed records.
    pub fn buckets(&self, division: Buckets) -> Vec<(u64, Fingerprint)> {
        let mut buckets = vec![(0, Fingerprint::default()); division.count()];
        for (_, entry) in self.entries.iter() {
            if let Known::Registered(held) | Known::Assumed(held) = entry.known {
                let bucket = &mut buckets[entry.bucket(division)];
                bucket.0 += 1;
                bucket.1.xor(&held);
            }
        }
        buckets
    }

    /// These buckets equal the ledger's: the registry holds the assumed records in them, and no others.
    pub fn confirm_bucket(&mut self, division: Buckets, matches: impl Fn(usize) -> bool) {
        let (pending, reading) = (&mut self.pending, &self.reading);
        self.entries.change_all(|uid, entry| {
            if !matches(entry.bucket(division)) {
                return;
            }
            match entry.known {
                Known::Assumed(held) => entry.known = Known::Registered(held),
                Known::Unknown | Known::Uncertain if !entry.touched => match pending.get_mut(uid) {
                    Some(pending) => pending.was_not_applied(),
                    None if reading.as_ref().is_some_and(|reading| reading.forgotten.contains(uid)) => {}
                    None => entry.known = Known::Absent,
                },
                _ => {}
            }
        });
    }

    /// The registry named this UID in the reading. Without `held`, it may hold the record or not.
    pub fn inventory_has(&mut self, uid: &Uid, held: Option<Fingerprint>, now: Moment) -> Option<Drift> {
        let position = self.entries.position_of(uid);
        let name = |entry: &mut LedgerEntry| {
            entry.named = true;
            (entry.known, entry.touched)
        };
        let before = position.and_then(|position| self.entries.change_at(position, name));
        let forgotten = |reading: &InventoryReading| reading.may_have_forgotten(uid, before.is_some());
        if self.reading.as_ref().is_some_and(forgotten) || before.is_some_and(|(_, touched)| touched) {
            return None;
        }
        if let Some(pending) = self.pending.get_mut(uid) {
            let settled = held.filter(|held| pending.is_settled_by(*held));
            if let Some((position, held)) = position.zip(settled) {
                self.entries.change_at(position, |entry| entry.known = Known::Registered(held));
            } else {
                pending.was_not_applied();
            }
            return None;
        }
        if let Some(why) = self.recent_deletions.remove(uid) {
            self.mark_pending(uid, now).deletion = Some(why);
        }
        let is_news = before.is_none_or(|(known, _)| known == Known::Absent);
        let learn = |entry: &mut LedgerEntry| {
            (entry.known, entry.named) = (held.map_or(Known::Uncertain, Known::Registered), true);
            if is_news {
                entry.see(now);
            }
        };
        match position {
            Some(position) => _ = self.entries.change_at(position, learn),
            None => self.entries.change(uid, Known::Unknown, learn),
        }
        match before {
            _ if is_news => self.seeded.then_some(Drift::Extra),
            Some((Known::Registered(known), _)) if Some(known) != held => Some(Drift::Differing),
            _ => None,
        }
    }

    /// Whether the reading under way has settled the bucket of this UID.
    pub(super) fn is_settled(&self, uid: &Uid) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.is_settled(uid))
    }

    /// Settles these buckets while the reading goes on. What it did not say about them is uncertain.
    pub fn settle_buckets(&mut self, division: Buckets, which: impl Fn(usize) -> bool) {
        let Some(reading) = &mut self.reading else { return };
        let (_, settled) = reading.settled.get_or_insert_with(|| (division, vec![false; division.count()]));
        let mut any = false;
        for (_, settled) in settled.iter_mut().enumerate().filter(|(bucket, _)| which(*bucket)) {
            (*settled, any) = (true, true);
        }
        if any {
            self.mark_unread_uncertain(|entry| which(entry.bucket(division)));
        }
    }

    fn mark_unread_uncertain(&mut self, which: impl Fn(&LedgerEntry) -> bool) {
        self.entries.change_all(|_, entry| {
            if matches!(entry.known, Known::Unknown | Known::Assumed(_)) && which(entry) {
                entry.known = Known::Uncertain;
            }
        });
    }

    /// The registry named all its records, except in the buckets that equal the ledger's. Returns how many records of
    /// the ledger are missing.
    pub fn inventory_lacks_the_others(&mut self, division: Buckets, equal: impl Fn(usize) -> bool) -> usize {
        let (pending, reading, mut missing) = (&mut self.pending, &self.reading, 0);
        self.entries.change_all(|uid, entry| {
            if entry.named || entry.touched || equal(entry.bucket(division)) {
                return;
            }
            let forgotten = reading.as_ref().is_some_and(|reading| reading.forgotten.contains(uid));
            let is_missing = matches!(entry.known, Known::Registered(_));
            match pending.get_mut(uid) {
                Some(pending) => {
                    pending.was_not_applied();
                    if is_missing && pending.attempts().in_flight.is_none() {
                        // The last request may still arrive.
                        (entry.known, missing) = (Known::Uncertain, missing + 1);
                    }
                }
                None if forgotten => {}
                None => (entry.known, missing) = (Known::Absent, missing + usize::from(is_missing)),
            }
        });
        missing
    }

    /// The reading failed.
    pub fn abandon_reading(&mut self) {
        self.reading = None;
    }

    /// The registry has no inventory. It may hold a record of each pod that was seen, and of each pod whose deletion
    /// is remembered: these deletions become pending.
    pub fn finish_unread(&mut self, now: Moment) {
        for (uid, why) in std::mem::take(&mut self.recent_deletions).iter() {
            self.deleted(uid, *why, now);
        }
        self.finish_reading();
    }

    /// Completes the reading. What it did not settle is uncertain, and a UID without an entry is absent.
    pub fn finish_reading(&mut self) {
        self.seeded = true;
        self.reading = None;
        self.recent_deletions = Recent::default();
        self.mark_unread_uncertain(|_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{digest::Digest, ids::Version},
        reconcile::{
            ledger::pending::{Applied, AttemptKind, Blame, InFlight},
            outcome::{OperationKind, Verdict},
        },
    };

    const NOW: Moment = Moment::from_secs(1);

    fn held(n: u8) -> Fingerprint {
        Digest([n; 32]).fingerprint()
    }

    #[test]
    fn equal_bucket_lacks_unassumed_records() {
        let (gone, shown) = (Uid::from("gone"), Uid::from("shown"));
        let mut ledger = Ledger::default();
        ledger.pod_seen(&gone, 0, NOW);
        ledger.pod_seen(&shown, 0, NOW);
        for _ in 0..2 {
            ledger.assume(|uid, _| (*uid == shown).then(|| held(1)));
            ledger.confirm_bucket(Buckets::By8Bits, |_| true);
            ledger.finish_reading();
            assert_eq!((ledger.known(&gone), ledger.known(&shown)), (Known::Absent, Known::Registered(held(1))));
        }
    }

    #[test]
    fn missing_pending_record_is_uncertain() {
        let (mut ledger, uid) = (Ledger::default(), &Uid::from("a"));
        ledger.pod_seen(uid, 0, NOW);
        ledger.finish_reading();
        ledger.set_known(uid, Known::Registered(held(1)));
        ledger.mark_pending(uid, NOW);
        ledger.assume(|_, _| None);
        assert_eq!(ledger.inventory_lacks_the_others(Buckets::By8Bits, |_| false), 1);
        assert_eq!(ledger.known(uid), Known::Uncertain);
    }

    #[test]
    fn settled_bucket_lacks_unnamed_records() {
        let division = Buckets::By8Bits;
        let (old, new) = (Uid::from("old"), Uid::from("new"));
        let bucket = |uid: &Uid| division.of(&uid.text());
        assert_ne!(bucket(&old), bucket(&new));
        let mut ledger = Ledger::default();
        ledger.pod_seen(&old, 0, NOW);
        ledger.assume(|_, _| None);
        assert_eq!((ledger.known(&old), ledger.known(&new)), (Known::Unknown, Known::Unknown));
        ledger.settle_buckets(division, |settled| settled == bucket(&new));
        assert_eq!((ledger.known(&old), ledger.known(&new)), (Known::Unknown, Known::Absent));
        ledger.settle_buckets(division, |settled| settled == bucket(&old));
        assert_eq!((ledger.known(&old), ledger.known(&new)), (Known::Uncertain, Known::Absent));
        ledger.abandon_reading();
        assert_eq!(ledger.known(&new), Known::Unknown);
        assert!(!ledger.is_seeded());
    }

    /// A put that failed and may have been applied.
    fn failed_put(ledger: &mut Ledger, uid: &Uid, n: u8, seq: u64) {
        let result = Known::Registered(held(n));
        let in_flight = InFlight { kind: OperationKind::Put, result, version: Version { epoch: 1, seq } };
        ledger.begin(uid, in_flight, NOW);
        ledger.fail(uid, Applied::Maybe, Blame::OneOf(500), NOW, 0);
        assert_eq!((ledger.known(uid), ledger.attempt(uid, result)), (Known::Uncertain, AttemptKind::Retry));
    }

    fn seeded_with_failed_put() -> (Ledger, Uid) {
        let (mut ledger, uid) = (Ledger::default(), Uid::from("a"));
        ledger.assume(|_, _| None);
        ledger.finish_reading();
        ledger.pod_seen(&uid, 0, NOW);
        failed_put(&mut ledger, &uid, 1, 1);
        ledger.assume(|_, _| None);
        (ledger, uid)
    }

    #[test]
    fn inventory_shows_that_a_failed_put_was_applied() {
        let (mut ledger, uid) = seeded_with_failed_put();
        ledger.inventory_has(&uid, Some(held(1)), NOW);
        assert_eq!(ledger.known(&uid), Known::Registered(held(1)));
    }

    #[test]
    fn inventory_settles_a_put_that_was_never_sent() {
        // An entry that no list has reached is uncertain.
        for before in [Known::Absent, Known::Uncertain] {
            let (mut ledger, uid) = (Ledger::default(), Uid::from("a"));
            ledger.finish_reading();
            ledger.pod_seen(&uid, 0, NOW);
            ledger.set_known(&uid, before);
            let result = Known::Registered(held(1));
            let in_flight = InFlight { kind: OperationKind::Put, result, version: Version { epoch: 1, seq: 1 } };
            ledger.begin(&uid, in_flight, NOW);
            ledger.assume(|_, _| None);
            ledger.inventory_has(&uid, Some(held(1)), NOW);
            assert_eq!(ledger.known(&uid), before, "it is in flight");
            ledger.settle(&uid, Verdict::Retry { after: None, cause: "waits for a list".to_owned() }, NOW, 0);
            ledger.inventory_has(&uid, Some(held(1)), NOW);
            assert_eq!(ledger.known(&uid), before, "it was answered during the reading");
            ledger.assume(|_, _| None);
            ledger.inventory_has(&uid, Some(held(1)), NOW);
            assert_eq!((ledger.known(&uid), ledger.owned()), (result, 1));
        }
    }

    #[test]
    fn record_that_may_be_held_is_uncertain() {
        let (mut ledger, [new, known]) = (Ledger::default(), ["new", "known"].map(Uid::from));
        ledger.set_known(&known, Known::Registered(held(1)));
        ledger.assume(|_, _| None);
        for uid in [&new, &known] {
            ledger.inventory_has(uid, None, NOW);
            assert_eq!(ledger.known(uid), Known::Uncertain, "{uid}");
        }
        assert_eq!(ledger.owned(), 2, "a deletion of either is sent");
        let (mut ledger, uid) = seeded_with_failed_put();
        ledger.inventory_has(&uid, None, NOW);
        assert_eq!(ledger.known(&uid), Known::Uncertain, "it settles nothing");
    }

    #[test]
    fn unapplied_put_counts_as_a_first_try() {
        let division = Buckets::By8Bits;
        type Reads = fn(&mut Ledger, &Uid);
        let readings: [Reads; 3] = [
            |ledger, _| ledger.confirm_bucket(Buckets::By8Bits, |_| true),
            |ledger, _| _ = ledger.inventory_lacks_the_others(Buckets::By8Bits, |_| false),
            |ledger, uid| _ = ledger.inventory_has(uid, Some(held(9)), NOW),
        ];
        for read in readings {
            let (mut ledger, uid) = seeded_with_failed_put();
            read(&mut ledger, &uid);
            ledger.finish_reading();
            let attempt = ledger.attempt(&uid, Known::Registered(held(1)));
            assert_eq!((ledger.known(&uid), attempt), (Known::Uncertain, AttemptKind::First), "it may still arrive");
        }
        let (mut ledger, uid) = seeded_with_failed_put();
        ledger.inventory_lacks_the_others(division, |_| true);
        assert_eq!(ledger.attempt(&uid, Known::Registered(held(1))), AttemptKind::Retry, "its bucket was not read");
    }

    #[test]
    fn request_that_may_still_arrive_is_not_settled() {
        let (mut ledger, uid) = seeded_with_failed_put();
        failed_put(&mut ledger, &uid, 2, 2);
        ledger.assume(|_, _| None);
        ledger.inventory_has(&uid, Some(held(2)), NOW);
        assert_eq!(ledger.known(&uid), Known::Uncertain, "the first put may come after the second one");
        // A reading does not change what was sent since it began.
        let (mut ledger, uid) = seeded_with_failed_put();
        failed_put(&mut ledger, &uid, 1, 2);
        ledger.inventory_has(&uid, Some(held(1)), NOW);
        assert_eq!(ledger.known(&uid), Known::Uncertain);
    }

    #[test]
    fn forgotten_ids_are_bounded_during_a_reading() {
        let mut ledger = Ledger::default();
        ledger.assume(|_, _| None);
        let ids = |from: usize, to: usize| (from..to).map(|n| Uid::from(format!("u{n}")));
        ids(0, FORGOTTEN_MAX - 1).for_each(|uid| ledger.forget(&uid));
        let stranger = Uid::from("stranger");
        ledger.inventory_has(&stranger, Some(held(1)), NOW);
        assert_eq!(ledger.known(&stranger), Known::Registered(held(1)));
        ids(FORGOTTEN_MAX, 2 * FORGOTTEN_MAX).for_each(|uid| ledger.forget(&uid));
        let kept = ledger.reading.as_ref().map(|reading| reading.forgotten.len());
        assert_eq!(kept, Some(FORGOTTEN_MAX));
        // It may have been forgotten, too.
        ledger.inventory_has(&Uid::from("another"), Some(held(1)), NOW);
        assert!(ledger.entry(&Uid::from("another")).is_none());
        ledger.inventory_has(&stranger, Some(held(2)), NOW);
        assert_eq!(ledger.known(&stranger), Known::Registered(held(2)), "a UID with an entry was not forgotten");
    }
}
