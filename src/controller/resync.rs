//! The resync: comparing the ledger with the registry's inventory, part by part. [`learning`] has what follows from a
//! part.
//!
//! A resync begins with each session, at the resync interval, and when many records are uncertain. Its findings change
//! the ledger, and a full reconcile follows. A registry without an inventory has the same intervals, with nothing to
//! read.

mod learning;

use std::{sync::Arc, time::Duration};

use learning::Learning;

use super::{
    inventory::{Error, InventoryReader, OurRecords, PAGE_ITEMS, ReadCounts, ReadStep},
    records::DesiredRecords,
    requests::Request,
};
use crate::{
    model::{digest::Buckets, moment::Moment, pod::StoredPod, uid::Uid},
    reconcile::{
        early_resync::EarlyResync, failing_resync::FailingResync, ledger::Ledger, outcome::Failure,
        progress::WorkProgress, retry, status::FailedResync,
    },
    telemetry::metrics::{
        labels::{RequestKind as Kind, RequestOutcome},
        target::TargetMetrics,
    },
};

/// Above this number of records, an inventory is compared in more and smaller buckets.
const MANY_RECORDS: usize = 200_000;
/// An inventory with no more records than this, one page, is compared before every watch has listed.
const SMALL_INVENTORY: u64 = 5_000;
/// The shortest and the longest delay after a failed step.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// After this number of failures in a row, pages are read instead of digests.
const DIGESTS_TRIES: u32 = 3;
/// After this number of failures in a row, the reading begins again: the registry may have been replaced.
const FAILURES_MAX: u32 = 10;

pub(super) struct Resync {
    state: State,
    /// When the next step or resync is due.
    due_at: Moment,
    failures: u32,
    /// Set until a resync is complete.
    failing: Option<FailingResync>,
    /// The last reading: when it began, and how far it is.
    reading: Option<(Moment, Arc<ReadCounts>)>,
    /// When the last resync was complete.
    compared_at: Option<Moment>,
    /// Records in a page, at most. Fewer after a page that did not come in time.
    limit: usize,
    /// Whether the inventory was small before this process wrote.
    is_small: bool,
    early: EarlyResync,
    /// When the next regular resync is due, during an early one.
    regular_at: Option<Moment>,
    interval: Duration,
    metrics: TargetMetrics,
    rng: fastrand::Rng,
}

#[derive(Debug)]
enum State {
    Idle,
    /// A step is in flight.
    Reading {
        epoch: u64,
        found: ResyncTotals,
    },
    /// A step was read, and the ledger learns from it.
    Learning(Learning),
    /// The next step begins when it is due.
    Between {
        epoch: u64,
        rest: InventoryReader,
        found: ResyncTotals,
    },
}

/// What a resync has found so far.
#[derive(Clone, Copy, Debug, Default)]
struct ResyncTotals {
    /// Records that the registry listed.
    read: usize,
    differs: usize,
}

/// What follows from a resync for the other parts.
#[must_use]
#[derive(Debug)]
pub(super) enum ResyncEffect {
    ReconcileAll,
    RequestFailed(Failure),
    /// Nothing more is read, and the ledger must not wait for it.
    Abandon,
    /// The whole inventory was read.
    Done(ResyncKind),
}

/// Which resync is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResyncKind {
    /// The first one of a term.
    First,
    Regular,
    /// One before its time, because of uncertain records or of an inventory that lags.
    Early,
}

impl Resync {
    pub(super) fn new(interval: Duration, metrics: TargetMetrics, rng: fastrand::Rng) -> Self {
        Self {
            state: State::Idle,
            due_at: Moment::START,
            failures: 0,
            failing: None,
            reading: None,
            compared_at: None,
            limit: PAGE_ITEMS,
            is_small: false,
            early: EarlyResync::default(),
            regular_at: None,
            interval,
            metrics,
            rng,
        }
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        Some(self.due_at)
    }

    /// When the next regular resync is due.
    pub(super) fn regular_at(&self) -> Moment {
        self.regular_at.unwrap_or(self.due_at)
    }

    /// Whether to read on now. `lists_settled` says whether every watch has listed or has failed to.
    pub(super) fn is_due(&self, epoch: u64, lists_settled: bool, now: Moment) -> bool {
        let in_flight = match &self.state {
            State::Reading { epoch: reading, .. } => *reading == epoch,
            State::Learning(learning) => learning.epoch() == epoch,
            State::Idle | State::Between { .. } => false,
        };
        // A small inventory lets first registrations begin early. A large one is compared once, with all pods.
        !in_flight && now >= self.due_at && (self.is_small || lists_settled)
    }

