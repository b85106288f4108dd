//! Everything that is said to a registry besides writes and the session: what it can do, and its inventory.

use super::{registrar::Registrar, requests::Request};
use crate::{
    model::{
        Failure, Moment, PodRef, Uid,
        brake::{Answer, Inquiry},
    },
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
            && self.has_page()
            && self.comparison.is_due(epoch, self.lists_settled(), now)
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

    /// Asks under which names the registry has these pods, and puts the question about them to the cluster.
    pub(super) fn ask_names(&mut self, about: About, uids: Vec<Uid>) {
        self.requests.send(Request::Names { about, uids });
    }

    pub(super) fn names_told(&mut self, about: About, result: Result<Vec<PodRef>, Failure>, now: Moment) {
        self.judge(Kind::Record, &result, now);
        match (about, result) {
            (About::Sample { round, is_uncertain: false }, Ok(pods)) if pods.is_empty() => {
                let why = "the registry has no usable names of the pods in the sample".to_owned();
                self.brake_answered(round, Answer::Unanswered(why), now);
            }
            (About::Sample { round, .. }, Ok(pods)) => self.ask_cluster(Inquiry::LookUp { round, pods }, now),
            (About::Sorting { round, unasked }, Ok(pods)) => {
                self.ask_cluster(Inquiry::Find { round, pods, unasked }, now);
            }
            (About::Sample { round, .. } | About::Sorting { round, .. }, Err(failure)) => {
                self.brake_answered(round, Answer::Unanswered(failure.to_string()), now);
            }
            (About::Places, result) => self.placed(result.unwrap_or_default()),
        }
    }
}

/// What names of pods are asked for.
pub(super) enum About {
    /// A sample of pods that are to be looked up.
    Sample {
        /// Which question of the absence guard it belongs to.
        round: u64,
        /// Whether it is uncertain of each of them that the registry holds it. If the registry then knows none of them,
        /// there is none to look up.
        is_uncertain: bool,
    },
    /// Pods that may have left by a change of settings.
    Sorting {
        /// Which question of the absence guard it belongs to.
        round: u64,
        /// Those beyond the bound.
        unasked: Vec<Uid>,
    },
    /// Which watch has to show the pods.
    Places,
}
