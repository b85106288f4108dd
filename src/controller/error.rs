//! Why the event loop ends without a request to stop.

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server belongs to another cluster than at the start: nothing may be inferred from it.
    #[error(
        "the API server now belongs to cluster {found}; at the start it belonged to {expected}. Nothing was deleted. \
         If the cluster was rebuilt, restart the controller, so that it registers the cluster under its own id"
    )]
    ClusterChanged {
        /// The UID of the `kube-system` namespace at the start.
        expected: String,
        found: String,
    },
    /// The session under our cluster id and owner belongs to another cluster.
    #[error(
        "the registry's session for this --cluster-id and --owner belongs to another cluster: its kube-system namespace has \
         the UID {expected} (written by {instance}), this cluster's has {found}; nothing was written or deleted. Give each \
         cluster its own --cluster-id. If this cluster replaces the other one, which is gone, confirm that with \
         --replaces-cluster-uid {expected}"
    )]
    IdInUse {
        /// The UID that the session carries.
        expected: String,
        found: String,
        /// The process that opened the session.
        instance: String,
    },
    /// The watches ended, which they do only if their task failed.
    #[error("the watches ended; changes would be missed; please report this defect")]
    WatchesEnded,
    /// The task that checks absent pods in the cluster ended, which it does only if it failed.
    #[error("the task that checks absent pods ended; no deletion could be confirmed; please report this defect")]
    ChecksEnded,
}

impl Error {
    /// Whether the registry is the cause. Loops of other targets go on then.
    pub fn is_of_target(&self) -> bool {
        matches!(self, Self::IdInUse { .. })
    }
}
