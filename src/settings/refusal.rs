//! Why a setting is not taken.

use std::{
    fmt,
    io::{self, Write as _},
};

/// What is wrong with a value, without where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    what: String,
    mend: &'static str,
}

impl Problem {
    /// What is wrong, and how to mend it. Neither may repeat a value that could hold a secret.
    pub fn new(what: impl Into<String>, mend: &'static str) -> Self {
        Self { what: what.into(), mend }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.mend)
    }
}

/// Why the program does not start as it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The command line is none of ours, or it asks for help or the version.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// A setting has a value that it cannot have.
    #[error("{origin}: {problem}")]
    Invalid {
        /// The flag or the environment variable that the value came from.
        origin: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A setting is needed and was not given.
    #[error("{flag} is not set; give it, or {variable} in the environment: {what}")]
    Missing {
        /// The flag.
        flag: String,
        /// The environment variable that does the same.
        variable: String,
        /// What it is for.
        what: &'static str,
    },
    /// Two settings contradict each other, or one needs another that was not given.
    #[error("{one} and {other}: {problem}")]
    Combination {
        /// Where the one came from.
        one: String,
        /// Where the other came from, or would.
        other: String,
        /// What is wrong with the two.
        problem: Problem,
    },
}

impl Refusal {
    /// The exit code of the process: 0 where help or the version was asked for, 2 where a setting was refused.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) => u8::try_from(error.exit_code()).unwrap_or(2),
            Self::Invalid { .. } | Self::Missing { .. } | Self::Combination { .. } => 2,
        }
    }

    /// Tells the person at the terminal: help and the version on standard output, all else on standard error.
    ///
    /// # Errors
    /// Where that stream cannot be written to.
    pub fn print(&self) -> io::Result<()> {
        match self {
            Self::Usage(error) => error.print(),
            refused => writeln!(io::stderr(), "error: {refused}\n\nFor more information, try '--help'."),
        }
    }
}
