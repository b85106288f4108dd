//! What the loop asks the cluster: answers to the absence guard's questions come as check results, new lists as pod
//! events.

use tokio::sync::{mpsc, watch};

use crate::reconcile::absence::check::Check;

pub(super) struct ClusterQuestions {
    checks: mpsc::Sender<Check>,
    relist: watch::Sender<u64>,
}

impl ClusterQuestions {
    pub(super) fn new(checks: mpsc::Sender<Check>, relist: watch::Sender<u64>) -> Self {
        Self { checks, relist }
    }

    /// Asks the question, unless the last one is still open. Returns whether it was asked.
    #[must_use]
    pub(super) fn ask(&self, check: Check) -> bool {
        self.checks.try_send(check).is_ok()
    }

    /// Asks every watch to list again.
    pub(super) fn relist(&self) {
        self.relist.send_modify(|asked| *asked += 1);
    }
}
