//! Logs, metrics and health.
//!
//! Other modules write to the handles that are defined here. This module uses none of them.

pub mod health;
pub mod log_export;
pub mod logging;
pub mod metrics;
pub mod panics;
pub mod stderr;
