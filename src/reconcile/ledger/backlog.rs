//! The backlog: pending puts that a full reconcile found, and that wait for their turn.
//!
//! An empty registry lacks a record for every pod. Of these the ledger keeps only a mark on the entry and a count. A
//! cursor scans the entries and makes them pending when the queue has room. Any other event of a pod removes its mark
//! and decides about it at once.
//!
//! | [`BacklogKind`] | marks | the registry |
//! | --- | --- | --- |
//! | backfill | [`BacklogMark::Missing`], [`BacklogMark::Uncertain`] | holds no record, or may hold none |
//! | rewrite | [`BacklogMark::Differing`] | holds another record |
//!
//! Each kind has a cursor that moves down from the highest position. A full reconcile marks entries and resets both
//! cursors; a page of a list marks entries and moves the cursors back up to them. Entries only move to lower positions
//! (see [`UidMap`]), so a cursor skips none.
//!
//! [`UidMap`]: crate::model::uid_map::UidMap

use super::{
    Ledger,
    entry::{BacklogMark, LedgerEntry},
};
use crate::model::{moment::Moment, uid::Uid};

/// The two kinds of backlog. Neither waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacklogKind {
    Backfill,
    Rewrite,
}

impl BacklogKind {
    fn of(backlog: BacklogMark) -> Self {
        match backlog {
            BacklogMark::Missing | BacklogMark::Uncertain => Self::Backfill,
            BacklogMark::Differing => Self::Rewrite,
        }
    }
}

/// The size of the backlog, and the cursors.
#[derive(Debug, Default)]
pub(super) struct BacklogCursors {
    counts: [usize; 3],
    /// The positions below these are still to be scanned, per [`BacklogKind`].
    cursors: [usize; 2],
    /// When the oldest mark was made.
    since: Option<Moment>,
    /// The value of `since` by the marks that the full reconcile under way has confirmed or made.
    confirmed_since: Option<Moment>,
}

impl BacklogCursors {
    fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    fn mark(&mut self, entry: &mut LedgerEntry) {
        if self.unmark(entry) {
            self.confirmed_since = self.confirmed_since.min(self.since);
        }
        let backlog = BacklogMark::of(entry.known);
        self.counts[backlog as usize] += 1;
        entry.backlog = Some(backlog);
    }

    /// Removes a mark. Returns whether there was one.
    pub(super) fn unmark(&mut self, entry: &mut LedgerEntry) -> bool {
        let before = entry.backlog.take();
        if let Some(before) = before {
            self.counts[before as usize] -= 1;
        }
        before.is_some()
    }
}

impl Ledger {
    /// The number of records in the backlog.
    pub fn backlog(&self) -> usize {
        self.backlog_cursors.len()
    }

    /// The number of them that the registry may hold in any form.
    pub fn backlog_uncertain(&self) -> usize {
        self.backlog_cursors.counts[BacklogMark::Uncertain as usize]
    }

    pub fn backlog_of(&self, kind: BacklogKind) -> usize {
        let [missing, uncertain, differing] = self.backlog_cursors.counts;
        match kind {
            BacklogKind::Backfill => missing + uncertain,
            BacklogKind::Rewrite => differing,
        }
    }

    /// Since when the oldest record is in the backlog.
    pub fn backlog_since(&self) -> Option<Moment> {
        self.backlog_cursors.since.filter(|_| self.backlog() > 0)
    }

    /// A full reconcile begins.
    pub fn begin_backlog(&mut self, now: Moment) {
        self.backlog_cursors.since = self.backlog_since().or(Some(now));
        self.backlog_cursors.confirmed_since = Some(now);
    }

    /// Marks the entry at a position, for which nothing is pending: its put waits in the backlog.
    pub fn defer(&mut self, position: usize, now: Moment) {
        let is_first = self.backlog() == 0;
        let backlog_cursors = &mut self.backlog_cursors;
        if is_first {
            (backlog_cursors.since, backlog_cursors.confirmed_since) = (Some(now), Some(now));
        }
        backlog_cursors.cursors = backlog_cursors.cursors.map(|cursor| cursor.max(position + 1));
        self.entries.change_at(position, |entry| backlog_cursors.mark(entry));
    }

