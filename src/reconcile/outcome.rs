//! From a registry's answer to what it means: one pure function for one operation, one for a whole request.
//!
//! An operation's own status, in a batch or as a request of its own:
//!
//! | status | meaning |
//! | --- | --- |
//! | put 200, 201; delete 200, 204, 404, 410 | done |
//! | 409 `stale-version`, `tombstoned` | something newer is there |
//! | 409 `foreign-owner`, 400, 403, 405, 406, 411, 413, 414, 415, 422, 428, 431, 451; put 410 | the record is rejected |
//! | 429, 503 | not applied; try again later |
//! | everything else, 202 included | uncertain: this operation alone is sent again |
//!
//! A whole request, which is a batch or has nothing to do with one record:
//!
//! | status | meaning |
//! | --- | --- |
//! | 401, 403, 407 | the credential is refused; not applied |
//! | 429 | not applied; the registry asks for patience |
//! | 503 | uncertain; the registry asks for patience |
//! | 413; 409 `stale-epoch`, `unknown-session`; 404; 410 | what the protocol says; not applied |
//! | 400, 405, 406, 411, 412, 414 to 417, 421, 422, 426, 428, 431, 451, and 4xx with a problem of the protocol | not applied |
//! | everything else: 408, 425, 499 and other statuses of proxies, 3xx, 5xx | uncertain: it may have been applied |
//!
//! A request of its own for one record is judged as an operation, except for what concerns every request alike:
//! [`concerns_every_request`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{digest::Digest, ids::Version};

/// The longest that a registry may make us wait.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What kind of operation was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Create or replace.
    Put,
    /// Remove.
    Delete,
}

/// What a registry holds where an operation came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// The stored version.
    #[serde(flatten)]
    pub version: Version,
    /// The stored digest; none where a delete is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The registry acknowledged it.
    Done,
    /// It was not applied, and may be later.
    Retry {
        /// No sooner than this.
        after: Option<Duration>,
        /// What the registry said.
        cause: String,
    },
    /// The registry refuses this record as it is.
    Rejected {
        /// What the registry said.
        cause: String,
    },
    /// Something with a higher version is stored.
    Stale {
        /// What is stored, if the registry said so.
        current: Option<StoredVersion>,
    },
    /// A delete with a higher version is remembered.
    Tombstoned {
        /// The remembered version, if the registry said so.
        current: Option<StoredVersion>,
    },
    /// Nobody knows whether it was applied.
    Uncertain {
        /// What went wrong.
        cause: String,
    },
}

/// Why a whole request did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection was made: nothing was applied.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
    /// Time-out, 5xx, a proxy's own status, a cut or unreadable answer: it may have been applied.
    #[error("the registry's answer is no answer: {0}")]
    Broken(String),
    /// A 4xx that says so: nothing was applied, and the same request will not be.
    #[error("the registry refused the request with status {status}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        detail: String,
    },
    /// 429 or 503: the whole registry wants to be left alone for a while.
    #[error("the registry asks for patience (status {status})")]
    Throttled {
        /// The HTTP status.
        status: u16,
        /// For at least this long, at most [`RETRY_AFTER_MAX`].
        after: Option<Duration>,
    },
    /// 401, 403 or 407.
    #[error("the registry refused the credential with status {status}: {detail}")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        detail: String,
        /// Whether the answer names a problem. If not, a firewall may have refused the body of this one request.
        named: bool,
    },
    /// 413 for a batch.
    #[error("the registry found the request too large")]
    TooLarge,
    /// Another writer opened a session after ours.
    #[error("another writer has taken over")]
    StaleEpoch,
    /// The registry does not know our session.
    #[error("the registry does not know this session")]
    UnknownSession,
    /// 410: the page token or the change number is no longer kept.
    #[error("the registry no longer keeps what was asked for")]
    Expired,
    /// 404.
    #[error("the registry has nothing at this address; check the path of --registry-url")]
    NotFound,
}

/// What a registry says beside the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemDetail {
    /// The problem's name, empty where there was none.
    pub problem: String,
    /// Its detail or title, cut to a length fit for a log.
    pub detail: String,
    /// What is stored.
    pub current: Option<StoredVersion>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// Judges one operation.
