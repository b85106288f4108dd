//! The event loop that keeps the registry equal to the store.
//!
//! One task owns the ledger, so there are no locks. Sightings wake keys; `decide` says what to do about each; the queue
//! holds keys; replies become verdicts that go back to the ledger.

mod absences;
mod answers;
mod availability;
mod comparison;
mod control;
mod dispatch;
mod effects;
mod holds;
mod inventory;
mod keys;
mod leadership;
mod lists;
mod queue;
mod registrar;
mod report;
mod requests;
mod session;

pub use registrar::{BACKLOG_WINDOW, Error, Inputs, Options, Outputs, Registrar};
