//! A hold: deletions that wait for a person, or for their pods to come back.

use std::{collections::HashSet, fmt, str::FromStr};

use crate::model::{Digest, Uid};

/// How many hexadecimal digits a hold's name has.
const ID_DIGITS: usize = 12;

/// The name of a hold. It is made of what is held, so that an approval is for exactly that: it holds over restarts, and
/// for nothing that comes to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(String);

/// The text is no hold's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a hold, which is {ID_DIGITS} digits of 0-9 and a-f")]
pub struct ParseHoldIdError(String);

impl HoldId {
    fn of(ids: &HashSet<Uid>) -> Self {
        let mut sorted: Vec<String> = ids.iter().map(Uid::to_string).collect();
        sorted.sort_unstable();
        let mut digits = Digest::of_canonical(sorted.join("\n").as_bytes()).hex();
        digits.truncate(ID_DIGITS);
        Self(digits)
    }
}

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HoldId {
    type Err = ParseHoldIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == ID_DIGITS && text.chars().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseHoldIdError(text.chars().take(64).collect()))
        }
    }
}

/// Why deletions are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBecause {
    /// Pods that the list lacks are there when they are looked up.
    StillThere(usize),
    /// The confirmation could not be had.
    Unanswered(String),
    /// The pods are there, and the settings changed so that they are no longer selected.
    SettingsChanged,
}

impl fmt::Display for HeldBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StillThere(count) => write!(f, "{count} pods that the list lacks are there"),
            Self::Unanswered(why) => write!(f, "it cannot be confirmed: {why}"),
            Self::SettingsChanged => f.write_str("the settings changed and no longer select pods that are there"),
        }
    }
}

/// A hold as it is shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its name, by which it is approved.
    pub id: HoldId,
    /// How many deletions it is about.
    pub deletions: usize,
    /// Why.
    pub because: HeldBecause,
}

/// Deletions that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    id: HoldId,
    ids: HashSet<Uid>,
    because: HeldBecause,
}

impl Hold {
    /// Holds these.
    pub(super) fn new(ids: HashSet<Uid>, because: HeldBecause) -> Self {
        Self { id: HoldId::of(&ids), ids, because }
    }

    pub(super) fn id(&self) -> &HoldId {
        &self.id
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn because(&self) -> &HeldBecause {
        &self.because
    }

    pub(super) fn contains(&self, uid: &Uid) -> bool {
        self.ids.contains(uid)
    }

    /// Whether something speaks against it, and not only nothing for it.
    pub(super) fn is_doubted(&self) -> bool {
        !matches!(self.because, HeldBecause::Unanswered(_))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Uid> {
        self.ids.iter()
    }

    pub(super) fn into_ids(self) -> impl Iterator<Item = Uid> {
        self.ids.into_iter()
    }

    pub(super) fn shown(&self) -> Shown {
        Shown { id: self.id.clone(), deletions: self.ids.len(), because: self.because.clone() }
    }

    /// The same hold over other ids, under another name unless they are the same.
    pub(super) fn of(self, ids: HashSet<Uid>) -> Self {
        if ids == self.ids { self } else { Self::new(ids, self.because) }
    }

    /// The part of it that is among these ids.
    pub(super) fn among(self, ids: &HashSet<Uid>) -> Option<Self> {
        let kept = &self.ids & ids;
        (!kept.is_empty()).then(|| self.of(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>(names: [&str; N]) -> HashSet<Uid> {
        names.into_iter().map(Uid::from).collect()
    }

    #[test]
    fn the_name_is_that_of_what_is_held_and_of_nothing_else() {
        let hold = Hold::new(ids(["a", "b"]), HeldBecause::SettingsChanged);
        let other_reason = Hold::new(ids(["b", "a"]), HeldBecause::StillThere(1));
        assert_eq!(hold.id(), other_reason.id());
        assert_ne!(hold.id(), Hold::new(ids(["a"]), HeldBecause::SettingsChanged).id());
        assert_eq!(hold.id().to_string().parse(), Ok(hold.id().clone()));
        for text in ["", "abc", "ABCDEF012345", "abcdef01234g", "abcdef0123456"] {
            assert!(text.parse::<HoldId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_hold_shrinks_under_another_name_and_ends_with_its_last_id() {
        let hold = Hold::new(ids(["a", "b"]), HeldBecause::SettingsChanged);
        let name = hold.id().clone();
        assert_eq!(hold.clone().among(&ids(["a", "b", "c"])).map(|hold| hold.id), Some(name.clone()));
        let smaller = hold.among(&ids(["b"])).unwrap();
        assert!(smaller.id != name && smaller.len() == 1);
        assert_eq!(smaller.among(&ids([])), None);
    }
}