    /// The full reconcile is complete: the cursors begin again.
    pub fn restart_backlog(&mut self) {
        self.backlog_cursors.cursors = [self.entries.len(); 2];
        self.backlog_cursors.since = self.backlog_cursors.confirmed_since;
    }

    /// Takes a pod out of the backlog, because it is decided about now. Returns whether it was in it.
    pub fn leave_backlog(&mut self, uid: &Uid) -> bool {
        if self.backlog() == 0 {
            return false;
        }
        let backlog_cursors = &mut self.backlog_cursors;
        self.entries.change_existing(uid, |entry| backlog_cursors.unmark(entry)).unwrap_or(false)
    }

    /// The next marked UID of this kind. The caller decides about it.
    pub fn next_in_backlog(&mut self, kind: BacklogKind) -> Option<Uid> {
        if self.backlog_of(kind) == 0 {
            return None;
        }
        let cursor = &mut self.backlog_cursors.cursors[kind as usize];
        while let Some(position) = cursor.checked_sub(1) {
            *cursor = position;
            if let Some((uid, entry)) = self.entries.at(position)
                && entry.backlog.map(BacklogKind::of) == Some(kind)
            {
                return Some(uid.clone());
            }
        }
        None
    }

    pub(super) fn drop_backlog(&mut self) {
        let backlog_cursors = &mut self.backlog_cursors;
        self.entries.change_all(|_, entry| _ = backlog_cursors.unmark(entry));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, property_test, sample::Index};

    use super::*;
    use crate::{
        model::digest::{Buckets, Digest},
        reconcile::ledger::entry::Known,
    };

    const KINDS: [BacklogKind; 2] = [BacklogKind::Backfill, BacklogKind::Rewrite];

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

    /// A full reconcile that defers exactly these.
    fn reconcile(ledger: &mut Ledger, now: Moment, defer: impl Fn(&Uid) -> bool) {
        ledger.begin_backlog(now);
        for position in (0..ledger.entry_count()).rev() {
            let Some((uid, _)) = ledger.entry_at(position).map(|(uid, entry)| (uid.clone(), entry)) else {
                continue;
            };
            match defer(&uid) && ledger.pending(&uid).is_none() {
                true => ledger.defer(position, now),
                false => _ = ledger.leave_backlog(&uid),
            }
        }
        ledger.restart_backlog();
    }

    fn set_known(ledger: &mut Ledger, uid: &Uid, kind: usize) {
        let known = [Known::Absent, Known::Uncertain, Known::Registered(Digest::default().fingerprint())][kind];
        ledger.set_known(uid, known);
    }

    #[property_test]
    fn backlog_reaches_every_untouched_entry(
        #[strategy = 1..60_usize] most: usize,
        #[strategy = vec((0..40_u8, any::<Index>(), any::<Index>()), 0..400)] steps: Vec<(u8, Index, Index)>,
    ) {
        // An entry leaves the backlog earlier when something else happens to it.
        let (mut ledger, mut waits) = (seeded(), BTreeMap::new());
        for (step, (kind, which, choice)) in steps.into_iter().enumerate() {
            let uid = uid(which.index(most));
            match kind {
                0 => {
                    let of = u16::try_from(choice.index(3) + 1).unwrap();
                    reconcile(&mut ledger, at(step), |uid| Buckets::prefix(&uid.text()).is_multiple_of(of));
                    let now = (0..ledger.entry_count()).filter_map(|position| ledger.entry_at(position));
                    let now = now.filter_map(|(uid, entry)| Some((uid.clone(), BacklogKind::of(entry.backlog?))));
                    waits = now.collect();
                }
                1..8 if !waits.contains_key(&uid) => set_known(&mut ledger, &uid, choice.index(3)),
                8..12 => {
                    ledger.mark_pending(&uid, at(step));
                    waits.remove(&uid);
                }
                12..16 => {
                    ledger.clear_pending(&uid);
                    waits.remove(&uid);
                }
                16..20 => {
                    ledger.forget(&uid);
                    waits.remove(&uid);
                }
                20..30 => {
                    let kind = KINDS[choice.index(2)];
                    match ledger.next_in_backlog(kind) {
                        Some(uid) => {
                            assert_eq!(waits.remove(&uid), Some(kind));
                            assert!(ledger.leave_backlog(&uid));
                        }
                        None => assert!(waits.values().all(|other| *other != kind)),
                    }
                }
                30..34 => {
                    // A page of a list.
                    let Some(position) = ledger.position_of(&uid).filter(|_| ledger.pending(&uid).is_none()) else {
                        continue;
                    };
                    ledger.defer(position, at(step));
                    let entry = ledger.entry_at(position).map(|(_, entry)| entry.backlog.unwrap());
                    waits.insert(uid, BacklogKind::of(entry.unwrap()));
                }
                _ => {}
            }
            for kind in KINDS {
                let left = waits.values().filter(|other| **other == kind).count();
                assert_eq!(ledger.backlog_of(kind), left, "step {step}");
            }
            let marks = (0..ledger.entry_count()).filter_map(|n| ledger.entry_at(n)).filter(|(_, b)| b.is_deferred());
            assert_eq!((marks.count(), ledger.backlog()), (waits.len(), waits.len()), "step {step}");
        }
    }

