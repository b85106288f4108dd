//! A hold: deletions that wait for an approval, or for the return of their pods.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    str::FromStr,
};

use crate::model::{digest::Digest, ids::DEFAULT_TARGET, label::RecordLabel, moment::Moment, uid::Uid};

/// Hexadecimal digits of a hold's name.
const ID_DIGITS: usize = 12;
/// A hold keeps this many names, the newest ones.
const NAMES_MAX: usize = 16;
/// A hold shows this many of its records, the first ones in the order of their keys.
const SHOWN_MAX: usize = 5;

/// The name of a hold: a hash of the held UIDs and of its target, if that is not the default one. An approval therefore
/// covers exactly these, survives a restart and an upgrade, and does not cover later additions or the same pods in
/// another target. Names must be made in the same way by all versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a hold: use {ID_DIGITS} hexadecimal digits")]
pub struct ParseHoldIdError(String);

impl HoldId {
    /// Returns the first of the UIDs, too.
    fn of<'a>(target: &str, ids: impl Iterator<Item = &'a Uid>) -> (Self, Vec<Uid>) {
        let mut sorted: Vec<String> = ids.map(Uid::to_string).collect();
        sorted.sort_unstable();
        let first = sorted.iter().take(SHOWN_MAX).map(|uid| uid.as_str().into()).collect();
        if target != DEFAULT_TARGET {
            sorted.push(target.to_owned());
        }
        let mut digits = Digest::of_canonical(sorted.join("\n").as_bytes()).hex();
        digits.truncate(ID_DIGITS);
        (Self(digits), first)
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// This many pods that the list lacks exist.
    StillThere(usize),
    /// The confirmation failed, for this reason.
    Unconfirmed(String),
    /// The pods exist, and changed settings no longer select them.
    ScopeChanged,
    /// Nearly all records have no pod: another cluster may use the same id.
    NearlyAll {
        absent: usize,
        /// All records of this owner.
        of: usize,
    },
    /// Another process writes for the same cluster id and owner, or tries to.
    AnotherWriter,
}

impl HoldReason {
    pub fn needs_operator(&self) -> bool {
        matches!(self, Self::NearlyAll { .. } | Self::ScopeChanged)
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StillThere(count) => {
                write!(f, "{count} pods that the list lacks exist; check the watch's permissions and selectors")
            }
            Self::Unconfirmed(why) => write!(f, "it cannot be confirmed: {why}"),
            Self::ScopeChanged => f.write_str("changed settings no longer select pods that exist"),
            Self::NearlyAll { absent, of } => write!(
                f,
                "{absent} of {of} records have no pod here; another cluster may use the same cluster id, \
                 as a clone or a restored copy does"
            ),
            Self::AnotherWriter => f.write_str(
                "another process writes for the same cluster id and owner, or tries to; \
                 stop one of the two, or give each cluster its own --cluster-id",
            ),
        }
    }
}

/// The hold of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHold {
    pub summary: HoldSummary,
    /// The next attempt to confirm it, if one is planned.
    pub retry_at: Option<Moment>,
}

/// A hold as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldSummary {
    /// The name to approve.
    pub id: HoldId,
    /// The target whose records are held.
    pub target: &'static str,
    /// The number of held deletions.
    pub deletions: usize,
    pub because: HoldReason,
    /// The first of the held records.
    pub first: Vec<RecordLabel>,
    /// The former names. Approving one releases the deletions that it covered and that are still held.
    pub former: Vec<HoldId>,
}

