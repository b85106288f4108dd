//! The trace of one change: from the watch that reported it to the acknowledgement of the registry.
//!
//! No span is open while a change waits. The trace is made at the acknowledgement, of points in time known by then:
//!
//! | span | from | to |
//! | --- | --- | --- |
//! | `change`, the root | a watch reported the change | the registry acknowledged it |
//! | `queue` | a watch reported the change | the first request with it was sent |
//! | `request`, one per attempt | the request was sent | it was answered or failed |
//!
//! A change that needs several requests leaves the failed ones here until then, as far as [`FAILED_KEPT`] goes. The
//! names of a trace follow from the change, so whether it is sampled is the same for all its requests.

use std::time::Duration;

use super::{
    outcome::{Failure, OperationKind, Verdict},
    retry::RateLimit,
};
use crate::model::{
    label::RecordLabel,
    moment::Moment,
    recent::Recent,
    trace::{RANDOM_BITS, TraceNames},
    uid::Uid,
};

/// The number of the root span.
pub const CHANGE_SPAN: u32 = 0;
/// The number of the span of the wait before the first request.
pub const QUEUE_SPAN: u32 = 1;
/// The number of the span of the first request. The next ones follow.
const FIRST_REQUEST_SPAN: u32 = 2;

/// Changes whose failed requests are kept, at least. Fewer than twice as many are.
pub const FAILED_KEPT: usize = 2_000;
/// Failed requests that are kept of one change: the last ones.
pub const ATTEMPTS_KEPT: usize = 10;
/// A change that took longer is traced although it is not sampled.
const SLOW: Duration = Duration::from_secs(1);
/// Such changes that are traced per second, at most. After an outage all changes are slow.
const SLOW_PER_SECOND: u32 = 10;

/// How one request with a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AttemptOutcome {
    /// Acknowledged.
    Done,
    /// Not applied, and to be retried.
    Retry,
    /// The registry rejected the record.
    Rejected,
    /// The registry holds a newer version.
    Stale,
    /// It may have been applied.
    Uncertain,
    /// There was no connection.
    Unreachable,
    /// There was no usable answer.
    NoAnswer,
    /// The registry refused the request as a whole.
    Refused,
    /// The registry asked to wait.
    Throttled,
    /// The registry refused the credential.
    Unauthorized,
    /// Another writer has the session.
    Fenced,
    /// The request was not sent, because the memory of the target could not be used.
    NotSent,
}

/// One request with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedAttempt {
    pub sent_at: Moment,
    pub answered_at: Moment,
    pub outcome: AttemptOutcome,
    /// The status of the last HTTP answer, if there was one.
    pub status: Option<u16>,
    /// The number of changes in the request.
    pub changes: usize,
}

/// The trace of one acknowledged change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeTrace {
    pub names: TraceNames,
    pub target: &'static str,
    pub record: RecordLabel,
    pub kind: OperationKind,
    pub seen_at: Moment,
    pub acknowledged_at: Moment,
    /// The number of all requests, also of the ones that are not kept.
    pub requests: u32,
    /// The last requests, the acknowledged one at the end.
    pub attempts: Vec<TracedAttempt>,
}

impl ChangeTrace {
    /// The numbers of the spans of the requests that are kept, with the requests.
    pub fn request_spans(&self) -> impl Iterator<Item = (u32, &TracedAttempt)> {
        let kept = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        (FIRST_REQUEST_SPAN + self.requests.saturating_sub(kept)..).zip(&self.attempts)
    }
}

/// Which changes are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The least randomness of a sampled trace.
    least: u64,
    /// Makes the names of this process differ from those of others.
    seed: u64,
}

impl Sampling {
    /// Samples this share of the changes, from 0 to 1.
    pub fn new(ratio: f64, seed: u64) -> Self {
        let all = 1_u64 << RANDOM_BITS;
        #[expect(clippy::cast_possible_truncation, reason = "it is from 0 to 2^56")]
        let left_out = ((1.0 - ratio.clamp(0.0, 1.0)) * all as f64) as u64;
        Self { least: left_out.min(all), seed }
    }

    /// The names of a change's trace if it is sampled.
    fn take(&self, target: &str, key: &Uid, since: Moment) -> Option<TraceNames> {
        let takes_some = self.least >> RANDOM_BITS == 0;
        takes_some.then(|| self.names(target, key, since)).filter(|names| names.randomness() >= self.least)
    }

