//! What the `demo` command shows: an API server in memory, over real HTTP, and a small living cluster in it.
//!
//! Tests use them too, where there is no cluster:
//! - [`api`]: the server (list, watch, get, create, replace, delete, leases), and a handle that changes its content from
//!   Rust;
//! - [`life`]: workloads whose pods come, change and go;
//! - [`pod()`]: builds whole pod documents, as long and as nested as real ones.
//!
//! The contract tests in `tests/it/contract/watch` compare the server's answers with those of a real control plane.

pub mod api;
pub mod life;
pub mod pod;
