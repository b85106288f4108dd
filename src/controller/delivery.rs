//! Delivery: from queued pods to write requests, within all limits. [`answers`] handles the results.
//!
//! A single change is sent at once. While the allowed number of requests is in flight, changes gather for the next
//! batch.
//!
//! The limits of writes. Those of the process come first, then those of one batch, then those of one pod:
//!
//! | for each | limit | where | value | when it lets a write through |
//! | --- | --- | --- | --- | --- |
//! | process | leadership | [`Term`] | the Lease | this process leads at this moment |
//! | process | session and capabilities | [`WriterSession`], [`Availability`] | an open session, known capabilities | once the registry has answered both requests |
//! | process | circuit breaker | [`Availability`] | closed, one write, or open | closed while requests succeed; open for 0.1 s to 5 s after a failure (30 s for a refused credential, or as the registry asks); then one capabilities request, one write, and all |
//! | process | requests in flight | [`Pace`] | at most `--max-in-flight` | one after the registry refused (429, 503), one more per round of answers |
//! | process | write rate | [`RateLimit`] | `--max-writes-per-second` | refilled as time passes, one second's worth at most |
//! | process | rewrite rate | [`RateLimit`] | 1,000 per second, in portions of 100 | refilled as time passes |
//! | process | divided batches | [`CircuitBreaker::dividing`] | the parts of 16 batches in a row that the registry refused for their content go without a pause | after those, and if a batch may have been applied, as after a failure that opens the circuit breaker, for 0.2 s |
//! | process | retry budget | [`RetryBudget`] | 6 % of the first attempts | earned by first attempts and by acknowledged retries; at least two per second |
//! | process | retry budget of records that always fail | [`RetryBudget`] | 2 % of the first attempts | the same; at least one per two seconds |
//! | process | rejected records | [`RetryBudget`] | 100 per second | once after each resync |
//! | process | backlog | [`ControllerOptions::backlog_window`] | 4,096 pods of each kind in the queue | when the lane is empty, the next ones are taken from the ledger |
//! | batch | priority | [`OpenLanes`] | deletions; retries; changes, backfill, rewrites; rejected records | the first lane that is not empty and not held back |
//! | batch | turns | [`Turns`] | in every second batch, retries go after changes, backfill and rewrites; every fourth retry is a record's, the others may be deletions | so that none of them waits for all of the others |
//! | batch | backfill | [`Delivery::begin_batch`] | a full batch, or all of it | once that many wait and the write rate allows them at once; a full reconcile may still find more |
//! | batch | size | [`Pace`] | 32 items at first, or the limit that a targets file states; then what the registry answers in time; at most its own limits | halved when an answer does not come in time, doubled when it comes fast |
//! | batch | size that the client takes from the registry | [`registry::client`] | 5,000 operations, 16 MiB | a registry's own limits count if they are lower |
//! | batch | pods put aside | [`ASIDE_MAX`] | 1,000 pods that belong into other batches | the batch is sent as it is |
//! | batch | waiting records | `event_loop::deliver` | 500 records that wait for a parent or a child are passed over | the others are looked at in the next batch |
//! | batch | time | [`registry::client`] | `--request-timeout` | a request without an answer by then failed, and its records are uncertain |
//! | pod | requests in flight | [`decide`] | one | when it is answered or given up |
//! | pod | size of the record | [`Delivery::check_size`] | the registry's `max_record_bytes` | a larger record is parked until it changes or the next resync |
//! | pod | parts of a failed batch | [`Attempts::isolation`] | a half or an eighth of the batch each time | until it is acknowledged |
//! | pod | backoff | [`Attempts::not_before`] | 0.1 s to 0.2 s at first, doubled up to 60 s | when it is over, or when the registry is well again |
//! | pod | rejected deletion | [`Ledger::settle`] | the same backoff; it is retried, not parked | when it is over, or when the registry is well again |
//! | pod | backoff after the registry asked to wait | [`Ledger`] | the time that it asked for, or the backoff of the pod up to 10 s, whichever is longer | when it is over; the part after the asked time also ends when the registry is well again |
//!
//! [`Term`]: crate::controller::leadership::Term
//! [`WriterSession`]: crate::controller::session::WriterSession
//! [`registry::client`]: crate::registry::client
//! [`CircuitBreaker::dividing`]: crate::reconcile::retry::CircuitBreaker::dividing
//! [`decide`]: crate::reconcile::decide::decide
//! [`Availability`]: crate::controller::availability::Availability
//! [`Attempts::not_before`]: crate::reconcile::ledger::pending::Attempts::not_before
//! [`Attempts::isolation`]: crate::reconcile::ledger::pending::Attempts::isolation
//! [`ControllerOptions::backlog_window`]: crate::controller::options::ControllerOptions::backlog_window

mod answers;

