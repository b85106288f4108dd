//! Lists and watches pods and writes them to the store.
//!
//! ```text
//!                 list     collects a page, then decodes it                       \
//!  API server --<                                                                  >-- informer --> store
//!                 stream   observes a watch's bytes --> kube's codec and watcher   /
//! ```
//!
//! | module | what it handles |
//! | --- | --- |
//! | `list` | pages of a list: limits, retries, versions, item counts |
//! | `stream` | the end of a watch; truncated and overlong lines |
//! | `liveness` | silent watches, and clusters restored from a backup |
//! | [`pod_object`] | a pod from a list or an event, decoded leniently |
//! | [`informer`] | what follows: a list, a resumed watch, a write to the store, a pod event for the event loop |

pub mod informer;
pub(super) mod list;
mod liveness;
pub mod pod_object;
pub(super) mod stream;
