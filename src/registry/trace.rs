//! What a write tells the registry about its trace, and what is noted of the answers.
//!
//! The registry's client makes one or several HTTP requests for a write, in the same task. They find the trace there,
//! so that no call has to hand it on. Without tracing, there is none.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use reqwest::header::HeaderValue;
use tracing::{Instrument as _, Span};

tokio::task_local! {
    static CURRENT: RequestTrace;
}

/// The header of W3C Trace Context, by which the registry's own traces join ours.
pub(super) const TRACEPARENT: &str = "traceparent";

/// The trace of one write. Clones share what is noted.
#[derive(Clone, Debug)]
pub struct RequestTrace(Arc<Noted>);

#[derive(Debug)]
struct Noted {
    traceparent: Option<HeaderValue>,
    /// Of the last answer; 0 before the first.
    status: AtomicU16,
}

impl RequestTrace {
    /// Without `traceparent`, only the answers are noted.
    pub fn new(traceparent: Option<String>) -> Self {
        let traceparent = traceparent.and_then(|text| HeaderValue::try_from(text).ok());
        Self(Arc::new(Noted { traceparent, status: AtomicU16::new(0) }))
    }

    /// Runs a write whose HTTP requests and log lines belong to this trace.
    pub async fn around<F: Future>(self, write: F) -> F::Output {
        let span = self.log_span();
        CURRENT.scope(self, write).instrument(span).await
    }

    /// The span of lines about this write.
    pub fn log_span(&self) -> Span {
        self.0.traceparent.as_ref().and_then(|header| header.to_str().ok()).map_or_else(Span::none, log_span)
    }

    /// The status of the last answer.
    pub fn status(&self) -> Option<u16> {
        Some(self.0.status.load(Ordering::Relaxed)).filter(|status| *status > 0)
    }
}

/// A span whose lines have the names of this `traceparent`. The export of log lines knows it by its name.
pub fn log_span(traceparent: &str) -> Span {
    let mut parts = traceparent.split('-').skip(1);
    let (Some(trace_id), Some(span_id)) = (parts.next(), parts.next()) else { return Span::none() };
    // Of a level that every filter lets through.
    tracing::error_span!("trace", trace_id, span_id)
}

/// The header of a request in the current task.
pub(super) fn traceparent() -> Option<HeaderValue> {
    CURRENT.try_with(|trace| trace.0.traceparent.clone()).ok().flatten()
}

/// A request in the current task was answered.
pub(super) fn answered(status: u16) {
    // Outside of a trace, nothing is noted.
    let _ = CURRENT.try_with(|trace| trace.0.status.store(status, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn trace_is_known_only_within_its_write() {
        let trace = RequestTrace::new(Some("00-a-b-01".into()));
        assert_eq!((traceparent(), trace.status()), (None, None));
        trace
            .clone()
            .around(async {
                assert_eq!(traceparent().unwrap(), "00-a-b-01");
                answered(503);
                answered(204);
            })
            .await;
        answered(500);
        assert_eq!((traceparent(), trace.status()), (None, Some(204)));
    }

    #[tokio::test]
    async fn unsampled_write_sends_no_header() {
        let trace = RequestTrace::new(None);
        let header = trace.clone().around(async { traceparent() }).await;
        assert_eq!(header, None);
    }
}
