//! All requests to Kubernetes: pods, the cluster's identity, Leases, and receipts.
//!
//! | file | what it is for |
//! | --- | --- |
//! | [`watch`] | lists and watches pods, and writes them to the store |
//! | [`confirm`] | checks for the absence guard that the cluster is the same and that pods are gone |
//! | [`lease`] | elects a leader; publishes held deletions and reads their approvals |
//! | [`receipts`] | tells users of the cluster that a pod is registered |
//! | [`pods`] | lists the pods once, and reads one pod, for commands that end |
//! | [`rights`] | asks the API server which of the rights that `run` needs are granted |
//! | [`identity`] | reads the UID that identifies the cluster |
//! | [`client`] | the connection that all of them share |
//! | [`kubeconfig`] | finds the API server and its credentials as kubectl does |
//! | [`credentials`], [`plugin`], `tls` | what requests are sent with: tokens, credential plugins, TLS |
//! | `connector`, `proxied`, `resolver` | TCP connections, directly or through a proxy, and DNS |
//! | `failures` | describes failed requests in plain words, with the RBAC rule that is missing |

pub mod client;
pub mod confirm;
mod connector;
pub mod credentials;
mod failures;
pub mod identity;
pub mod kubeconfig;
pub mod lease;
pub mod plugin;
pub mod pods;
mod proxied;
pub mod receipts;
mod resolver;
pub mod rights;
mod tls;
pub mod watch;

#[cfg(test)]
mod tests;
