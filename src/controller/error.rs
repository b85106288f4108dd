//! Why the event loop ends by itself.

/// Why the loop ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server is another cluster's than at the start: everything concluded from it would be wrong.
    #[error(
        "the API server now belongs to cluster {found}, at the start it was {expected}; nothing was deleted. \
         If the cluster was rebuilt, start the controller anew, so that it registers under its own id"
    )]
    ClusterChanged {
        /// The UID of `kube-system` at the start.
        expected: String,
        /// Its UID now.
        found: String,
    },
    /// The session under our cluster id and owner is another cluster's.
    #[error(
        "the registry's session for this --cluster-id and --owner belongs to another cluster: its kube-system namespace has \
         the UID {expected} (written by {instance}), this cluster's has {found}; nothing was written or deleted. Give each \
         cluster its own --cluster-id. If this cluster replaces the other one, which is gone, confirm that with \
         --replaces-cluster-uid {expected}"
    )]
    IdInUse {
        /// The UID that the session carries.
        expected: String,
        /// The UID of this cluster.
        found: String,
        /// The process that opened the session.
        instance: String,
    },
    /// The watches ended, which they never should.
    #[error("the watches ended, so that changes would be missed")]
    WatchesEnded,
}