    /// Continues with the reading of this session, or begins one.
    #[must_use]
    pub(super) fn next_request(
        &mut self,
        epoch: u64,
        digests: bool,
        ledger: &mut Ledger,
        records: &DesiredRecords,
        now: Moment,
    ) -> Request {
        let (reading, found) = match std::mem::replace(&mut self.state, State::Idle) {
            State::Between { epoch: begun, rest, found } if begun == epoch => (rest, found),
            _ => {
                let reading = self.begin(digests, ledger, records);
                self.reading = Some((now, reading.counts()));
                (reading, ResyncTotals::default())
            }
        };
        self.state = State::Reading { epoch, found };
        Request::Inventory { epoch, reading }
    }

    fn begin(&self, digests: bool, ledger: &mut Ledger, records: &DesiredRecords) -> InventoryReader {
        let many = records.len().max(ledger.owned()) > MANY_RECORDS;
        let division = if many { Buckets::By16Bits } else { Buckets::By8Bits };
        // A registry that fails to give digests may still give pages.
        if !digests || self.failures >= DIGESTS_TRIES {
            // Only digests confirm what is assumed.
            ledger.assume(|_, _| None);
            return InventoryReader::new(OurRecords { division, digests: None }, self.limit);
        }
        ledger.assume(|uid, entry| match records.shown_by(entry.watch(), uid)? {
            StoredPod::Record(record) => Some(record),
            StoredPod::Unreadable => None,
        });
        InventoryReader::new(OurRecords { division, digests: Some(ledger.buckets(division)) }, self.limit)
    }

    /// Completes a resync of a registry without an inventory.
    pub(super) fn complete_unread(&mut self, ledger: &mut Ledger, now: Moment) -> ResyncKind {
        (self.state, self.failures) = (State::Idle, 0);
        let kind = self.complete(ledger.is_seeded(), now);
        ledger.finish_unread(now);
        kind
    }

    /// A session was opened. Another writer or a restored backup may have changed the records.
    pub(super) fn begin_session(&mut self, now: Moment) {
        (self.due_at, self.regular_at) = (now, None);
    }

    /// The registry held this number of records before this process wrote.
    pub(super) fn expect(&mut self, records: u64) {
        self.is_small = records <= SMALL_INVENTORY;
    }

    pub(super) fn stand_by(&mut self) {
        (self.state, self.is_small, self.failing) = (State::Idle, false, None);
        self.compared_at = None;
    }

    /// How far the reading of the inventory is. None if there is none.
    pub(super) fn progress(&self) -> Option<WorkProgress> {
        let (begun, counts) = self.reading.as_ref().filter(|_| !matches!(self.state, State::Idle))?;
        let (done, total) = counts.done_of();
        Some(WorkProgress { begun: *begun, done, total })
    }

    /// When the last resync of this term was complete.
    pub(super) fn compared_at(&self) -> Option<Moment> {
        self.compared_at
    }

    /// Whether the inventory is compared at the resync interval: none is overdue, and the last one did not fail.
    pub(super) fn is_current(&self, now: Moment) -> bool {
        self.failing.is_none() && (self.is_reading() || now < self.due_at)
    }

    /// The tries that failed since the last complete resync.
    pub(super) fn failed(&self, now: Moment) -> Option<FailedResync> {
        self.failing.as_ref().map(|failing| failing.status(now))
    }

    /// Whether the inventory was compared in this session, and no resync is due.
    pub(super) fn is_done(&self, now: Moment) -> bool {
        !self.is_reading() && self.failures == 0 && now < self.due_at
    }

    fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading { .. } | State::Learning(_))
    }

    /// Whether there is more to learn from the last step.
    pub(super) fn is_learning(&self) -> bool {
        matches!(self.state, State::Learning(_))
    }

    /// After a write request, this share of its operations is uncertain.
    pub(super) fn note_uncertain(&mut self, share: f64) {
        self.early.sent(share);
    }

    /// Begins an early resync if that settles more uncertain records than retries would.
    pub(super) fn begin_early(&mut self, uncertain: usize, now: Moment) {
        let idle = matches!(self.state, State::Idle) && now < self.due_at;
        if idle && self.early.begin(uncertain, now) {
            tracing::info!(uncertain, "many writes may have been applied; reading the registry's inventory");
            self.regular_at = Some(self.due_at);
            self.due_at = now;
        }
    }

    /// The registry may hold records that its inventory did not show yet: reads it again after this time.
    pub(super) fn repeat_after(&mut self, after: Duration, now: Moment) {
        if now + after < self.due_at {
            self.regular_at = Some(self.due_at);
            self.due_at = now + after;
        }
    }

    /// A step was read in the session `epoch`; `current` is the session that is open now. [`Self::learn`] follows.
    #[must_use]
    pub(super) fn read(
        &mut self,
        epoch: u64,
        current: Option<u64>,
        step: ReadStep,
        ledger: &mut Ledger,
    ) -> Vec<ResyncEffect> {
        let found = match self.state {
            State::Reading { epoch: reading, found } if reading == epoch => found,
            // Another session's reading has begun since.
            _ => return Vec::new(),
        };
        self.state = State::Idle;
        if current != Some(epoch) {
            // The inventory is compared again when the next session is opened.
            return vec![ResyncEffect::Abandon];
        }
        self.limit = step.limit;
        self.state = State::Learning(Learning::begin(epoch, found, step, ledger));
        Vec::new()
    }

    /// Learns from the step that was read last, as far as `left` records go. It calls `listed` with their keys.
    #[must_use]
    pub(super) fn learn(
        &mut self,
        left: &mut usize,
        current: Option<u64>,
        ledger: &mut Ledger,
        listed: &mut dyn FnMut(&Uid),
        now: Moment,
    ) -> Vec<ResyncEffect> {
        let State::Learning(learning) = &mut self.state else { return Vec::new() };
        if current != Some(learning.epoch()) {
            self.state = State::Idle;
            return vec![ResyncEffect::Abandon];
        }
        learning.continue_with(left, ledger, listed, &self.metrics, now);
        if !learning.has_all_items() {
            return Vec::new();
        }
        let State::Learning(learning) = std::mem::replace(&mut self.state, State::Idle) else { return Vec::new() };
        self.learned(learning, ledger, now)
    }

    /// The ledger has learned the records of a step.
    fn learned(&mut self, learning: Learning, ledger: &mut Ledger, now: Moment) -> Vec<ResyncEffect> {
        let mut effects = Vec::new();
        let (epoch, learned) = (learning.epoch(), !learning.is_empty());
        let (found, rest, error) = learning.end(ledger, &self.metrics);
        let is_complete = rest.is_none() && error.is_none();
        if learned && !is_complete {
            effects.push(ResyncEffect::ReconcileAll);
        }
        self.judge(error, &mut effects, now);
        let ResyncTotals { read, differs } = found;
        match rest {
            None if is_complete => {
                let kind = self.complete(ledger.is_seeded(), now);
                self.compared_at = Some(now);
                tracing::info!(read, differs, records = ledger.owned(), reason = ?kind, "registry compared");
                ledger.finish_reading();
                effects.push(ResyncEffect::Done(kind));
            }
            Some(rest) if self.failures < FAILURES_MAX => {
                tracing::debug!(read, differs, "registry inventory read in part; continuing");
                self.state = State::Between { epoch, rest, found };
            }
            _ => effects.push(ResyncEffect::Abandon),
        }
        effects
    }

    /// Counts a step, and schedules a retry if it failed.
    fn judge(&mut self, error: Option<Error>, effects: &mut Vec<ResyncEffect>, now: Moment) {
        let Some(error) = error else {
            self.failures = 0;
            return self.metrics.request(Kind::Inventory, RequestOutcome::Ok);
        };
        self.failures = self.failures.saturating_add(1);
        let random = self.rng.u64(..);
        self.due_at = now + retry::backoff(RETRY.0, RETRY.1, self.failures, random);
        tracing::warn!(%error, failures = self.failures, "registry inventory not read; retrying");
        let failing = self.failing.get_or_insert_with(|| FailingResync::begin(now));
        if failing.failed(error.to_string(), error.lasts(), now) {
            tracing::error!(
                %error,
                "resync keeps failing; missing and edited records are not repaired. Fix the cause, and test with: \
                 pod-registrar check"
            );
        }
        match error {
            Error::Failure(failure) => effects.push(ResyncEffect::RequestFailed(failure)),
            Error::Mismatch { .. } | Error::Pages(_) | Error::List(_) => {
                self.metrics.request(Kind::Inventory, RequestOutcome::Rejected);
            }
        }
    }

    /// Sets the time of the next resync.
    fn complete(&mut self, is_seeded: bool, now: Moment) -> ResyncKind {
        self.failing = None;
        let interval = self.interval.mul_f64(0.9 + 0.2 * self.rng.f64());
        let regular_at = self.regular_at.take();
        self.due_at = regular_at.unwrap_or(now + interval);
        match regular_at {
            Some(_) => ResyncKind::Early,
            None if is_seeded => ResyncKind::Regular,
            None => ResyncKind::First,
        }
    }
}
