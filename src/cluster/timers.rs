//! When a watch that says nothing is looked at.

use std::time::Duration;

use super::signs::Signs;
use crate::{
    clock::Clock,
    model::{Moment, silence},
};

/// How often it is looked whether the view has become old.
pub(super) const LOOK_AT_AGE: Duration = Duration::from_secs(1);

/// When something is to be done while a watch is silent.
pub(super) struct Timers {
    pub(super) relist_at: Moment,
    pub(super) look_at: Moment,
}

impl Timers {
    pub(super) fn start(now: Moment, relist: Duration, look: Duration) -> Self {
        Self { relist_at: now + relist, look_at: now + look }
    }
}

/// Waits for the first of the timers or until the watch may have been silent for too long, and says what time it is then.
/// Never, while there are none.
pub(super) async fn wake(clock: Clock, timers: Option<&Timers>, signs: &Signs) -> Moment {
    let Some(timers) = timers else { return std::future::pending().await };
    // One that is silent already is looked at again and again, as it is only given up while the server answers.
    let silent_at = (signs.heard() + silence::GIVEN_UP_AFTER).max(clock.now() + LOOK_AT_AGE);
    clock.sleep_until(timers.relist_at.min(timers.look_at).min(silent_at)).await;
    clock.now()
}
