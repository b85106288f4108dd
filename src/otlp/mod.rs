//! Sends traces and log lines to a collector: OTLP over HTTP, in the binary form of protobuf.
//!
//! ```text
//!   event loops --- ChangeTrace ---> queue --> exporter --> spans --> connection --> POST v1/traces
//!   logs        --- LogLine -------> queue --> exporter --> lines --> connection --> POST v1/logs
//! ```
//!
//! | you look for | it is in |
//! | --- | --- |
//! | what is sent of a change, or of a log line | [`spans`], [`lines`] |
//! | the format | [`messages`] |
//! | what the collector's answer means | [`answer`] |
//! | how long something is kept and tried | [`exporter`] |
//! | TLS, credentials and the HTTP client | [`connection`] |
//!
//! A collector delays nothing: the queues are bounded, and what does not fit is dropped and counted. The OpenTelemetry
//! SDK is not used. It would keep spans open in the event loop, and bring threads and an HTTP client of its own.

pub mod answer;
pub mod connection;
pub mod exporter;
pub mod lines;
pub mod messages;
pub mod spans;

use std::time::Duration;

use crate::model::moment::Moment;

/// The same point in time on the monotonic clock and on the wall clock, to tell others when something was.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    pub moment: Moment,
    /// Since 1970.
    pub wall: Duration,
}

impl WallClock {
    /// Nanoseconds since 1970.
    pub fn nanos(self, at: Moment) -> u64 {
        let wall = self.wall.saturating_sub(self.moment.since(at)) + at.since(self.moment);
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_on_the_wall_clock() {
        let clock = WallClock { moment: Moment::from_secs(10), wall: Duration::from_secs(1_000) };
        assert_eq!(clock.nanos(Moment::from_secs(7)), 997_000_000_000);
        assert_eq!(clock.nanos(Moment::from_secs(12)), 1_002_000_000_000);
    }
}
