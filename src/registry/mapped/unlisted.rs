//! Records that the registry acknowledged and does not list.
//!
//! A registry that cuts the owner mark, a list that ends early, or a wrong query of `list` makes records look missing
//! that are there. To create them again would make second records: at each resync, and after each start.
//!
//! | the last list | a create |
//! | --- | --- |
//! | lacks a record that was there | is looked up first; without `find`, it is sent only if a list showed the record before |
//! | shows no record of ours | is looked up first, until a list or a lookup shows one |
//!
//! Pages that begin at a number also skip records that are there: if a record of an earlier page is deleted before the
//! next page is read, all later ones move up. Where the registry assigns ids, such a list proves nothing alone:
//!
//! | a list of several pages that lacks the record | a create |
//! | --- | --- |
//! | is the only one of this term | is looked up first; without `find`, it waits for the next list |
//! | is the first after others showed it, or after a create without a clear answer | likewise |

use std::collections::{HashMap, HashSet};

use crate::model::uid::Uid;

/// Lists in a row that are read to confirm the one before. Deletions that the first list led to may disturb the second.
const CONFIRMING_MAX: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Unlisted {
    /// Records that were there, and that a list lacks.
    lacking: HashMap<Uid, Lacking>,
    /// Whether nothing showed a record of ours since a list that showed none.
    shows_none: bool,
    /// The first record that the registry acknowledged since, with its id.
    first: Option<(Uid, String)>,
    is_reported: bool,
    lists: CompleteLists,
    /// Records without a clear answer that the last list may have skipped, and those that the list before may have.
    skipped: HashSet<Uid>,
    skipped_before: HashSet<Uid>,
    /// The number of lists in a row that were read to confirm the one before, and whether another one is to confirm it.
    confirming: u8,
    is_asked: bool,
}

/// The complete lists of this term, with what the last one covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CompleteLists {
    #[default]
    None,
    One(Coverage),
    Several(Coverage),
}

/// What a complete list covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    All,
    /// It may have skipped records.
    WithGaps,
}

impl CompleteLists {
    fn add(&mut self, coverage: Coverage) {
        *self = if *self == Self::None { Self::One(coverage) } else { Self::Several(coverage) };
    }

    /// Whether the last list may have skipped records.
    fn last_has_gaps(self) -> bool {
        matches!(self, Self::One(Coverage::WithGaps) | Self::Several(Coverage::WithGaps))
    }
}

#[derive(Clone, Copy, Debug)]
struct Lacking {
    /// Whether a list or a lookup showed the record before.
    was_shown: bool,
    /// Whether it was to be written since the last list. One that is not has no pod any more, and is forgotten.
    is_wanted: bool,
    /// Whether a single list lacks it, which may have skipped it.
    is_once: bool,
}

impl Unlisted {
    /// A list or a lookup showed a record of ours.
    pub(super) fn shown(&mut self, key: &Uid) {
        (self.shows_none, self.first) = (false, None);
        self.lacking.remove(key);
        self.skipped.remove(key);
    }

    /// The registry has no such record.
    pub(super) fn is_absent(&mut self, key: &Uid) {
        self.lacking.remove(key);
        self.skipped.remove(key);
        self.first.take_if(|(first, _)| first == key);
    }

    /// The registry acknowledged a put.
    pub(super) fn acknowledged(&mut self, key: &Uid, id: &str) {
        self.lacking.remove(key);
        self.skipped.remove(key);
        if self.shows_none && self.first.is_none() {
            self.first = Some((key.clone(), id.to_owned()));
        }
    }

    /// A complete list lacks this record, which was there.
    pub(super) fn lacks(&mut self, key: &Uid, was_shown: bool) {
        self.lacking.insert(key.clone(), Lacking { was_shown, is_wanted: false, is_once: self.lists.last_has_gaps() });
    }

    /// A list is complete. What it lacks follows.
    pub(super) fn end_list(&mut self, shows_none: bool, coverage: Coverage) {
        self.confirming = if std::mem::take(&mut self.is_asked) { self.confirming + 1 } else { 0 };
        self.lacking.retain(|_, lacking| {
            lacking.is_once = false;
            std::mem::take(&mut lacking.is_wanted)
        });
        self.shows_none |= shows_none;
        self.lists.add(coverage);
        self.skipped_before = std::mem::take(&mut self.skipped);
    }

    /// The last list lacks a record whose create had no clear answer. Returns whether it is the first such list, which
    /// may have skipped the record.
    pub(super) fn is_skipped_once(&mut self, key: &Uid) -> bool {
        self.lists.last_has_gaps() && !self.skipped_before.contains(key) && self.skipped.insert(key.clone())
    }

