//! How the end of a pod is known, and why its record is removed.

/// What a deletion event says about the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deletion {
    Deleted,
    /// With a selector set, an event cannot say whether the pod was deleted or left the selection.
    DeletedOrLeftSelection,
}

/// Why a record is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removal {
    /// A watch reported the deletion.
    Observed(Deletion),
    /// A complete list lacks the pod, and the absence guard confirmed it.
    Inferred,
    /// The pod exists, and the settings no longer select it.
    LeftSelection,
}