    #[test]
    fn backlog_age_counts_from_its_first_reconcile() {
        // The full reconcile that first found a record pending starts its age.
        let mut ledger = seeded();
        (0..3).for_each(|n| set_known(&mut ledger, &uid(n), n));
        assert_eq!(ledger.backlog_since(), None);
        reconcile(&mut ledger, at(10), |_| true);
        reconcile(&mut ledger, at(20), |_| true);
        assert_eq!((ledger.backlog_since(), ledger.backlog_uncertain()), (Some(at(10)), 1));
        assert_eq!(ledger.mark_pending(&uid(0), at(30)).since(), at(10));
        assert_eq!(ledger.mark_pending(&uid(7), at(30)).since(), at(30), "it was not in the backlog");
        assert_eq!((ledger.backlog(), ledger.pending_count()), (2, 4));
        reconcile(&mut ledger, at(40), |_| false);
        assert_eq!((ledger.backlog(), ledger.backlog_since()), (0, None));
        reconcile(&mut ledger, at(50), |_| true);
        assert_eq!(ledger.backlog_since(), Some(at(50)), "the earlier backlog is done");
    }

    #[test]
    fn page_joins_the_backlog() {
        let mut ledger = seeded();
        (0..4).for_each(|n| set_known(&mut ledger, &uid(n), 0));
        let defer = |ledger: &mut Ledger, n: usize, now| ledger.defer(ledger.position_of(&uid(n)).unwrap(), now);
        defer(&mut ledger, 1, at(10));
        defer(&mut ledger, 2, at(20));
        assert_eq!((ledger.backlog(), ledger.backlog_since()), (2, Some(at(10))));
        assert_eq!(ledger.next_in_backlog(BacklogKind::Backfill), Some(uid(2)));
        ledger.leave_backlog(&uid(2));
        defer(&mut ledger, 3, at(30));
        defer(&mut ledger, 3, at(31));
        for n in [3, 1] {
            assert_eq!(ledger.next_in_backlog(BacklogKind::Backfill), Some(uid(n)), "above and below the cursor");
            ledger.leave_backlog(&uid(n));
        }
        defer(&mut ledger, 0, at(40));
        assert_eq!(ledger.backlog_since(), Some(at(40)), "the earlier backlog is done");
    }

    #[test]
    fn stepping_down_clears_pending_and_backlog() {
        let mut ledger = seeded();
        for n in 0..3 {
            ledger.pod_seen(&uid(n), 0, at(1));
            set_known(&mut ledger, &uid(n), n);
        }
        reconcile(&mut ledger, at(1), |_| true);
        assert_eq!(ledger.pending_count(), 3);
        ledger.step_down(10);
        assert_eq!((ledger.pending_count(), ledger.entry_count()), (0, 3));
        assert_eq!(KINDS.map(|kind| ledger.next_in_backlog(kind)), [None, None]);
    }
}