use super::{
    comparison::Outbox,
    queue::{Lane, OpenLanes, Queue, RetryTurn},
    report::Fault,
    requests::{Sent, WriteRequest},
    traces::Traces,
};
use crate::{
    model::{ids::Version, moment::Moment, uid::Uid},
    reconcile::{
        ledger::{
            Ledger,
            backlog::BacklogKind,
            entry::Known,
            pending::{AttemptKind, InFlight, Isolation},
        },
        outcome::{Failure, OperationKind, Verdict},
        pace::{BatchSize, Pace, SentBatch},
        retry::RateLimit,
        retry_budget::RetryBudget,
        trace::ChangeTrace,
    },
    registry::{Capabilities, Encoded, RenderFailure},
    telemetry::metrics::target::TargetMetrics,
};

/// Records that differ from the registry's are rewritten at no more than this rate: a new release may change them all.
const REWRITES_PER_SECOND: u32 = 1_000;
/// Bytes of a batch's body besides its operations, at most.
const AROUND_BATCH_BYTES: usize = 64;
/// While a batch of keys that belong together is filled, others are put aside, at most this number.
const ASIDE_MAX: usize = 1_000;

pub(super) struct Delivery {
    traces: Traces,
    writes: RateLimit,
    rewrites: RateLimit,
    budget: RetryBudget,
    pace: Pace,
    turns: Turns,
    max_in_flight: usize,
    backlog_window: usize,
    /// The writes that the limit has to allow before the backfill goes on.
    backfill_portion: usize,
    metrics: TargetMetrics,
    rng: fastrand::Rng,
}

/// Counts turns. Retries have a count of their own: by the count of batches, a regular load could give all retries that
/// the budget allows to deletions.
#[derive(Default)]
struct Turns {
    batches: usize,
    retries: usize,
}

/// What follows for the other parts.
#[must_use]
pub(super) enum DeliveryEffect {
    /// The registry acknowledged an operation of this kind. The trace still lacks the names of the record.
    Acknowledged(Uid, OperationKind, Option<Box<ChangeTrace>>),
    /// The operation on this pod is over: decide about it again.
    Settled(Uid),
    /// The backoff of this pod ended early: decide about it again.
    Hastened(Uid),
    /// The registry holds this version of a record, which is higher than ours.
    Superseded(Version),
    /// This share of a request's operations is uncertain.
    Uncertain(f64),
    /// A batch failed as a whole and is divided.
    Dividing {
        refused: bool,
    },
    RequestFailed(Failure),
    Report(Fault),
}

/// A batch that is being filled.
pub(super) struct Batch<O> {
    operations: Vec<Encoded<O>>,
    bytes: usize,
    limit: BatchSize,
    /// The most bytes that the registry takes in a batch.
    max_bytes: usize,
    /// Whether it is sent as a batch. An operation that is too large for a batch is a request of its own.
    batched: bool,
    /// The size to which failures divided batches. Only pods with the same size share a batch.
    divided: Isolation,
    turn: RetryTurn,
    /// Whether it may contain backfill.
    backfill: bool,
    /// Whether it may contain rewrites.
    rewrites: bool,
    /// Pods that belong into other batches.
    aside: Vec<(Uid, Lane)>,
    is_closed: bool,
}

pub(super) enum NextKey {
    Take(Uid, Lane),
    /// The next key belongs into another batch.
    Aside,
    Nothing,
}

impl<O> Batch<O> {
    pub(super) fn is_full(&self) -> bool {
        self.is_closed || self.operations.len() >= self.limit.items || self.aside.len() >= ASIDE_MAX
    }
}

impl Delivery {
    pub(super) fn new(
        options: &crate::controller::options::ControllerOptions,
        traces: Traces,
        metrics: TargetMetrics,
        rng: fastrand::Rng,
    ) -> Self {
        Self {
            traces,
            writes: RateLimit::new(options.max_writes_per_second),
            rewrites: RateLimit::new(REWRITES_PER_SECOND.min(options.max_writes_per_second)),
            budget: RetryBudget::default(),
            pace: Pace::new(options.request_timeout),
            turns: Turns::default(),
            max_in_flight: options.max_in_flight,
            backlog_window: options.backlog_window.max(1),
            backfill_portion: 1,
            metrics,
            rng,
        }
    }

