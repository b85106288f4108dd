//! What the brake has to find out, and what the cluster says to it.

use std::collections::HashSet;

use crate::model::{pod::PodRef, uid::Uid};

/// What has to be found out before a deletion by absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardQuestion {
    /// Which pods does the whole cluster hold, selected or not?
    Whole {
        /// Which question the answer belongs to.
        round: u64,
    },
    /// Which pods does another list show, which is taken beside the watches?
    List {
        /// Which question the answer belongs to.
        round: u64,
    },
    /// Is the cluster the one that we started with, and are these pods gone when they are looked up one by one?
    Confirm {
        /// Which question the answer belongs to.
        round: u64,
        /// The pods to look up; none where the cluster's identity is enough.
        sample: Vec<Uid>,
    },
}

/// The answer to [`GuardQuestion::Confirm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The same cluster, and every pod of the sample is gone.
    Gone,
    /// So many pods of the sample are there.
    StillThere(usize),
    /// Something could not be read.
    Unanswered(String),
}

/// A question as it is put to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Which pods does the whole cluster hold?
    Whole {
        /// Which question this belongs to.
        round: u64,
    },
    /// Which selected pods are there?
    List {
        /// Which question this belongs to.
        round: u64,
        /// Namespaces that are left out, because they cannot be listed.
        except: Vec<String>,
    },
    /// Which of these pods are there, selected or not? One that may not be looked up counts as being there.
    Find {
        /// Which question this belongs to.
        round: u64,
        /// The pods, under the names that the registry holds.
        pods: Vec<PodRef>,
        /// More of them, which are not looked up and count as being there.
        not_looked_up: Vec<Uid>,
    },
    /// Is it the same cluster, and are these pods there?
    LookUp {
        /// Which question this belongs to.
        round: u64,
        /// The pods, under the names that the registry holds.
        pods: Vec<PodRef>,
    },
}

impl Check {
    /// Which question it belongs to.
    pub fn round(&self) -> u64 {
        match self {
            Self::Whole { round }
            | Self::List { round, .. }
            | Self::Find { round, .. }
            | Self::LookUp { round, .. } => *round,
        }
    }
}

/// What the cluster says to an [`Check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// Which question this belongs to.
    pub round: u64,
    /// What was found.
    pub finding: CheckFinding,
}

/// What was found in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckFinding {
    /// These pods are there.
    Listed(HashSet<Uid>),
    /// It is the same cluster, and this is so.
    Confirmation(Confirmation),
    /// It is another cluster: nothing that was concluded from it may be acted upon.
    OtherCluster {
        /// The UID of `kube-system` at the start.
        expected: String,
        /// Its UID now.
        found: String,
    },
}
