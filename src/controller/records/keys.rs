//! The keys of the records of one pod: mostly one.

use std::ops::Deref;

use crate::model::uid::Uid;

/// No allocation for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Keys {
    One(Uid),
    /// None, or several.
    Other(Box<[Uid]>),
}

impl Default for Keys {
    fn default() -> Self {
        Self::Other(Box::default())
    }
}

impl Deref for Keys {
    type Target = [Uid];

    fn deref(&self) -> &[Uid] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Other(keys) => keys,
        }
    }
}

impl FromIterator<Uid> for Keys {
    fn from_iter<T: IntoIterator<Item = Uid>>(keys: T) -> Self {
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (Some(key), None) => Self::One(key),
            (Some(first), Some(second)) => Self::Other([first, second].into_iter().chain(keys).collect()),
            (None, _) => Self::default(),
        }
    }
}
