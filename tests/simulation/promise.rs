//! What every history has to keep.

use std::fmt;

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    NoPhantom,
    NoFalseDelete,
    Order,
    OneInFlight,
    Brake,
    Fencing,
    Converges,
    Rests,
    Survives,
    Memory,
    Store,
}

/// A promise that was broken, and how.
#[derive(Clone, Debug)]
pub(crate) struct Breach {
    pub(crate) promise: Promise,
    pub(crate) how: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.how)
    }
}
