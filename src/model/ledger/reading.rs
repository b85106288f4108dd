//! Reading the registry's inventory, and comparing it with what is believed.
//!
//! A reading takes its time, and operations go on meanwhile. Of what was sent, settled or forgotten since it began it may
//! say what is no longer so: that is left aside.

use super::{Belief, Known, Ledger};
use crate::model::{Buckets, Fingerprint, Moment, Uid, UidMap};

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

impl Ledger {
    /// A reading begins: of what is unread, the registry is supposed to hold what is desired. Nothing was touched or
    /// forgotten since.
    pub fn suppose(&mut self, desired: impl Fn(&Uid, &Belief) -> Option<Fingerprint>) {
        self.forgotten = Some(UidMap::default());
        self.beliefs.change_all(|uid, belief| {
            (belief.touched, belief.named) = (false, false);
            if matches!(belief.known, Known::Unread | Known::Supposed(_)) {
                belief.known = desired(uid, belief).map_or(Known::Unread, Known::Supposed);
            }
        });
    }

    /// The inventory as we believe or suppose it to be: per bucket how many records, and the xor of their fingerprints.
    pub fn buckets(&self, division: Buckets) -> Vec<(u64, Fingerprint)> {
        let mut buckets = vec![(0, Fingerprint::default()); division.count()];
        for (_, belief) in self.beliefs.iter() {
            if let Known::Holds(held) | Known::Supposed(held) = belief.known {
                let bucket = &mut buckets[belief.bucket(division)];
                bucket.0 += 1;
                bucket.1.xor(&held);
            }
        }
        buckets
    }

    /// The registry's bucket equals ours: what was supposed in it holds.
    pub fn confirm_bucket(&mut self, division: Buckets, matches: impl Fn(usize) -> bool) {
        self.beliefs.change_all(|_, belief| match belief.known {
            Known::Supposed(held) if matches(belief.bucket(division)) => belief.known = Known::Holds(held),
            _ => {}
        });
    }

    /// The registry named this id in the reading, which is over `now`.
    pub fn inventory_has(&mut self, uid: &Uid, held: Fingerprint, now: Moment) -> Option<Drift> {
        let position = self.beliefs.position_of(uid);
        let name = |belief: &mut Belief| {
            belief.named = true;
            (belief.known, belief.touched)
        };
        let before = position.and_then(|position| self.beliefs.change_at(position, name));
        if self.was_forgotten(uid) || self.work.contains(uid) || before.is_some_and(|(_, touched)| touched) {
            return None;
        }
        if let Some(why) = self.ends.remove(uid) {
            self.owe(uid, now).ended = Some(why);
        }
        let is_news = before.is_none_or(|(known, _)| known == Known::Absent);
        let learn = |belief: &mut Belief| {
            (belief.known, belief.named) = (Known::Holds(held), true);
            if is_news {
                belief.sight(now);
            }
        };
        match position {
            Some(position) => _ = self.beliefs.change_at(position, learn),
            None => self.beliefs.change(uid, Known::Unread, learn),
        }
        match before {
            _ if is_news => self.seeded.then_some(Drift::Extra),
            Some((Known::Holds(believed), _)) if believed != held => Some(Drift::Differing),
            _ => None,
        }
    }

    fn was_forgotten(&self, uid: &Uid) -> bool {
        self.forgotten.as_ref().is_some_and(|forgotten| forgotten.contains(uid))
    }

    /// The registry named all that it holds, but for the buckets that equal ours: it holds nothing else. Says how many
    /// records we believed to be there.
    pub fn inventory_lacks_the_others(&mut self, division: Buckets, equal: impl Fn(usize) -> bool) -> usize {
        let (work, forgotten, mut missing) = (&self.work, &self.forgotten, 0);
        self.beliefs.change_all(|uid, belief| {
            if belief.named || belief.touched || equal(belief.bucket(division)) {
                return;
            }
            let forgotten = forgotten.as_ref().is_some_and(|forgotten| forgotten.contains(uid));
            if forgotten || work.contains(uid) {
                return;
            }
            missing += usize::from(matches!(belief.known, Known::Holds(_)));
            belief.known = Known::Absent;
        });
        missing
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
        self.beliefs.change_all(|_, belief| {
            if matches!(belief.known, Known::Unread | Known::Supposed(_)) {
                belief.known = Known::Doubt;
            }
        });
    }
}
