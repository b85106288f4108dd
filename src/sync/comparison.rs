//! Comparing the ledger with the registry's inventory, part by part as it is read.

use super::{
    inventory::{Error, Ours, Part, Reading, Step},
    keys::shown,
    registrar::Registrar,
    requests::Request,
};
use crate::{
    model::{Attempt, Buckets, Moment, Shown, retry},
    registry::Registry,
    telemetry::metrics::{DriftKind, Request as Kind, RequestOutcome},
};

/// Above so many records, an inventory is compared in more and smaller buckets.
const MANY_RECORDS: usize = 200_000;
/// Delays between steps that failed.
const COMPARE_RETRY: (Moment, Moment) = (Moment::from_millis(500), Moment::from_secs(30));
/// Failures in a row after which pages are read instead of digests.
const DIGESTS_TRIES: u32 = 3;
/// After so many failures in a row, a reading begins again: the registry may be another one by now.
const FAILURES_MAX: u32 = 10;

/// A reading between two of its steps.
#[derive(Debug)]
pub(super) struct Comparison {
    epoch: u64,
    rest: Reading,
    found: Found,
}

/// What a comparison has found so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    read: usize,
    differs: usize,
}

impl<R: Registry> Registrar<R> {
    /// Reads the inventory, or goes on with the reading that was begun in this session.
    pub(super) fn read_inventory(&mut self, epoch: u64) {
        self.control.reading = Some(epoch);
        let begun = self.control.comparison.take().filter(|comparison| comparison.epoch == epoch);
        let (reading, found) = match begun {
            Some(Comparison { rest, found, .. }) => (rest, found),
            None => (self.begin_reading(), Found::default()),
        };
        self.requests.send(Request::Inventory { epoch, found, reading });
    }

    fn begin_reading(&mut self) -> Reading {
        let view = &self.view;
        self.ledger.suppose(|uid, belief| match shown(view, uid, Some(belief))? {
            Shown::Record(record) => Some(record),
            Shown::Unreadable => None,
        });
        let division =
            if self.view.len().max(self.ledger.owned()) > MANY_RECORDS { Buckets::By16Bits } else { Buckets::By8Bits };
        // A registry that fails to give digests may still give pages.
        let digests = self.availability.has("digest-inventory") && self.comparisons_failed < DIGESTS_TRIES;
        let ours = Ours { division, buckets: self.ledger.buckets(division), digests };
        Reading::new(ours, self.inventory_limit)
    }

    /// Reads the inventory soon if that settles more records than retries would.
    pub(super) fn read_back(&mut self, uncertain: usize, now: Moment) {
        let reading = self.control.reading.is_some() || self.control.comparison.is_some();
        let idle = self.session.epoch().is_some() && self.ledger.is_seeded() && !reading && now < self.compare_at;
        if idle && !self.budget.allows(Attempt::Retry, now) && self.read_back.begin(uncertain, now) {
            tracing::info!(uncertain, "many writes may have been applied; reading the registry's inventory");
            self.resync_at = Some(self.compare_at);
            self.compare_at = now;
        }
    }

    pub(super) fn inventory_read(&mut self, epoch: u64, found: Found, step: Step, now: Moment) {
        if self.control.reading != Some(epoch) {
            // Another session's reading has begun since.
            return;
        }
        self.control.reading = None;
        if self.session.epoch() != Some(epoch) {
            // What was read was another session's; the next one is compared when it is opened.
            self.ledger.abandon_reading();
            return;
        }
        let Step { part, rest, error, limit } = step;
        self.inventory_limit = limit;
        let over = rest.is_none() && error.is_none();
        let found = self.learn(part, found, over, now);
        match error {
            None => {
                self.metrics.request(Kind::Inventory, RequestOutcome::Ok);
                self.comparisons_failed = 0;
            }
            Some(error) => self.reading_failed(error, now),
        }
        match rest {
            None if over => self.compared(found, now),
            Some(rest) if self.comparisons_failed < FAILURES_MAX => {
                tracing::debug!(
                    read = found.read,
                    differs = found.differs,
                    "registry inventory read in part; reading on"
                );
                self.control.comparison = Some(Comparison { epoch, rest, found });
            }
            _ => self.ledger.abandon_reading(),
        }
    }

    /// Something about the inventory failed; it is asked for again after a while.
    fn compare_again(&mut self, now: Moment) {
        self.comparisons_failed = self.comparisons_failed.saturating_add(1);
        let random = self.rng.u64(..);
        self.compare_at = now + retry::backoff(COMPARE_RETRY.0, COMPARE_RETRY.1, self.comparisons_failed, random);
    }

    fn reading_failed(&mut self, error: Error, now: Moment) {
        self.compare_again(now);
        tracing::warn!(%error, failures = self.comparisons_failed, "registry inventory not read; retrying");
        match error {
            Error::Failure(failure) => _ = self.judge::<()>(Kind::Inventory, &Err(failure), now),
            Error::Mismatch { .. } | Error::Pages(_) => {
                self.metrics.request(Kind::Inventory, RequestOutcome::Rejected);
            }
        }
    }

    /// Brings the ledger in line with what a step read, and decides about every key again.
    fn learn(&mut self, part: Part, found: Found, over: bool, now: Moment) -> Found {
        if part.is_empty() {
            return found;
        }
        let Part { division, equal, complete, items } = part;
        let is = |of: &[bool], bucket: usize| of.get(bucket).copied().unwrap_or(false);
        let Found { mut read, mut differs } = found;
        read += items.len();
        if equal.contains(&true) {
            self.ledger.confirm_bucket(division, |bucket| is(&equal, bucket));
        }
        for (uid, held) in items {
            if let Some(drift) = self.ledger.inventory_has(&uid, held, now) {
                differs += 1;
                self.metrics.drift_repaired(drift.into());
            }
        }
        if complete.contains(&true) {
            let missing = self.ledger.inventory_lacks_the_others(division, |bucket| !is(&complete, bucket));
            (0..missing).for_each(|_| self.metrics.drift_repaired(DriftKind::Missing));
            differs += missing;
        }
        if !over {
            self.ledger.settle_buckets(division, |bucket| is(&equal, bucket) || is(&complete, bucket));
            self.consider_all(now);
        }
        Found { read, differs }
    }

    /// The whole inventory is read.
    fn compared(&mut self, found: Found, now: Moment) {
        let interval = self.options.resync_interval.mul_f64(0.9 + 0.2 * self.rng.f64());
        let resync_at = self.resync_at.take();
        self.compare_at = resync_at.unwrap_or(now + interval);
        let first = !self.ledger.is_seeded();
        let Found { read, differs } = found;
        tracing::info!(read, differs, owned = self.ledger.owned(), first, "registry compared");
        self.ledger.finish_reading();
        if resync_at.is_none() {
            if !first {
                self.availability.ask_again();
            }
            self.ledger.unpark();
        }
        self.inherited = self.ledger.owned();
        self.expect_forgotten(now);
        self.remembers_session = true;
        self.consider_all(now);
    }
}
