//! The problems that this server answers with, each with its name and status.

use crate::{
    model::{digest::Digest, ids::Version},
    reconcile::outcome::StoredVersion,
    registry::protocol::{PROBLEM_PREFIX, Problem},
};

/// Characters of what is said about one case.
const DETAIL_CHARS: usize = 1_000;

/// Every kind of problem: the protocol's own, and those that its page leaves to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request or the record is not what the protocol asks for.
    Schema,
    /// A record, a body or a batch is above the limit.
    TooLarge,
    /// The record names another cluster or owner than the address does.
    ForeignOwner,
    /// The stored version is at or above the operation's.
    StaleVersion,
    /// A delete of this id has a version at or above the put's.
    Tombstoned,
    /// The epoch is below the current session's.
    StaleEpoch,
    /// There is no session of this epoch.
    UnknownSession,
    /// The caller holds too many streams of changes.
    RateLimited,
    /// There is no credential, or it is unknown.
    Unauthorized,
    /// The credential is bound to another cluster, or may only read.
    Forbidden,
    /// There is nothing at this address.
    NotFound,
    /// The address does not take this method.
    MethodNotAllowed,
    /// What the caller wants to continue from is no longer kept.
    Gone,
    /// The server is stopping, overloaded or too slow.
    Unavailable,
    /// The server failed.
    Internal,
}

impl ProblemKind {
    /// All kinds, for documents and tests.
    pub const ALL: [Self; 15] = [
        Self::Schema,
        Self::TooLarge,
        Self::ForeignOwner,
        Self::StaleVersion,
        Self::Tombstoned,
        Self::StaleEpoch,
        Self::UnknownSession,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Gone,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The name behind the prefix of the problem's type.
    pub const fn name(self) -> &'static str {
        self.parts().0
    }

    /// The HTTP status that the problem comes with.
    pub const fn status(self) -> u16 {
        self.parts().1
    }

    const fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Schema => ("schema", 422, "The request does not follow the protocol"),
            Self::TooLarge => ("too-large", 413, "The request is above a limit"),
            Self::ForeignOwner => ("foreign-owner", 409, "The record belongs to another writer"),
            Self::StaleVersion => ("stale-version", 409, "A newer or other version is stored"),
            Self::Tombstoned => ("tombstoned", 409, "The record was deleted at this version or a later one"),
            Self::StaleEpoch => ("stale-epoch", 409, "A newer session has taken over"),
            Self::UnknownSession => ("unknown-session", 409, "There is no such session"),
            Self::RateLimited => ("rate-limited", 429, "Too much at once"),
            Self::Unauthorized => ("unauthorized", 401, "A known bearer token is needed"),
            Self::Forbidden => ("forbidden", 403, "The credential does not cover this"),
            Self::NotFound => ("not-found", 404, "There is nothing here"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The address does not take this method"),
            Self::Gone => ("gone", 410, "What was read before is no longer kept"),
            Self::Unavailable => ("unavailable", 503, "The registry cannot answer now"),
            Self::Internal => ("internal", 500, "The registry failed"),
        }
    }

    /// The problem with words about this one case: what, where, and how to mend it.
    pub fn with(self, detail: impl Into<String>) -> Box<Problem> {
        let (name, status, title) = self.parts();
        Box::new(Problem {
            kind: format!("{PROBLEM_PREFIX}{name}"),
            title: Some(title.to_owned()),
            status: Some(status),
            detail: Some(shortened(detail.into())),
            current: None,
        })
    }

    /// The problem with what is stored: a record, or without a digest the memory of a delete.
    pub fn with_current(self, detail: impl Into<String>, version: Version, digest: Option<Digest>) -> Box<Problem> {
        let mut problem = self.with(detail);
        problem.current = Some(StoredVersion { version, digest });
        problem
    }
}

/// Errors about JSON repeat a text that was not expected, however long it is.
fn shortened(text: String) -> String {
    if text.len() <= DETAIL_CHARS { text } else { text.chars().take(DETAIL_CHARS).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_names_are_unique_and_statuses_are_errors() {
        let mut names: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        assert!(ProblemKind::ALL.iter().all(|kind| (400..600).contains(&kind.status())));
    }
}
