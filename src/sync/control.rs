//! Everything that is said to a registry besides writes and the session: what it can do, and its inventory.

use super::{registrar::Registrar, requests::Request};
use crate::{
    model::{
        Failure, Moment, PodRef, Uid,
        brake::{Answer, Inquiry},
    },
    registry::{Capabilities, Registry, v1::wire},
    telemetry::metrics::{Request as Kind, RequestOutcome},
};

impl<R: Registry> Registrar<R> {
    /// Sends what is due, as far as the registry may be spoken to.
    pub(super) fn control(&mut self, now: Moment) {
        let must_ask = self.capabilities.is_none() && now >= self.target.resume_at();
        let outdated = self.control.outdated && now >= self.target.resume_at();
        if !self.control.question && (must_ask || outdated || self.target.wants_question(now)) {
            (self.control.question, self.control.outdated) = (true, false);
            self.requests.send(Request::Capabilities);
        }
        if !self.leads() || self.capabilities.is_none() || self.target.slots(now, 1) == 0 {
            return;
        }
        self.keep_session(now);
        if let Some(epoch) = self.session.epoch()
            && self.has_page()
            // First registrations need not wait for the last page of pods; a large inventory would be read in vain.
            && (self.control.small || self.lists_settled())
            && self.control.reading != Some(epoch)
            && now >= self.compare_at
        {
            self.read_inventory(epoch);
        }
    }

    /// Counts a request, and pauses the registry if it was not answered as a request. Says whether it was.
    pub(super) fn judge_request<T>(&mut self, request: Kind, result: &Result<T, Failure>, now: Moment) -> bool {
        self.note_reached(result.as_ref().err(), now);
        let Err(failure) = result else {
            self.outputs.metrics.request(request, RequestOutcome::Ok);
            return true;
        };
        let (outcome, pause) = match failure {
            Failure::Unauthorized { .. } => (RequestOutcome::Unauthorized, true),
            Failure::Throttled { .. } => (RequestOutcome::Throttled, true),
            Failure::Unreachable(_) | Failure::Broken(_) => (RequestOutcome::Failed, true),
            Failure::Refused { .. } | Failure::NotFound | Failure::Expired => (RequestOutcome::Rejected, true),
            Failure::TooLarge | Failure::StaleEpoch | Failure::UnknownSession => (RequestOutcome::Rejected, false),
        };
        self.outputs.metrics.request(request, outcome);
        if pause {
            self.pause_registry(request, failure, now);
        }
        false
    }

    fn pause_registry(&mut self, request: Kind, failure: &Failure, now: Moment) {
        let random = self.rng.u64(..);
        self.target.failed(failure, now, random);
        self.log_failure(request, failure, now);
        if matches!(failure, Failure::Unauthorized { .. }) {
            self.requests.registry().refresh_credential();
        }
    }

    /// A request was answered as a request.
    pub(super) fn registry_answered(&mut self, now: Moment) {
        self.target.succeeded(now);
        if self.target.failures() == 0 {
            self.log_recovery(now);
        }
    }

    pub(super) fn told_capabilities(&mut self, result: Result<Capabilities, Failure>, now: Moment) {
        self.control.question = false;
        let result = result.map_err(|failure| match failure {
            // Said to a question that is none of a writer: whoever says so does not speak the protocol.
            Failure::TooLarge | Failure::StaleEpoch | Failure::UnknownSession => Failure::Broken(failure.to_string()),
            failure => failure,
        });
        let result = result.and_then(|told| {
            let known = told.protocol == wire::PROTOCOL;
            let other =
                || format!("the registry speaks protocol {:?}, this controller {:?}", told.protocol, wire::PROTOCOL);
            if known { Ok(told) } else { Err(Failure::Broken(other())) }
        });
        if !self.judge_request(Kind::Capabilities, &result, now) {
            return;
        }
        if self.target.failures() > 0 && self.ledger.owed() == 0 {
            // A request that ends the outage. Otherwise a write does: a heartbeat says nothing about writes.
            self.session.beat_soon(now);
        }
        self.target.probed();
        if let Ok(told) = result {
            if self.capabilities.as_ref() != Some(&told) {
                tracing::info!(items = told.max_batch_items, bytes = told.max_batch_bytes, features = ?told.features, "registry found");
            }
            self.capabilities = Some(told);
        }
    }

    /// Whether the registry has a feature.
    pub(super) fn has(&self, feature: &str) -> bool {
        self.capabilities.as_ref().is_some_and(|told| told.features.iter().any(|f| f == feature))
    }

    /// Asks under which names the registry has these pods, and puts the question about them to the cluster.
    pub(super) fn ask_names(&mut self, about: About, uids: Vec<Uid>) {
        self.requests.send(Request::Names { about, uids });
    }

    pub(super) fn names_told(&mut self, about: About, result: Result<Vec<PodRef>, Failure>, now: Moment) {
        self.judge_request(Kind::Record, &result, now);
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
