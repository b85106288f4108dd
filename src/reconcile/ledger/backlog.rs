//! The backlog: puts that a look at everything found to be owed, and that wait for a walk to come to them.
//!
//! A registry that is empty is owed a record for every pod. All that is kept of those is a mark on their beliefs, and how
//! many there are; a walk over the beliefs gives them work when there is room for it. Whatever else happens to an id
//! takes its mark away: it is then decided about by itself.
//!
//! A look at everything makes marks, and the walks begin again from the highest position after it. A mark that a page of a
//! list makes takes them back to where it is. Below is where they have still to come to, whatever moves meanwhile
//! ([`UidMap`] tells of positions): none is passed over.
//!
//! [`UidMap`]: crate::model::uid_map::UidMap

use super::{
    Ledger,
    belief::{Belief, Known},
};
use crate::model::{moment::Moment, uid::Uid};

/// Why a record is owed that waits for the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// The registry does not hold it.
    Missing,
    /// The registry may hold anything.
    Doubtful,
    /// The registry holds another.
    Differing,
}

impl Backlog {
    fn of(known: Known) -> Self {
        match known {
            Known::Holds(_) => Self::Differing,
            Known::Doubt => Self::Doubtful,
            Known::Unread | Known::Supposed(_) | Known::Absent => Self::Missing,
        }
    }
}

/// One of the two walks: neither waits for the other's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// To what the registry does not hold, or may not.
    Backfill,
    /// To what it holds otherwise.
    Rewrite,
}

impl Walk {
    fn of(backlog: Backlog) -> Self {
        match backlog {
            Backlog::Missing | Backlog::Doubtful => Self::Backfill,
            Backlog::Differing => Self::Rewrite,
        }
    }
}

/// How much waits, and where the walks are.
#[derive(Debug, Default)]
pub(super) struct Walks {
    counts: [usize; 3],
    /// What each of them has still to come to is below.
    cursors: [usize; 2],
    /// When the oldest of it was found,
    since: Option<Moment>,
    /// and when it had been before the look at everything that is under way.
    since_before: Option<Moment>,
}

impl Walks {
    fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    fn mark(&mut self, belief: &mut Belief) {
        if self.unmark(belief) {
            self.since = self.since.min(self.since_before);
        }
        let backlog = Backlog::of(belief.known);
        self.counts[backlog as usize] += 1;
        belief.backlog = Some(backlog);
    }

    /// Takes a mark away. Says whether there was one.
    pub(super) fn unmark(&mut self, belief: &mut Belief) -> bool {
        let before = belief.backlog.take();
        if let Some(before) = before {
            self.counts[before as usize] -= 1;
        }
        before.is_some()
    }
}

impl Ledger {
    /// How many records are owed that wait for the walk.
    pub fn backlog(&self) -> usize {
        self.walks.len()
    }

    /// How many of them may be there in any form.
    pub fn backlog_in_doubt(&self) -> usize {
        self.walks.counts[Backlog::Doubtful as usize]
    }

    /// How many one of the walks has still to come to.
    pub fn backlog_of(&self, walk: Walk) -> usize {
        let [missing, doubtful, differing] = self.walks.counts;
        match walk {
            Walk::Backfill => missing + doubtful,
            Walk::Rewrite => differing,
        }
    }

    /// When the oldest of the backlog was found.
    pub fn backlog_since(&self) -> Option<Moment> {
        self.walks.since.filter(|_| self.backlog() > 0)
    }

    /// A look at everything begins.
    pub fn begin_backlog(&mut self, now: Moment) {
        self.walks.since_before = self.backlog_since().or(Some(now));
        self.walks.since = Some(now);
    }

    /// A put is owed for the id at this position, for which there is no work: it waits for the walk.
    pub fn put_off(&mut self, position: usize, now: Moment) {
        let is_first = self.backlog() == 0;
        let walks = &mut self.walks;
        if is_first {
            (walks.since, walks.since_before) = (Some(now), Some(now));
        }
        walks.cursors = walks.cursors.map(|cursor| cursor.max(position + 1));
        self.beliefs.change_at(position, |belief| walks.mark(belief));
    }

