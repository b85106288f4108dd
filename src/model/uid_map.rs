//! A map by UID that takes little more memory than its entries, and gives memory back when entries leave.
//!
//! Entries are stored in chunks of equal size, so growth copies none of them; beside them is an index of four-byte
//! positions. A removal moves the last entry into the gap.
//!
//! **Positions.** Entries have the positions 0 to `len() - 1`. A scan from the highest position down to 0 sees every
//! entry that stays in the map, whatever is added or removed during the scan: an entry moves only from the highest
//! position, so it was seen already or moves to a position that is still to come. A moved entry may be seen twice, and
//! an added one may be missed.
//!
//! **Order.** Positions, and therefore the order of every iteration, depend only on the sequence of inserts and
//! removals, not on hashes, which differ in every run. The simulator needs that to repeat a history.
//!
//! **Why not `indexmap`.** It has the same positions, but stores an 8-byte hash per entry and 8-byte positions, and
//! grows by doubling. A map of a million values of 32 bytes, filled one by one, takes 136 bytes per entry (195 while it
//! grows) with indexmap 2.14, and 67 here.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
};

use hashbrown::{HashTable, hash_table::Entry};

use super::uid::Uid;

/// Entries per chunk.
const CHUNK: usize = 1024;
/// Smaller indexes are not shrunk.
const MIN_INDEX: usize = 64;

/// A map from UIDs to values, with positions.
#[derive(Debug)]
pub struct UidMap<V> {
    entries: Entries<V>,
    /// The position of each entry, found by the hash of its UID.
    index: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed<V> {
    pub value: V,
    /// The former position of the removed entry.
    pub position: usize,
    /// The former position of the entry that filled the gap; `None` if the last entry was removed.
    pub moved_from: Option<usize>,
}

impl<V> Default for UidMap<V> {
    fn default() -> Self {
        Self { entries: Entries::default(), index: HashTable::new(), hasher: RandomState::new() }
    }
}

impl<V> UidMap<V> {
    pub fn len(&self) -> usize {
        self.entries.len
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains(&self, uid: &Uid) -> bool {
        self.position_of(uid).is_some()
    }

    pub fn get(&self, uid: &Uid) -> Option<&V> {
        let (_, value) = self.at(self.position_of(uid)?)?;
        Some(value)
    }

    pub fn get_mut(&mut self, uid: &Uid) -> Option<&mut V> {
        let (_, value) = self.at_mut(self.position_of(uid)?)?;
        Some(value)
    }

    pub fn position_of(&self, uid: &Uid) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(uid);
        self.index.find(hash, |place| self.entries.uid(*place) == uid).map(|place| *place as usize)
    }

    pub fn at(&self, position: usize) -> Option<(&Uid, &V)> {
        let (uid, value) = self.entries.get(position)?;
        Some((uid, value))
    }

    pub fn at_mut(&mut self, position: usize) -> Option<(&Uid, &mut V)> {
        let (uid, value) = self.entries.get_mut(position)?;
        Some((uid, value))
    }

    /// Inserts a value if the UID has none. A new entry gets the position `len()`.
    pub fn get_or_insert_with(&mut self, uid: &Uid, make: impl FnOnce() -> V) -> &mut V {
        self.grow_index();
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let found = self.index.entry(
            hasher.hash_one(uid),
            |place| entries.uid(*place) == uid,
            |place| hasher.hash_one(entries.uid(*place)),
        );
        match found {
            Entry::Occupied(found) => entries.value_mut(*found.get()),
            Entry::Vacant(vacant) => {
                let place = to_place(entries.len);
                vacant.insert(place);
                entries.push(uid.clone(), make());
                entries.value_mut(place)
            }
        }
    }

    /// Inserts a value and returns the one that it replaces.
    pub fn insert(&mut self, uid: &Uid, value: V) -> Option<V> {
        if let Some(present) = self.get_mut(uid) {
            return Some(std::mem::replace(present, value));
        }
        self.get_or_insert_with(uid, || value);
        None
    }

