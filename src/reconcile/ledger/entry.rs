//! A ledger entry: what the registry is believed to hold for one UID. There is one per pod, so it is small.

use std::num::NonZeroU16;

use crate::model::{
    digest::{Buckets, Fingerprint},
    moment::Moment,
    uid::Uid,
    uid_map::UidMap,
};

/// What the registry is believed to hold for one UID. The states are drawn in [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The inventory was not read yet.
    Unknown,
    /// The reading under way assumes this record; the digest of its bucket will confirm or refute it.
    Assumed(Fingerprint),
    /// The registry holds no record.
    Absent,
    /// The registry holds the record with this fingerprint.
    Registered(Fingerprint),
    /// The registry may hold anything: an answer was lost, or cannot be trusted.
    Uncertain,
}

impl Known {
    fn is_owned(self) -> bool {
        matches!(self, Self::Registered(_) | Self::Uncertain)
    }
}

/// Why a record is in the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BacklogMark {
    Missing,
    Uncertain,
    Differing,
}

impl BacklogMark {
    pub(super) fn of(known: Known) -> Self {
        match known {
            Known::Registered(_) => Self::Differing,
            Known::Uncertain => Self::Uncertain,
            Known::Unknown | Known::Assumed(_) | Known::Absent => Self::Missing,
        }
    }
}

#[derive(Clone, Debug)]
pub struct LedgerEntry {
    pub known: Known,
    last_seen: Option<Moment>,
    /// The number of the watch that showed the pod, counted from 1.
    watch: Option<NonZeroU16>,
    /// The first bits of sha256(UID), stored so that a resync does not hash every UID.
    prefix: u16,
    /// An operation on the UID was sent or answered since the reading of the inventory began.
    pub(super) touched: bool,
    /// The registry named the UID in the reading.
    pub(super) named: bool,
    /// The pending change in the backlog.
    pub(super) backlog: Option<BacklogMark>,
}

impl LedgerEntry {
    pub(super) fn new(uid: &Uid, known: Known) -> Self {
        Self {
            known,
            last_seen: None,
            watch: None,
            prefix: Buckets::prefix(&uid.text()),
            touched: false,
            named: false,
            backlog: None,
        }
    }

    /// When the pod was last seen. It is absent only from a list that began later.
    pub fn last_seen(&self) -> Option<Moment> {
        self.last_seen
    }

    /// The watch that showed the pod. `None` if only the registry named the UID, and for watches beyond the 65,535th:
    /// then the pod has to be absent from every watch, which is the cautious way.
    pub fn watch(&self) -> Option<usize> {
        self.watch.map(|number| usize::from(number.get()) - 1)
    }

    /// Whether a put waits in the backlog.
    pub fn is_deferred(&self) -> bool {
        self.backlog.is_some()
    }

    pub(super) fn bucket(&self, division: Buckets) -> usize {
        division.of_prefix(self.prefix)
    }

    /// The pod was seen.
    pub(super) fn see(&mut self, at: Moment) {
        self.last_seen = self.last_seen.max(Some(at));
    }

    pub(super) fn set_watch(&mut self, watch: usize) {
        self.watch = u16::try_from(watch + 1).ok().and_then(NonZeroU16::new);
    }
}

/// All entries, and how many records the registry may hold according to them.
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

    /// The entry at a [position](UidMap).
    pub(super) fn at(&self, position: usize) -> Option<(&Uid, &LedgerEntry)> {
        self.map.at(position)
    }

    /// Changes an entry. A new one begins with `begin`.
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

    pub(super) fn change_existing<T>(&mut self, uid: &Uid, change: impl FnOnce(&mut LedgerEntry) -> T) -> Option<T> {
        self.change_at(self.position_of(uid)?, change)
    }

    pub(super) fn change_at<T>(&mut self, position: usize, change: impl FnOnce(&mut LedgerEntry) -> T) -> Option<T> {
        let (_, entry) = self.map.at_mut(position)?;
        let before = entry.known.is_owned();
        let result = change(entry);
        self.owned = self.owned + usize::from(entry.known.is_owned()) - usize::from(before);
        Some(result)
    }

    pub(super) fn change_all(&mut self, mut change: impl FnMut(&Uid, &mut LedgerEntry)) {
        for (uid, entry) in self.map.iter_mut() {
            let before = entry.known.is_owned();
            change(uid, entry);
            self.owned = self.owned + usize::from(entry.known.is_owned()) - usize::from(before);
        }
    }

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
        // The documented memory per pod includes this size.
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
    fn last_seen_never_goes_back() {
        let mut entry = LedgerEntry::new(&"a".into(), Known::Unknown);
        assert_eq!(entry.last_seen(), None);
        [2, 1].into_iter().for_each(|secs| entry.see(Moment::from_secs(secs)));
        assert_eq!(entry.last_seen(), Some(Moment::from_secs(2)));
    }
}
