//! What the event loop shows of itself: for a page that a person reads, and for whoever tells of held deletions.

use super::{absence::hold::HoldSummary, session::Phase};

/// How the writer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerStatus {
    /// Its session, in a word.
    pub session: SessionState,
    /// The session's epoch, while there is one.
    pub epoch: Option<u64>,
    /// Whether the registry is believed to be equal to the cluster.
    pub in_sync: bool,
    /// Whether it could do a leader's work.
    pub ability: Ability,
    /// Which deletions wait for a person, or for their pods to come back.
    pub holds: Vec<HoldSummary>,
}

/// Whether a process could do a leader's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ability {
    /// No page of pods has arrived yet.
    #[default]
    WithoutPods,
    /// It can, as far as it knows.
    Able,
    /// It leads, and the registry cannot be reached for a minute or longer.
    CutOff,
}

/// A session in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionState {
    /// None is open.
    #[default]
    Closed,
    /// None is to be opened: another replica leads.
    Standby,
    /// Writes carry its epoch.
    Open,
    /// Another writer took over.
    Fenced,
}

impl SessionState {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Standby => "standby",
            Self::Open => "open",
            Self::Fenced => "fenced",
        }
    }
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
