//! The wall clock, which tests can replace.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// The wall clock, or a manual one for tests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ServerClock(Option<Arc<AtomicI64>>);

impl ServerClock {
    /// A clock that changes only by [`Self::advance_ms`].
    pub fn manual(start_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start_ms))))
    }

    /// Moves a manual clock. The wall clock ignores it.
    pub fn advance_ms(&self, ms: i64) {
        if let Some(time) = &self.0 {
            time.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(time) => time.load(Ordering::SeqCst),
            None => jiff::Timestamp::now().as_millisecond(),
        }
    }
}

/// RFC 3339 in UTC with milliseconds, as the protocol writes times.
pub(crate) fn rfc3339(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_end_in_z() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        let clock = ServerClock::manual(1_000);
        let shared = clock.clone();
        shared.advance_ms(234);
        drop(shared);
        assert_eq!(rfc3339(clock.now_ms()), "1970-01-01T00:00:01.234Z");
    }
}