    /// The look at everything is over: the walks begin anew.
    pub fn begin_walks(&mut self) {
        self.walks.cursors = [self.beliefs.len(); 2];
        self.walks.since_before = self.walks.since;
    }

    /// Whatever was owed for the id is decided about now: it waits for no walk.
    pub fn reached(&mut self, uid: &Uid) -> bool {
        if self.backlog() == 0 {
            return false;
        }
        let walks = &mut self.walks;
        self.beliefs.change_existing(uid, |belief| walks.unmark(belief)).unwrap_or(false)
    }

    /// The next id that a walk comes to. It is for the caller to decide about it.
    pub fn walk_on(&mut self, walk: Walk) -> Option<Uid> {
        if self.backlog_of(walk) == 0 {
            return None;
        }
        let cursor = &mut self.walks.cursors[walk as usize];
        while let Some(position) = cursor.checked_sub(1) {
            *cursor = position;
            if let Some((uid, belief)) = self.beliefs.at(position)
                && belief.backlog.map(Walk::of) == Some(walk)
            {
                return Some(uid.clone());
            }
        }
        None
    }

    /// Nothing is owed any more.
    pub(super) fn drop_backlog(&mut self) {
        let walks = &mut self.walks;
        self.beliefs.change_all(|_, belief| _ = walks.unmark(belief));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::digest::{Buckets, Digest};

    const WALKS: [Walk; 2] = [Walk::Backfill, Walk::Rewrite];

    fn at(secs: usize) -> Moment {
        Moment::from_secs(secs as u64)
    }

    fn uid(n: usize) -> Uid {
        Uid::from(n.to_string())
    }

    fn seeded() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.finish_reading();
        ledger
    }

    /// A look at everything, after which exactly these are put off.
    fn look(ledger: &mut Ledger, now: Moment, put_off: impl Fn(&Uid) -> bool) {
        ledger.begin_backlog(now);
        for position in (0..ledger.believed()).rev() {
            let Some((uid, _)) = ledger.belief_at(position).map(|(uid, belief)| (uid.clone(), belief)) else {
                continue;
            };
            match put_off(&uid) && ledger.work(&uid).is_none() {
                true => ledger.put_off(position, now),
                false => _ = ledger.reached(&uid),
            }
        }
        ledger.begin_walks();
    }

    fn believe(ledger: &mut Ledger, uid: &Uid, kind: usize) {
        let known = [Known::Absent, Known::Doubt, Known::Holds(Digest::default().fingerprint())][kind];
        ledger.believe(uid, known);
    }