    fn names(&self, target: &str, key: &Uid, since: Moment) -> TraceNames {
        TraceNames::of_change(self.seed, target, key, since)
    }
}

/// Makes the traces of one target.
#[derive(Debug)]
pub struct Tracer {
    target: &'static str,
    sampling: Sampling,
    slow: RateLimit,
    failed: Recent<FailedAttempts>,
}

/// The failed requests of a change.
#[derive(Debug)]
struct FailedAttempts {
    since: Moment,
    requests: u32,
    kept: Vec<TracedAttempt>,
}

impl Tracer {
    pub fn new(target: &'static str, sampling: Sampling) -> Self {
        Self { target, sampling, slow: RateLimit::new(SLOW_PER_SECOND), failed: Recent::default() }
    }

    /// The header `traceparent` of the next request with a change that was seen at `since`. None if it is not sampled.
    pub fn traceparent(&self, key: &Uid, since: Moment) -> Option<String> {
        let names = self.sampling.take(self.target, key, since)?;
        let failed = self.failed.get(key).filter(|failed| failed.since == since).map_or(0, |failed| failed.requests);
        Some(names.traceparent(FIRST_REQUEST_SPAN.saturating_add(failed)))
    }

    /// A request did not end with an acknowledgement of the change.
    pub fn failed(&mut self, key: &Uid, since: Moment, attempt: TracedAttempt) {
        let mut failed = self.failed_before(key, since);
        failed.requests = failed.requests.saturating_add(1);
        if failed.kept.len() == ATTEMPTS_KEPT {
            failed.kept.remove(0);
        }
        failed.kept.push(attempt);
        self.failed.insert(key, failed, FAILED_KEPT);
    }

    /// A request with the change was acknowledged. Returns its trace if it is sampled or slow.
    pub fn acknowledged(
        &mut self,
        key: &Uid,
        kind: OperationKind,
        since: Moment,
        last: TracedAttempt,
    ) -> Option<ChangeTrace> {
        let FailedAttempts { since: _, requests, kept: mut attempts } = self.failed_before(key, since);
        let now = last.answered_at;
        let names = match self.sampling.take(self.target, key, since) {
            Some(names) => names,
            None if self.takes_slow(now.since(since), now) => self.sampling.names(self.target, key, since),
            None => return None,
        };
        attempts.push(last);
        Some(ChangeTrace {
            names,
            target: self.target,
            record: RecordLabel::of_key(key.clone()),
            kind,
            seen_at: since,
            acknowledged_at: now,
            requests: requests.saturating_add(1),
            attempts,
        })
    }

    /// The process stands by. The next leader traces what is pending.
    pub fn clear(&mut self) {
        self.failed = Recent::default();
    }

    /// Takes the failed requests of the change. Those of an earlier change are dropped.
    fn failed_before(&mut self, key: &Uid, since: Moment) -> FailedAttempts {
        let failed = self.failed.remove(key).filter(|failed| failed.since == since);
        failed.unwrap_or(FailedAttempts { since, requests: 0, kept: Vec::new() })
    }

    fn takes_slow(&mut self, took: Duration, now: Moment) -> bool {
        let takes = took > SLOW && self.slow.available(now) > 0;
        self.slow.take(usize::from(takes));
        takes
    }
}

impl From<&Verdict> for AttemptOutcome {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::Done,
            Verdict::Retry { .. } => Self::Retry,
            Verdict::Rejected { .. } => Self::Rejected,
            Verdict::Stale { .. } | Verdict::Tombstoned { .. } => Self::Stale,
            Verdict::Uncertain { .. } => Self::Uncertain,
        }
    }
}

impl From<&Failure> for AttemptOutcome {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Unreachable(_) => Self::Unreachable,
            Failure::Broken(_) => Self::NoAnswer,
            Failure::Throttled { .. } => Self::Throttled,
            Failure::Unauthorized { .. } => Self::Unauthorized,
            Failure::StaleEpoch | Failure::UnknownSession => Self::Fenced,
            Failure::Memory(_) => Self::NotSent,
            Failure::Refused { .. }
            | Failure::TooLarge
            | Failure::Expired
            | Failure::Inventory(_)
            | Failure::NotFound => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: OperationKind = OperationKind::Put;

