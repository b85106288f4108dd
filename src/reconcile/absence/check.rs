//! Questions of the absence guard, and the answers of the cluster.
//!
//! The guard asks a [`GuardQuestion`], the controller turns it into a [`Check`] with names and namespaces, and the
//! answer is a [`CheckResult`]. The number of the round tells which question an answer belongs to.

use std::collections::HashSet;

use crate::model::{pod::PodRef, uid::Uid};

/// What the guard has to know before an inferred deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardQuestion {
    /// Which pods does the whole cluster have, selected or not?
    Whole { round: u64 },
    /// Which selected pods does a list show that is taken beside the watches?
    List { round: u64 },
    /// Is the cluster the one that this process started with, and is each pod of the sample gone?
    Confirm {
        round: u64,
        /// The pods to look up. Empty if the identity of the cluster is enough.
        sample: Vec<Uid>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It is the same cluster, and every pod of the sample is gone.
    Gone,
    /// This many pods of the sample exist.
    StillThere(usize),
    /// The cluster gave no answer, for this reason.
    Unanswered(String),
}

/// A request to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Which pods exist in the whole cluster, selected or not?
    Whole { round: u64 },
    /// Which selected pods exist?
    List {
        round: u64,
        /// Namespaces to leave out, because they cannot be listed.
        except: Vec<String>,
    },
    /// Which of these pods exist, selected or not? A pod that may not be looked up counts as existing.
    Find {
        round: u64,
        pods: Vec<PodRef>,
        /// More pods, which are not looked up and count as existing.
        not_looked_up: Vec<Uid>,
    },
    /// Is it the same cluster, and do these pods exist?
    LookUp { round: u64, pods: Vec<PodRef> },
}

impl Check {
    pub fn round(&self) -> u64 {
        match self {
            Self::Whole { round }
            | Self::List { round, .. }
            | Self::Find { round, .. }
            | Self::LookUp { round, .. } => *round,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    pub round: u64,
    pub finding: CheckFinding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckFinding {
    /// These pods exist.
    Listed(HashSet<Uid>),
    /// The answer of the same cluster.
    Confirmation(Confirmation),
    /// It is another cluster, so nothing inferred from it may be acted upon.
    OtherCluster { expected: String, found: String },
}
