//! Why a measurement could not be made.

use std::{io, path::PathBuf};

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments do not fit together.
    #[error("{0}")]
    Arguments(String),
    /// A file or a folder cannot be used.
    #[error("{path}: {cause}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A process cannot be started.
    #[error("{what} cannot be started: {cause}")]
    Start {
        /// Which one.
        what: String,
        /// Why not.
        cause: io::Error,
    },
    /// A process ended by itself.
    #[error("{what} has ended with {how}; the end of its log:\n{log}")]
    Ended {
        /// Which one.
        what: String,
        /// Its exit status.
        how: String,
        /// What it wrote last.
        log: String,
    },
    /// Something did not come about in time.
    #[error("{what} did not come about within {seconds} s: {state}")]
    TooSlow {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
        /// How it stood at the end.
        state: String,
    },
    /// A server on loopback did not answer as it should.
    #[error("{what}: {cause}")]
    Http {
        /// The request.
        what: String,
        /// What came instead of an answer.
        cause: String,
    },
    /// The kernel's figures of a process cannot be read.
    #[error("the kernel tells nothing about process {0}: it has ended, or this is not Linux")]
    NoFigures(u32),
    /// The registry's file cannot be changed.
    #[error("the registry's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A listener failed.
    #[error("serving on loopback failed: {0}")]
    Serve(io::Error),
    /// The bench was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// Records were lost or invented: the run has failed, whatever its figures.
    #[error("{lost} records were lost, {invented} invented and {wrong} wrong: no figure of this run counts")]
    Untrue {
        /// Pods without a record.
        lost: u64,
        /// Records without a pod.
        invented: u64,
        /// Records of an older state.
        wrong: u64,
    },
}

/// The result of a step.
pub(crate) type Result<T> = std::result::Result<T, Error>;
