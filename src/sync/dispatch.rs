//! Writes: keys become batches, verdicts go back to the ledger.
//!
//! A lone change leaves at once, and while all requests are in flight changes gather into the next batch by themselves.

use super::{
    queue::{Lane, Open, Turn},
    registrar::{Registrar, Reply},
};
use crate::{
    model::{Action, Failure, Flight, Known, Moment, OperationKind, Removal, Settled, Uid, Verdict, Walk},
    registry::{Capabilities, Change, Encoded, EncodedBody, Registry},
    telemetry::metrics::{Operation, OperationOutcome, Request, RequestOutcome},
};

/// Bytes of a batch's body besides its operations, at most.
const AROUND_BATCH_BYTES: usize = 64;
/// What a write request was about, and whether it was a batch.
pub(super) struct Sent {
    uids: Vec<Uid>,
    batched: bool,
}

/// So many keys are passed over at most for a batch of those that belong together.
const ASIDE_MAX: usize = 1_000;

impl<R: Registry> Registrar<R> {
    /// Sends batches as long as there is something to send and somewhere to send it to.
    pub(super) fn dispatch(&mut self, now: Moment) {
        let Some(epoch) = self.session.epoch() else { return };
        let Some(capabilities) = self.capabilities.clone() else { return };
        while self.leads() && self.writes_in_flight < self.target.slots(now, self.options.max_in_flight) {
            let (batch, batched) = self.next_batch(&capabilities, now);
            if batch.is_empty() {
                return;
            }
            self.writes_in_flight += 1;
            let uids: Vec<Uid> = batch.iter().map(|operation| operation.uid.clone()).collect();
            let registry = self.registry.clone();
            self.writing.spawn(async move {
                let result = registry.write(epoch, batch, batched).await;
                Reply::Written(Sent { uids, batched }, result)
            });
        }
    }

    /// What is sent next, and whether as a batch: what fits into none is a request of its own.
    fn next_batch(&mut self, capabilities: &Capabilities, now: Moment) -> (Vec<Encoded>, bool) {
        let mut batched = self.has("batch");
        let mut limit = if batched { capabilities.max_batch_items.max(1) } else { 1 };
        limit = limit.min(self.writes.available(now));
        // In portions, so that what comes at a bounded rate does not leave one by one.
        let rewrites = self.rewrites.available(now) >= self.rewrites.portion();
        let turn = self.next_turn();
        let (mut batch, mut bytes, mut divided) = (Vec::new(), AROUND_BATCH_BYTES, None);
        let mut aside = Vec::new();
        while batch.len() < limit && aside.len() < ASIDE_MAX {
            let open = self.open(turn, rewrites, now);
            let Some((uid, lane)) = self.next_key(open, now) else { break };
            let own = self.ledger.work(&uid).and_then(|work| work.tries().batch_at_most);
            // Those of batches that failed as a whole stay among themselves.
            if !batch.is_empty() && divided != own {
                aside.push((uid, lane));
                continue;
            }
            let Some(operation) = self.encode(&uid, lane, capabilities, now) else { continue };
            if bytes + operation.size_at_most() > capabilities.max_batch_bytes {
                if !batch.is_empty() {
                    self.queue.push_front(&uid, lane);
                    break;
                }
                (batched, limit) = (false, 1);
            }
            divided = own;
            batched &= own != Some(0);
            limit = own.map_or(limit, |own| limit.min(own));
            bytes += operation.size_at_most();
            self.rewrites.take(usize::from(lane == Lane::Rewrite));
            self.begin(&operation, now);
            self.count_try(&operation.uid);
            batch.push(operation);
        }
        for (uid, lane) in aside.iter().rev() {
            self.queue.push_front(uid, *lane);
        }
        self.writes.take(batch.len());
        self.turns.batches = self.turns.batches.wrapping_add(usize::from(!batch.is_empty()));
        (batch, batched)
    }

    /// The most urgent key that may go.
    fn next_key(&mut self, open: Open, now: Moment) -> Option<(Uid, Lane)> {
        self.walk_on(Walk::Backfill, now);
        if open.rewrites {
            self.walk_on(Walk::Rewrite, now);
        }
        self.queue.pop(open)
    }

    /// Every second batch begins with what was tried before, so that neither that nor first tries wait for all of the
    /// other.
    fn next_turn(&self) -> Turn {
        if self.turns.batches.is_multiple_of(2) { Turn::First } else { Turn::Last }
    }

    /// Which lanes may go. Of four repeats one is a record's, so that deletions that fail for ever starve no record.
    fn open(&mut self, turn: Turn, rewrites: bool, now: Moment) -> Open {
        Open {
            rewrites: rewrites && self.rewrites.available(now) > 0,
            again: self.budget.allows(now).then_some(turn),
            put_again_first: self.turns.repeats % 4 == 3,
        }
    }

    fn count_try(&mut self, uid: &Uid) {
        let repeats = self.ledger.work(uid).is_some_and(|work| work.tries().repeats);
        self.budget.sent(repeats);
        if repeats {
            self.turns.repeats = self.turns.repeats.wrapping_add(1);
            self.metrics.repeated();
        }
    }

