//! Why a measurement failed.

use std::fmt::Display;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file, a request or a process failed.
    #[error("{what}: {cause}")]
    Failed { what: String, cause: String },
    /// A process of the bench exited.
    #[error("{what} exited with {status}; the end of its log:\n{log}")]
    Exited { what: String, status: String, log: String },
    /// A step exceeded its time limit.
    #[error("{what} took longer than {seconds} s: {state}")]
    TooSlow { what: String, seconds: u64, state: String },
    /// The bench received SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// The registry differs from the cluster: the run failed, whatever its figures.
    #[error(
        "{lost} records were lost, {invented} invented, {wrong} outdated and {twice} sent twice; no figure of this run counts"
    )]
    Untrue { lost: u64, invented: u64, wrong: u64, twice: u64 },
}

impl Error {
    /// For `map_err`: `what` failed with this cause.
    pub(crate) fn in_step<E: Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        |cause| Self::Failed { what: what.into(), cause: cause.to_string() }
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
