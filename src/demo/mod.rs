//! A stand-in for the Kubernetes API server's pod endpoints, over real HTTP, and a small living cluster inside it.
//!
//! It is what the `demo` command shows and what the tests run against where there is no cluster:
//! - [`api`]: the server (list, watch, get, create, replace, delete, leases), a handle that changes its content from Rust,
//!   and scripted faults;
//! - [`life`]: workloads whose pods come, change and go;
//! - [`pod()`]: builds whole pod documents, as long and as nested as real ones.
//!
//! What the stand-in answers is held against a real control plane by the contract tests in `tests/it/watch_contract`.

pub mod api;
pub mod life;
mod pod;

pub use pod::{PodBuilder, pod};
