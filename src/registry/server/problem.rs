//! The problems that the server answers with: name, status and title of each kind.

use strum::VariantArray;

use crate::{
    model::{digest::Digest, ids::Version},
    reconcile::outcome::StoredVersion,
    registry::protocol::{PROBLEM_PREFIX, Problem},
};

/// Characters of a problem's detail.
const DETAIL_CHARS: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum ProblemKind {
    /// The request or the record does not follow the protocol.
    Schema,
    TooLarge,
    /// The record names another cluster or owner than the address.
    ForeignOwner,
    /// The stored version is equal to the operation's, or higher.
    StaleVersion,
    /// The id was deleted at the put's version, or at a higher one.
    Tombstoned,
    /// The epoch is below the newest session's.
    StaleEpoch,
    /// The epoch is above the newest session's, or that session is closed.
    UnknownSession,
    RateLimited,
    Unauthorized,
    /// The credential is bound to another cluster, or may only read.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// The page token or change number is no longer kept.
    Gone,
    /// The server is stopping or too slow.
    Unavailable,
    Internal,
}

impl ProblemKind {
    /// The name after the prefix of the problem's type.
    pub const fn name(self) -> &'static str {
        self.parts().0
    }

    pub const fn status(self) -> u16 {
        self.parts().1
    }

    const fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Schema => ("schema", 422, "The request does not follow the protocol"),
            Self::TooLarge => ("too-large", 413, "The request exceeds a limit"),
            Self::ForeignOwner => ("foreign-owner", 409, "The record belongs to another writer"),
            Self::StaleVersion => ("stale-version", 409, "A newer or other version is stored"),
            Self::Tombstoned => ("tombstoned", 409, "The record was deleted at this version or a higher one"),
            Self::StaleEpoch => ("stale-epoch", 409, "A newer session exists"),
            Self::UnknownSession => ("unknown-session", 409, "The session does not exist or is closed"),
            Self::RateLimited => ("rate-limited", 429, "Too many streams are open"),
            Self::Unauthorized => ("unauthorized", 401, "A valid bearer token is required"),
            Self::Forbidden => ("forbidden", 403, "The credential does not allow this request"),
            Self::NotFound => ("not-found", 404, "The address or the record does not exist"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The address does not take this method"),
            Self::Gone => ("gone", 410, "The page token or change number is no longer kept"),
            Self::Unavailable => ("unavailable", 503, "The registry cannot answer now"),
            Self::Internal => ("internal", 500, "The registry failed"),
        }
    }

    /// A problem of this kind. The detail says what is wrong with this request and how to fix it.
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

    /// The same with the stored version, and with the stored digest unless the version is a tombstone's.
    pub fn with_current(self, detail: impl Into<String>, version: Version, digest: Option<Digest>) -> Box<Problem> {
        let mut problem = self.with(detail);
        problem.current = Some(StoredVersion { version, digest });
        problem
    }
}

/// Details from the JSON parser quote texts of the request, which may be long.
fn shortened(text: String) -> String {
    if text.len() <= DETAIL_CHARS { text } else { text.chars().take(DETAIL_CHARS).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_names_are_unique_and_statuses_are_errors() {
        let mut names: Vec<_> = ProblemKind::VARIANTS.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ProblemKind::VARIANTS.len());
        assert!(ProblemKind::VARIANTS.iter().all(|kind| (400..600).contains(&kind.status())));
    }
}
