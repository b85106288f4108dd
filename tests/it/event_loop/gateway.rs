//! A gateway in front of the registry, which refuses what exceeds its limits, and the time that records take.

use std::{collections::VecDeque, time::Duration};

use pod_registrar::reconcile::outcome::Failure;
use tokio::time::Instant;

/// After this time, the client gives a request up.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The limits, and what they were used for.
#[derive(Default)]
pub(super) struct Gateway {
    /// Requests that are let through in any second.
    pub(super) requests_per_second: Option<usize>,
    /// Bytes of writes that are let through in any second.
    pub(super) bytes_per_second: Option<usize>,
    /// Writes that may be in flight.
    pub(super) in_flight: Option<usize>,
    /// What is said to a request that is refused.
    pub(super) retry_after: Option<Duration>,
    /// The largest body that is let through, and what is said to others.
    pub(super) body: Option<(usize, Failure)>,
    /// How long the registry takes for a record.
    pub(super) per_record: Duration,
    /// Requests that were refused.
    pub(super) refused: usize,
    pub(super) let_through: VecDeque<(Instant, usize)>,
    pub(super) writes: usize,
}

impl Gateway {
    /// Whether a request with this many bytes passes.
    pub(super) fn admit(&mut self, bytes: usize) -> Result<(), Failure> {
        let now = Instant::now();
        while self.let_through.front().is_some_and(|(at, _)| *at + Duration::from_secs(1) <= now) {
            self.let_through.pop_front();
        }
        let sent: usize = self.let_through.iter().map(|(_, bytes)| bytes).sum();
        let refused = self.requests_per_second.is_some_and(|most| self.let_through.len() >= most)
            || self.bytes_per_second.is_some_and(|most| bytes > 0 && sent + bytes > most)
            || self.in_flight.is_some_and(|most| self.writes > most);
        if refused {
            self.refused += 1;
            return Err(Failure::Throttled { status: 429, after: self.retry_after });
        }
        if let Some((_, failure)) = self.body.as_ref().filter(|(most, _)| bytes > *most) {
            self.refused += 1;
            return Err(failure.clone());
        }
        self.let_through.push_back((now, bytes));
        Ok(())
    }

    /// A write begins, and whether it passes.
    pub(super) fn begin_write(&mut self, bytes: usize) -> Result<(), Failure> {
        self.writes += 1;
        self.admit(bytes).inspect_err(|_| self.writes -= 1)
    }

    pub(super) fn end_write(&mut self) {
        self.writes -= 1;
    }
}
