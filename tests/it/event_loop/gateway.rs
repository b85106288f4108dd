//! A gateway in front of the registry, which refuses requests above its limits, and the time that records take.

use std::{collections::VecDeque, time::Duration};

use pod_registrar::reconcile::outcome::Failure;
use tokio::time::Instant;

/// The client's request timeout.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// The limits of the gateway, and how far they are used.
#[derive(Default)]
pub(super) struct Gateway {
    /// The most requests per second.
    pub(super) requests_per_second: Option<usize>,
    /// The most bytes of writes per second.
    pub(super) bytes_per_second: Option<usize>,
    /// The most writes in flight.
    pub(super) in_flight: Option<usize>,
    /// The Retry-After of a refusal.
    pub(super) retry_after: Option<Duration>,
    /// The largest body that passes, and the answer to larger ones.
    pub(super) body: Option<(usize, Failure)>,
    /// The time that the registry takes for one record.
    pub(super) per_record: Duration,
    /// The number of refused requests.
    pub(super) refused: usize,
    pub(super) let_through: VecDeque<(Instant, usize)>,
    pub(super) writes: usize,
}

impl Gateway {
    /// Checks whether a request with this many bytes passes.
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

    /// Starts a write, if it passes.
    pub(super) fn begin_write(&mut self, bytes: usize) -> Result<(), Failure> {
        self.writes += 1;
        self.admit(bytes).inspect_err(|_| self.writes -= 1)
    }

    pub(super) fn end_write(&mut self) {
        self.writes -= 1;
    }
}
