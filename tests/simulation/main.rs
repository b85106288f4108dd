//! Random histories of the event loop, and systematic disturbances of recorded workloads.
//!
//! ```sh
//! # 2,000 histories, the cases and the enumeration:
//! cargo test --release --test simulation
//! # A million histories, from seed 7 on:
//! POD_REGISTRAR_TEST_HISTORIES=1000000 POD_REGISTRAR_TEST_SEED=7 cargo test --release --test simulation histories
//! # 10,000 histories with a registry that a targets file describes:
//! POD_REGISTRAR_TEST_MAPPED_HISTORIES=10000 cargo test --release --test simulation mapped_histories
//! # One history that failed:
//! POD_REGISTRAR_TEST_HISTORIES=1 POD_REGISTRAR_TEST_SEED=4711 cargo test --release --test simulation histories
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the number and speed of the histories are shown with --nocapture")]

mod cases;
mod clones;
mod cluster;
mod confirm;
mod enumeration;
#[path = "../support/fake_registry.rs"]
mod fake_registry;
mod heartbeats;
mod history;
mod informer;
mod lease;
mod listing;
mod mapped;
mod network;
mod operator;
mod promise;
mod registry;
mod search;
mod shown;
mod steps;
mod take;
mod world;
