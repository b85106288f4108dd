//! What comes of writes: verdicts go to the ledger, and what the registry's answers teach goes to the limits.

use super::{dispatch::Sent, queue::Lane, registrar::Registrar, report::Notice};
use crate::{
    model::{Applied, Attempt, Failure, Moment, Settled, Uid, Verdict, pace::Size},
    registry::Registry,
    telemetry::metrics::{Operation, OperationOutcome, Request, RequestOutcome},
};

impl<R: Registry> Registrar<R> {
    pub(super) fn written(&mut self, sent: &Sent, result: Result<Vec<Verdict>, Failure>, now: Moment) {
        let uids = &sent.uids;
        self.writes_in_flight -= 1;
        let blamed = self.availability.blames_writes();
        let epoch =
            uids.iter().find_map(|uid| self.ledger.work(uid)?.tries().flight.map(|flight| flight.version.epoch));
        match result {
            Ok(verdicts) => {
                self.judge(Request::Write, &Ok(()), now);
                self.registry_answered(now);
                self.pace.answered(&sent.batch, now);
                self.session.acknowledged();
                self.budget.answered();
                if self.kind_of(sent) != Attempt::Persistent {
                    let doubted = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Doubt { .. })).count();
                    self.comparison.note_uncertain(doubted as f64 / verdicts.len().max(1) as f64);
                }
                for (uid, verdict) in uids.iter().zip(verdicts) {
                    self.settle(uid, verdict, now);
                }
                self.hasten_if_well(now);
            }
            Err(failure) => {
                let failure = of_body(failure);
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

    pub(super) fn settle(&mut self, uid: &Uid, verdict: Verdict, now: Moment) {
        let Some(flight) = self.ledger.work(uid).and_then(|work| work.tries().flight) else { return };
        let attempt = self.attempt_under_way(uid);
        let operation = Operation::from(flight.kind);
        let random = self.rng.u64(..);
        let mut uncertain = None;
        match &verdict {
            Verdict::Retry { cause, .. } => tracing::debug!(%uid, cause, "not applied; trying again"),
            Verdict::Doubt { cause } => {
                self.budget.failed(attempt);
                uncertain = Some(cause.clone());
            }
            _ => {}
        }
        let outcome = match self.ledger.settle(uid, verdict, now, random) {
            Settled::Acknowledged(since) => {
                self.budget.acknowledged(attempt);
                self.metrics.acknowledged_after(now.saturating_sub(since));
                OperationOutcome::Done
            }
            Settled::Again => OperationOutcome::Retry,
            Settled::Parked(cause) => {
                self.reporter.note(Notice::Rejected { uid: uid.clone(), kind: flight.kind, cause }, now);
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
        if let Some(cause) = uncertain {
            let notice = self.uncertain(uid, cause);
            self.reporter.note(notice, now);
        }
        self.consider_settled(uid, now);
    }

    fn uncertain(&self, uid: &Uid, cause: String) -> Notice {
        let failures = self.ledger.work(uid).map_or(0, |work| work.tries().failures);
        Notice::Uncertain { uid: uid.clone(), cause, failures, is_lasting: self.ledger.stays_uncertain(uid) }
    }

    fn write_failed(&mut self, sent: &Sent, failure: &Failure, blamed: bool, now: Moment) {
        let divisible = sent.uids.len() > 1;
        self.adapt(sent, failure, now);
        let too_large = *failure == Failure::TooLarge;
        let refused_content = too_large || matches!(failure, Failure::Refused { status: 400 | 422, .. });
        if refused_content && !divisible && blamed && !(too_large && sent.batched) {
            self.metrics.request(Request::Write, RequestOutcome::Rejected);
            for uid in &sent.uids {
                self.settle(uid, Verdict::Rejected { cause: failure.to_string() }, now);
            }
            return;
        }
        let applied = match failure {
            Failure::Broken(_) => Applied::Maybe,
            Failure::Throttled { status, .. } if *status >= 500 => Applied::Hardly,
            _ => Applied::No,
        };
        // Only a body may be to blame for these.
        let isolate = too_large || blamed && (refused_content || applied == Applied::Maybe);
        let kind = self.kind_of(sent);
        if isolate && divisible {
            self.metrics.request(
                Request::Write,
                if applied == Applied::No { RequestOutcome::Rejected } else { RequestOutcome::Failed },
            );
            let Size { items, bytes } = sent.batch.size;
            self.reporter.note(Notice::Divided { items, bytes, error: failure.to_string() }, now);
            self.availability.dividing(applied == Applied::No, now);
        } else if applied == Applied::Maybe && blamed && !divisible && kind == Attempt::Persistent {
            // A record that always fails pauses no other.
            self.metrics.request(Request::Write, RequestOutcome::Failed);
        } else {
            self.judge::<()>(Request::Write, &Err(failure.clone()), now);
        }
        if applied == Applied::Maybe {
            self.budget.failed(kind);
            if kind != Attempt::Persistent {
                self.comparison.note_uncertain(1.0);
            }
        }
        let of = if too_large && !divisible { 0 } else { sent.uids.len() };
        for uid in &sent.uids {
            let random = self.rng.u64(..);
            self.ledger.fail(uid, applied, isolate.then_some(of), now, random);
            if isolate && !divisible {
                let notice = self.uncertain(uid, failure.to_string());
                self.reporter.note(notice, now);
            }
            self.consider_settled(uid, now);
        }
    }

    /// What a failed request teaches about how much the registry takes.
    fn adapt(&mut self, sent: &Sent, failure: &Failure, now: Moment) {
        match failure {
            Failure::Broken(_) => _ = self.pace.failed(&sent.batch, now),
            Failure::TooLarge | Failure::Refused { status: 400, .. } if sent.batched && sent.uids.len() > 1 => {
                self.pace.too_large(sent.batch.size, *failure == Failure::TooLarge, now);
            }
            Failure::Throttled { status, after } => {
                let asked = after.filter(|_| *status == 429);
                self.pace.refused(&sent.batch, self.writes_in_flight + 1, asked, now);
            }
            _ => {}
        }
    }

    /// The kind of attempt that a request counts as: the most ordinary one in it.
    fn kind_of(&self, sent: &Sent) -> Attempt {
        let kinds = || sent.uids.iter().map(|uid| self.attempt_under_way(uid));
        let ordinary = kinds().find(|kind| matches!(kind, Attempt::First | Attempt::Retry));
        ordinary.or_else(|| kinds().next()).unwrap_or_default()
    }
}

/// What a failed write means. A firewall that dislikes a body answers 403. If the credential is refused instead, the next
/// question to the registry shows that.
fn of_body(failure: Failure) -> Failure {
    match failure {
        Failure::Unauthorized { status: 403, detail, named: false } => Failure::Broken(format!("status 403 {detail}")),
        failure => failure,
    }
}
