//! Lists and watches pods and writes them to the store.

pub mod informer;
mod lines;
pub(super) mod list;
pub mod pod_object;
pub(super) mod stream;
