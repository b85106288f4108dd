//! The labels that metrics may carry. All are closed sets, so that no metric grows with the cluster.

/// A label's values, all known beforehand.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value, so that each series is there from the start and a rate over it is never missing.
    const ALL: &'static [Self];
    /// The value as it is exposed.
    fn value(self) -> &'static str;
}

/// Where a record stands between us and the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// The registry acknowledged what is desired.
    Registered,
    /// It differs from what is desired, and its turn has not come.
    Pending,
    /// A request is under way.
    InFlight,
    /// The registry refused it; the next change of the pod or the next resync tries again.
    Parked,
    /// Its deletion waits for the brake.
    Held,
    /// A request ended without an answer that can be believed.
    Doubt,
}

impl Label for RecordState {
    const NAME: &'static str = "state";
    const ALL: &'static [Self] =
        &[Self::Registered, Self::Pending, Self::InFlight, Self::Parked, Self::Held, Self::Doubt];
    fn value(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Doubt => "doubt",
        }
    }
}

/// A request to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reading what the registry can do.
    Capabilities,
    /// Opening or closing a session, or reading who holds it.
    Session,
    /// Extending the session.
    Heartbeat,
    /// Puts and deletes.
    Write,
    /// Reading what the registry holds.
    Inventory,
    /// Reading one record.
    Record,
}

impl Label for Request {
    const NAME: &'static str = "operation";
    const ALL: &'static [Self] =
        &[Self::Capabilities, Self::Session, Self::Heartbeat, Self::Write, Self::Inventory, Self::Record];
    fn value(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Session => "session",
            Self::Heartbeat => "heartbeat",
            Self::Write => "write",
            Self::Inventory => "inventory",
            Self::Record => "record",
        }
    }
}

/// How a request to the registry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Answered as the protocol has it; single operations of a batch may still have been refused.
    Ok,
    /// Refused for what it says.
    Rejected,
    /// Refused for who says it.
    Unauthorized,
    /// Told to come back later.
    Throttled,
    /// No answer, or none that can be believed.
    Failed,
}

impl Label for RequestOutcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Ok, Self::Rejected, Self::Unauthorized, Self::Throttled, Self::Failed];
    fn value(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::Unauthorized => "unauthorized",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
        }
    }
}

/// An operation on one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Register, or change what is registered.
    Put,
    /// Deregister.
    Delete,
}

impl Label for Operation {
    const NAME: &'static str = "operation";
    const ALL: &'static [Self] = &[Self::Put, Self::Delete];
    fn value(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// How an operation on one record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationOutcome {
    /// Acknowledged.
    Done,
    /// To be sent again.
    Retry,
    /// Refused for what it says, and set aside.
    Parked,
    /// Refused because the registry holds something newer.
    Stale,
}

impl Label for OperationOutcome {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Done, Self::Retry, Self::Parked, Self::Stale];
    fn value(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Parked => "parked",
            Self::Stale => "stale",
        }
    }
}

/// Why pods were listed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelistReason {
    /// The first list of the process.
    Start,
    /// The regular full list.
    Interval,
    /// The API server no longer has the events since our last one (410).
    Gone,
    /// An event could not be decoded.
    Undecodable,
    /// A list was older than what had been seen.
    Stale,
    /// The event loop asked for it, such as to confirm deletions.
    Requested,
    /// The API server answered, and its watch told nothing for too long.
    Silent,
    /// The watch failed in another way.
    Error,
}

impl Label for RelistReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Start,
        Self::Interval,
        Self::Gone,
        Self::Undecodable,
        Self::Stale,
        Self::Requested,
        Self::Silent,
        Self::Error,
    ];
    fn value(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Gone => "gone",
            Self::Undecodable => "undecodable",
            Self::Stale => "stale",
            Self::Requested => "requested",
            Self::Silent => "silent",
            Self::Error => "error",
        }
    }
}

/// How the registry differed from what was believed about it, found by a resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftKind {
    /// A record was gone.
    Missing,
    /// A record was there that should not be.
    Extra,
    /// A record had other contents.
    Differing,
}

impl Label for DriftKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::Missing, Self::Extra, Self::Differing];
    fn value(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Differing => "differing",
        }
    }
}
