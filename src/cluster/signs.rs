//! When a watch last gave a sign: what its silence is measured by.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::tap::Sign;
use crate::{clock::Clock, model::Moment, telemetry::Metrics};

/// The newest signs of one watch. Clones share them.
#[derive(Clone)]
pub(super) struct Signs {
    watch: usize,
    clock: Clock,
    metrics: Metrics,
    /// Milliseconds of the clock: a sign of life, and any answer.
    newest: Arc<(AtomicU64, AtomicU64)>,
}

impl Signs {
    /// A watch that begins now.
    pub(super) fn new(watch: usize, clock: Clock, metrics: Metrics) -> Self {
        let now = millis(clock.now());
        Self { watch, clock, metrics, newest: Arc::new((now.into(), now.into())) }
    }

    /// Takes note of a sign of this moment.
    pub(super) fn take(&self, sign: Sign) {
        let now = millis(self.clock.now());
        let (heard, answered) = &*self.newest;
        answered.store(now, Ordering::Relaxed);
        if sign == Sign::Alive {
            heard.store(now, Ordering::Relaxed);
            self.metrics.watch_alive(self.watch);
        }
    }

    /// When the watch last showed life.
    pub(super) fn heard(&self) -> Moment {
        Moment::from_millis(self.newest.0.load(Ordering::Relaxed))
    }

    /// When the server last answered anything.
    pub(super) fn answered(&self) -> Moment {
        Moment::from_millis(self.newest.1.load(Ordering::Relaxed))
    }
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}
