//! A real Prometheus scrapes real controllers with the rules and the dashboard of the chart, while faults are injected.
//!
//! Each test is an installation of its own: two replicas, a Lease, a registry with tokens, pods that change, and a
//! Prometheus. All times of the rules are shorter; see [`scaled`]. The tests mostly wait, so run many at a time:
//! `cargo test --test it prometheus:: -- --test-threads 16`. They run with the tools that `tests/chart/build` builds;
//! without them, they print that they are skipped.

mod dashboard;
mod faults;
mod installation;
mod scaled;
mod server;
