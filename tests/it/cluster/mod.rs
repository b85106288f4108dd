//! The program against a real control plane.
//!
//! These tests run if `POD_REGISTRAR_TEST_KUBECONFIG` names the kubeconfig of a cluster that may be written to (one's own
//! `KUBECONFIG` is never used), and say that they were skipped otherwise. Each has a namespace, a cluster id and an owner
//! of its own, so that they may run side by side, and takes them away at its end. Pods have to become Running, from a
//! kubelet or a stand-in for one.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these helpers are part of tests")]

mod drift;
mod faults;
mod holds;
mod leadership;
mod life;
mod rbac;
mod rounds;
mod workloads;
mod world;
