//! All requests to Kubernetes: pods, the cluster's identity, and Leases.
//!
//! [`watch`] lists and watches pods and writes them to the store. [`confirm`] answers the questions of the absence guard.
//! [`lease`] elects a leader and reads the approvals of held deletions. [`client`] is the connection that all of them share.

pub mod client;
pub mod confirm;
mod connector;
pub mod credentials;
mod explain;
pub mod identity;
pub mod kubeconfig;
pub mod lease;
pub mod plugin;
mod proxied;
mod resolver;
mod tls;
pub mod watch;

#[cfg(test)]
mod tests;