impl HoldSummary {
    /// Whether this is the present or a former name.
    pub fn is_named(&self, id: &HoldId) -> bool {
        self.id == *id || self.former.contains(id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    target: &'static str,
    /// The held pods, each with the position of the first name that covers it.
    ids: HashMap<Uid, usize>,
    /// The names, oldest first. A name covers the pods with its position or a lower one.
    names: Vec<HoldId>,
    because: HoldReason,
    /// The first of the held pods.
    first: Vec<Uid>,
}

impl Hold {
    pub(super) fn new(target: &'static str, ids: HashSet<Uid>, because: HoldReason) -> Self {
        let (name, first) = HoldId::of(target, ids.iter());
        Self { target, ids: ids.into_iter().map(|uid| (uid, 0)).collect(), names: vec![name], because, first }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn because(&self) -> &HoldReason {
        &self.because
    }

    pub(super) fn for_reason(self, because: HoldReason) -> Self {
        Self { because, ..self }
    }

    pub(super) fn contains(&self, uid: &Uid) -> bool {
        self.ids.contains_key(uid)
    }

    /// Whether there is evidence against the deletion, not just no answer.
    pub(super) fn is_contradicted(&self) -> bool {
        !matches!(self.because, HoldReason::Unconfirmed(_))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Uid> {
        self.ids.keys()
    }

    pub(super) fn into_ids(self) -> impl Iterator<Item = Uid> {
        self.ids.into_keys()
    }

    /// The pods that this name covers; none if the hold never had it.
    pub(super) fn covered_by(&self, name: &HoldId) -> HashSet<Uid> {
        let Some(position) = self.names.iter().rposition(|known| known == name) else { return HashSet::new() };
        self.ids.iter().filter(|(_, first)| **first <= position).map(|(uid, _)| uid.clone()).collect()
    }

    pub(super) fn shown(&self) -> HoldSummary {
        let (id, former) = match self.names.split_last() {
            Some((id, former)) => (id.clone(), former.to_vec()),
            None => (HoldId::of(self.target, self.ids.keys()).0, Vec::new()),
        };
        let (target, deletions, because) = (self.target, self.ids.len(), self.because.clone());
        let first = self.first.iter().cloned().map(RecordLabel::of_key).collect();
        HoldSummary { id, target, deletions, because, first, former }
    }

    /// The same hold of other pods. It gets a new name if they differ, and former names cover no added pod.
    pub(super) fn of(mut self, ids: HashSet<Uid>) -> Self {
        if ids.len() == self.ids.len() && ids.iter().all(|uid| self.ids.contains_key(uid)) {
            return self;
        }
        if self.names.len() == NAMES_MAX {
            self.names.remove(0);
            self.ids.values_mut().for_each(|first| *first = first.saturating_sub(1));
        }
        let ((name, first), position) = (HoldId::of(self.target, ids.iter()), self.names.len());
        let covered = std::mem::take(&mut self.ids);
        let covers = |uid: &Uid| covered.get(uid).copied().unwrap_or(position);
        self.ids = ids.into_iter().map(|uid| (uid.clone(), covers(&uid))).collect();
        self.names.push(name);
        self.first = first;
        self
    }

    /// The same hold of the pods for which `stays` is true. None if there are none.
    pub(super) fn retain(self, stays: impl Fn(&Uid) -> bool) -> Option<Self> {
        let kept: HashSet<Uid> = self.ids.keys().filter(|uid| stays(uid)).cloned().collect();
        (!kept.is_empty()).then(|| self.of(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>(names: [&str; N]) -> HashSet<Uid> {
        names.into_iter().map(Uid::from).collect()
    }

    fn name(hold: &Hold) -> HoldId {
        hold.shown().id
    }

    #[test]
    fn hold_name_depends_on_target_and_ids() {
        let hold = Hold::new("a", ids(["a", "b"]), HoldReason::ScopeChanged);
        let other_reason = Hold::new("a", ids(["b", "a"]), HoldReason::StillThere(1));
        assert_eq!(name(&hold), name(&other_reason));
        assert_ne!(name(&hold), name(&Hold::new("b", ids(["a", "b"]), HoldReason::ScopeChanged)));
        assert_ne!(name(&hold), name(&Hold::new("a", ids(["a"]), HoldReason::ScopeChanged)));
        assert_eq!(name(&hold).to_string().parse(), Ok(name(&hold)));
        let of_default = Hold::new(DEFAULT_TARGET, ids(["a", "b"]), HoldReason::ScopeChanged);
        assert_eq!(name(&of_default).to_string(), "7e18f737311b", "the name never changes");
        for text in ["", "abc", "ABCDEF012345", "abcdef01234g", "abcdef0123456"] {
            assert!(text.parse::<HoldId>().is_err(), "{text}");
        }
    }

    #[test]
    fn hold_shows_the_first_records() {
        let shown = |hold: &Hold| hold.shown().first.iter().map(RecordLabel::id_or_key).collect::<Vec<_>>();
        let hold = Hold::new("a", ids(["7", "6", "5", "4", "3", "2", "1"]), HoldReason::ScopeChanged);
        assert_eq!(shown(&hold), ["1", "2", "3", "4", "5"]);
        assert_eq!(shown(&hold.of(ids(["9", "4"]))), ["4", "9"]);
    }

    #[test]
    fn shrinking_hold_changes_its_name() {
        // It ends when its last pod leaves.
        let hold = Hold::new("a", ids(["a", "b"]), HoldReason::ScopeChanged);
        let before = name(&hold);
        assert_eq!(
            hold.clone().retain(|uid| ids(["a", "b", "c"]).contains(uid)).map(|hold| name(&hold)),
            Some(before.clone())
        );
        let smaller = hold.retain(|uid| ids(["b"]).contains(uid)).unwrap();
        assert!(name(&smaller) != before && smaller.len() == 1);
        assert!(smaller.shown().is_named(&before));
        assert_eq!(smaller.retain(|uid| ids([]).contains(uid)), None);
    }

    #[test]
    fn former_names_cover_only_what_they_named() {
        let hold = Hold::new("a", ids(["a", "b", "c"]), HoldReason::ScopeChanged);
        let first = name(&hold);
        let hold = hold.of(ids(["b", "c", "d"]));
        let second = name(&hold);
        let hold = hold.of(ids(["a", "c", "d", "e"]));
        assert_eq!(hold.covered_by(&first), ids(["c"]), "what came back is new");
        assert_eq!(hold.covered_by(&second), ids(["c", "d"]));
        assert_eq!(hold.covered_by(&name(&hold)), ids(["a", "c", "d", "e"]));
        assert_eq!(hold.covered_by(&"0123456789ab".parse().unwrap()), ids([]));
    }

    #[test]
    fn former_names_are_bounded() {
        let mut hold = Hold::new("a", ids(["x"]), HoldReason::ScopeChanged);
        for n in 0..100 {
            hold = hold.of([Uid::from("x"), Uid::from(n.to_string())].into());
        }
        assert_eq!(hold.shown().former.len(), NAMES_MAX - 1);
        assert_eq!(hold.covered_by(&hold.shown().former[0]), ids(["x"]));
    }
}