    /// The bytes of what is to be done about a key now, if anything still is: it is decided anew, so that what is sent is
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
                let operation = self.registry.encode(uid, self.session.next_version()?, Change::Put(&pod, content));
                self.fits(&operation, capabilities, now).then_some(operation)
            }
            Action::Delete(removal) => {
                let version = self.session.next_version()?;
                Some(self.registry.encode(uid, version, Change::Delete(removal)))
            }
            _ => {
                self.consider(uid, lane, now);
                None
            }
        }
    }

    /// Whether what is to be done was tried before, and may not be repeated yet: it may have changed back to that while
    /// it was queued as a first try.
    fn must_wait(&mut self, uid: &Uid, action: Action, now: Moment) -> bool {
        let again = match action {
            Action::Put(desired) => self.ledger.repeats(uid, Known::Holds(desired)),
            Action::Delete(_) => self.ledger.repeats(uid, Known::Absent),
            _ => false,
        };
        again && !self.budget.allows(now)
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

    pub(super) fn written(&mut self, sent: &Sent, result: Result<Vec<Verdict>, Failure>, now: Moment) {
        let uids = &sent.uids;
        self.writes_in_flight -= 1;
        let blamed = self.target.blames_writes();
        let epoch =
            uids.iter().find_map(|uid| self.ledger.work(uid)?.tries().flight.map(|flight| flight.version.epoch));
        match result {
            Ok(verdicts) => {
                self.judge_request(Request::Write, &Ok(()), now);
                self.target.succeeded(now);
                self.session.acknowledged();
                self.budget.answered();
                for (uid, verdict) in uids.iter().zip(verdicts) {
                    self.settle(uid, verdict, now);
                }
                self.hasten_if_well(now);
            }
            Err(failure) => {
                self.write_failed(sent, &failure, blamed, now);
                if let Some(epoch) = epoch {
                    self.session_lost(epoch, &failure, now);
                }
            }
        }
    }

    fn hasten_if_well(&mut self, now: Moment) {
        if self.budget.recovered() {
            for uid in self.ledger.hasten(now) {
                self.consider(&uid, Lane::Live, now);
            }
        }
    }

    fn settle(&mut self, uid: &Uid, verdict: Verdict, now: Moment) {
        let Some(flight) = self.ledger.work(uid).and_then(|work| work.tries().flight) else { return };
        let repeats = self.ledger.work(uid).is_some_and(|work| work.tries().repeats);
        let operation = Operation::from(flight.kind);
        let random = self.rng.u64(..);
        let cause = match &verdict {
            Verdict::Retry { cause, .. } | Verdict::Doubt { cause } => Some(cause.clone()),
            _ => None,
        };
        let outcome = match self.ledger.settle(uid, verdict, now, random) {
            Settled::Acknowledged(since) => {
                self.budget.acknowledged(repeats);
                self.metrics.acknowledged_after(now.saturating_sub(since));
                OperationOutcome::Done
            }
            Settled::Again => {
                self.budget.failed();
                tracing::debug!(%uid, cause, "not acknowledged, it is tried again");
                OperationOutcome::Retry
            }
            Settled::Parked(cause) => {
                let waits_for = match flight.kind {
                    OperationKind::Put => "another body, or the next resync",
                    OperationKind::Delete => "the next try",
                };
                tracing::warn!(%uid, cause, waits_for, "refused by the registry, others go on");
                OperationOutcome::Parked
            }
            Settled::Outrun(version) => {
                if let Some(version) = version {
                    let random = self.rng.u64(..);
                    self.session.outrun(version, now, random);
                }
                OperationOutcome::Stale
            }
        };
        self.metrics.operation(operation, outcome);
        self.consider_settled(uid, now);
    }

    fn write_failed(&mut self, sent: &Sent, failure: &Failure, blamed: bool, now: Moment) {
        let Sent { uids, batched } = sent;
        let divisible = uids.len() > 1;
        let (applied, isolate) = match failure {
            // It was the batch that was too large, and there is a smaller way to send one.
            Failure::TooLarge if *batched => (false, true),
            Failure::TooLarge | Failure::Refused { status: 400 | 422, .. } if !divisible && blamed => {
                self.metrics.request(Request::Write, RequestOutcome::Rejected);
                for uid in uids {
                    self.settle(uid, Verdict::Rejected { cause: failure.to_string() }, now);
                }
                return;
            }
            Failure::TooLarge => (false, true),
            Failure::Broken(_) => (true, blamed),
            // Only what a body may be to blame for is looked for in the bodies.
            Failure::Refused { status, .. } => (false, blamed && matches!(status, 400 | 422)),
            Failure::NotFound | Failure::Expired => (false, false),
            Failure::Throttled { status, .. } => (*status >= 500, false),
            Failure::Unreachable(_) | Failure::Unauthorized { .. } | Failure::StaleEpoch | Failure::UnknownSession => {
                (false, false)
            }
        };
        if isolate && divisible && *failure != Failure::TooLarge {
            self.metrics.request(Request::Write, RequestOutcome::Failed);
            tracing::warn!(items = uids.len(), error = %failure, "a batch failed as a whole, its halves are tried");
            self.target.dividing(now);
        } else {
            self.judge_request::<()>(Request::Write, &Err(failure.clone()), now);
        }
        self.budget.failed();
        let of = if *failure == Failure::TooLarge && !divisible { 0 } else { uids.len() };
        for uid in uids {
            let random = self.rng.u64(..);
            self.ledger.fail(uid, applied, isolate.then_some(of), now, random);
            self.consider_settled(uid, now);
        }
    }
}
