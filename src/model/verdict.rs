//! From a registry's answer to what it means: one pure function for an item, one for a whole request.

use std::time::Duration;

use super::{Digest, Version};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The stored version.
    pub version: Version,
    /// The stored digest; none where a delete is remembered.
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
        current: Option<Current>,
    },
    /// A delete with a higher version is remembered.
    Tombstoned {
        /// The remembered version, if the registry said so.
        current: Option<Current>,
    },
    /// Nobody knows whether it was applied.
    Doubt {
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
    /// Time-out, 5xx, a cut or unreadable answer: it may have been applied.
    #[error("the registry's answer is no answer: {0}")]
    Broken(String),
    /// Another 4xx: nothing was applied, and the same request will not be.
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
    /// 401 or 403.
    #[error("the registry refused the credential with status {status}: {detail}")]
    Unauthorized {
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        detail: String,
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
    #[error("the registry has nothing at this address")]
    NotFound,
}

/// What a registry says beside the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The problem's name, empty where there was none.
    pub problem: String,
    /// Its detail or title, cut to a length fit for a log.
    pub detail: String,
    /// What is stored.
    pub current: Option<Current>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// Judges one operation.
pub fn of_item(kind: OperationKind, status: u16, said: Said) -> Verdict {
    let Said { problem, detail, current, retry_after } = said;
    let cause = if problem.is_empty() { detail } else { format!("{problem}: {detail}") };
    let cause = if cause.is_empty() { format!("status {status}") } else { cause };
    match (kind, status, problem.as_str()) {
        (OperationKind::Put, 200 | 201, _) | (OperationKind::Delete, 200 | 204 | 404, _) => Verdict::Done,
        (_, 409, "stale-version") => Verdict::Stale { current },
        (_, 409, "tombstoned") => Verdict::Tombstoned { current },
        (_, 409, "foreign-owner") | (_, 400 | 413 | 422, _) => Verdict::Rejected { cause },
        (_, 429 | 503, _) => Verdict::Retry { after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)), cause },
        _ => Verdict::Doubt { cause: format!("status {status}: {cause}") },
    }
}

/// Judges a request that was not answered with a success.
pub fn of_request(status: u16, said: Said) -> Failure {
    let Said { problem, detail, retry_after, .. } = said;
    match (status, problem.as_str()) {
        (401 | 403, _) => Failure::Unauthorized { status, detail },
        (429 | 503, _) => Failure::Throttled { status, after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)) },
        (413, _) => Failure::TooLarge,
        (409, "stale-epoch") => Failure::StaleEpoch,
        (409, "unknown-session") => Failure::UnknownSession,
        (410, _) => Failure::Expired,
        (404, _) => Failure::NotFound,
        (400..=499, _) => Failure::Refused { status, detail: format!("{problem} {detail}").trim().to_owned() },
        // A redirect is not followed: whoever answers so is not the registry.
        _ => Failure::Broken(format!("status {status} {detail}").trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(problem: &str) -> Said {
        Said { problem: problem.into(), ..Said::default() }
    }

    #[test]
    fn each_answer_to_an_item_has_one_meaning() {
        use OperationKind::{Delete, Put};
        for (kind, status) in [(Put, 200), (Put, 201), (Delete, 204), (Delete, 404)] {
            assert_eq!(of_item(kind, status, said("")), Verdict::Done, "{kind:?} {status}");
        }
        for (status, problem) in [(422, "schema"), (413, "too-large"), (409, "foreign-owner"), (400, "")] {
            assert!(matches!(of_item(Put, status, said(problem)), Verdict::Rejected { .. }), "{status} {problem}");
        }
        assert_eq!(of_item(Put, 409, said("stale-version")), Verdict::Stale { current: None });
        assert_eq!(of_item(Put, 409, said("tombstoned")), Verdict::Tombstoned { current: None });
        for (kind, status) in [(Put, 204), (Put, 404), (Put, 500), (Put, 302), (Delete, 500), (Put, 409)] {
            assert!(matches!(of_item(kind, status, said("")), Verdict::Doubt { .. }), "{kind:?} {status}");
        }
    }

    #[test]
    fn patience_is_capped() {
        let year = Said { retry_after: Some(Duration::from_secs(31_536_000)), ..Said::default() };
        let Verdict::Retry { after, .. } = of_item(OperationKind::Put, 429, year.clone()) else { panic!() };
        assert_eq!(after, Some(RETRY_AFTER_MAX));
        assert_eq!(of_request(503, year), Failure::Throttled { status: 503, after: Some(RETRY_AFTER_MAX) });
    }

    #[test]
    fn each_answer_to_a_request_has_one_meaning() {
        assert_eq!(of_request(409, said("stale-epoch")), Failure::StaleEpoch);
        assert_eq!(of_request(409, said("unknown-session")), Failure::UnknownSession);
        assert_eq!(of_request(413, said("")), Failure::TooLarge);
        assert_eq!(of_request(410, said("")), Failure::Expired);
        assert!(matches!(of_request(401, said("")), Failure::Unauthorized { status: 401, .. }));
        assert!(matches!(of_request(400, said("")), Failure::Refused { status: 400, .. }));
        for status in [200, 301, 500, 502, 504] {
            assert!(matches!(of_request(status, said("")), Failure::Broken(_)), "{status}");
        }
    }
}
