//! Answers to writes: verdicts go to the ledger, and the limits adapt to the registry.

use super::{Delivery, DeliveryEffect, attempt_under_way};
use crate::{
    controller::{
        report::{FailedRecord, Fault, RecordFault},
        requests::Sent,
    },
    model::{moment::Moment, uid::Uid},
    reconcile::{
        ledger::{
            Ledger,
            pending::{Applied, AttemptKind, Blame, Settled},
        },
        outcome::{Failure, Verdict},
        pace::BatchSize,
        trace::AttemptOutcome,
    },
    telemetry::metrics::labels::{Operation, OperationOutcome, RequestKind as Kind, RequestOutcome},
};

impl Delivery {
    /// A write request was answered.
    #[must_use]
    pub(in crate::controller) fn answered(
        &mut self,
        sent: &Sent,
        verdicts: Vec<Verdict>,
        ledger: &mut Ledger,
        now: Moment,
    ) -> Vec<DeliveryEffect> {
        let mut effects = Vec::new();
        self.pace.answered(&sent.batch, now);
        self.budget.answered();
        if kind_of(sent, ledger) != AttemptKind::Persistent {
            let uncertain = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Uncertain { .. })).count();
            effects.push(DeliveryEffect::Uncertain(uncertain as f64 / verdicts.len().max(1) as f64));
        }
        for (uid, verdict) in sent.uids.iter().zip(verdicts) {
            self.settle(uid, verdict, Some(sent), ledger, &mut effects, now);
        }
        if self.budget.recovered() {
            ledger.end_backoffs(now).into_iter().for_each(|uid| effects.push(DeliveryEffect::Hastened(uid)));
        }
        effects
    }

    /// The registry judged the operation on one pod. `sent` is none if it was judged without a request.
    pub(super) fn settle(
        &mut self,
        uid: &Uid,
        verdict: Verdict,
        sent: Option<&Sent>,
        ledger: &mut Ledger,
        effects: &mut Vec<DeliveryEffect>,
        now: Moment,
    ) {
        let Some(in_flight) = ledger.pending(uid).and_then(|pending| pending.attempts().in_flight) else { return };
        let attempt = attempt_under_way(uid, ledger);
        let random = self.rng.u64(..);
        // Only lines about a failure need it.
        let is_traced = sent.is_some() && verdict != Verdict::Done;
        let named = is_traced.then(|| self.traces.traceparent(uid, ledger.pending(uid))).flatten();
        let trace = sent
            .and_then(|sent| self.traces.ended(uid, ledger.pending(uid), sent, AttemptOutcome::from(&verdict), now));
        let mut uncertain = None;
        match &verdict {
            Verdict::Retry { cause, .. } => {
                let failures = ledger.pending(uid).map_or(0, |pending| pending.attempts().failures) + 1;
                effects.push(report(uid, RecordFault::NotApplied { failures }, cause.clone(), named.clone()));
            }
            Verdict::Uncertain { cause } => {
                self.budget.failed(attempt);
                uncertain = Some(cause.clone());
            }
            _ => {}
        }
        let outcome = match ledger.settle(uid, verdict, now, random) {
            Settled::Acknowledged(since) => {
                let name = trace.as_ref().map(|trace| trace.names.trace().to_string());
                self.metrics.acknowledged_after(now.since(since), name);
                effects.push(DeliveryEffect::Acknowledged(uid.clone(), in_flight.kind, trace));
                self.budget.acknowledged(attempt);
                OperationOutcome::Done
            }
            Settled::Again => OperationOutcome::Retry,
            Settled::Parked(cause) => {
                effects.push(report(uid, RecordFault::Rejected { kind: in_flight.kind }, cause, named.clone()));
                OperationOutcome::Parked
            }
            Settled::Superseded(version) => {
                version.into_iter().for_each(|version| effects.push(DeliveryEffect::Superseded(version)));
                OperationOutcome::Stale
            }
        };
        self.metrics.operation(Operation::from(in_flight.kind), outcome);
        if let Some(cause) = uncertain {
            effects.push(uncertain_write(uid, cause, ledger, named));
        }
        effects.push(DeliveryEffect::Settled(uid.clone()));
    }

    /// A write request failed as a whole. `blamed` says whether its body may be the cause; `in_flight` is the number of
    /// other write requests.
    #[must_use]
    pub(in crate::controller) fn failed(
        &mut self,
        sent: &Sent,
        failure: &Failure,
        blamed: bool,
        in_flight: usize,
        ledger: &mut Ledger,
        now: Moment,
    ) -> Vec<DeliveryEffect> {
        let mut effects = Vec::new();
        let failure = &of_body(failure);
        self.adapt(sent, failure, in_flight, now);
        let divisible = sent.uids.len() > 1;
        let too_large = *failure == Failure::TooLarge;
        let refused_content = too_large || matches!(failure, Failure::Refused { status: 400 | 422, .. });
        if refused_content && !divisible && blamed && !(too_large && sent.batched) {
            self.metrics.request(Kind::Write, RequestOutcome::Rejected);
            for uid in &sent.uids {
                let verdict = Verdict::Rejected { cause: failure.to_string() };
                self.settle(uid, verdict, Some(sent), ledger, &mut effects, now);
            }
            return effects;
        }
        let applied = applied(failure);
        // The cause may be one of the records.
        let isolate = too_large || blamed && (refused_content || applied == Applied::Maybe);
        let kind = kind_of(sent, ledger);
        if isolate && divisible {
            let refused = applied == Applied::No;
            self.metrics.request(Kind::Write, if refused { RequestOutcome::Rejected } else { RequestOutcome::Failed });
            let BatchSize { items, bytes } = sent.batch.size;
            effects.push(DeliveryEffect::Report(Fault::Divided { items, bytes, error: failure.to_string() }));
            effects.push(DeliveryEffect::Dividing { refused });
        } else if applied == Applied::Maybe && blamed && !divisible && kind == AttemptKind::Persistent {
            // A record that always fails does not pause the others.
            self.metrics.request(Kind::Write, RequestOutcome::Failed);
        } else {
            effects.push(DeliveryEffect::RequestFailed(failure.clone()));
        }
        if applied == Applied::Maybe {
            self.budget.failed(kind);
            if kind != AttemptKind::Persistent {
                effects.push(DeliveryEffect::Uncertain(1.0));
            }
        }
        let blame = match sent.uids.len() {
            _ if !isolate => Blame::Elsewhere,
            1 if too_large => Blame::TooLarge,
            1 => Blame::Alone,
            size => Blame::OneOf(size),
        };
        for uid in &sent.uids {
            let random = self.rng.u64(..);
            self.traces.ended(uid, ledger.pending(uid), sent, AttemptOutcome::from(failure), now);
            ledger.fail(uid, applied, blame, now, random);
            if isolate && !divisible {
                // It is the only record, so that the trace of the request is its own.
                effects.push(uncertain_write(uid, failure.to_string(), ledger, None));
            }
            effects.push(DeliveryEffect::Settled(uid.clone()));
        }
        effects
    }

    /// Adapts the size and number of requests to what the registry takes.
    fn adapt(&mut self, sent: &Sent, failure: &Failure, in_flight: usize, now: Moment) {
        match failure {
            Failure::Broken(_) => _ = self.pace.failed(&sent.batch, now),
            Failure::TooLarge | Failure::Refused { status: 400, .. } if sent.batched && sent.uids.len() > 1 => {
                self.pace.too_large(sent.batch.size, *failure == Failure::TooLarge, now);
            }
            Failure::Throttled { status, after } => {
                let asked = after.filter(|_| *status == 429);
                self.pace.refused(&sent.batch, in_flight + 1, asked, now);
            }
            _ => {}
        }
    }
}

