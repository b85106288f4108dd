//! Every decision of the controller, as pure functions and state machines: what to send, what is believed to be registered,
//! when a deletion is confirmed, who leads, when to retry.
//!
//! Nothing here waits, reads a clock, draws a random number or does IO. Time and seeds are arguments; values are returned.

pub mod absence;
pub mod decide;
pub mod deletion;
pub mod election;
pub mod freshness;
pub mod ledger;
pub mod notices;
pub mod outage;
pub mod outcome;
pub mod pace;
pub mod paging;
pub mod pod_event;
pub mod read_back;
pub mod retry;
pub mod retry_budget;
pub mod session;
pub mod silence;
pub mod status;
pub mod takeover;
pub mod tally;
pub mod watch_ends;