    /// Whether the only list of this term may have skipped records.
    pub(super) fn may_have_skipped(&self) -> bool {
        self.lists == CompleteLists::One(Coverage::WithGaps)
    }

    /// Whether a single list lacks a record to be written, which was there.
    pub(super) fn is_lacking_once(&mut self, key: &Uid) -> bool {
        self.wanted(key).is_some_and(|lacking| lacking.is_once)
    }

    /// Whether another list is needed, which shows what the last one may have skipped. Only a few in a row: where
    /// records are deleted all the time, each list may skip some.
    pub(super) fn awaits_list(&mut self) -> bool {
        self.is_asked = self.confirming < CONFIRMING_MAX && self.may_miss();
        self.is_asked
    }

    /// Whether a single list lacks records that may be there.
    fn may_miss(&self) -> bool {
        self.may_have_skipped() || !self.skipped.is_empty() || self.lacking.values().any(|lacking| lacking.is_once)
    }

    /// Whether a record to be written may be there, although a list lacks it.
    pub(super) fn is_lacking(&mut self, key: &Uid) -> bool {
        self.wanted(key).is_some()
    }

    /// Whether nothing ever showed a record to be written, which the registry acknowledged.
    pub(super) fn was_never_shown(&mut self, key: &Uid) -> bool {
        self.wanted(key).is_some_and(|lacking| !lacking.was_shown)
    }

    fn wanted(&mut self, key: &Uid) -> Option<Lacking> {
        let lacking = self.lacking.get_mut(key)?;
        lacking.is_wanted = true;
        Some(*lacking)
    }

    /// Whether nothing shows that the registry returns our mark.
    pub(super) fn shows_none(&self) -> bool {
        self.shows_none
    }

    /// The record that shows whether the registry returns our mark, with its id.
    pub(super) fn first(&self) -> Option<&(Uid, String)> {
        self.first.as_ref()
    }

    /// A lookup showed a record that the last list lacks. Returns whether to report it: once.
    pub(super) fn is_list_short(&mut self, key: &Uid) -> bool {
        self.lacking.contains_key(key) && !std::mem::replace(&mut self.is_reported, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_record_is_certain_again() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut unlisted = Unlisted::default();
        unlisted.acknowledged(&a, "a");
        assert!(unlisted.first().is_none(), "no list was empty");
        unlisted.end_list(true, Coverage::All);
        unlisted.acknowledged(&a, "1");
        unlisted.acknowledged(&b, "2");
        assert_eq!(unlisted.first(), Some(&(a.clone(), "1".to_owned())));
        unlisted.end_list(false, Coverage::All);
        assert!(unlisted.shows_none(), "a list of records that were not read proves nothing");
        unlisted.shown(&b);
        assert!(!unlisted.shows_none() && unlisted.first().is_none());
    }

    #[test]
    fn short_list_is_reported_once() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut unlisted = Unlisted::default();
        assert!(!unlisted.is_list_short(&a));
        unlisted.lacks(&a, true);
        unlisted.lacks(&b, false);
        assert!(!unlisted.was_never_shown(&a) && unlisted.was_never_shown(&b));
        assert!(unlisted.is_list_short(&a) && !unlisted.is_list_short(&b));
        unlisted.is_absent(&a);
        assert!(!unlisted.is_lacking(&a) && unlisted.is_lacking(&b));
    }

    #[test]
    fn few_lists_in_a_row_are_asked_for() {
        let mut unlisted = Unlisted::default();
        for _ in 0..2 {
            // Each of them may have skipped the record.
            for _ in 0..CONFIRMING_MAX {
                unlisted.end_list(false, Coverage::WithGaps);
                unlisted.lacks(&Uid::from("a"), true);
                assert!(unlisted.awaits_list() && unlisted.awaits_list());
            }
            unlisted.end_list(false, Coverage::WithGaps);
            unlisted.lacks(&Uid::from("a"), true);
            assert!(!unlisted.awaits_list(), "the next one comes at the resync");
        }
    }

    #[test]
    fn record_without_a_pod_is_forgotten() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut unlisted = Unlisted::default();
        unlisted.end_list(false, Coverage::All);
        unlisted.lacks(&a, true);
        unlisted.lacks(&b, false);
        for _ in 0..3 {
            assert!(unlisted.was_never_shown(&b), "it is to be written after each list");
            unlisted.end_list(false, Coverage::All);
        }
        assert!(!unlisted.is_lacking(&a) && unlisted.lacking.len() == 1);
    }
}
