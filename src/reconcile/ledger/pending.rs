//! What is owed for one id, and what came of the requests about it.

use std::num::NonZeroUsize;

use super::entry::Known;
use crate::{
    model::{digest::Fingerprint, ids::Version, moment::Moment},
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::OperationKind,
    },
};

/// What kind of attempt a request is. Each kind has its own limits, see [`crate::reconcile::retry_budget`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttemptKind {
    /// What it brings about was not sent before, or was certainly not applied.
    #[default]
    First,
    /// The same was sent before and may have been applied.
    Retry,
    /// The same, and it failed by itself more than once.
    Persistent,
    /// The registry rejected this very record, and a resync has come since.
    Rejected,
}

/// Whether a failed request may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Certainly not: sending it again is a first try.
    No,
    /// Hardly, as the registry or a proxy refused it for now: a first try as well, but what the registry holds is uncertain.
    Hardly,
    /// It may have been.
    Maybe,
}

/// Whether a record may be to blame for a request that failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// No: the registry or the way to it is.
    Elsewhere,
    /// One of the records of a batch of this size is.
    OneOf(usize),
    /// The record is: it was alone in the request.
    Alone,
    /// The record was alone in its batch, and the batch was too large.
    TooLarge,
}

/// With how many others an id may share a request, after requests with it failed as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// With as many as fit.
    #[default]
    None,
    /// In a batch of this size at most.
    AtMost(NonZeroUsize),
    /// With none: it goes as a request of its own.
    Alone,
}

impl Isolation {
    /// A part of a batch of this size. In powers of two, so that those of many batches that failed can be gathered into one.
    pub(super) fn part_of(size: usize, parts: usize) -> Self {
        Self::AtMost(NonZeroUsize::new(size.next_power_of_two() / parts).unwrap_or(NonZeroUsize::MIN))
    }

    /// How many items its request may have, of `most`.
    pub fn limit(self, most: usize) -> usize {
        match self {
            Self::None => most,
            Self::AtMost(items) => items.get().min(most),
            Self::Alone => most.min(1),
        }
    }
}

/// A request that was sent and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// What it does.
    pub kind: OperationKind,
    /// What the registry holds once it is acknowledged.
    pub result: Known,
    /// Its version.
    pub version: Version,
}

/// Work on one id: owed, in flight, waiting or parked.
///
/// An outage can make one of it for every pod: what only a request brings about is kept apart, and only then.
#[derive(Clone, Debug)]
pub struct Pending {
    since: Moment,
    /// That the pod's end was watched.
    pub deletion: Option<Deletion>,
    /// That the deletion of this absent id was confirmed, and what is said of it.
    pub confirmed: Option<Removal>,
    pub(super) attempts: Option<Box<Attempts>>,
}

/// What came of the requests about an id since the last one that was acknowledged.
#[derive(Clone, Debug)]
pub struct Attempts {
    /// When the first change was seen that came while a request was in flight.
    pub again: Option<Moment>,
    /// The request under way: at most one.
    pub in_flight: Option<InFlight>,
    /// What the last request was to bring about that may have been applied and was not acknowledged.
    pub tried: Option<Known>,
    /// Requests that were to bring about something else may still arrive.
    pub mixed: bool,
    /// The inventory showed that the last request was not applied.
    pub not_applied: bool,
    /// What kind of attempt the request under way is.
    pub attempt: AttemptKind,
    /// Not to be tried before.
    pub not_before: Option<Moment>,
    /// The part of that which the registry asked for.
    pub asked_until: Option<Moment>,
    /// Failures in a row.
    pub failures: u32,
    /// With how many others it may be sent.
    pub isolation: Isolation,
    /// The record that the registry rejected: it waits for another body or the next resync.
    pub parked: Option<Fingerprint>,
    /// A resync has come since: the rejected record is tried once more.
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
        Self { since, deletion: None, confirmed: None, attempts: None }
    }

    /// When the oldest change that is not acknowledged was seen.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// What came of the requests about the id.
    pub fn attempts(&self) -> &Attempts {
        self.attempts.as_deref().unwrap_or(&UNTRIED)
    }

    pub(in crate::reconcile) fn attempts_mut(&mut self) -> &mut Attempts {
        self.attempts.get_or_insert_with(|| Box::new(Attempts::NONE))
    }

    /// Whether a record in the inventory says that the request about it was applied, whatever may still arrive.
    pub(super) fn is_settled_by(&self, held: Fingerprint) -> bool {
        let attempts = self.attempts();
        attempts.in_flight.is_none() && !attempts.mixed && attempts.tried == Some(Known::Registered(held))
    }

    /// The inventory does not show what the last request was to bring about. The next one is a first try.
    pub(super) fn was_not_applied(&mut self) {
        if let Some(attempts) = self.attempts.as_deref_mut().filter(|attempts| attempts.in_flight.is_none()) {
            attempts.not_applied = true;
        }
    }

    /// A request was acknowledged: what is owed from now on is what has changed since it was sent.
    pub(super) fn acknowledged(&mut self, now: Moment) {
        let attempts = self.attempts.take();
        self.since = attempts.and_then(|attempts| attempts.again).unwrap_or(now);
    }
}

/// What came of an operation's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Acknowledged; since when the change had waited.
    Acknowledged(Moment),
    /// To be tried again.
    Again,
    /// Parked, with the reason.
    Parked(String),
    /// The version was too low; the counter has to pass this one.
    Superseded(Option<Version>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsent_work_takes_24_bytes() {
        // The documented memory per pod counts on this size.
        assert_eq!(size_of::<Pending>(), 24);
    }

    #[test]
    fn rejected_record_takes_few_bytes() {
        // As 20,000 of them may be parked: the reason is kept by the log alone.
        assert!(size_of::<Attempts>() <= 232, "{}", size_of::<Attempts>());
    }
}
