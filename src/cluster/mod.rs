//! Everything that is read from Kubernetes: the pods, and the cluster's identity.
//!
//! [`informer`] feeds a kube-runtime reflector from a kube-runtime watcher and tells the event loop which keys changed;
//! [`confirm`] answers what the deletion brake asks.

pub mod client;
pub mod confirm;
pub mod identity;
pub mod informer;
mod object;
mod progress;
mod tap;

pub use client::{Credentials, Scope};
pub use informer::{Informer, Setup};
pub use object::Watched;
