//! Everything that is said to Kubernetes: the pods, the cluster's identity, and the lease.
//!
//! [`informer`] feeds the store from a kube-runtime watcher and tells the event loop which keys changed;
//! [`confirm`] answers what the deletion brake asks, and [`approval`] reads what a person says to what it holds; [`lease`]
//! tells whether this process may write.

mod ahead;
pub mod approval;
pub mod client;
pub mod confirm;
mod connector;
pub mod credentials;
pub mod identity;
pub mod informer;
pub mod kubeconfig;
pub mod lease;
mod lines;
mod object;
pub mod plugin;
mod progress;
mod reminder;
mod resolver;
mod signs;
mod tap;
mod timers;
mod tls;

#[cfg(test)]
mod fuzz_tests;

pub use client::{Cluster, Scope};
pub use informer::{Informer, Setup};
pub use kubeconfig::{Environment, Search};
pub use object::Watched;
