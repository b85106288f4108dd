//! Records that the registry acknowledged and does not list.
//!
//! A registry that cuts the owner mark, a list that ends early, or a wrong query of `list` makes records look missing that
//! are there. To create them again would make second records: at each resync, and after each start.
//!
//! | the last list | a create |
//! | --- | --- |
//! | lacks a record that was there | is looked up first; without `find`, it is sent only if a list showed the record before |
//! | shows no record of ours | is looked up first, until a list or a lookup shows one |

use std::collections::HashMap;

use crate::model::uid::Uid;

#[derive(Debug, Default)]
pub(super) struct Unlisted {
    /// Records that were there, and that a list lacks.
    lacking: HashMap<Uid, Lacking>,
    /// Whether nothing showed a record of ours since a list that showed none.
    shows_none: bool,
    /// The first record that the registry acknowledged since, with its id.
    first: Option<(Uid, String)>,
    is_reported: bool,
}

#[derive(Clone, Copy, Debug)]
struct Lacking {
    /// Whether a list or a lookup showed the record before.
    was_shown: bool,
    /// Whether it was to be written since the last list. One that is not has no pod any more, and is forgotten.
    is_wanted: bool,
}

impl Unlisted {
    /// A list or a lookup showed a record of ours.
    pub(super) fn shown(&mut self, key: &Uid) {
        (self.shows_none, self.first) = (false, None);
        self.lacking.remove(key);
    }

    /// The registry has no such record.
    pub(super) fn is_absent(&mut self, key: &Uid) {
        self.lacking.remove(key);
        self.first.take_if(|(first, _)| first == key);
    }

    /// The registry acknowledged a put.
    pub(super) fn acknowledged(&mut self, key: &Uid, id: &str) {
        self.lacking.remove(key);
        if self.shows_none && self.first.is_none() {
            self.first = Some((key.clone(), id.to_owned()));
        }
    }

    /// A complete list lacks this record, which was there.
    pub(super) fn lacks(&mut self, key: &Uid, was_shown: bool) {
        self.lacking.insert(key.clone(), Lacking { was_shown, is_wanted: false });
    }

    /// A list is complete. What it lacks follows.
    pub(super) fn end_list(&mut self, shows_none: bool) {
        self.lacking.retain(|_, lacking| std::mem::take(&mut lacking.is_wanted));
        self.shows_none |= shows_none;
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
    fn shown_record_ends_the_doubt() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut unlisted = Unlisted::default();
        unlisted.acknowledged(&a, "a");
        assert!(unlisted.first().is_none(), "no list was empty");
        unlisted.end_list(true);
        unlisted.acknowledged(&a, "1");
        unlisted.acknowledged(&b, "2");
        assert_eq!(unlisted.first(), Some(&(a.clone(), "1".to_owned())));
        unlisted.end_list(false);
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
    fn record_without_a_pod_is_forgotten() {
        let (a, b) = (Uid::from("a"), Uid::from("b"));
        let mut unlisted = Unlisted::default();
        unlisted.end_list(false);
        unlisted.lacks(&a, true);
        unlisted.lacks(&b, false);
        for _ in 0..3 {
            assert!(unlisted.was_never_shown(&b), "it is to be written after each list");
            unlisted.end_list(false);
        }
        assert!(!unlisted.is_lacking(&a) && unlisted.lacking.len() == 1);
    }
}
