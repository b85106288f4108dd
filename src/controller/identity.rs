//! How this process recognizes its own sessions and those of other clusters.

use super::{error::Error, options::ControllerOptions};
use crate::reconcile::takeover::ReportedSession;

impl ControllerOptions {
    /// Whether this name belongs to this process or to an earlier run of it.
    pub(super) fn is_this_process(&self, instance: &str) -> bool {
        instance == self.instance || self.is_earlier_run(instance)
    }

    /// Whether this name belongs to an earlier run of this process, which has ended.
    pub(super) fn is_earlier_run(&self, instance: &str) -> bool {
        (self.is_previous_process)(instance, &self.instance)
    }

    /// Checks that a session under our cluster id belongs to our cluster, if the UIDs of both are known.
    pub(super) fn check_cluster(&self, session: &ReportedSession) -> Result<(), Error> {
        let (Some(theirs), Some(ours)) = (session.cluster_uid.as_deref(), self.cluster_uid.as_deref()) else {
            return Ok(());
        };
        if theirs == ours || self.replaces_cluster_uid.as_deref() == Some(theirs) {
            return Ok(());
        }
        let (expected, found) = (theirs.to_owned(), ours.to_owned());
        Err(Error::IdInUse { expected, found, instance: session.instance.clone() })
    }
}
