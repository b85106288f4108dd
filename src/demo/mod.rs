//! The cluster of the `demo` command: an API server in memory, over real HTTP, with simulated pods. Tests use it too.
//!
//! | module | content |
//! | --- | --- |
//! | [`api`] | the server (list, watch, get, create, replace, delete, leases), and a handle that changes its content |
//! | [`life`] | workloads whose pods are created, change and end |
//! | [`mod@pod`] | builds whole pod documents, as long and as nested as real ones |
//!
//! The contract tests in `tests/it/contract/watch` compare the server's answers with those of a real control plane.

pub mod api;
pub mod life;
pub mod pod;
