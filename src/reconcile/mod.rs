//! Every decision of the controller: records to send, the ledger, the absence guard, leader election, retries.
//!
//! This module is pure: no clock, no IO, no randomness. Time and seeds are arguments, and decisions are return values.

pub mod absence;
pub mod activity;
pub mod decide;
pub mod declaration;
pub mod deletion;
pub mod early_resync;
pub mod election;
pub mod failing_resync;
pub mod fault_log;
pub mod freshness;
pub mod ledger;
pub mod order;
pub mod outcome;
pub mod pace;
pub mod paging;
pub mod pod_event;
pub mod progress;
pub mod receipts;
pub mod retry;
pub mod retry_budget;
pub mod session;
pub mod silence;
pub mod status;
pub mod takeover;
pub mod trace;
pub mod watch_ends;
