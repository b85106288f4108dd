//! From the outcome of an answer to the verdict or failure that is reported to the event loop.

use super::{carrier::Exchanged, transport::TargetTransport};
use crate::{
    mapping::{outcome::Judgement, spec::request::RuleOutcome},
    reconcile::outcome::{Failure, RETRY_AFTER_MAX, Verdict},
};

/// What an answer means for one operation.
#[derive(Debug)]
pub(super) enum Ruling {
    Done,
    Absent,
    Exists(String),
    Stale(String),
    /// A successful answer that does not meet its check.
    Unchecked(String),
    /// The credential may not do this to this record, or to any.
    Forbidden(String),
    Stop(Stop),
}

impl Ruling {
    /// Whether the registry clearly refused the request, for a reason that does not lie in what it holds.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Done | Self::Absent | Self::Exists(_) | Self::Stale(_) | Self::Unchecked(_) => false,
            Self::Forbidden(_) => true,
            Self::Stop(stop) => stop.is_refusal(),
        }
    }
}

/// Why the steps of one operation end early.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    /// It concerns this record alone.
    Verdict(Verdict),
    /// It concerns all requests.
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Stop {
    pub(super) fn rejected(cause: impl Into<String>) -> Self {
        Self::Verdict(Verdict::Rejected { cause: cause.into() })
    }

    pub(super) fn retry(cause: impl Into<String>) -> Self {
        Self::Verdict(Verdict::Retry { after: None, cause: cause.into() })
    }

    pub(super) fn uncertain(cause: impl Into<String>) -> Self {
        Self::Verdict(Verdict::Uncertain { cause: cause.into() })
    }

    /// Whether nothing was applied.
    pub(super) fn is_refusal(&self) -> bool {
        !matches!(self, Self::Verdict(Verdict::Uncertain { .. }) | Self::Failure(Failure::Broken(_)))
    }
}

/// The result of the steps of one operation.
pub(super) fn verdict(result: Result<(), Stop>) -> Result<Verdict, Failure> {
    match result {
        Ok(()) => Ok(Verdict::Done),
        Err(Stop::Verdict(verdict)) => Ok(verdict),
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

pub(super) fn rule(judgement: &Judgement, exchanged: &Exchanged, transport: &TargetTransport) -> Ruling {
    let reason = transport.clean(&judgement.reason);
    let status = exchanged.answer.status;
    let after = exchanged.retry_after.map(|after| after.min(RETRY_AFTER_MAX));
    match judgement.outcome {
        RuleOutcome::Done => Ruling::Done,
        RuleOutcome::Absent => Ruling::Absent,
        RuleOutcome::Exists => Ruling::Exists(reason),
        RuleOutcome::Stale => Ruling::Stale(reason),
        RuleOutcome::Fenced => Ruling::Stop(Failure::StaleEpoch.into()),
        RuleOutcome::Reject => Ruling::Stop(Stop::rejected(reason)),
        RuleOutcome::Retry if !judgement.by_rule && may_be_applied(exchanged) => {
            Ruling::Stop(Failure::Broken(reason).into())
        }
        RuleOutcome::Retry if matches!(status, 429 | 503) => Ruling::Stop(Failure::Throttled { status, after }.into()),
        RuleOutcome::Retry => Ruling::Stop(Stop::Verdict(Verdict::Retry { after, cause: reason })),
        RuleOutcome::Pause => match status {
            403 if !judgement.by_rule => Ruling::Forbidden(reason),
            401 | 403 | 407 => Ruling::Stop(unauthorized(status, &reason).into()),
            _ => {
                // A rule says so with a status that does not.
                transport.renew_credentials();
                Ruling::Stop(unauthorized(status, &reason).into())
            }
        },
        RuleOutcome::Uncertain if judgement.by_rule => Ruling::Stop(Stop::uncertain(reason)),
        RuleOutcome::Uncertain if exchanged.answer.is_html() || concerns_all(status) => {
            Ruling::Stop(Failure::Broken(reason).into())
        }
        RuleOutcome::Uncertain if exchanged.answer.is_success() => Ruling::Unchecked(reason),
        RuleOutcome::Uncertain => Ruling::Stop(Stop::uncertain(reason)),
    }
}

/// Whether a proxy answers like this although the registry may have received the request. A registry that refuses it
/// for now says for how long.
fn may_be_applied(exchanged: &Exchanged) -> bool {
    match exchanged.answer.status {
        408 => true,
        503 => exchanged.retry_after.is_none(),
        _ => false,
    }
}

/// Whether a proxy answers every request like this.
fn concerns_all(status: u16) -> bool {
    matches!(status, 300..=399 | 502..=504 | 520..=530)
}

pub(super) fn unauthorized(status: u16, reason: &str) -> Failure {
    let detail = reason.strip_prefix(&format!("status {status}")).unwrap_or(reason);
    let detail = detail.trim_start_matches([':', ' ']).to_owned();
    Failure::Unauthorized { status, detail, named: true }
}

/// What the answer to a request that concerns no single record means, if it is not done.
pub(super) fn failure(judgement: &Judgement, exchanged: &Exchanged, transport: &TargetTransport) -> Failure {
    let status = exchanged.answer.status;
    match rule(judgement, exchanged, transport) {
        Ruling::Stop(Stop::Failure(failure)) => failure,
        Ruling::Forbidden(reason) => unauthorized(status, &reason),
        Ruling::Stop(Stop::Verdict(Verdict::Retry { .. })) => {
            Failure::Throttled { status, after: exchanged.retry_after }
        }
        Ruling::Stop(Stop::Verdict(Verdict::Rejected { cause })) => Failure::Refused { status, detail: cause },
        Ruling::Stop(Stop::Verdict(Verdict::Uncertain { cause }))
        | Ruling::Unchecked(cause)
        | Ruling::Exists(cause)
        | Ruling::Stale(cause) => Failure::Broken(cause),
        Ruling::Stop(Stop::Verdict(_)) | Ruling::Done => Failure::Broken(format!("status {status}")),
        Ruling::Absent => {
            Failure::Refused { status, detail: "there is nothing at this address; check `path` and `url`".to_owned() }
        }
    }
}