    /// When a pod's backoff is over, or a limit lets a pod through that waits for it.
    pub(super) fn due_at(&mut self, queue: &Queue, ledger: &Ledger, now: Moment) -> Option<Moment> {
        let mut due = [queue.due_at(), None, None, None, None, None];
        let writes_at = self.writes.next_at(now, 1);
        let waits = |kind: BacklogKind| queue.has_ready(&[Lane::of(kind)]) || ledger.backlog_of(kind) > 0;
        if queue.has_ready(&[Lane::Delete, Lane::Live]) {
            due[1] = Some(writes_at);
        } else if waits(BacklogKind::Backfill) {
            due[1] = Some(self.writes.next_at(now, self.backfill_portion));
        }
        if waits(BacklogKind::Rewrite) {
            due[2] = Some(writes_at.max(self.rewrites.next_at(now, self.rewrites.portion())));
        }
        let retries = [
            &[Lane::DeleteRetry, Lane::PutRetry][..],
            &[Lane::DeletePersistent, Lane::PutPersistent],
            &[Lane::Rejected],
        ];
        for (due, lanes) in due[3..].iter_mut().zip(retries) {
            if queue.has_ready(lanes) {
                *due = Some(writes_at.max(self.budget.next_at(lanes[0].attempt(), now)));
            }
        }
        // What is due now waits for an answer or the circuit breaker.
        due.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Whether the retry budget lets such an attempt through now.
    pub(super) fn allows(&mut self, attempt: AttemptKind, now: Moment) -> bool {
        self.budget.allows(attempt, now)
    }

    /// Keys of each kind of backlog that are in the queue at once, at most.
    pub(super) fn backlog_window(&self) -> usize {
        self.backlog_window
    }

    /// Exports the trace of an acknowledged change.
    pub(super) fn export(&self, trace: ChangeTrace) {
        self.traces.export(trace);
    }

    pub(super) fn stand_by(&mut self) {
        self.traces.stand_by();
    }
}

/// Filling batches.
impl Delivery {
    /// How many write requests may be in flight by the registry's answers.
    pub(super) fn most_in_flight(&self) -> usize {
        self.pace.slots(self.max_in_flight)
    }

    /// A new batch, within the limits of this moment. `gathers` says that the next turns may find more backfill.
    pub(super) fn begin_batch<O>(
        &mut self,
        registry: &Capabilities,
        gathers: bool,
        outbox: Outbox<'_>,
        now: Moment,
    ) -> Batch<O> {
        let Outbox { queue, ledger } = outbox;
        let Capabilities { features, .. } = *registry;
        let (batched, most) = (features.batches, registry.max_batch_items.max(1));
        if features.stated_limits {
            self.pace.trust(most);
        }
        let items = if batched { most } else { 1 };
        let mut limit = self.pace.limit(BatchSize { items, bytes: registry.max_batch_bytes }, now);
        let available = self.writes.available(now);
        let waiting = ledger.backlog_of(BacklogKind::Backfill) + queue.ready(Lane::Backfill);
        self.backfill_portion = waiting.min(limit.items).min(self.writes.most()).max(1);
        // In full batches: otherwise one would leave with each part of a full reconcile, or with each write that the
        // limit allows.
        let backfill = available >= self.backfill_portion && (waiting >= limit.items || !gathers);
        limit.items = limit.items.min(available);
        Batch {
            operations: Vec::new(),
            bytes: AROUND_BATCH_BYTES,
            limit,
            max_bytes: registry.max_batch_bytes,
            batched,
            divided: Isolation::None,
            // Deletions always go first. Then the order alternates, so that neither retries nor first attempts wait for
            // all of the others.
            turn: if self.turns.batches.is_multiple_of(2) { RetryTurn::First } else { RetryTurn::Last },
            backfill,
            // In portions, so that rewrites do not leave one by one.
            rewrites: self.rewrites.available(now) >= self.rewrites.portion(),
            aside: Vec::new(),
            is_closed: false,
        }
    }

    /// Whether this batch may contain backfill.
    pub(super) fn lets_backfill_through<O>(&self, batch: &Batch<O>) -> bool {
        batch.backfill
    }

    /// Whether this batch may contain rewrites.
    pub(super) fn lets_rewrites_through<O>(&mut self, batch: &Batch<O>, now: Moment) -> bool {
        batch.rewrites && self.rewrites.available(now) > 0
    }

    /// The most urgent pod that may go.
    pub(super) fn next_key<O>(&mut self, batch: &mut Batch<O>, outbox: Outbox<'_>, now: Moment) -> NextKey {
        let Outbox { queue, ledger } = outbox;
        let open = OpenLanes {
            backfill: batch.backfill,
            rewrites: self.lets_rewrites_through(batch, now),
            retries: self.budget.allows(AttemptKind::Retry, now),
            persistent: self.budget.allows(AttemptKind::Persistent, now),
            rejected: self.budget.allows(AttemptKind::Rejected, now),
            turn: batch.turn,
            // Of four retries one is a record's, so that deletions that always fail starve no record.
            records_first: self.turns.retries % 4 == 3,
        };
        let Some((uid, lane)) = queue.pop(open) else { return NextKey::Nothing };
        if !batch.operations.is_empty() && batch.divided != divided(&uid, ledger) {
            batch.aside.push((uid, lane));
            return NextKey::Aside;
        }
        NextKey::Take(uid, lane)
    }

