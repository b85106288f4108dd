//! Random input for decoding, and what tests of log lines share.

mod fuzz;
pub(super) mod logs;
