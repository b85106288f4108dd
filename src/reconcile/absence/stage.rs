//! The stages of the absence guard, drawn in [`super`].

use std::collections::HashSet;

use super::hold::Hold;
use crate::model::{moment::Moment, uid::Uid};

#[derive(Debug, Default)]
pub(super) enum Stage {
    #[default]
    Idle,
    /// The cluster is asked about these pods. `asked` says whether the question was sent.
    Checking { ids: HashSet<Uid>, step: Step, asked: bool },
    /// Not confirmed. Without `retry_at`, only an operator can release the hold.
    Held { hold: Hold, retry_at: Option<Moment> },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A list of the whole cluster tells which of them exist.
    Sorting,
    /// A second list that begins at `earliest` or later has to agree. It is taken beside the watches: while a watch
    /// lists again, pods that end in the meantime would look absent, too. Pods that are `out_of_scope` need no further
    /// confirmation.
    SecondList { earliest: Moment, out_of_scope: bool },
    /// The cluster's identity is checked and, if `guarded`, a sample is looked up.
    Confirming { guarded: bool },
}

impl Step {
    /// The first check of pods by this step.
    pub(super) fn about(self, ids: HashSet<Uid>) -> Stage {
        Stage::Checking { ids, step: self, asked: false }
    }
}

impl Stage {
    pub(super) fn contains(&self, uid: &Uid) -> bool {
        match self {
            Self::Idle => false,
            Self::Checking { ids, .. } => ids.contains(uid),
            Self::Held { hold, .. } => hold.contains(uid),
        }
    }

    pub(super) fn into_ids(self) -> HashSet<Uid> {
        match self {
            Self::Idle => HashSet::new(),
            Self::Checking { ids, .. } => ids,
            Self::Held { hold, .. } => hold.into_ids().collect(),
        }
    }

    /// The same stage without these pods.
    pub(super) fn without(self, gone: &HashSet<Uid>) -> Self {
        match self {
            Self::Checking { ids, step, asked } if !ids.is_subset(gone) => {
                Self::Checking { ids: &ids - gone, step, asked }
            }
            Self::Held { hold, retry_at } => {
                hold.retain(|uid| !gone.contains(uid)).map_or(Self::Idle, |hold| Self::Held { hold, retry_at })
            }
            Self::Idle | Self::Checking { .. } => Self::Idle,
        }
    }
}
