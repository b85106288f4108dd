//! Pod events: what a watch reports to the event loop.

use super::deletion::Deletion;
use crate::model::{moment::Moment, uid::Uid};

/// Names the pods that changed. The store holds their current state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// The pod was put into the store.
    Applied {
        uid: Uid,
        /// The store may no longer know the name when the event is handled.
        name: Box<str>,
        watch: usize,
        at: Moment,
    },
    /// The pod was deleted and removed from the store.
    Deletion { uid: Uid, why: Deletion, at: Moment },
    /// A page of a list arrived, and its pods are in the store. The list is not complete yet.
    Page {
        watch: usize,
        /// The pods of the page that changed the store.
        uids: Vec<Uid>,
        /// When the page was requested.
        at: Moment,
    },
    /// A list of this watch failed and is retried.
    ListFailed { watch: usize },
    /// A list is complete, and the store holds exactly its pods.
    Listed { watch: usize, list: WatchList },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchList {
    pub begun: Moment,
    /// The number of pods in it.
    pub pods: usize,
    /// Whether it is whole and not older than anything seen before it.
    pub trusted: bool,
    /// Whether every object in it has a readable identity. If not, no absence follows from the list.
    pub identified: bool,
}
