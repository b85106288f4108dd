//! Pods and records: UIDs, points in time, digests and lenient decoding.
//!
//! This module is pure: no clock, no IO, no randomness, and no import of another room.

pub mod canonical;
pub mod digest;
pub mod ids;
pub mod label;
pub mod moment;
pub mod pass;
pub mod pod;
pub mod recent;
pub mod record;
pub mod time;
pub mod trace;
pub mod uid;
pub mod uid_map;
