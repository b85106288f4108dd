//! Everything that is said to a registry besides writes and the session: what it can do, and its inventory.

use super::{absences::About, registrar::Registrar};
use crate::{
    model::{Failure, Moment, PodRef},
    registry::{Capabilities, Registry},
    telemetry::metrics::Request as Kind,
};

impl<R: Registry> Registrar<R> {
    /// Sends what is due, as far as the registry may be spoken to.
    pub(super) fn control(&mut self, now: Moment) {
        if let Some(request) = self.availability.next_request(now) {
            self.requests.send(request);
        }
        if !self.leads() || self.availability.capabilities().is_none() || !self.availability.lets_through(now) {
            return;
        }
        self.keep_session(now);
        if let Some(epoch) = self.session.epoch()
            && self.absences.lists().has_page()
            && self.comparison.is_due(epoch, self.absences.lists().are_settled(), now)
        {
            let digests = self.availability.has("digest-inventory");
            let request = self.comparison.next_request(epoch, digests, &mut self.ledger, &self.view);
            self.requests.send(request);
        }
    }

    /// Counts a request, and opens the circuit breaker if it failed. Returns whether it was answered.
    pub(super) fn judge<T>(&mut self, kind: Kind, result: &Result<T, Failure>, now: Moment) -> bool {
        let failure = result.as_ref().err();
        self.reporter.requested(kind, failure);
        let Some(failure) = failure else {
            self.availability.reached();
            return true;
        };
        if let Some(pause) = self.availability.failed(failure, now) {
            self.reporter.request_failed(kind, failure, pause, now);
            if matches!(failure, Failure::Unauthorized { .. }) {
                self.requests.registry().refresh_credential();
            }
        }
        false
    }

    pub(super) fn registry_answered(&mut self, now: Moment) {
        if self.availability.answered(now) {
            self.reporter.registry_answered(self.ledger.owed(), now);
        }
    }

    pub(super) fn told_capabilities(&mut self, result: Result<Capabilities, Failure>, now: Moment) {
        let result = self.availability.checked(result);
        if !self.judge(Kind::Capabilities, &result, now) {
            return;
        }
        if self.availability.is_failing() && self.ledger.owed() == 0 {
            // A request that ends the outage. Otherwise a write does: a heartbeat says nothing about writes.
            self.session.beat_soon(now);
        }
        if let Ok(capabilities) = result {
            self.availability.learn(capabilities);
        }
    }

    pub(super) fn names_told(&mut self, about: About, result: Result<Vec<PodRef>, Failure>, now: Moment) {
        self.judge(Kind::Record, &result, now);
        let effect = self.absences.named(about, result, &mut self.ledger, now);
        self.apply_absences(effect, now);
    }
}
