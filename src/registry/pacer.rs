//! Limits the rate of requests to one registry.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// After a pause, this many seconds' worth of requests may go at once.
const BURST_SECONDS: f64 = 1.0;

/// Lets requests through at a constant rate. Requests wait in the order in which they asked.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    burst: Duration,
    /// When the next request may go, if there were no bursts.
    next: Mutex<Instant>,
}

impl Pacer {
    pub(super) fn new(per_second: f64) -> Self {
        let interval = Duration::from_secs_f64(1.0 / per_second.max(0.001));
        let burst = Duration::from_secs_f64(BURST_SECONDS).saturating_sub(interval);
        Self { interval, burst, next: Mutex::new(Instant::now()) }
    }

    pub(super) async fn turn(&self) {
        let at = {
            let now = Instant::now();
            let mut next = self.next.lock();
            let earliest = now.checked_sub(self.burst).unwrap_or(now);
            let at = (*next).max(earliest);
            *next = at + self.interval;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_keep_the_rate_after_a_burst() {
        for (per_second, requests, seconds) in [(10.0, 50, 3.9), (0.5, 3, 3.9), (2.0, 10, 3.4)] {
            let (pacer, begun) = (Pacer::new(per_second), Instant::now());
            tokio::time::sleep(Duration::from_secs(60)).await;
            for _ in 0..requests {
                pacer.turn().await;
            }
            let took = begun.elapsed().as_secs_f64() - 60.0;
            let least = f64::from(requests) / per_second - 1.1 - 1.0 / per_second;
            assert!(took >= least && took <= seconds + 1.0, "{per_second} per second: {took} s");
        }
    }
}
