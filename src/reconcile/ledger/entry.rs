//! What is believed of one id, in as few bytes as it takes: there is one for every pod.

use super::backlog::BacklogMark;
use crate::model::{
    digest::{Buckets, Fingerprint},
    moment::Moment,
    uid::Uid,
    uid_map::UidMap,
};

/// What the registry is believed to hold of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Not read yet: it may hold anything.
    Unknown,
    /// Being read, on the supposition that it holds this, which a bucket's digest will confirm or refute.
    Assumed(Fingerprint),
    /// It holds nothing.
    Absent,
    /// It holds the record with this fingerprint.
    Registered(Fingerprint),
    /// It may hold anything, as an answer was lost or could not be trusted.
    Uncertain,
}

impl Known {
    fn is_owned(self) -> bool {
        matches!(self, Self::Registered(_) | Self::Uncertain)
    }
}

/// No watch: the number of one that there cannot be.
const NO_WATCH: u16 = u16::MAX;

/// The belief about one id.
#[derive(Clone, Debug)]
pub struct LedgerEntry {
    /// What the registry holds.
    pub known: Known,
    last_seen: Option<Moment>,
    watch: u16,
    /// Which bucket the id belongs to, so that nothing has to be hashed to compare.
    prefix: u16,
    /// While the inventory is read: that an operation on the id was sent or settled since that began,
    pub(super) touched: bool,
    /// and that the registry named it.
    pub(super) named: bool,
    /// What is owed and waits for the walk to come to it.
    pub(super) backlog: Option<BacklogMark>,
}

impl LedgerEntry {
    pub(super) fn new(uid: &Uid, known: Known) -> Self {
        Self {
            known,
            last_seen: None,
            watch: NO_WATCH,
            prefix: Buckets::prefix(&uid.text()),
            touched: false,
            named: false,
            backlog: None,
        }
    }

    /// When there was last evidence that the pod exists: absence counts only in a list begun later.
    pub fn last_seen(&self) -> Option<Moment> {
        self.last_seen
    }

    /// Which watch showed the pod; none for an id that only the registry named. Nor for a watch beyond the 65,535th:
    /// then every watch has to show an absence, which is the more cautious way.
    pub fn watch(&self) -> Option<usize> {
        (self.watch != NO_WATCH).then_some(usize::from(self.watch))
    }

    /// Whether a put is owed that waits for the walk.
    pub fn is_deferred(&self) -> bool {
        self.backlog.is_some()
    }

    /// The bucket that the id belongs to.
    pub(super) fn bucket(&self, division: Buckets) -> usize {
        division.of_prefix(self.prefix)
    }

    /// There was evidence that the pod exists.
    pub(super) fn see(&mut self, at: Moment) {
        self.last_seen = self.last_seen.max(Some(at));
    }

    /// A watch showed the pod.
    pub(super) fn set_watch(&mut self, watch: usize) {
        self.watch = u16::try_from(watch).unwrap_or(NO_WATCH);
    }
}

/// The beliefs, and how many records the registry may hold according to them.
#[derive(Debug, Default)]
pub(super) struct LedgerEntries {
    map: UidMap<LedgerEntry>,
    owned: usize,
}

impl LedgerEntries {
    pub(super) fn owned(&self) -> usize {
        self.owned
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<&LedgerEntry> {
        self.map.get(uid)
    }

    /// The belief at a position of the map, as [`UidMap`] tells of positions.
    pub(super) fn at(&self, position: usize) -> Option<(&Uid, &LedgerEntry)> {
        self.map.at(position)
    }

    /// Changes a belief, which begins with this knowledge if there is none.
    pub(super) fn change<T>(&mut self, uid: &Uid, begin: Known, change: impl FnOnce(&mut LedgerEntry) -> T) -> T {
        let mut new = false;
        let entry = self.map.get_or_insert_with(uid, || {
            new = true;
            LedgerEntry::new(uid, begin)
        });
        let before = !new && entry.known.is_owned();
        let result = change(entry);
        self.owned = self.owned + usize::from(entry.known.is_owned()) - usize::from(before);
        result
    }

    pub(super) fn position_of(&self, uid: &Uid) -> Option<usize> {
        self.map.position_of(uid)
    }

    /// Changes a belief, if there is one.
    pub(super) fn change_existing<T>(&mut self, uid: &Uid, change: impl FnOnce(&mut LedgerEntry) -> T) -> Option<T> {
        self.change_at(self.position_of(uid)?, change)
    }

    /// Changes the belief at a position.
    pub(super) fn change_at<T>(&mut self, position: usize, change: impl FnOnce(&mut LedgerEntry) -> T) -> Option<T> {
        let (_, entry) = self.map.at_mut(position)?;
        let before = entry.known.is_owned();
        let result = change(entry);
        self.owned = self.owned + usize::from(entry.known.is_owned()) - usize::from(before);
        Some(result)
    }

    /// Changes every belief.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(&Uid, &mut LedgerEntry)) {
        for (uid, entry) in self.map.iter_mut() {
            let before = entry.known.is_owned();
            change(uid, entry);
            self.owned = self.owned + usize::from(entry.known.is_owned()) - usize::from(before);
        }
    }

    /// Keeps only some of them.
    pub(super) fn retain(&mut self, keep: impl Fn(&Uid, &LedgerEntry) -> bool) {
        let owned = &mut self.owned;
        self.map.retain(|uid, entry| {
            let stays = keep(uid, entry);
            *owned -= usize::from(!stays && entry.known.is_owned());
            stays
        });
    }

    pub(super) fn remove(&mut self, uid: &Uid) -> Option<LedgerEntry> {
        let entry = self.map.remove(uid)?;
        self.owned -= usize::from(entry.known.is_owned());
        Some(entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, &LedgerEntry)> {
        self.map.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledger_entry_takes_32_bytes() {
        // The documented memory per pod counts on this size.
        assert_eq!((size_of::<Known>(), size_of::<LedgerEntry>()), (17, 32));
    }

    #[test]
    fn watch_number_beyond_its_range_is_dropped() {
        let mut entry = LedgerEntry::new(&"a".into(), Known::Unknown);
        assert_eq!(entry.watch(), None);
        for (watch, shown) in [(0, Some(0)), (65_534, Some(65_534)), (65_535, None), (1_000_000, None)] {
            entry.set_watch(watch);
            assert_eq!(entry.watch(), shown);
        }
    }

    #[test]
    fn sighting_never_goes_back() {
        let mut entry = LedgerEntry::new(&"a".into(), Known::Unknown);
        assert_eq!(entry.last_seen(), None);
        [2, 1].into_iter().for_each(|secs| entry.see(Moment::from_secs(secs)));
        assert_eq!(entry.last_seen(), Some(Moment::from_secs(2)));
    }
}
