//! The stages of the absence guard, drawn in [`super`].

use std::collections::HashSet;

use super::hold::Hold;
use crate::model::{moment::Moment, uid::Uid};

#[derive(Debug, Default)]
pub(super) enum Stage {
    #[default]
    Idle,
    /// A list of the whole cluster tells which of them exist.
    Sorting { ids: HashSet<Uid>, asked: bool },
    /// A second list that begins at `earliest` or later has to agree. It is taken beside the watches: while a watch
    /// lists again, pods that end in the meantime would look absent, too. Pods that are `out_of_scope` need no further
    /// confirmation.
    SecondList { ids: HashSet<Uid>, earliest: Moment, asked: bool, out_of_scope: bool },
    /// The cluster's identity is checked and, if `guarded`, a sample is looked up.
    Confirming { ids: HashSet<Uid>, guarded: bool, asked: bool },
    /// Not confirmed. Without `retry_at`, only a person can release the hold.
    Held { hold: Hold, retry_at: Option<Moment> },
}

impl Stage {
    pub(super) fn into_ids(self) -> HashSet<Uid> {
        match self {
            Self::Idle => HashSet::new(),
            Self::Sorting { ids, .. } | Self::SecondList { ids, .. } | Self::Confirming { ids, .. } => ids,
            Self::Held { hold, .. } => hold.into_ids().collect(),
        }
    }

    /// The same stage without these pods.
    pub(super) fn without(self, gone: &HashSet<Uid>) -> Self {
        let stage = match self {
            Self::Idle => Self::Idle,
            Self::Sorting { ids, asked } => Self::Sorting { ids: &ids - gone, asked },
            Self::SecondList { ids, earliest, asked, out_of_scope } => {
                Self::SecondList { ids: &ids - gone, earliest, asked, out_of_scope }
            }
            Self::Confirming { ids, guarded, asked } => Self::Confirming { ids: &ids - gone, guarded, asked },
            Self::Held { hold, retry_at } => {
                hold.without(gone).map_or(Self::Idle, |hold| Self::Held { hold, retry_at })
            }
        };
        match &stage {
            Self::Sorting { ids, .. } | Self::SecondList { ids, .. } | Self::Confirming { ids, .. }
                if ids.is_empty() =>
            {
                Self::Idle
            }
            _ => stage,
        }
    }
}
