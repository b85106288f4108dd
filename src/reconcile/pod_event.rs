//! What a watch tells the event loop: that something about a key changed, never what it is now.

use super::deletion::Deletion;
use crate::model::{moment::Moment, uid::Uid};

/// Something that a watch saw. The state itself is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodEvent {
    /// The pod was put into the store.
    Applied {
        /// The pod.
        uid: Uid,
        /// Its name, which the store may no longer tell when the sighting is handled.
        name: Box<str>,
        /// Which watch saw it.
        watch: usize,
        /// When.
        at: Moment,
    },
    /// The pod's end was seen, and it was taken out of the store.
    Deletion {
        /// The pod.
        uid: Uid,
        /// How it ended.
        why: Deletion,
        /// When its end was seen.
        at: Moment,
    },
    /// A page of a list has arrived, and its pods are in the store. The list itself is not complete yet.
    Page {
        /// Which watch.
        watch: usize,
        /// The pods of the page, where they differ from what the store held.
        uids: Vec<Uid>,
        /// When the page was asked for.
        at: Moment,
    },
    /// A list of this watch could not be taken now. It is tried again.
    ListFailed {
        /// Which watch.
        watch: usize,
    },
    /// The store of a watch was replaced by a complete list.
    Listed {
        /// Which watch.
        watch: usize,
        /// The list.
        list: WatchList,
    },
}

/// A complete list of one watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchList {
    /// When it was begun.
    pub begun: Moment,
    /// How many pods it held.
    pub pods: usize,
    /// Whether it is known not to be older than what was seen before it, and to be whole.
    pub trusted: bool,
    /// Whether every object in it could be identified: otherwise nothing is absent from it.
    pub identified: bool,
}
