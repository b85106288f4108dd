//! The pure core: what should be registered, what the registry is believed to hold, and what to do next.
//!
//! Nothing here waits, reads a clock, draws a random number or knows of HTTP: time and seeds come in, values go out.

pub mod digest;
pub mod ids;
pub mod moment;
pub mod pod;
pub mod record;
pub mod time;
pub mod uid;
pub mod uid_map;
