//! Leases: the one that elects a leader, and the one on which held deletions are listed and approved.

pub mod approvals;
pub mod elector;
