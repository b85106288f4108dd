//! Lists and watches pods and writes them to the store.

pub mod informer;
pub(super) mod list;
mod liveness;
pub mod pod_object;
pub(super) mod stream;
