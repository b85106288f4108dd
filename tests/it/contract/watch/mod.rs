//! What the stand-in API server and a real one must answer alike.
//!
//! Every case runs against the stand-in. It also runs against a real API server if `POD_REGISTRAR_TEST_KUBECONFIG` names a
//! kubeconfig; one's own `KUBECONFIG` is never used. Each case has a namespace of its own there and deletes it at the end.
//! Cases that need a forgotten past say so and are skipped where it cannot be forced; start the real API server with
//! `--etcd-compaction-interval=5s` to see them run.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these helpers are part of tests")]

mod lists;
mod watches;
mod world;
mod writes;