    pub fn remove(&mut self, uid: &Uid) -> Option<V> {
        self.remove_entry(uid).map(|removed| removed.value)
    }

    pub fn remove_entry(&mut self, uid: &Uid) -> Option<Removed<V>> {
        self.remove_at(self.position_of(uid)?)
    }

    pub fn remove_at(&mut self, position: usize) -> Option<Removed<V>> {
        let (place, last) = (to_place(position), self.entries.len.checked_sub(1)?);
        let hash = self.hasher.hash_one(&self.entries.get(position)?.0);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        if position != last {
            let (moved, hash) = (to_place(last), self.hasher.hash_one(&self.entries.get(last)?.0));
            if let Some(found) = self.index.find_mut(hash, |other| *other == moved) {
                *found = place;
            }
        }
        let value = self.entries.swap_remove(position)?;
        self.shrink_index();
        Some(Removed { value, position, moved_from: (position != last).then_some(last) })
    }

    /// Keeps the entries for which `keep` returns true. It is called from the highest position down.
    pub fn retain(&mut self, keep: impl FnMut(&Uid, &mut V) -> bool) {
        self.retain_in(0..self.len(), keep);
    }

    /// The same for the entries at these positions. There may be fewer.
    pub fn retain_in(&mut self, positions: Range<usize>, mut keep: impl FnMut(&Uid, &mut V) -> bool) {
        for position in positions.rev() {
            if self.at_mut(position).is_some_and(|(uid, value)| !keep(uid, value)) {
                self.remove_at(position);
            }
        }
    }

    pub fn clear(&mut self) {
        (self.entries, self.index) = (Entries::default(), HashTable::new());
    }

    /// Iterates in the order of positions.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Uid, &V)> {
        self.entries.chunks.iter().flatten().map(|(uid, value)| (uid, value))
    }

    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&Uid, &mut V)> {
        self.entries.chunks.iter_mut().flatten().map(|(uid, value)| (&*uid, value))
    }

    /// Size in bytes, without the heap memory of UIDs and values.
    pub fn memory(&self) -> usize {
        self.entries.chunks.len() * CHUNK * size_of::<(Uid, V)>() + self.index.allocation_size()
    }

    /// Rebuilds a full index, and doubles it if more than half of it is entries, not tombstones.
    fn grow_index(&mut self) {
        if self.index.len() == self.index.capacity() {
            let full = self.index.num_buckets() / 8 * 7;
            let crowded = self.len() > full / 2;
            self.rebuild_index(full + usize::from(crowded));
        }
    }

    /// Rebuilds an index that is less than a quarter full, with room to grow.
    fn shrink_index(&mut self) {
        if self.index.capacity() > MIN_INDEX.max(4 * self.len()) {
            self.rebuild_index(2 * self.len());
        }
    }

    /// Rebuilds the index from the entries in their order. Moving the old index would read the entries in random order,
    /// and needs the memory of both.
    fn rebuild_index(&mut self, capacity: usize) {
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index = HashTable::new();
        self.index.reserve(capacity.max(entries.len + 1), |_| 0);
        for (position, (uid, _)) in entries.chunks.iter().flatten().enumerate() {
            let rehash = |place: &u32| hasher.hash_one(entries.uid(*place));
            self.index.insert_unique(hasher.hash_one(uid), to_place(position), rehash);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "four billion entries do not fit into memory")]
fn to_place(position: usize) -> u32 {
    position as u32
}