pub fn judge_operation(kind: OperationKind, status: u16, said: ProblemDetail) -> Verdict {
    let ProblemDetail { problem, detail, current, retry_after } = said;
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

/// Whether the answer to a request for one record says something about the registry, the credential or the session, and
/// so concerns every other request as well. All other answers are that record's matter and delay no other.
pub fn concerns_every_request(kind: OperationKind, status: u16, problem: &str) -> bool {
    match status {
        401 | 403 | 407 | 408 | 425 | 429 | 499 | 502 | 503 | 504 | 520..=530 => true,
        300..=399 => true,
        // Where nothing is at a record's address, the address is wrong; a record that is gone is another matter.
        404 => kind == OperationKind::Put && problem.is_empty(),
        409 => matches!(problem, "stale-epoch" | "unknown-session"),
        // Without a problem of the protocol, a proxy says so to every request.
        400 | 405 | 406 | 411 | 421 | 426 | 431 => problem.is_empty(),
        _ => false,
    }
}

/// Judges a request that was not answered with a success.
pub fn judge_request(status: u16, said: ProblemDetail) -> Failure {
    let ProblemDetail { problem, detail, retry_after, .. } = said;
    match (status, problem.as_str()) {
        (401 | 403 | 407, problem) => Failure::Unauthorized { status, detail, named: !problem.is_empty() },
        (429 | 503, _) => Failure::Throttled { status, after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)) },
        (413, _) => Failure::TooLarge,
        (409, "stale-epoch") => Failure::StaleEpoch,
        (409, "unknown-session") => Failure::UnknownSession,
        (410, _) => Failure::Expired,
        (404, _) => Failure::NotFound,
        // A proxy gives up waiting for the registry with these, whatever their body.
        (408 | 425 | 499, _) => Failure::Broken(format!("status {status} {detail}").trim().to_owned()),
        (400 | 405 | 406 | 411 | 412 | 414..=417 | 421 | 422 | 426 | 428 | 431 | 451, _) => {
            refused(status, &problem, &detail)
        }
        (402..=498, problem) if !problem.is_empty() => refused(status, problem, &detail),
        // A redirect is not followed: whoever answers so is not the registry.
        _ => Failure::Broken(format!("status {status} {detail}").trim().to_owned()),
    }
}

fn refused(status: u16, problem: &str, detail: &str) -> Failure {
    Failure::Refused { status, detail: format!("{problem} {detail}").trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(problem: &str) -> ProblemDetail {
        ProblemDetail { problem: problem.into(), ..ProblemDetail::default() }
    }

    #[test]
    fn each_answer_to_an_item_has_one_meaning() {
        use OperationKind::{Delete, Put};
        for (kind, status) in [(Put, 200), (Put, 201), (Delete, 200), (Delete, 204), (Delete, 404), (Delete, 410)] {
            assert_eq!(judge_operation(kind, status, said("")), Verdict::Done, "{kind:?} {status}");
        }
        for (status, problem) in
            [(422, "schema"), (413, "too-large"), (409, "foreign-owner"), (400, ""), (403, ""), (410, "")]
        {
            assert!(
                matches!(judge_operation(Put, status, said(problem)), Verdict::Rejected { .. }),
                "{status} {problem}"
            );
        }
        assert_eq!(judge_operation(Put, 409, said("stale-version")), Verdict::Stale { current: None });
        assert_eq!(judge_operation(Put, 409, said("tombstoned")), Verdict::Tombstoned { current: None });
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
            assert!(matches!(judge_operation(kind, status, said("")), Verdict::Uncertain { .. }), "{kind:?} {status}");
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
        assert_eq!(judge_request(409, said("stale-epoch")), Failure::StaleEpoch);
        assert_eq!(judge_request(409, said("unknown-session")), Failure::UnknownSession);
        assert_eq!(judge_request(413, said("")), Failure::TooLarge);
        assert_eq!(judge_request(410, said("")), Failure::Expired);
        assert!(matches!(judge_request(401, said("")), Failure::Unauthorized { status: 401, .. }));
        assert!(matches!(judge_request(400, said("")), Failure::Refused { status: 400, .. }));
        for status in [200, 301, 500, 502, 504] {
            assert!(matches!(judge_request(status, said("")), Failure::Broken(_)), "{status}");
        }
    }

    #[test]
    fn proxy_answers_leave_a_request_uncertain() {
        for status in [402, 408, 409, 418, 425, 444, 460, 494, 495, 499, 520, 524, 530, 561, 599] {
            assert!(matches!(judge_request(status, said("")), Failure::Broken(_)), "{status}");
        }
        for status in [408, 425, 499] {
            assert!(matches!(judge_request(status, said("schema")), Failure::Broken(_)), "{status} with a problem");
        }
        for status in [400, 405, 414, 422, 431] {
            assert!(matches!(judge_request(status, said("")), Failure::Refused { .. }), "{status}");
        }
        assert!(matches!(judge_request(409, said("else")), Failure::Refused { status: 409, .. }));
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
