//! Writes: keys become batches. [`super::answers`] brings what comes of them back to the ledger.
//!
//! A lone change leaves at once, and while all requests are in flight, changes gather into the next batch by themselves.
//! What limits a write:
//!
//! | limit | where | what it bounds |
//! | --- | --- | --- |
//! | rate limit | [`RateLimit`], `--max-writes-per-second` | items per second |
//! | requests in flight | [`Pace`], at most `--max-in-flight` | one after a refusal, then slowly more |
//! | items and bytes of a batch | [`Pace`], at most the registry's own limits | what the registry answers within the time limit |
//! | circuit breaker | [`Target`] | nothing while the registry is away; one request first when it is back |
//! | retry budget | [`Budget`] | what may have been applied and is sent again; what was certainly not applied costs nothing |
//! | backoff | [`Tries::not_before`] | one record |
//! | backlog | [`Lane::Rewrite`], [`Options::backlog_window`] | records that a full reconcile found to differ |
//!
//! [`RateLimit`]: crate::model::retry::RateLimit
//! [`Pace`]: crate::model::pace::Pace
//! [`Target`]: crate::model::retry::Target
//! [`Budget`]: crate::model::budget::Budget
//! [`Tries::not_before`]: crate::model::Tries::not_before
//! [`Options::backlog_window`]: super::Options::backlog_window

use super::{
    queue::{Lane, Open, Turn},
    registrar::Registrar,
    requests::Request,
};
use crate::{
    model::{
        Action, Attempt, Flight, Known, Moment, OperationKind, Removal, Uid, Verdict, Walk,
        pace::{SentBatch, Size},
    },
    registry::{Capabilities, Change, Encoded, EncodedBody, Registry},
};

/// Bytes of a batch's body besides its operations, at most.
const AROUND_BATCH_BYTES: usize = 64;
/// While a batch of keys that belong together is gathered, at most this many others are passed over.
const ASIDE_MAX: usize = 1_000;

/// What a write request was about, and whether it was a batch.
pub(super) struct Sent {
    pub(super) uids: Vec<Uid>,
    pub(super) batched: bool,
    pub(super) batch: SentBatch,
}

/// A batch that is being gathered.
struct Gathered {
    operations: Vec<Encoded>,
    bytes: usize,
    /// Whether it goes as a batch: what fits into none is a request of its own.
    batched: bool,
    limit: Size,
    /// The size to which its keys were divided by failures. Those of batches that failed as a whole stay among themselves.
    divided: Option<usize>,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.operations.len() >= self.limit.items
    }

    fn add(&mut self, operation: Encoded, divided: Option<usize>) {
        self.divided = divided;
        self.batched &= divided != Some(0);
        self.limit.items = divided.map_or(self.limit.items, |at_most| self.limit.items.min(at_most));
        self.bytes += operation.size_at_most();
        self.operations.push(operation);
    }
}

impl<R: Registry> Registrar<R> {
    /// Sends batches as long as there is something to send and somewhere to send it to.
    pub(super) fn dispatch(&mut self, now: Moment) {
        let Some(epoch) = self.session.epoch() else { return };
        let Some(capabilities) = self.availability.capabilities().cloned() else { return };
        while self.leads() && self.writes_in_flight < self.write_slots(now) {
            let Gathered { operations, bytes, batched, divided, .. } = self.gather(&capabilities, now);
            if operations.is_empty() {
                return;
            }
            self.writes_in_flight += 1;
            let uids: Vec<Uid> = operations.iter().map(|operation| operation.uid.clone()).collect();
            let size = Size { items: uids.len(), bytes };
            let batch = SentBatch { size, at: now, divided: divided.is_some() };
            let sent = Sent { uids, batched, batch };
            self.requests.send(Request::Write { epoch, sent, operations });
        }
    }

    fn write_slots(&self, now: Moment) -> usize {
        self.availability.write_slots(self.pace.slots(self.options.max_in_flight), now)
    }

    /// Gathers what is sent next.
    fn gather(&mut self, capabilities: &Capabilities, now: Moment) -> Gathered {
        let batched = self.availability.has("batch");
        let most = Size { items: capabilities.max_batch_items.max(1), bytes: capabilities.max_batch_bytes };
        let mut limit = self.pace.limit(if batched { most } else { Size { items: 1, ..most } }, now);
        limit.items = limit.items.min(self.writes.available(now));
        let mut batch = Gathered { operations: Vec::new(), bytes: AROUND_BATCH_BYTES, batched, limit, divided: None };
        // In portions, so that what comes at a bounded rate does not leave one by one.
        let rewrites = self.rewrites.available(now) >= self.rewrites.portion();
        let turn = self.next_turn();
        let mut aside = Vec::new();
        while !batch.is_full() && aside.len() < ASIDE_MAX {
            let open = self.open(turn, rewrites, now);
            let Some((uid, lane)) = self.next_key(open, now) else { break };
            let divided = self.ledger.work(&uid).and_then(|work| work.tries().batch_at_most);
            if !batch.operations.is_empty() && batch.divided != divided {
                aside.push((uid, lane));
                continue;
            }
            let Some(operation) = self.encode(&uid, lane, capabilities, now) else { continue };
            let bytes = batch.bytes + operation.size_at_most();
            if bytes > batch.limit.bytes {
                if !batch.operations.is_empty() {
                    self.queue.push_front(&uid, lane);
                    break;
                }
                batch.limit.items = 1;
                batch.batched &= bytes <= capabilities.max_batch_bytes;
            }
            self.rewrites.take(usize::from(lane == Lane::Rewrite));
            self.begin(&operation, now);
            self.count_attempt(&operation.uid);
            batch.add(operation, divided);
        }
        for (uid, lane) in aside.iter().rev() {
            self.queue.push_front(uid, *lane);
        }
        self.writes.take(batch.operations.len());
        self.turns.batches = self.turns.batches.wrapping_add(usize::from(!batch.operations.is_empty()));
        batch
    }