#[derive(Debug)]
struct Entries<V> {
    /// All chunks are full except the last one with entries. An empty one may follow it.
    chunks: Vec<Vec<(Uid, V)>>,
    len: usize,
}

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<V> Entries<V> {
    fn get(&self, position: usize) -> Option<&(Uid, V)> {
        self.chunks.get(position / CHUNK)?.get(position % CHUNK)
    }

    fn get_mut(&mut self, position: usize) -> Option<&mut (Uid, V)> {
        self.chunks.get_mut(position / CHUNK)?.get_mut(position % CHUNK)
    }

    /// The UID of an entry that the index names.
    fn uid(&self, place: u32) -> &Uid {
        let place = place as usize;
        &self.chunks[place / CHUNK][place % CHUNK].0
    }

    /// The value of an entry that the index names.
    fn value_mut(&mut self, place: u32) -> &mut V {
        let place = place as usize;
        &mut self.chunks[place / CHUNK][place % CHUNK].1
    }

    fn push(&mut self, uid: Uid, value: V) {
        if self.len == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[self.len / CHUNK].push((uid, value));
        self.len += 1;
    }

    fn swap_remove(&mut self, position: usize) -> Option<V> {
        let last = self.chunks.get_mut(self.len.checked_sub(1)? / CHUNK)?.pop()?;
        self.len -= 1;
        let removed = match self.get_mut(position) {
            Some(gap) => std::mem::replace(gap, last),
            None => last,
        };
        self.drop_empty();
        Some(removed.1)
    }

    /// Keeps an empty chunk until the one before it is half empty, so that changes at the end of a chunk do not
    /// allocate each time.
    fn drop_empty(&mut self) {
        while self.chunks.len() * CHUNK >= self.len + CHUNK + CHUNK / 2 {
            self.chunks.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{
        collection::vec,
        prelude::*,
        property_test,
        sample::{Index, select},
    };

    use super::*;

    fn uid(n: usize) -> Uid {
        Uid::from(n.to_string())
    }

    /// Compares everything that the map shows with the model.
    fn check(map: &UidMap<usize>, model: &BTreeMap<Uid, usize>, seed: u64) {
        assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()), "seed {seed}");
        let listed: BTreeMap<Uid, usize> = map.iter().map(|(uid, value)| (uid.clone(), *value)).collect();
        assert_eq!(&listed, model, "seed {seed}");
        for (position, (uid, value)) in map.iter().enumerate() {
            assert_eq!(map.at(position), Some((uid, value)), "seed {seed}");
            assert_eq!((map.position_of(uid), map.get(uid)), (Some(position), Some(value)), "seed {seed}");
        }
        assert_eq!(map.at(map.len()), None, "seed {seed}");
        assert_eq!(
            (map.index.len(), map.entries.chunks.iter().flatten().count()),
            (map.len(), map.len()),
            "seed {seed}"
        );
    }

    /// Random changes of about `most` UIDs: phases of growth and of shrinkage alternate.
    fn history(seed: u64, most: usize, steps: usize) -> Vec<Uid> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut map, mut model) = (UidMap::default(), BTreeMap::new());
        for step in 0..steps {
            let (uid, shrinking) = (uid(rng.usize(..most)), step / most % 2 == 1);
            match rng.usize(..10) {
                0 => {
                    let value = map.get_or_insert_with(&uid, || step);
                    assert_eq!(*value, *model.entry(uid).or_insert(step), "seed {seed}");
                }
                1 => assert_eq!(map.get_mut(&uid).map(|value| *value += 1), model.get_mut(&uid).map(|v| *v += 1)),
                2 if !map.is_empty() => {
                    let position = rng.usize(..map.len());
                    let (at, highest) = (map.at(position).unwrap().0.clone(), map.at(map.len() - 1).unwrap().0.clone());
                    let Removed { value, moved_from, .. } = map.remove_at(position).unwrap();
                    assert_eq!(Some(value), model.remove(&at), "seed {seed}");
                    assert_eq!(moved_from, (highest != at).then_some(map.len()), "seed {seed}");
                    assert_eq!(map.at(position).map(|(uid, _)| uid), moved_from.map(|_| &highest), "seed {seed}");
                }
                3..6 if !shrinking => assert_eq!(map.insert(&uid, step), model.insert(uid, step), "seed {seed}"),
                6..9 if shrinking => assert_eq!(map.remove(&uid), model.remove(&uid), "seed {seed}"),
                _ => assert_eq!(map.contains(&uid), model.contains_key(&uid), "seed {seed}"),
            }
            if step % (most / 2) == 0 {
                check(&map, &model, seed);
                map.retain(|uid, value| !(*value).is_multiple_of(7) || uid.to_string().len() > 3);
                model.retain(|uid, value| !(*value).is_multiple_of(7) || uid.to_string().len() > 3);
                check(&map, &model, seed);
            }
        }
        check(&map, &model, seed);
        map.iter().map(|(uid, _)| uid.clone()).collect()
    }

    #[test]
    fn map_order_depends_only_on_its_history() {
        // The map holds the same as an ordinary one.
        for round in 0..16 {
            let seed = fastrand::u64(..);
            let most = [4, 70, 1_100, 2_500][round % 4];
            assert_eq!(history(seed, most, 10 * most), history(seed, most, 10 * most), "seed {seed}: other hashes");
        }
    }

    /// What happens to an entry between two steps of a scan.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        Leaves,
        Returns,
        IsReplaced,
    }

    const CHANGES: [Change; 3] = [Change::Leaves, Change::Returns, Change::IsReplaced];

    #[property_test]
    fn downward_scan_sees_every_lasting_entry(
        #[strategy = 1..300_usize] count: usize,
        #[strategy = vec(vec((any::<Index>(), select(&CHANGES)), 0..3), 600)] steps: Vec<Vec<(Index, Change)>>,
    ) {
        // Other entries are added and removed during the scan.
        let mut map = UidMap::default();
        (0..count).for_each(|n| _ = map.insert(&uid(n), n));
        let (mut seen, mut removed) = (vec![false; count], vec![false; count]);
        let (mut cursor, mut steps) = (map.len(), steps.into_iter());
        while let Some(position) = cursor.checked_sub(1) {
            if let Some((_, n)) = map.at(position).filter(|(_, n)| **n < count) {
                seen[*n] = true;
            }
            cursor = position;
            for (index, change) in steps.next().unwrap_or_default() {
                let n = index.index(count);
                map.remove(&uid(n));
                removed[n] = true;
                match change {
                    Change::Leaves => {}
                    Change::Returns => _ = map.insert(&uid(n), count),
                    Change::IsReplaced => _ = map.insert(&uid(count + n), count),
                }
            }
        }
        assert!((0..count).all(|n| seen[n] || removed[n]));
    }

    #[test]
    fn map_memory_follows_the_number_of_entries() {
        let mut map = UidMap::default();
        assert_eq!(map.memory(), 0);
        let entry = size_of::<(Uid, u64)>();
        for n in 0..100_000_u64 {
            map.insert(&uid(usize::try_from(n).unwrap()), n);
            let most = (map.len() + CHUNK) * entry + 12 * map.len() + 64;
            assert!(map.memory() <= most, "{n}: {} bytes, at most {most}", map.memory());
        }
        let full = map.memory();
        map.retain(|_, value| value.is_multiple_of(100));
        assert_eq!(map.len(), 1_000);
        assert!(map.memory() < full / 40, "{} of {full}", map.memory());
        map.retain(|_, _| false);
        assert!(map.memory() <= CHUNK * entry + 12 * MIN_INDEX, "{}", map.memory());
        map.clear();
        assert_eq!(map.memory(), 0);
    }

    #[test]
    fn churn_at_a_chunks_end_allocates_nothing() {
        let mut map = UidMap::default();
        (0..CHUNK).for_each(|n| _ = map.insert(&uid(n), n));
        map.insert(&uid(CHUNK), CHUNK);
        let memory = map.memory();
        for _ in 0..10 {
            map.remove(&uid(CHUNK));
            assert_eq!(map.memory(), memory);
            map.insert(&uid(CHUNK), CHUNK);
        }
        (0..CHUNK / 2 + 1).for_each(|n| _ = map.remove(&uid(n)));
        assert!(map.memory() < memory);
    }
}
