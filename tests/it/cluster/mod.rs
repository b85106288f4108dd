//! The program against a real control plane.
//!
//! They run if `POD_REGISTRAR_TEST_KUBECONFIG` names the kubeconfig of a cluster that tests may write to (your own
//! `KUBECONFIG` is never used); otherwise they print that they are skipped. Each test has its own namespace, cluster id
//! and owner, so that tests can run side by side, and removes them at its end. Pods have to become Running, by a
//! kubelet or a substitute.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "these helpers are part of tests")]

mod chaos;
mod chart;
mod described;
mod drift;
mod faults;
mod holds;
mod leadership;
mod life;
mod rbac;
mod receipts;
mod workloads;
mod world;