    /// The most urgent key that may go.
    fn next_key(&mut self, open: Open, now: Moment) -> Option<(Uid, Lane)> {
        self.walk_on(Walk::Backfill, now);
        if open.rewrites {
            self.walk_on(Walk::Rewrite, now);
        }
        self.queue.pop(open)
    }

    /// Every second batch begins with retries, so that neither they nor first tries wait for all of the other.
    fn next_turn(&self) -> Turn {
        if self.turns.batches.is_multiple_of(2) { Turn::First } else { Turn::Last }
    }

    /// Which lanes may go. Of four retries one is a record's, so that deletions that always fail starve no record.
    fn open(&mut self, turn: Turn, rewrites: bool, now: Moment) -> Open {
        Open {
            rewrites: rewrites && self.rewrites.available(now) > 0,
            retries: self.budget.allows(Attempt::Retry, now),
            persistent: self.budget.allows(Attempt::Persistent, now),
            rejected: self.budget.allows(Attempt::Rejected, now),
            turn,
            records_first: self.turns.retries % 4 == 3,
        }
    }

    fn count_attempt(&mut self, uid: &Uid) {
        let attempt = self.attempt_under_way(uid);
        self.budget.sent(attempt);
        if matches!(attempt, Attempt::Retry | Attempt::Persistent) {
            self.turns.retries = self.turns.retries.wrapping_add(1);
            self.metrics.repeated();
        }
    }

    /// What kind of attempt the request about an id is.
    pub(super) fn attempt_under_way(&self, uid: &Uid) -> Attempt {
        self.ledger.work(uid).map(|work| work.tries().attempt).unwrap_or_default()
    }

    /// The bytes of what is to be done about a key now, if anything still is: it is decided again, so that what is sent is
    /// the store as it is.
    fn encode(&mut self, uid: &Uid, lane: Lane, capabilities: &Capabilities, now: Moment) -> Option<Encoded> {
        let action = self.decision(uid, now);
        if self.must_wait(uid, action, now) {
            self.consider(uid, lane, now);
            return None;
        }
        match action {
            Action::Put(_) => {
                let pod = self.view.get(uid)?;
                let content = pod.content.as_ref()?;
                let operation =
                    self.requests.registry().encode(uid, self.session.next_version()?, Change::Put(&pod, content));
                self.fits(&operation, capabilities, now).then_some(operation)
            }
            Action::Delete(removal) => {
                let version = self.session.next_version()?;
                Some(self.requests.registry().encode(uid, version, Change::Delete(removal)))
            }
            _ => {
                self.consider(uid, lane, now);
                None
            }
        }
    }

    /// Whether what is to be done is a retry that may not go yet: it may have become one while it was queued as a first
    /// try.
    fn must_wait(&mut self, uid: &Uid, action: Action, now: Moment) -> bool {
        let attempt = match action {
            Action::Put(desired) => self.ledger.attempt(uid, Known::Holds(desired)),
            Action::Delete(_) => self.ledger.attempt(uid, Known::Absent),
            _ => Attempt::First,
        };
        !self.budget.allows(attempt, now)
    }

    /// Parks a record that is larger than the registry takes.
    fn fits(&mut self, operation: &Encoded, capabilities: &Capabilities, now: Moment) -> bool {
        let EncodedBody::Put { record, .. } = &operation.body else { return true };
        let (bytes, most) = (record.len(), capabilities.max_record_bytes);
        if bytes > most {
            self.begin(operation, now);
            let cause = format!("the record has {bytes} bytes, the registry takes {most}");
            self.settle(&operation.uid, Verdict::Rejected { cause }, now);
        }
        bytes <= most
    }

    fn begin(&mut self, operation: &Encoded, now: Moment) {
        let (kind, result) = match &operation.body {
            EncodedBody::Put { digest, .. } => (OperationKind::Put, Known::Holds(digest.fingerprint())),
            EncodedBody::Delete(_) => (OperationKind::Delete, Known::Absent),
        };
        if let EncodedBody::Delete(Removal::Absent) = operation.body {
            tracing::debug!(uid = %operation.uid, "deregistering a pod that is absent");
        }
        self.ledger.begin(&operation.uid, Flight { kind, result, version: operation.version }, now);
    }
}
