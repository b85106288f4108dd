//! Which confirmed and approved deletions may be sent.

use std::cmp::Reverse;

use super::{AbsenceGuard, ReleasedDeletion};
use crate::{
    model::{moment::Moment, uid::Uid},
    reconcile::deletion::Removal,
};

/// How many deletions of each kind may leave, from the first one on.
struct Ready {
    approved: usize,
    unguarded: usize,
    confirmed: usize,
}

impl AbsenceGuard {
    /// The deletions that may be sent now. While another writer may be alive, only approved ones are.
    pub fn release(&mut self, now: Moment) -> Vec<ReleasedDeletion> {
        let (approved, unguarded, confirmed) = (self.approved.len(), self.unguarded.len(), self.confirmed.len());
        self.release_ready(&Ready { approved, unguarded, confirmed }, now)
    }

    /// The same for records that belong to others. `depth` says how many records stand above one. Those that stand
    /// deepest leave first, and none that stands less deep than `at_least`.
    pub fn release_deepest(
        &mut self,
        depth: &dyn Fn(&Uid) -> usize,
        at_least: usize,
        now: Moment,
    ) -> Vec<ReleasedDeletion> {
        self.put_in_order(depth);
        let unapproved = self.unguarded.first().into_iter().chain(self.confirmed.front().map(|(uid, _)| uid));
        let is_contested = self.is_contested();
        let first = unapproved.filter(|_| !is_contested).chain(self.approved.front().map(|(uid, _)| uid));
        let least = first.map(depth).chain([at_least]).max().unwrap_or_default();
        let ready = Ready {
            approved: self.approved.partition_point(|(uid, _)| depth(uid) >= least),
            unguarded: self.unguarded.partition_point(|uid| depth(uid) >= least),
            confirmed: self.confirmed.partition_point(|(uid, _)| depth(uid) >= least),
        };
        self.release_ready(&ready, now)
    }

    /// Others may have joined them since the last call.
    fn put_in_order(&mut self, depth: &dyn Fn(&Uid) -> usize) {
        if !std::mem::replace(&mut self.is_in_order, true) {
            let first = |(uid, _): &(Uid, Removal)| Reverse(depth(uid));
            self.approved.make_contiguous().sort_by_cached_key(first);
            self.confirmed.make_contiguous().sort_by_cached_key(first);
            self.unguarded.sort_by_cached_key(|uid| Reverse(depth(uid)));
        }
    }

    fn release_ready(&mut self, ready: &Ready, now: Moment) -> Vec<ReleasedDeletion> {
        let available = self.rate.available(now);
        let by_operator = available.min(ready.approved);
        self.rate.take(by_operator);
        let approved = self.approved.drain(..by_operator);
        let mut released: Vec<_> =
            approved.map(|(uid, removal)| ReleasedDeletion { uid, removal, approved: true }).collect();
        if self.is_contested() {
            return released;
        }
        let confirmed = (available - by_operator).min(ready.confirmed);
        self.rate.take(confirmed);
        let unguarded = self.unguarded.drain(..ready.unguarded).map(|uid| (uid, Removal::Inferred));
        let unapproved = unguarded.chain(self.confirmed.drain(..confirmed));
        released.extend(unapproved.map(|(uid, removal)| ReleasedDeletion { uid, removal, approved: false }));
        released
    }
}
