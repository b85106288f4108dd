//! The integration tests: one binary, a module a subject.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod cluster_connections;
mod demo_api;
mod demo_life;
mod dependencies;
mod deploy;
mod docs;
mod envelope;
mod event_loop;
#[path = "../support/fake_registry.rs"]
mod fake_registry;
mod hostile_registry;
mod informer;
mod naming;
mod process;
mod project;
mod reference;
mod registry_client;
mod registry_connections;
mod scenarios;
mod security;
mod support;
mod tidy;
mod watch_contract;
