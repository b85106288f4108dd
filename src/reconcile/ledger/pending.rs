//! A pending change of one UID, and the state of its requests. The states are drawn in [`super`].

use std::num::NonZeroUsize;

use super::entry::Known;
use crate::{
    model::{digest::Fingerprint, ids::Version, moment::Moment},
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::OperationKind,
    },
};

/// What kind of attempt a request is. [`crate::reconcile::retry_budget`] limits each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttemptKind {
    /// Nothing with the same result was sent before, or it was certainly not applied.
    #[default]
    First,
    /// A request with the same result was sent before and may have been applied.
    Retry,
    /// A retry that failed more than once in a request of its own.
    Persistent,
    /// The registry rejected this record, and a resync has happened since.
    Rejected,
}

/// Whether a failed request may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not, so the next request is a first attempt.
    No,
    /// Probably not: the registry or a proxy refused it for now. The next request is a first attempt, but the entry is
    /// uncertain.
    Unlikely,
    /// Possibly.
    Maybe,
}

/// Whether a record may be at fault for a request that failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// No: the registry or the network is.
    Elsewhere,
    /// One record of a batch of this size is.
    OneOf(usize),
    /// The record is, because it was alone in the request.
    Alone,
    /// The record was alone in its batch, and the batch was too large.
    TooLarge,
}

/// How many records may share a request with this one, after requests with it failed as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    #[default]
    None,
    /// It goes into a batch of at most this size.
    AtMost(NonZeroUsize),
    /// It goes in a request of its own.
    Alone,
}

impl Isolation {
    /// A part of a batch of this size. The result is a power of two, so that parts of many failed batches can share
    /// one.
    pub(super) fn part_of(size: usize, parts: usize) -> Self {
        Self::AtMost(NonZeroUsize::new(size.next_power_of_two() / parts).unwrap_or(NonZeroUsize::MIN))
    }

    /// The maximum number of items in its request, up to `most`.
    pub fn limit(self, most: usize) -> usize {
        match self {
            Self::None => most,
            Self::AtMost(items) => items.get().min(most),
            Self::Alone => most.min(1),
        }
    }
}

/// A request that was sent and not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub kind: OperationKind,
    /// What the registry holds once the request is acknowledged.
    pub result: Known,
    pub version: Version,
}

/// A pending change of one UID.
///
/// An outage may create one per pod, so the state of its requests is allocated only when there is any.
#[derive(Clone, Debug)]
pub struct Pending {
    since: Moment,
    /// The observed deletion of the pod.
    pub deletion: Option<Deletion>,
    /// The absence guard confirmed that the pod is absent.
    pub confirmed: Option<Removal>,
    /// Whether an operator approved that deletion.
    pub(super) approved: bool,
    pub(super) attempts: Option<Box<Attempts>>,
}

/// The requests for a UID since the last acknowledged one.
#[derive(Clone, Debug)]
pub struct Attempts {
    /// When the first change came that happened while a request was in flight.
    pub again: Option<Moment>,
    /// At most one request is in flight.
    pub in_flight: Option<InFlight>,
    /// The result of the last request that may have been applied and was not acknowledged.
    pub tried: Option<Known>,
    /// Whether requests with other results may still arrive.
    pub mixed: bool,
    /// Whether the inventory showed that the last request was not applied.
    pub not_applied: bool,
    /// The kind of the request in flight.
    pub attempt: AttemptKind,
    /// The next attempt comes no earlier.
    pub not_before: Option<Moment>,
    /// The earliest attempt that the registry asked for. It is part of `not_before`.
    pub asked_until: Option<Moment>,
    pub failures: u32,
    pub isolation: Isolation,
    /// The record that the registry rejected. It waits for another record or the next resync.
    pub parked: Option<Fingerprint>,
    /// Whether a resync happened since, so that the rejected record is tried once more.
    pub unparked: bool,
}

static UNTRIED: Attempts = Attempts::NONE;

impl Attempts {
    const NONE: Self = Self {
        again: None,
        in_flight: None,
        tried: None,
        mixed: false,
        not_applied: false,
        attempt: AttemptKind::First,
        not_before: None,
        asked_until: None,
        failures: 0,
        isolation: Isolation::None,
        parked: None,
        unparked: false,
    };
}

impl Pending {
    pub(in crate::reconcile) fn pending_since(since: Moment) -> Self {
        Self { since, deletion: None, confirmed: None, approved: false, attempts: None }
    }

    /// When the oldest change was seen that is not acknowledged.
    pub fn since(&self) -> Moment {
        self.since
    }

    pub fn attempts(&self) -> &Attempts {
        self.attempts.as_deref().unwrap_or(&UNTRIED)
    }

    pub(in crate::reconcile) fn attempts_mut(&mut self) -> &mut Attempts {
        self.attempts.get_or_insert_with(|| Box::new(Attempts::NONE))
    }

    /// Whether the registry holds this record of the inventory: no request with another result may still arrive.
    pub(super) fn is_settled_by(&self, held: Fingerprint) -> bool {
        let attempts = self.attempts();
        attempts.in_flight.is_none()
            && !attempts.mixed
            && attempts.tried.is_none_or(|tried| tried == Known::Registered(held))
    }

    /// The inventory does not show the result of the last request, so the next one is a first attempt.
    pub(super) fn was_not_applied(&mut self) {
        if let Some(attempts) = self.attempts.as_deref_mut().filter(|attempts| attempts.in_flight.is_none()) {
            attempts.not_applied = true;
        }
    }

    /// A request was acknowledged. Only what changed since it was sent is still pending.
    pub(super) fn acknowledged(&mut self, now: Moment) {
        let attempts = self.attempts.take();
        self.since = attempts.and_then(|attempts| attempts.again).unwrap_or(now);
    }
}

/// The effect of an answer on a pending change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The registry acknowledged it. The change was pending since then.
    Acknowledged(Moment),
    Again,
    /// The registry rejected the record, for this reason.
    Parked(String),
    /// The registry holds a higher version. The next version has to be above this one.
    Superseded(Option<Version>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsent_work_takes_24_bytes() {
        // The documented memory per pod includes this size.
        assert_eq!(size_of::<Pending>(), 24);
    }

    #[test]
    fn rejected_record_takes_few_bytes() {
        // 20,000 of them may be parked, so only the log keeps the reason.
        assert!(size_of::<Attempts>() <= 232, "{}", size_of::<Attempts>());
    }
}
