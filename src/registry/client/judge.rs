//! The meaning of a registry's answer: for one operation, and for a whole request.
//!
//! One operation, in a batch or in a request of its own:
//!
//! | status | meaning |
//! | --- | --- |
//! | put 200, 201; delete 200, 204, 404, 410 | done |
//! | 409 `stale-version`, `tombstoned` | the registry holds something newer |
//! | 409 `foreign-owner`, 400, 403, 405, 406, 411, 413, 414, 415, 422, 428, 431, 451; put 410 | the record is rejected |
//! | 429, 503 | not applied; retried later |
//! | all others, including 202 | uncertain: this operation alone is retried |
//!
//! A whole request, which is a batch or concerns no single record:
//!
//! | status | meaning |
//! | --- | --- |
//! | 401, 403, 407 | the credential is refused; not applied |
//! | 429 | not applied; the registry asks to wait |
//! | 503 | uncertain; the registry asks to wait |
//! | 413; 409 `stale-epoch`, `unknown-session`; 404; 410 | as the protocol says; not applied |
//! | 400, 405, 406, 411, 412, 414 to 417, 421, 422, 426, 428, 431, 451, and 4xx with a problem of the protocol | not applied |
//! | all others: 408, 425, 499 and other statuses of proxies, 3xx, 5xx | uncertain: it may have been applied |
//!
//! A request for one record is judged as an operation, unless its answer [concerns every
//! request](concerns_every_request).

use std::time::Duration;

use crate::reconcile::outcome::{Failure, OperationKind, RETRY_AFTER_MAX, StoredVersion, Verdict};

/// What an answer says besides its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemDetail {
    /// The name of the problem, or empty.
    pub problem: String,
    /// The detail or title, cut to a length that fits into a log.
    pub detail: String,
    pub current: Option<StoredVersion>,
    pub retry_after: Option<Duration>,
}

pub fn judge_operation(kind: OperationKind, status: u16, answer: ProblemDetail) -> Verdict {
    let ProblemDetail { problem, detail, current, retry_after } = answer;
    let cause = if problem.is_empty() { detail } else { format!("{problem}: {detail}") };
    let cause = if cause.is_empty() { format!("status {status}") } else { cause };
    match (kind, status, problem.as_str()) {
        (OperationKind::Put, 200 | 201, _) | (OperationKind::Delete, 200 | 204 | 404 | 410, _) => Verdict::Done,
        (_, 409, "stale-version") => Verdict::Stale { current },
        (_, 409, "tombstoned") => Verdict::Tombstoned { current },
        (_, 409, "foreign-owner")
        | (_, 400 | 403 | 405 | 406 | 411 | 413 | 414 | 415 | 422 | 428 | 431 | 451, _)
        | (OperationKind::Put, 410, _) => Verdict::Rejected { cause },
        (_, 429 | 503, _) => Verdict::Retry { after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)), cause },
        _ => Verdict::Uncertain { cause: format!("status {status}: {cause}") },
    }
}

/// Whether the answer to a request for one record is about the registry, the credential or the session, and therefore
/// concerns all other requests. All other answers concern only that record and delay no other.
pub fn concerns_every_request(kind: OperationKind, status: u16, problem: &str) -> bool {
    match status {
        401 | 403 | 407 | 408 | 425 | 429 | 499 | 502 | 503 | 504 | 520..=530 => true,
        300..=399 => true,
        // For a put, nothing at the address means a wrong address; for a delete, it means that the record is gone.
        404 => kind == OperationKind::Put && problem.is_empty(),
        409 => matches!(problem, "stale-epoch" | "unknown-session"),
        // Without a problem of the protocol, a proxy answered, and it answers every request like this.
        400 | 405 | 406 | 411 | 421 | 426 | 431 => problem.is_empty(),
        _ => false,
    }
}

/// Judges a request that failed.
pub fn judge_request(status: u16, answer: ProblemDetail) -> Failure {
    let ProblemDetail { problem, detail, retry_after, .. } = answer;
    match (status, problem.as_str()) {
        (401 | 403 | 407, problem) => Failure::Unauthorized { status, detail, named: !problem.is_empty() },
        (429 | 503, _) => Failure::Throttled { status, after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)) },
        (413, _) => Failure::TooLarge,
        (409, "stale-epoch") => Failure::StaleEpoch,
        (409, "unknown-session") => Failure::UnknownSession,
        (410, _) => Failure::Expired,
        (404, _) => Failure::NotFound,
        // A proxy that gives up waiting for the registry answers with these, with any body.
        (408 | 425 | 499, _) => Failure::Broken(format!("status {status} {detail}").trim().to_owned()),
        (400 | 405 | 406 | 411 | 412 | 414..=417 | 421 | 422 | 426 | 428 | 431 | 451, _) => {
            refused(status, &problem, &detail)
        }
        (402..=498, problem) if !problem.is_empty() => refused(status, problem, &detail),
        // Redirects are not followed: a server that redirects is not the registry.
        _ => Failure::Broken(format!("status {status} {detail}").trim().to_owned()),
    }
}

