//! Points in time on the monotonic clock of the process. Spans of time are [`Duration`]s.
//!
//! The core never reads a clock: the edge reads [`crate::clock::Clock`] and passes moments in.

use std::{
    num::NonZeroU64,
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

/// A point in monotonic time, with a resolution of one nanosecond and a range of five centuries.
///
/// Arithmetic saturates. `Option<Moment>` takes eight bytes, too: the ledger keeps one or two per pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(
    /// Nanoseconds since the process started, plus one. It is never zero, so `None` needs no further bytes.
    NonZeroU64,
);

impl Moment {
    pub const START: Self = Self(NonZeroU64::MIN);

    /// Seconds after the start of the process.
    pub const fn from_secs(secs: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(secs.saturating_mul(1_000_000_000)))
    }

    /// Milliseconds after the start of the process.
    pub const fn from_millis(millis: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(millis.saturating_mul(1_000_000)))
    }

    /// The time from `earlier` to this moment, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The time since the start of the process.
    pub const fn since_start(self) -> Duration {
        self.since(Self::START)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(NonZeroU64::new(self.0.get().saturating_sub(nanos(time))).unwrap_or(NonZeroU64::MIN))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_takes_eight_bytes_even_if_optional() {
        assert_eq!((size_of::<Moment>(), size_of::<Option<Moment>>()), (8, 8));
    }

    #[test]
    fn moment_is_exact_for_a_century() {
        let time = Duration::new(86_400 * 365 * 100, 123_456_789);
        assert_eq!((Moment::START + time).since_start(), time);
        assert_eq!(Moment::START + time - Moment::from_secs(86_400 * 365 * 100), Duration::from_nanos(123_456_789));
    }

    #[test]
    fn moment_arithmetic_saturates() {
        let (start, hour) = (Moment::START, Duration::from_secs(3_600));
        assert_eq!((start - hour, start - (start + hour)), (start, Duration::ZERO));
        assert_eq!(start + Duration::MAX, start + Duration::MAX + hour);
        assert_eq!(Moment::from_secs(u64::MAX), start + Duration::MAX);
        assert!(Moment::from_millis(1) < Moment::from_secs(1));
    }
}
