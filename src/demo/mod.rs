//! The surroundings of the `demo` command: an API server in memory, over real HTTP, with simulated pods, and an
//! inventory of systems with an ordinary REST API. Tests use them too.
//!
//! | module | content |
//! | --- | --- |
//! | [`api`] | the server (list, watch, get, create, replace, delete, leases), and a handle that changes its content |
//! | [`life`] | workloads whose pods are created, change and end |
//! | [`cmdb`] | the inventory, as an example of the registries that a targets file describes |
//! | [`mod@pod`] | builds whole pod documents, as long and as nested as real ones |
//!
//! The contract tests in `tests/it/contract/watch` compare the server's answers with those of a real control plane.

pub mod api;
pub mod cmdb;
pub mod life;
pub mod pod;