fn refused(status: u16, problem: &str, detail: &str) -> Failure {
    Failure::Refused { status, detail: format!("{problem} {detail}").trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(problem: &str) -> ProblemDetail {
        ProblemDetail { problem: problem.into(), ..ProblemDetail::default() }
    }

    #[test]
    fn each_answer_to_an_item_has_one_meaning() {
        use OperationKind::{Delete, Put};
        for (kind, status) in [(Put, 200), (Put, 201), (Delete, 200), (Delete, 204), (Delete, 404), (Delete, 410)] {
            assert_eq!(judge_operation(kind, status, answer("")), Verdict::Done, "{kind:?} {status}");
        }
        for (status, problem) in
            [(422, "schema"), (413, "too-large"), (409, "foreign-owner"), (400, ""), (403, ""), (410, "")]
        {
            assert!(
                matches!(judge_operation(Put, status, answer(problem)), Verdict::Rejected { .. }),
                "{status} {problem}"
            );
        }
        assert_eq!(judge_operation(Put, 409, answer("stale-version")), Verdict::Stale { current: None });
        assert_eq!(judge_operation(Put, 409, answer("tombstoned")), Verdict::Tombstoned { current: None });
        for (kind, status) in [
            (Put, 202),
            (Put, 204),
            (Put, 404),
            (Put, 408),
            (Put, 500),
            (Put, 302),
            (Put, 409),
            (Delete, 202),
            (Delete, 418),
            (Delete, 499),
            (Delete, 500),
        ] {
            assert!(
                matches!(judge_operation(kind, status, answer("")), Verdict::Uncertain { .. }),
                "{kind:?} {status}"
            );
        }
    }

    #[test]
    fn retry_after_is_capped() {
        let year = ProblemDetail { retry_after: Some(Duration::from_secs(31_536_000)), ..ProblemDetail::default() };
        let Verdict::Retry { after, .. } = judge_operation(OperationKind::Put, 429, year.clone()) else { panic!() };
        assert_eq!(after, Some(RETRY_AFTER_MAX));
        assert_eq!(judge_request(503, year), Failure::Throttled { status: 503, after: Some(RETRY_AFTER_MAX) });
    }

    #[test]
    fn each_answer_to_a_request_has_one_meaning() {
        assert_eq!(judge_request(409, answer("stale-epoch")), Failure::StaleEpoch);
        assert_eq!(judge_request(409, answer("unknown-session")), Failure::UnknownSession);
        assert_eq!(judge_request(413, answer("")), Failure::TooLarge);
        assert_eq!(judge_request(410, answer("")), Failure::Expired);
        assert!(matches!(judge_request(401, answer("")), Failure::Unauthorized { status: 401, .. }));
        assert!(matches!(judge_request(400, answer("")), Failure::Refused { status: 400, .. }));
        for status in [200, 301, 500, 502, 504] {
            assert!(matches!(judge_request(status, answer("")), Failure::Broken(_)), "{status}");
        }
    }

    #[test]
    fn proxy_answers_leave_a_request_uncertain() {
        for status in [402, 408, 409, 418, 425, 444, 460, 494, 495, 499, 520, 524, 530, 561, 599] {
            assert!(matches!(judge_request(status, answer("")), Failure::Broken(_)), "{status}");
        }
        for status in [408, 425, 499] {
            assert!(matches!(judge_request(status, answer("schema")), Failure::Broken(_)), "{status} with a problem");
        }
        for status in [400, 405, 414, 422, 431] {
            assert!(matches!(judge_request(status, answer("")), Failure::Refused { .. }), "{status}");
        }
        assert!(matches!(judge_request(409, answer("else")), Failure::Refused { status: 409, .. }));
    }

    #[test]
    fn few_answers_for_one_record_concern_all_requests() {
        // Statuses such as 401, 429 and 503 concern all requests; the others concern only the record.
        use OperationKind::{Delete, Put};
        for status in [401, 403, 408, 429, 499, 502, 503, 504, 522, 307] {
            assert!(concerns_every_request(Put, status, "") && concerns_every_request(Delete, status, ""), "{status}");
        }
        for status in [200, 202, 204, 402, 409, 410, 413, 418, 422, 500, 501, 599] {
            assert!(
                !concerns_every_request(Put, status, "") && !concerns_every_request(Delete, status, ""),
                "{status}"
            );
        }
        assert!(concerns_every_request(Put, 404, "") && !concerns_every_request(Delete, 404, ""));
        assert!(concerns_every_request(Put, 400, "") && !concerns_every_request(Put, 400, "schema"));
        assert!(concerns_every_request(Put, 409, "stale-epoch") && !concerns_every_request(Put, 409, "tombstoned"));
    }
}
