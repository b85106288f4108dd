//! Asks a registry whether it follows protocol v1: the requests, the rules that the answers are judged by, and the
//! report.
//!
//! ```text
//!  scenarios: requests in an order that makes a rule visible --> http: one request, one probe
//!       |                                                             |
//!       v                                                             v
//!  suite: results by rule  <---- judged by rules, which quote docs/protocol-v1.md
//!       |
//!       v
//!  report: as text, JSON or JUnit
//! ```
//!
//! A run writes only under a cluster id of its own and removes its records at the end, also after an interruption:
//! `run` holds what a scenario may lose at any moment, and `cleanup` opens new sessions, so that a request that is
//! still under way is refused.

mod cleanup;
mod events;
pub mod http;
pub mod probe;
pub mod report;
mod restart;
pub mod rule;
pub mod rules;
pub mod run;
mod sample;
mod scenarios;
mod suite;
