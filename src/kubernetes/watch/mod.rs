//! Lists and watches pods and writes them to the store.
//!
//! ```text
//!                 list     pages: bytes are collected once, then decoded            \
//!  API server --<                                                                    >-- informer --> store
//!                 stream   observes a watch's bytes --> kube's codec and watcher     /
//! ```
//!
//! | module | knows |
//! | --- | --- |
//! | `list` | pages: limits, retries, versions, item counts |
//! | `stream` | how a watch ends, and lines that are truncated or too long |
//! | `liveness` | how long a watch has been silent, and whether the cluster has gone back in time |
//! | [`pod_object`] | a pod, decoded leniently from an item or an event |
//! | [`informer`] | what follows: a list, a resumed watch, a write to the store, an event for the event loop |

pub mod informer;
pub(super) mod list;
mod liveness;
pub mod pod_object;
pub(super) mod stream;
