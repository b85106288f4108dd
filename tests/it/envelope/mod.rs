//! Tests of the calculating parts of the envelope bench, which cannot have tests of its own.

#![allow(dead_code, reason = "the bench uses more of it")]

#[path = "../../../benches/envelope/error.rs"]
mod error;
#[path = "../../../benches/envelope/stand_in/world.rs"]
mod history;
#[path = "../../../benches/envelope/latency.rs"]
mod latency;
#[path = "../../../benches/envelope/operations.rs"]
mod operations;
#[path = "../../../benches/envelope/pods/mod.rs"]
mod pods;
#[path = "../../../benches/envelope/report.rs"]
mod report;
#[path = "../../../benches/envelope/stats.rs"]
mod stats;
#[path = "../../../benches/envelope/truth.rs"]
mod truth;

mod history_tests;
mod latency_tests;
mod operations_tests;
mod pods_tests;
mod report_tests;
mod stats_tests;
mod truth_tests;
