//! Whether the registry may be sent requests, and what it can do.
//!
//! A failed request opens the [`CircuitBreaker`]. After its pause, the request for the capabilities goes first, because
//! it changes nothing; then one write; then everything.

use std::time::Duration;

use super::requests::Request;
use crate::{
    model::moment::Moment,
    reconcile::{outcome::Failure, retry::CircuitBreaker},
    registry::{Capabilities, Features},
};

/// A leader that has not reached the registry for this time gives the Lease up.
const CUT_OFF_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Availability {
    breaker: CircuitBreaker,
    capabilities: Option<Capabilities>,
    question: Question,
    /// Since when requests do not reach the registry.
    unreached_since: Option<Moment>,
    /// How often the registry had answered when the last reply came.
    answers: Option<u64>,
    rng: fastrand::Rng,
}

/// The request for the capabilities.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    NotNeeded,
    /// The registry may have been upgraded.
    Needed,
    InFlight,
}

impl Availability {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            breaker: CircuitBreaker::default(),
            capabilities: None,
            question: Question::NotNeeded,
            unreached_since: None,
            answers: None,
            rng,
        }
    }

    pub(super) fn due_at(&self) -> Option<Moment> {
        self.breaker.resume_at()
    }

    /// Asks for the capabilities if they are unknown or may have changed, or to find out whether the registry is back.
    #[must_use]
    pub(super) fn next_request(&mut self, now: Moment) -> Option<Request> {
        let needed = self.capabilities.is_none() || self.question == Question::Needed;
        let due = needed && !self.breaker.is_paused(now) || self.breaker.wants_probe(now);
        if self.question == Question::InFlight || !due {
            return None;
        }
        self.question = Question::InFlight;
        Some(Request::Capabilities)
    }

    /// Asks for the capabilities again.
    pub(super) fn ask_again(&mut self) {
        if self.question == Question::NotNeeded {
            self.question = Question::Needed;
        }
    }

    /// The reply to the request for the capabilities.
    pub(super) fn checked(&mut self, result: Result<Capabilities, Failure>) -> Result<Capabilities, Failure> {
        self.question = Question::NotNeeded;
        result.map_err(|failure| match failure {
            // Only writes and sessions are answered so. The server is not a registry.
            Failure::TooLarge | Failure::StaleEpoch | Failure::UnknownSession => Failure::Broken(failure.to_string()),
            failure => failure,
        })
    }

    pub(super) fn learn(&mut self, capabilities: Capabilities) {
        self.breaker.probed();
        if self.capabilities.as_ref() != Some(&capabilities) {
            let Capabilities { max_batch_items: items, max_batch_bytes: bytes, features, .. } = &capabilities;
            tracing::info!(items, bytes, batches = features.batches, digests = features.digests, "registry found");
        }
        self.capabilities = Some(capabilities);
    }

    pub(super) fn capabilities(&self) -> Option<&Capabilities> {
        self.capabilities.as_ref()
    }

    pub(super) fn features(&self) -> Features {
        self.capabilities.map(|capabilities| capabilities.features).unwrap_or_default()
    }

    pub(super) fn lets_through(&self, now: Moment) -> bool {
        self.breaker.slots(now, 1) > 0
    }

    /// How many write requests may be in flight, of `most`.
    pub(super) fn write_slots(&self, most: usize, now: Moment) -> usize {
        self.breaker.slots(now, most)
    }

    /// Whether the content of a write is the likely cause if it fails now.
    pub(super) fn blames_writes(&self) -> bool {
        self.breaker.blames_writes()
    }

    /// Whether the circuit breaker is open or tries single requests.
    pub(super) fn is_failing(&self) -> bool {
        self.breaker.failures() > 0
    }

    /// A reply came. Returns whether the registry answered something since the one before it.
    pub(super) fn has_answered(&mut self, answers: Option<u64>) -> bool {
        answers.is_none() || std::mem::replace(&mut self.answers, answers) != answers
    }

    /// A request was answered. Returns whether the circuit breaker is closed.
    pub(super) fn answered(&mut self, now: Moment) -> bool {
        self.breaker.succeeded(now);
        !self.is_failing()
    }

    /// A request reached the registry and succeeded.
    pub(super) fn reached(&mut self) {
        self.unreached_since = None;
    }

    /// A request failed. Returns how long requests pause, unless the failure concerns this request alone.
    pub(super) fn failed(&mut self, failure: &Failure, now: Moment) -> Option<Duration> {
        let unreached = match failure {
            Failure::Unreachable(_) | Failure::Broken(_) | Failure::Unauthorized { .. } | Failure::Memory(_) => true,
            Failure::Throttled { status, .. } => *status >= 500,
            _ => false,
        };
        self.unreached_since = unreached.then(|| self.unreached_since.unwrap_or(now));
        if matches!(failure, Failure::TooLarge | Failure::StaleEpoch | Failure::UnknownSession) {
            return None;
        }
        let random = self.rng.u64(..);
        self.breaker.failed(failure, now, random);
        Some(self.breaker.resume_at().map_or(Duration::ZERO, |resume_at| resume_at.since(now)))
    }

    /// A batch failed as a whole and is divided. `refused` says that the registry applied nothing of it.
    pub(super) fn dividing(&mut self, refused: bool, now: Moment) {
        self.breaker.dividing(refused, now);
    }

    pub(super) fn lead(&mut self) {
        self.unreached_since = None;
    }

    /// Whether another process should lead, as no request has reached the registry for a long time.
    pub(super) fn is_cut_off(&self, now: Moment) -> bool {
        self.unreached_since.is_some_and(|since| now >= since + CUT_OFF_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_without_answer_is_noticed() {
        let mut availability = Availability::new(fastrand::Rng::with_seed(1));
        assert!(availability.has_answered(Some(3)) && availability.has_answered(Some(4)));
        assert!(!availability.has_answered(Some(4)), "its call needed no request");
        assert!(availability.has_answered(Some(5)));
        assert!(availability.has_answered(None) && availability.has_answered(None), "each call is a request");
    }
}