/// Whether the operations of a failed request may have been applied.
fn applied(failure: &Failure) -> Applied {
    match failure {
        Failure::Broken(_) => Applied::Maybe,
        Failure::Throttled { status, .. } if *status >= 500 => Applied::Unlikely,
        _ => Applied::No,
    }
}

/// The kind of attempt that a request counts as: a first attempt or retry, if there is one in it.
fn kind_of(sent: &Sent, ledger: &Ledger) -> AttemptKind {
    let kinds = || sent.uids.iter().map(|uid| attempt_under_way(uid, ledger));
    let ordinary = kinds().find(|kind| matches!(kind, AttemptKind::First | AttemptKind::Retry));
    ordinary.or_else(|| kinds().next()).unwrap_or_default()
}

fn uncertain_write(uid: &Uid, cause: String, ledger: &Ledger, trace: Option<String>) -> DeliveryEffect {
    let failures = ledger.pending(uid).map_or(0, |pending| pending.attempts().failures);
    report(uid, RecordFault::Uncertain { failures, is_lasting: ledger.stays_uncertain(uid) }, cause, trace)
}

fn report(key: &Uid, fault: RecordFault, cause: String, trace: Option<String>) -> DeliveryEffect {
    DeliveryEffect::Report(Fault::Record(FailedRecord { key: key.clone(), fault, cause, trace }))
}

/// A firewall may answer 403 because of a body. If the credential is refused instead, the next capabilities request
/// shows that.
fn of_body(failure: &Failure) -> Failure {
    match failure {
        Failure::Unauthorized { status: 403, detail, named: false } => Failure::Broken(format!("status 403 {detail}")),
        failure => failure.clone(),
    }
}