    #[test]
    fn backlog_reaches_every_untouched_entry() {
        // An entry leaves the backlog earlier when something else happens to it.
        for _ in 0..300 {
            let seed = fastrand::u64(..);
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut ledger, mut waits, most) = (seeded(), BTreeMap::new(), rng.usize(1..60));
            for step in 0..400 {
                let uid = uid(rng.usize(..most));
                match rng.u8(..40) {
                    0 => {
                        let of = rng.u16(1..4);
                        look(&mut ledger, at(step), |uid| Buckets::prefix(&uid.text()).is_multiple_of(of));
                        let now = (0..ledger.believed()).filter_map(|position| ledger.belief_at(position));
                        let now = now.filter_map(|(uid, belief)| Some((uid.clone(), Walk::of(belief.backlog?))));
                        waits = now.collect();
                    }
                    1..8 if !waits.contains_key(&uid) => believe(&mut ledger, &uid, rng.usize(..3)),
                    8..12 => {
                        ledger.owe(&uid, at(step));
                        waits.remove(&uid);
                    }
                    12..16 => {
                        ledger.rest(&uid);
                        waits.remove(&uid);
                    }
                    16..20 => {
                        ledger.forget(&uid);
                        waits.remove(&uid);
                    }
                    20..30 => {
                        let walk = WALKS[rng.usize(..2)];
                        match ledger.walk_on(walk) {
                            Some(uid) => {
                                assert_eq!(waits.remove(&uid), Some(walk), "seed {seed}");
                                assert!(ledger.reached(&uid), "seed {seed}");
                            }
                            None => assert!(waits.values().all(|other| *other != walk), "seed {seed}"),
                        }
                    }
                    30..34 => {
                        // A page of a list.
                        let Some(position) = ledger.position_of(&uid).filter(|_| ledger.work(&uid).is_none()) else {
                            continue;
                        };
                        ledger.put_off(position, at(step));
                        let belief = ledger.belief_at(position).map(|(_, belief)| belief.backlog.unwrap());
                        waits.insert(uid, Walk::of(belief.unwrap()));
                    }
                    _ => {}
                }
                for walk in WALKS {
                    let left = waits.values().filter(|other| **other == walk).count();
                    assert_eq!(ledger.backlog_of(walk), left, "seed {seed}, step {step}");
                }
                let marks = (0..ledger.believed()).filter_map(|n| ledger.belief_at(n)).filter(|(_, b)| b.is_put_off());
                assert_eq!((marks.count(), ledger.backlog()), (waits.len(), waits.len()), "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn backlog_age_counts_from_its_first_reconcile() {
        // The full reconcile that first found a record pending starts its age.
        let mut ledger = seeded();
        (0..3).for_each(|n| believe(&mut ledger, &uid(n), n));
        assert_eq!(ledger.backlog_since(), None);
        look(&mut ledger, at(10), |_| true);
        look(&mut ledger, at(20), |_| true);
        assert_eq!((ledger.backlog_since(), ledger.backlog_in_doubt()), (Some(at(10)), 1));
        assert_eq!(ledger.owe(&uid(0), at(30)).since(), at(10));
        assert_eq!(ledger.owe(&uid(7), at(30)).since(), at(30), "of which the look knew nothing");
        assert_eq!((ledger.backlog(), ledger.owed()), (2, 4));
        look(&mut ledger, at(40), |_| false);
        assert_eq!((ledger.backlog(), ledger.backlog_since()), (0, None));
        look(&mut ledger, at(50), |_| true);
        assert_eq!(ledger.backlog_since(), Some(at(50)), "what waited before is done");
    }

    #[test]
    fn page_joins_the_backlog() {
        let mut ledger = seeded();
        (0..4).for_each(|n| believe(&mut ledger, &uid(n), 0));
        let put_off = |ledger: &mut Ledger, n: usize, now| ledger.put_off(ledger.position_of(&uid(n)).unwrap(), now);
        put_off(&mut ledger, 1, at(10));
        put_off(&mut ledger, 2, at(20));
        assert_eq!((ledger.backlog(), ledger.backlog_since()), (2, Some(at(10))));
        assert_eq!(ledger.walk_on(Walk::Backfill), Some(uid(2)));
        ledger.reached(&uid(2));
        put_off(&mut ledger, 3, at(30));
        put_off(&mut ledger, 3, at(31));
        for n in [3, 1] {
            assert_eq!(ledger.walk_on(Walk::Backfill), Some(uid(n)), "above and below where the walk was");
            ledger.reached(&uid(n));
        }
        put_off(&mut ledger, 0, at(40));
        assert_eq!(ledger.backlog_since(), Some(at(40)), "what waited before is done");
    }

    #[test]
    fn stepping_down_clears_pending_and_backlog() {
        let mut ledger = seeded();
        for n in 0..3 {
            ledger.sighted(&uid(n), 0, at(1));
            believe(&mut ledger, &uid(n), n);
        }
        look(&mut ledger, at(1), |_| true);
        assert_eq!(ledger.owed(), 3);
        ledger.step_down(10);
        assert_eq!((ledger.owed(), ledger.believed()), (0, 3));
        assert_eq!(WALKS.map(|walk| ledger.walk_on(walk)), [None, None]);
    }
}
