//! Names of traces and spans, as W3C Trace Context and OpenTelemetry define them.
//!
//! All names of one change follow from the change itself, so nothing has to be kept between its requests, and the last
//! one finds the names that the first one had.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{moment::Moment, uid::Uid};

/// The random bits of a trace's name that decide about sampling: the last seven bytes, as OpenTelemetry has it.
pub const RANDOM_BITS: u32 = 56;

/// The name of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// The name of a span in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// The names of the trace of one change, and of its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceNames {
    trace: TraceId,
    first_span: u64,
}

impl TraceNames {
    /// The names for a change of this record of a target that was seen at `since`. Another `seed` gives other names:
    /// moments of two processes may be equal.
    pub fn of_change(seed: u64, target: &str, key: &Uid, since: Moment) -> Self {
        let nanos = u64::try_from(since.since_start().as_nanos()).unwrap_or(u64::MAX);
        let mut hash = Sha256::new();
        for part in [&seed.to_be_bytes()[..], &nanos.to_be_bytes(), key.text().as_bytes(), b"\0", target.as_bytes()] {
            hash.update(part);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&hash[..16]);
        span.copy_from_slice(&hash[16..24]);
        // The highest bit makes no name zero, and the next one leaves room for the numbers of spans.
        let first_span = (u64::from_be_bytes(span) >> 2) | (1 << 63);
        Self { trace: TraceId(trace), first_span }
    }

    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// The name of a span by its number. The spans of a trace have different names.
    pub fn span(&self, number: u32) -> SpanId {
        SpanId((self.first_span + u64::from(number)).to_be_bytes())
    }

    /// The header `traceparent` of a request that is this span of a sampled trace.
    pub fn traceparent(&self, span: u32) -> String {
        format!("00-{}-{}-01", self.trace, self.span(span))
    }

    /// A number with [`RANDOM_BITS`] bits, which is the same for all requests of the change.
    pub fn randomness(&self) -> u64 {
        let [.., a, b, c, d, e, f, g] = self.trace.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g])
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(seed: u64, key: &str, since: u64) -> TraceNames {
        TraceNames::of_change(seed, "default", &key.into(), Moment::from_secs(since))
    }

    #[test]
    fn names_follow_from_the_change() {
        let one = names(1, "a", 5);
        assert_eq!(one, names(1, "a", 5));
        for other in [names(2, "a", 5), names(1, "b", 5), names(1, "a", 6)] {
            assert_ne!(one.trace(), other.trace());
        }
        assert_ne!(one.trace(), TraceNames::of_change(1, "other", &"a".into(), Moment::from_secs(5)).trace());
    }

    #[test]
    fn spans_of_a_trace_differ() {
        let names = names(1, "a", 5);
        let spans: std::collections::HashSet<SpanId> = (0..1_000).map(|number| names.span(number)).collect();
        assert_eq!(spans.len(), 1_000);
        assert!(!spans.contains(&SpanId([0; 8])), "zero is no name");
    }

    #[test]
    fn traceparent_has_the_form_of_w3c() {
        let names = TraceNames { trace: TraceId([0x0a; 16]), first_span: 1 << 63 };
        assert_eq!(names.traceparent(3), "00-0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a-8000000000000003-01");
        assert_eq!(names.randomness(), 0x0a_0a0a_0a0a_0a0a);
    }
}
