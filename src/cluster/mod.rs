//! Everything that is said to Kubernetes: the pods, the cluster's identity, and the lease.
//!
//! [`informer`] feeds the store from lists and a kube-runtime watcher, and tells the event loop which keys changed;
//! [`confirm`] answers what the deletion brake asks, and [`approval`] reads what a person says to what it holds; [`lease`]
//! tells whether this process may write.

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
mod list;
mod object;
mod page;
pub mod plugin;
mod proxied;
mod resolver;
mod tap;
mod tls;
mod words;

#[cfg(test)]
mod fuzz_tests;

pub use client::{Cluster, Scope};
pub use informer::{Common, Informer, Setup};
pub use kubeconfig::{Environment, Search};
pub use object::Watched;
