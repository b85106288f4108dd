//! The monotonic clock of the process. Only code at the edge reads it; the pure core gets [`Moment`]s as arguments.

use tokio::time::Instant;

use crate::model::moment::Moment;

/// Time since the process started. In tests it follows the paused clock of the runtime.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a clock: now is [`Moment::START`].
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub fn now(&self) -> Moment {
        Moment::START + self.origin.elapsed()
    }

    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep_until(self.origin + moment.since_start()).await;
    }
}
