//! What the program says about itself: logs, metrics and health.
//!
//! A leaf: other rooms write to the handles that are defined here, and nothing here knows of those rooms.

pub mod health;
pub mod logging;
pub mod metrics;
pub mod panics;
pub mod stderr;