    /// Adds an operation. If it does not fit, it keeps its place in the queue, and the batch is full.
    pub(super) fn add<O>(
        &mut self,
        batch: &mut Batch<O>,
        operation: Encoded<O>,
        lane: Lane,
        outbox: Outbox<'_>,
        now: Moment,
    ) {
        let Outbox { queue, ledger } = outbox;
        let bytes = batch.bytes + operation.size_at_most;
        if bytes > batch.limit.bytes {
            if !batch.operations.is_empty() {
                queue.push_front(&operation.uid, lane);
                batch.is_closed = true;
                return;
            }
            batch.limit.items = 1;
            batch.batched &= bytes <= batch.max_bytes;
        }
        self.rewrites.take(usize::from(lane == Lane::Rewrite));
        let divided = divided(&operation.uid, ledger);
        begin(&operation, ledger, now);
        self.count(attempt_under_way(&operation.uid, ledger));
        batch.divided = divided;
        batch.batched &= divided != Isolation::Alone;
        batch.limit.items = divided.limit(batch.limit.items);
        batch.bytes = bytes;
        batch.operations.push(operation);
    }

    fn count(&mut self, attempt: AttemptKind) {
        self.budget.sent(attempt);
        if matches!(attempt, AttemptKind::Retry | AttemptKind::Persistent) {
            self.turns.retries = self.turns.retries.wrapping_add(1);
            self.metrics.retried();
        }
    }

    /// The request that sends a batch. None if the batch is empty.
    #[must_use]
    pub(super) fn finish<O>(
        &mut self,
        batch: Batch<O>,
        epoch: u64,
        outbox: Outbox<'_>,
        now: Moment,
    ) -> Option<WriteRequest<O>> {
        let Batch { operations, bytes, batched, divided, aside, .. } = batch;
        let Outbox { queue, ledger } = outbox;
        for (uid, lane) in aside.iter().rev() {
            queue.push_front(uid, *lane);
        }
        if operations.is_empty() {
            return None;
        }
        self.writes.take(operations.len());
        self.turns.batches = self.turns.batches.wrapping_add(1);
        let uids: Vec<Uid> = operations.iter().map(|operation| operation.uid.clone()).collect();
        let size = BatchSize { items: uids.len(), bytes };
        let batch = SentBatch { size, at: now, divided: divided != Isolation::None };
        let trace = self.traces.of_request(&uids, ledger);
        Some(WriteRequest { sent: Sent { epoch, uids, batched, batch, trace }, operations })
    }

    /// Rejects a record that is larger than the registry takes. Returns the operation otherwise.
    pub(super) fn check_size<O>(
        &mut self,
        operation: Encoded<O>,
        registry: &Capabilities,
        ledger: &mut Ledger,
        now: Moment,
    ) -> Result<Encoded<O>, Vec<DeliveryEffect>> {
        let bytes = operation.record_bytes;
        let Some(most) = registry.max_record_bytes.filter(|most| bytes > *most) else { return Ok(operation) };
        begin(&operation, ledger, now);
        let cause = format!("the record has {bytes} bytes, the registry takes {most}");
        Err(self.reject(&operation.uid, cause, ledger, now))
    }

    /// Rejects a record that cannot be made.
    pub(super) fn not_made(
        &mut self,
        uid: &Uid,
        in_flight: InFlight,
        failure: RenderFailure,
        ledger: &mut Ledger,
        now: Moment,
    ) -> Vec<DeliveryEffect> {
        ledger.begin(uid, in_flight, now);
        self.reject(uid, failure.cause, ledger, now)
    }

    fn reject(&mut self, uid: &Uid, cause: String, ledger: &mut Ledger, now: Moment) -> Vec<DeliveryEffect> {
        let mut effects = Vec::new();
        self.settle(uid, Verdict::Rejected { cause }, None, ledger, &mut effects, now);
        effects
    }
}

fn divided(uid: &Uid, ledger: &Ledger) -> Isolation {
    ledger.pending(uid).map(|pending| pending.attempts().isolation).unwrap_or_default()
}

/// What kind of attempt the request about a pod is.
fn attempt_under_way(uid: &Uid, ledger: &Ledger) -> AttemptKind {
    ledger.pending(uid).map(|pending| pending.attempts().attempt).unwrap_or_default()
}

fn begin<O>(operation: &Encoded<O>, ledger: &mut Ledger, now: Moment) {
    let (kind, result) = match operation.fingerprint {
        Some(fingerprint) => (OperationKind::Put, Known::Registered(fingerprint)),
        None => (OperationKind::Delete, Known::Absent),
    };
    ledger.begin(&operation.uid, InFlight { kind, result, version: operation.version }, now);
}
