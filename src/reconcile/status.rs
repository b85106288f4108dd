//! The status of the controller, for `/status`, the elector and the watcher of approvals.

use super::{absence::hold::HoldSummary, session::Phase};
use crate::model::uid::Uid;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerStatus {
    pub session: SessionState,
    pub epoch: Option<u64>,
    /// Whether the registry is believed to equal the cluster.
    pub in_sync: bool,
    /// Whether the process can lead.
    pub ability: Ability,
    /// Deletions that wait for an approval or for the return of their pods.
    pub holds: Vec<HoldSummary>,
    /// Pods whose records cannot be made. These stay as they are.
    pub failed_renders: FailedRenders,
}

/// Pods whose records cannot be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedRenders {
    pub count: usize,
    /// The first of them.
    pub first: Vec<FailedRender>,
}

/// Why the record of a pod cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRender {
    /// The UID of the pod.
    pub uid: Uid,
    pub cause: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ability {
    #[default]
    WithoutPods,
    Able,
    /// It leads and cannot reach the registry for a minute or longer.
    CutOff,
}

/// Shown by its name in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum SessionState {
    /// No session is open.
    #[default]
    Closed,
    /// Another replica leads.
    Standby,
    Open,
    /// Another writer took over the session.
    Fenced,
}

impl From<Phase> for SessionState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Closed { .. } | Phase::Opening => Self::Closed,
            Phase::Standby => Self::Standby,
            Phase::Open { .. } => Self::Open,
            Phase::Fenced { .. } => Self::Fenced,
        }
    }
}
