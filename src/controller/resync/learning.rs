//! What the ledger learns from one step of a reading: buckets that are equal, the records that were listed, and the
//! records that were not.
//!
//! A step may list all records. They are learned in portions, and requests go on in the meantime, as they do while the
//! step is read.

use super::ResyncTotals;
use crate::{
    controller::inventory::{Error, InventoryPart, InventoryReader, ReadStep},
    model::{moment::Moment, uid::Uid},
    reconcile::ledger::Ledger,
    telemetry::metrics::{labels::DriftKind, target::TargetMetrics},
};

#[derive(Debug)]
pub(super) struct Learning {
    epoch: u64,
    found: ResyncTotals,
    part: InventoryPart,
    /// The number of items that were learned.
    learned: usize,
    rest: Option<InventoryReader>,
    error: Option<Error>,
}

impl Learning {
    /// Begins with a step that was read in this session, after earlier ones have found so much.
    pub(super) fn begin(epoch: u64, mut found: ResyncTotals, step: ReadStep, ledger: &mut Ledger) -> Self {
        let ReadStep { part, rest, error, limit: _ } = step;
        found.read += part.items.len();
        if part.equal.contains(&true) {
            ledger.confirm_bucket(part.division, |bucket| is(&part.equal, bucket));
        }
        Self { epoch, found, part, learned: 0, rest, error }
    }

    /// The session in which the step was read.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the step read nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.part.is_empty()
    }

    /// Learns up to `left` records, which is reduced by their number. It calls `listed` with their keys.
    pub(super) fn continue_with(
        &mut self,
        left: &mut usize,
        ledger: &mut Ledger,
        listed: &mut dyn FnMut(&Uid),
        metrics: &TargetMetrics,
        now: Moment,
    ) {
        let items = self.part.items.get(self.learned..).unwrap_or_default();
        let count = items.len().min(*left);
        for (uid, held) in items.iter().take(count) {
            listed(uid);
            if let Some(drift) = ledger.inventory_has(uid, *held, now) {
                self.found.differs += 1;
                metrics.drift_repaired(drift.into());
            }
        }
        (self.learned, *left) = (self.learned + count, *left - count);
    }

    pub(super) fn has_all_items(&self) -> bool {
        self.learned == self.part.items.len()
    }

    /// Learns which records the step lacks. Returns what was found so far, and how the reading goes on.
    pub(super) fn end(
        self,
        ledger: &mut Ledger,
        metrics: &TargetMetrics,
    ) -> (ResyncTotals, Option<InventoryReader>, Option<Error>) {
        let Self { mut found, part: InventoryPart { division, equal, complete, .. }, rest, error, .. } = self;
        if complete.contains(&true) {
            let missing = ledger.inventory_lacks_the_others(division, |bucket| !is(&complete, bucket));
            (0..missing).for_each(|_| metrics.drift_repaired(DriftKind::Missing));
            found.differs += missing;
        }
        if rest.is_some() || error.is_some() {
            ledger.settle_buckets(division, |bucket| is(&equal, bucket) || is(&complete, bucket));
        }
        (found, rest, error)
    }
}

fn is(of: &[bool], bucket: usize) -> bool {
    of.get(bucket).copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::digest::{Buckets, Fingerprint},
        reconcile::ledger::entry::Known,
        telemetry::{health::Health, metrics::Metrics},
    };

    #[test]
    fn records_are_learned_in_portions() {
        let (mut ledger, metrics) = (Ledger::default(), Metrics::new(Health::new(1)).target("default"));
        ledger.assume(|_, _| None);
        let items = (0..7).map(|n| (format!("u{n}").into(), Some(Fingerprint::default()))).collect();
        let division = Buckets::By8Bits;
        let part = InventoryPart { division, equal: Vec::new(), complete: vec![true; division.count()], items };
        let step = ReadStep { part, rest: None, error: None, limit: 1 };
        let mut learning = Learning::begin(1, ResyncTotals::default(), step, &mut ledger);
        let (mut known, mut listed) = (Vec::new(), 0);
        while !learning.has_all_items() {
            let mut left = 3;
            learning.continue_with(&mut left, &mut ledger, &mut |_| listed += 1, &metrics, Moment::START);
            known.push((ledger.owned(), left));
        }
        assert_eq!(listed, 7);
        assert_eq!(known, [(3, 0), (6, 0), (7, 2)]);
        let (found, rest, error) = learning.end(&mut ledger, &metrics);
        assert!(rest.is_none() && error.is_none());
        assert_eq!((found.read, found.differs), (7, 0));
        assert_eq!(ledger.known(&"u0".into()), Known::Registered(Fingerprint::default()));
    }
}
