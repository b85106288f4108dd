//! The results of a request to a registry: of one operation, and of a whole request that failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{digest::Digest, ids::Version};

/// The longest wait that a registry can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Creates or replaces a record.
    Put,
    /// Removes a record.
    Delete,
}

/// What the registry holds instead of an operation that came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    #[serde(flatten)]
    pub version: Version,
    /// `None` for a remembered delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// The result of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It was not applied and can be retried.
    Retry {
        /// The wait that the registry asked for.
        after: Option<Duration>,
        cause: String,
    },
    /// The registry rejects this record.
    Rejected {
        cause: String,
    },
    /// The registry holds a higher version.
    Stale {
        /// What is stored, if the registry says so.
        current: Option<StoredVersion>,
    },
    /// The registry remembers a delete with a higher version.
    Tombstoned {
        /// The remembered version, if the registry says so.
        current: Option<StoredVersion>,
    },
    /// It may have been applied.
    Uncertain {
        cause: String,
    },
}

/// Why a whole request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection: nothing was applied.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
    /// A time-out, 5xx, a status of a proxy, or a cut or unreadable answer: it may have been applied.
    #[error("the registry gave no usable answer: {0}")]
    Broken(String),
    /// A 4xx: nothing was applied, and a retry of the same request will fail.
    #[error("the registry refused the request with status {status}: {detail}")]
    Refused { status: u16, detail: String },
    /// 429 or 503: the registry asks to wait with all requests.
    #[error("the registry asks to wait (status {status})")]
    Throttled {
        status: u16,
        /// The wait that it asks for, at most [`RETRY_AFTER_MAX`].
        after: Option<Duration>,
    },
    /// 401, 403 or 407.
    #[error("the registry refused the credential with status {status}: {detail}")]
    Unauthorized {
        status: u16,
        detail: String,
        /// Whether the answer names a problem. If not, a firewall may have refused the body of this request.
        named: bool,
    },
    /// 413 for a batch.
    #[error("the request is too large for the registry")]
    TooLarge,
    #[error("another writer has taken over")]
    StaleEpoch,
    #[error("the registry does not know this session")]
    UnknownSession,
    /// 410: the page token or change number is no longer kept.
    #[error("the registry no longer keeps what was asked for")]
    Expired,
    /// The list of records contradicts itself. Nothing is concluded from it, and other requests are not affected.
    #[error("the inventory cannot be used: {0}")]
    Inventory(String),
    /// The file that remembers the records cannot be used. Nothing was sent.
    #[error("{0}")]
    Memory(String),
    /// 404.
    #[error("the registry has nothing at this address; check the path of --registry-url")]
    NotFound,
}

impl Failure {
    /// Whether the registry refused this request, and would refuse it again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotFound)
    }
}
