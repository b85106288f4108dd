//! Seeded histories of the event loop, and enumerated disturbances of recorded workloads.
//!
//! ```sh
//! cargo test --release --test simulation                                        # 2,000 histories, cases, enumeration
//! HISTORIES=1000000 SEED=7 cargo test --release --test simulation histories     # from a seed, as many as you like
//! HISTORIES=1 SEED=4711 cargo test --release --test simulation histories        # one that failed
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    reason = "how many histories there were, and how fast, is told to whoever asks for them"
)]

mod cases;
mod clones;
mod cluster;
mod confirm;
mod enumeration;
mod history;
mod informer;
mod lease;
mod listing;
mod network;
mod person;
mod promise;
mod registry;
mod search;
mod shown;
mod steps;
mod take;
mod world;
