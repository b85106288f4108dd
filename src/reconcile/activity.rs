//! What a target is doing, for people: its backlog by reason, records that the registry rejected, the last changes, and
//! long work. No decision depends on it.

use super::{outcome::OperationKind, progress::WorkProgress};
use crate::model::{label::RecordLabel, moment::Moment};

/// Rejected records that are shown per target.
pub const PARKED_SHOWN: usize = 10;
/// Changes that are shown per target.
pub const CHANGES_SHOWN: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    pub backlog: Backlog,
    /// The first records that the registry rejected.
    pub parked: Vec<RefusedRecord>,
    /// The record whose change was refused most often. It is retried.
    pub refused: Option<RefusedRecord>,
    /// The last changes that the registry acknowledged, the newest first.
    pub changes: Vec<AcknowledgedChange>,
    pub work: Vec<Work>,
    /// Why requests to the registry fail at the moment.
    pub outage: Option<String>,
    /// When the registry was last compared with the cluster.
    pub compared_at: Option<Moment>,
}

/// Changes that the registry has not acknowledged, by the reason why they wait. Each counts once; parked records and
/// held deletions are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Part of a request that has no answer yet.
    pub in_flight: usize,
    /// The last attempt failed, and the next one has its time.
    pub retrying: usize,
    /// The pod is gone.
    pub deletions: usize,
    /// The pod is new or has changed.
    pub changed: usize,
    /// A full reconcile found that the registry may lack the record.
    pub missing: usize,
    /// A full reconcile found that the registry has another record.
    pub differing: usize,
}

impl Backlog {
    /// All of them that are not part of a request.
    pub fn waiting(&self) -> usize {
        let Self { in_flight: _, retrying, deletions, changed, missing, differing } = self;
        retrying + deletions + changed + missing + differing
    }
}

/// A record that the registry rejected, or whose change it keeps refusing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    pub label: RecordLabel,
    /// The registry's words, and when it said them. None if other answers came in the meantime.
    pub answer: Option<(String, Moment)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgedChange {
    pub kind: OperationKind,
    pub label: RecordLabel,
    pub at: Moment,
}

/// Work that can take minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub kind: WorkKind,
    pub progress: WorkProgress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum WorkKind {
    /// The records of the registry are read, to compare them.
    Resync,
    /// A decision about each record.
    FullReconcile,
    /// More records than usual are written, as in a first sync.
    Writes,
}
