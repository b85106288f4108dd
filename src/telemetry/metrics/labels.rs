//! The labels of metrics.
//!
//! Every label has a fixed set of values, so the number of series does not grow with the cluster. A value is shown by
//! its name in snake case.

use strum::{IntoStaticStr, VariantArray};

pub trait Label: VariantArray + Copy + Into<&'static str> {
    const NAME: &'static str;
}

/// Where a record stands between the cluster and the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RecordState {
    /// The registry acknowledged the desired record.
    Registered,
    /// Differs from what is desired, and waits to be sent.
    Pending,
    /// Part of a request that has no answer yet.
    InFlight,
    /// Rejected by the registry. Waits until the record or the settings change, or until the next resync.
    Parked,
    /// The absence guard holds its deletion until it is confirmed or approved.
    Held,
    /// A request ended without a usable answer, so the registry may hold either record.
    Uncertain,
}

/// A request to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RequestKind {
    /// Reads what the registry supports.
    Capabilities,
    /// Opens or closes a session, or reads who holds it.
    Session,
    /// Extends the session.
    Heartbeat,
    /// Puts and deletes.
    Write,
    /// Reads the registry's inventory.
    Inventory,
    /// Reads one record.
    Record,
}

/// How a request to the registry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RequestOutcome {
    /// Answered by the protocol. The registry may still have rejected single operations of a batch.
    Ok,
    /// Rejected because of its content.
    Rejected,
    /// Rejected because of its credentials.
    Unauthorized,
    /// The registry asked to retry later.
    Throttled,
    /// No answer, or an unusable one.
    Failed,
}

/// An operation on one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Operation {
    /// Registers a record, or changes a registered one.
    Put,
    /// Deregisters a record.
    Delete,
}

/// How an operation on one record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum OperationOutcome {
    /// Acknowledged.
    Done,
    /// Not acknowledged, and to be retried.
    Retry,
    /// Rejected because of its content, and parked.
    Parked,
    /// Rejected because the registry holds a newer version.
    Stale,
}

/// Why pods were listed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RelistReason {
    /// The first list of the process.
    Start,
    /// The regular full list.
    Interval,
    /// The API server no longer has the events since our last one (410).
    Gone,
    /// An event could not be decoded.
    Undecodable,
    /// A list was older than an event or a list before it.
    Stale,
    /// The event loop asked for it, for example to confirm deletions.
    Requested,
    /// The API server answered, but its watch reported nothing for too long.
    Silent,
    /// The watch failed in another way.
    Error,
}

/// How a registered record differed from the ledger, found by a resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DriftKind {
    /// The record was gone.
    Missing,
    /// There was a record that should not exist.
    Extra,
    /// The record had other contents.
    Differing,
}

/// How users of the cluster learn that a pod is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Receipt {
    /// An Event about the pod.
    Event,
    /// The condition of the pod's readiness gate.
    Gate,
    /// An annotation of the pod.
    Annotation,
}

/// What became of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ReceiptOutcome {
    Written,
    /// The pod was gone.
    Gone,
    /// A right is missing, or the API server refuses the content.
    Refused,
    /// The API server did not answer, or asked to wait, several times.
    Failed,
    /// There was no room in the queue.
    Dropped,
}

/// What is sent to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Signal {
    /// Traces of acknowledged changes.
    Traces,
    /// Log lines.
    Logs,
}

/// What became of a trace or a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ExportOutcome {
    /// The collector took it.
    Exported,
    /// The queue was full, or the collector did not answer for too long.
    Dropped,
    /// The collector refused it.
    Refused,
}

macro_rules! name_labels {
    ($($label:ty: $name:literal,)+) => {
        $(impl Label for $label {
            const NAME: &'static str = $name;
        })+
    };
}

name_labels! {
    RecordState: "state",
    RequestKind: "operation",
    RequestOutcome: "outcome",
    Operation: "operation",
    OperationOutcome: "outcome",
    RelistReason: "reason",
    DriftKind: "kind",
    Receipt: "kind",
    ReceiptOutcome: "outcome",
    Signal: "signal",
    ExportOutcome: "outcome",
}
