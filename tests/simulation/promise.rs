//! The promises that every history must keep.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    NoPhantom,
    NoFalseDelete,
    Order,
    OneInFlight,
    Guard,
    Fencing,
    Converges,
    Rests,
    Survives,
    Memory,
    Store,
    /// No record of another owner is touched, and none is created twice.
    Harmless,
    /// A restart writes nothing.
    Restarts,
}

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
