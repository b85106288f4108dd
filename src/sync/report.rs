//! What the loop shows of itself: figures once a second, and the first moment of being in step.

use super::registrar::Registrar;
use crate::{
    model::{Failure, Known, Moment, outage::Lasted, silence},
    registry::Registry,
    telemetry::metrics::{RecordState, Request},
};

/// How often the figures are counted anew.
const EVERY: Moment = Moment::from_secs(1);

impl<R: Registry> Registrar<R> {
    /// Whether the registry is believed to be equal to the cluster.
    pub(super) fn is_synced(&self) -> bool {
        self.session.epoch().is_some()
            && self.metrics.watch_silences().into_iter().all(|silence| silence < silence::OLD_AFTER)
            && self.ledger.is_seeded()
            && self.list_of_all().is_some()
            && self.ledger.owed() == 0
            && self.awaiting_list.is_empty()
            && !self.recheck
            && self.brake.is_idle()
    }

    pub(super) fn report(&mut self, now: Moment) {
        let synced = self.is_synced();
        if synced {
            self.synced_in = self.session.epoch();
        }
        if synced && !self.synced {
            if self.ever_synced {
                tracing::debug!(pods = self.view.len(), "the registry is equal to the cluster again");
            } else {
                tracing::info!(pods = self.view.len(), "the registry is equal to the cluster");
            }
            if !self.ever_synced {
                // Whoever reads the registry would otherwise wait a third of the ttl to be told.
                self.session.beat_soon(now);
            }
            self.ever_synced = true;
            self.metrics.synced();
        }
        let changed = synced != self.synced;
        self.synced = synced;
        if !changed && now < self.reported_at + EVERY {
            return;
        }
        self.reported_at = now;
        self.log_counts(now);
        let uncertain = self.count(now);
        self.read_back(uncertain, now);
    }

    /// Logs the start of an outage.
    pub(super) fn log_failure(&mut self, request: Request, failure: &Failure, now: Moment) {
        let Some(failures) = self.outage.failed(failure, now) else {
            tracing::debug!(?request, error = %failure, "a request to the registry failed");
            return;
        };
        let resume_at = self.target.resume_at();
        let pause_ms = u64::try_from(resume_at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        if matches!(failure, Failure::Unauthorized { .. }) {
            tracing::error!(
                ?request,
                error = %failure,
                failures,
                pause_ms,
                "the registry refuses the credential; reading it again: check the token and its rights"
            );
        } else {
            tracing::warn!(?request, error = %failure, failures, pause_ms, "a request to the registry failed; pausing");
        }
    }

    /// Logs the end of an outage.
    pub(super) fn log_recovery(&mut self, now: Moment) {
        let Some(Lasted { time, failures }) = self.outage.over(now) else { return };
        let (lasted_s, pending) = (time.as_secs(), self.ledger.owed());
        tracing::info!(lasted_s, failures, pending, "the registry answers again; resuming");
    }

    /// Logs, once per minute, an outage that lasts, and what was counted instead of logged.
    fn log_counts(&mut self, now: Moment) {
        if let Some(Lasted { time, failures }) = self.outage.lasts(now) {
            let (lasted_s, pending) = (time.as_secs(), self.ledger.owed());
            let error = self.outage.last().map(ToString::to_string);
            if matches!(self.outage.last(), Some(Failure::Unauthorized { .. })) {
                tracing::error!(
                    lasted_s,
                    failures,
                    pending,
                    error,
                    "the registry still refuses the credential; retrying: check the token and its rights"
                );
            } else {
                tracing::warn!(lasted_s, failures, pending, error, "requests to the registry still fail; retrying");
            }
        }
        for (cause, count) in self.rejections.due(now) {
            tracing::warn!(
                count,
                %cause,
                "the registry rejected more operations; waiting for the records to change or for the next resync"
            );
        }
        for (cause, count) in self.uncertain.due(now) {
            tracing::warn!(count, %cause, "more writes for pods keep failing and may have been applied; retrying");
        }
        for (error, count) in self.divisions.due(now) {
            tracing::warn!(count, %error, "more batches failed as a whole; sending their parts separately");
        }
    }

    /// Shows how many records are in which state, and says how many are uncertain.
    fn count(&self, now: Moment) -> usize {
        let (mut in_flight, mut parked, mut oldest) = (0, 0, self.ledger.backlog_since().unwrap_or(now));
        let (mut pending, mut doubt) = (self.ledger.backlog(), self.ledger.backlog_in_doubt());
        for (uid, work) in self.ledger.working() {
            doubt += usize::from(self.ledger.known(uid) == Known::Doubt);
            // Also while it is tried once more after a resync.
            if work.tries().parked.is_some() {
                parked += 1;
                continue;
            }
            oldest = oldest.min(work.since());
            match work.tries().flight {
                Some(_) => in_flight += 1,
                None => pending += 1,
            }
        }
        self.metrics.set_pods(self.view.len());
        self.metrics.set_records(RecordState::Registered, self.ledger.owned().saturating_sub(doubt));
        self.metrics.set_records(RecordState::Pending, pending);
        self.metrics.set_records(RecordState::InFlight, in_flight);
        self.metrics.set_records(RecordState::Parked, parked);
        self.metrics.set_records(RecordState::Held, self.brake.held());
        self.metrics.set_records(RecordState::Doubt, doubt);
        self.metrics.set_pending(pending + in_flight, now.saturating_sub(oldest));
        self.metrics.set_held(self.brake.held());
        self.metrics.set_memory(self.ledger.believed(), self.queue.entries());
        doubt
    }
}

impl From<crate::model::Drift> for crate::telemetry::metrics::DriftKind {
    fn from(drift: crate::model::Drift) -> Self {
        match drift {
            crate::model::Drift::Missing => Self::Missing,
            crate::model::Drift::Extra => Self::Extra,
            crate::model::Drift::Differing => Self::Differing,
        }
    }
}

impl From<crate::model::OperationKind> for crate::telemetry::metrics::Operation {
    fn from(kind: crate::model::OperationKind) -> Self {
        match kind {
            crate::model::OperationKind::Put => Self::Put,
            crate::model::OperationKind::Delete => Self::Delete,
        }
    }
}
