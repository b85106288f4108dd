//! The program as a process, between the demo's API server and the reference registry.
#![expect(clippy::unwrap_used, reason = "these helpers are part of tests")]

mod adopt;
mod availability;
mod changes_examples;
mod check;
mod churn;
mod conformance;
mod crash;
mod credentials;
mod demo;
mod edges;
mod every_step;
mod example;
mod exit_codes;
mod fencing;
mod holds;
mod hostile_targets;
mod identity;
mod kinds;
mod leadership;
mod memory;
mod partition;
mod plan;
mod purge;
mod registry_crash;
mod restart;
mod scope;
mod settings;
mod slow;
mod status;
mod targets;
mod targets_command;
mod traces;
mod uncertain;
mod view;
mod watch;
pub(crate) mod world;