    fn tracer(ratio: f64) -> Tracer {
        Tracer::new("default", Sampling::new(ratio, 1))
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn attempt(sent: u64, answered: u64, outcome: AttemptOutcome) -> TracedAttempt {
        TracedAttempt { sent_at: at(sent), answered_at: at(answered), outcome, status: Some(200), changes: 1 }
    }

    fn done(sent: u64, answered: u64) -> TracedAttempt {
        attempt(sent, answered, AttemptOutcome::Done)
    }

    #[test]
    fn trace_has_all_requests_of_the_change() {
        let (mut tracer, key) = (tracer(1.0), "a".into());
        let first = tracer.traceparent(&key, at(100)).unwrap();
        tracer.failed(&key, at(100), attempt(110, 120, AttemptOutcome::NoAnswer));
        let second = tracer.traceparent(&key, at(100)).unwrap();
        let trace = tracer.acknowledged(&key, PUT, at(100), done(320, 330)).unwrap();
        assert_eq!((trace.seen_at, trace.acknowledged_at, trace.requests), (at(100), at(330), 2));
        let spans: Vec<_> =
            trace.request_spans().map(|(span, attempt)| (trace.names.traceparent(span), attempt.outcome)).collect();
        assert_eq!(spans, [(first, AttemptOutcome::NoAnswer), (second, AttemptOutcome::Done)]);
        let next = tracer.acknowledged(&key, PUT, at(400), done(400, 401)).unwrap();
        assert_eq!((next.requests, next.attempts.len()), (1, 1), "its failed requests are those of an earlier change");
        assert_ne!(next.names, trace.names);
    }

    #[test]
    fn failed_requests_of_earlier_change_are_dropped() {
        let (mut tracer, key) = (tracer(1.0), "a".into());
        tracer.failed(&key, at(100), attempt(110, 120, AttemptOutcome::NoAnswer));
        let trace = tracer.acknowledged(&key, PUT, at(200), done(210, 220)).unwrap();
        assert_eq!((trace.requests, trace.attempts.len()), (1, 1));
    }

    #[test]
    fn ratio_is_the_share_of_traces() {
        for (ratio, least, most) in [(0.0, 0, 0), (0.1, 850, 1_150), (1.0, 10_000, 10_000)] {
            let tracer = tracer(ratio);
            let taken = (0..10_000_u32).filter(|n| tracer.traceparent(&(&*n.to_string()).into(), at(1)).is_some());
            let taken = taken.count();
            assert!((least..=most).contains(&taken), "{ratio}: {taken}");
        }
    }

    #[test]
    fn request_and_trace_agree_about_sampling() {
        let mut tracer = tracer(0.5);
        for n in 0..1_000_u32 {
            let key = (&*n.to_string()).into();
            let header = tracer.traceparent(&key, at(1));
            let trace = tracer.acknowledged(&key, PUT, at(1), done(2, 3));
            assert_eq!(header.is_some(), trace.is_some(), "{n}");
        }
    }

    #[test]
    fn slow_changes_are_traced_within_limit() {
        let mut tracer = tracer(0.0);
        let mut traced = |key: u64, since, answered| {
            let key = (&*key.to_string()).into();
            tracer.acknowledged(&key, PUT, at(since), done(since, answered)).is_some()
        };
        assert!(!traced(0, 5_000, 6_000), "one second is not slow");
        assert!(traced(0, 5_000, 6_001));
        let taken = (1..100).filter(|key| traced(*key, 5_000, 6_001)).count();
        assert_eq!(taken, 9, "ten in one second, with the one before");
        assert!(traced(0, 5_000, 7_001));
    }

    #[test]
    fn memory_of_failed_requests_is_bounded() {
        let mut tracer = tracer(1.0);
        for n in 0..3 * FAILED_KEPT {
            tracer.failed(&(&*n.to_string()).into(), at(1), attempt(2, 3, AttemptOutcome::Throttled));
        }
        assert!(tracer.failed.len() < 2 * FAILED_KEPT);
        let key = "a".into();
        for n in 0..100 {
            tracer.failed(&key, at(1), attempt(n, n + 1, AttemptOutcome::Throttled));
        }
        let trace = tracer.acknowledged(&key, PUT, at(1), done(200, 201)).unwrap();
        assert_eq!((trace.requests, trace.attempts.len()), (101, ATTEMPTS_KEPT + 1));
        let spans: Vec<u32> = trace.request_spans().map(|(span, _)| span).collect();
        assert_eq!((spans[0], spans[ATTEMPTS_KEPT]), (FIRST_REQUEST_SPAN + 90, FIRST_REQUEST_SPAN + 100));
        tracer.clear();
        assert_eq!(tracer.failed.len(), 0);
    }
}
