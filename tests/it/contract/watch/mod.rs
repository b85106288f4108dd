//! The demo's API server and a real one give the same answers.
//!
//! Every case runs against the demo's server. It also runs against a real API server if `POD_REGISTRAR_TEST_KUBECONFIG`
//! names a kubeconfig; your own `KUBECONFIG` is never used. There, each case has its own namespace and deletes it at
//! the end. Cases that need expired history are skipped with a message if it does not expire in time; start the real
//! API server with `--etcd-compaction-interval=5s` to run them.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these helpers are part of tests")]

mod lists;
mod watches;
mod world;
mod writes;
