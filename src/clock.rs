//! The one clock: monotonic time since the process started, read at the edge and handed to the core.

use tokio::time::Instant;

use crate::model::moment::Moment;

/// Tells the time since the process started. Follows a paused runtime's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose [`Moment::START`] is now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment::after_start(self.origin.elapsed())
    }

    /// Waits until the moment has come.
    pub async fn sleep_until(&self, moment: Moment) {
        tokio::time::sleep_until(self.origin + moment.since_start()).await;
    }
}
