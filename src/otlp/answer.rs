//! What an answer of the collector means, as the specification of OTLP/HTTP says:
//!
//! | answer | follows |
//! | --- | --- |
//! | 2xx | done; the answer may name a number of items that were refused |
//! | 429, 502, 503, 504; no answer | sent again, not before the time in `Retry-After` |
//! | any other | dropped: it would be refused again |

use std::time::Duration;

use prost::Message as _;

use super::messages::ExportAnswer;
use crate::connect::failures::one_line;

/// Characters of a collector's message that are logged.
const MESSAGE_CHARS: usize = 200;
/// The longest wait that a collector can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exported {
    /// The collector took all but this number of items, with its reason.
    Taken { refused: usize, reason: String },
    /// To be sent again.
    Again { after: Option<Duration>, reason: String },
    /// The collector refuses it.
    Refused { reason: String },
}

/// The headers of an answer that say how long to wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait<'a> {
    /// Seconds, or a point in time on the clock of the collector.
    pub retry_after: Option<&'a str>,
    /// When the collector answered, by its clock.
    pub date: Option<&'a str>,
}

impl Wait<'_> {
    /// Without a date of the answer, a point in time says nothing: the clocks may differ.
    fn time(self) -> Option<Duration> {
        let text = self.retry_after?.trim();
        let until = || {
            let [date, until] = [self.date?, text].map(httpdate::parse_http_date);
            Some(until.ok()?.duration_since(date.ok()?).unwrap_or_default())
        };
        let seconds = text.parse().ok().map(Duration::from_secs);
        seconds.or_else(until).map(|wait| wait.min(RETRY_AFTER_MAX))
    }
}

/// Judges an answer.
pub fn judge(status: u16, wait: Wait<'_>, body: &[u8]) -> Exported {
    match status {
        200..=299 => taken(body),
        429 | 502 | 503 | 504 => {
            let reason = format!("the collector asks to wait (status {status})");
            Exported::Again { after: wait.time(), reason }
        }
        401 | 403 => {
            let reason =
                format!("the collector refuses the credential with status {status}; check --otlp-headers-file");
            Exported::Refused { reason }
        }
        404 | 405 => {
            let reason = format!("the address has no OTLP over HTTP (status {status}); check --otlp-endpoint");
            Exported::Refused { reason }
        }
        300..=399 => {
            let reason =
                format!("the collector redirects (status {status}); give its own address with --otlp-endpoint");
            Exported::Refused { reason }
        }
        _ => Exported::Refused { reason: format!("the collector refuses it with status {status}") },
    }
}

/// A body that cannot be read says nothing: the status is what counts.
fn taken(body: &[u8]) -> Exported {
    let partial = ExportAnswer::decode(body).ok().and_then(|answer| answer.partial_success).unwrap_or_default();
    Exported::Taken {
        refused: usize::try_from(partial.rejected).unwrap_or(0),
        reason: one_line(&partial.error_message, MESSAGE_CHARS),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};

    use super::*;

    #[test]
    fn only_some_answers_are_tried_again() {
        for status in [429, 502, 503, 504] {
            assert!(matches!(judge(status, Wait::default(), b""), Exported::Again { after: None, .. }), "{status}");
        }
        for status in [301, 400, 401, 403, 404, 413, 500, 501] {
            assert!(matches!(judge(status, Wait::default(), b""), Exported::Refused { .. }), "{status}");
        }
        let taken = Exported::Taken { refused: 0, reason: String::new() };
        let [empty, page] = [&b""[..], b"<html>"].map(|body| judge(200, Wait::default(), body));
        assert_eq!((empty, page), (taken.clone(), taken));
    }

    #[test]
    fn retry_after_is_bounded() {
        let date = Some("Mon, 23 Nov 2026 10:00:00 GMT");
        let after = |text| match judge(503, Wait { retry_after: Some(text), date }, b"") {
            Exported::Again { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(after("31536000"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Mon, 23 Nov 2026 10:00:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(after("Mon, 23 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((after("soon"), after("-1")), (None, None));
    }

    #[test]
    fn partial_success_counts_refused_items() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too\nlong".repeat(100) };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let Exported::Taken { refused, reason } = judge(200, Wait::default(), &body) else { panic!() };
        assert_eq!((refused, reason.chars().count()), (3, MESSAGE_CHARS));
        assert!(!reason.contains('\n'));
    }
}
