//! Traces of acknowledged changes, for the exporter.
//!
//! Nothing here waits: if the queue of the exporter is full, a trace is dropped and counted. Without tracing, nothing
//! is done and nothing allocated.

use tokio::sync::mpsc;

use super::{options::TraceOutput, requests::Sent};
use crate::{
    model::{moment::Moment, uid::Uid},
    reconcile::{
        ledger::{Ledger, pending::Pending},
        trace::{AttemptOutcome, ChangeTrace, TracedAttempt, Tracer},
    },
    registry::trace::RequestTrace,
    telemetry::metrics::{
        labels::{ExportOutcome, Signal},
        target::TargetMetrics,
    },
};

/// The traces of one target, if there are any.
pub(super) struct Traces(Option<Tracing>);

struct Tracing {
    tracer: Tracer,
    to: mpsc::Sender<ChangeTrace>,
    metrics: TargetMetrics,
}

impl Traces {
    pub(super) fn new(target: &'static str, output: Option<TraceOutput>, metrics: TargetMetrics) -> Self {
        Self(output.map(|TraceOutput { sampling, to }| Tracing { tracer: Tracer::new(target, sampling), to, metrics }))
    }

    /// The trace that a request with these records belongs to: that of the first sampled one. An HTTP request can name
    /// only one.
    pub(super) fn of_request(&self, keys: &[Uid], ledger: &Ledger) -> Option<RequestTrace> {
        let Self(Some(Tracing { tracer, .. })) = self else { return None };
        let named = keys.iter().find_map(|key| tracer.traceparent(key, ledger.pending(key)?.since()));
        Some(RequestTrace::new(named))
    }

    /// The `traceparent` of the request in flight with this change, if the change is sampled. Ask before it ends.
    pub(super) fn traceparent(&self, key: &Uid, pending: Option<&Pending>) -> Option<String> {
        let Self(Some(Tracing { tracer, .. })) = self else { return None };
        tracer.traceparent(key, pending?.since())
    }

    /// The operation on one record in a request is over. Returns the trace of the change if it is acknowledged and
    /// traced.
    pub(super) fn ended(
        &mut self,
        key: &Uid,
        pending: Option<&Pending>,
        sent: &Sent,
        outcome: AttemptOutcome,
        now: Moment,
    ) -> Option<Box<ChangeTrace>> {
        let Self(Some(Tracing { tracer, .. })) = self else { return None };
        let pending = pending?;
        let kind = pending.attempts().in_flight?.kind;
        let attempt = TracedAttempt {
            sent_at: sent.batch.at,
            answered_at: now,
            outcome,
            status: sent.trace.as_ref().and_then(RequestTrace::status),
            changes: sent.uids.len(),
        };
        if outcome == AttemptOutcome::Done {
            return tracer.acknowledged(key, kind, pending.since(), attempt).map(Box::new);
        }
        tracer.failed(key, pending.since(), attempt);
        None
    }

    pub(super) fn export(&self, trace: ChangeTrace) {
        let Self(Some(Tracing { to, metrics, .. })) = self else { return };
        if to.try_send(trace).is_err() {
            metrics.process().exported(Signal::Traces, ExportOutcome::Dropped, 1);
        }
    }

    pub(super) fn stand_by(&mut self) {
        if let Self(Some(Tracing { tracer, .. })) = self {
            tracer.clear();
        }
    }
}
