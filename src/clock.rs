//! The one clock: monotonic time since the process started, read at the edge and handed to the core.

use crate::model::Moment;
use tokio::time::Instant;

/// Tells the time since the process started. Follows a paused runtime's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now, a little above zero so that "never" is before everything.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { origin: now.checked_sub(Moment::from_millis(1)).unwrap_or(now) }
    }

    /// The time since the start.
    pub fn now(&self) -> Moment {
        self.origin.elapsed()
    }

    /// Waits until the moment has come.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep_until(self.origin + moment).await;
    }
}
