//! Texts that pods share, each stored once with a reference count.
//!
//! Library interners do not fit: `lasso` releases no single text, and `internment` returns pointers of eight bytes
//! where a packed pod stores one to three bytes per name.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

/// Minimum and maximum number of candidates, powers of two. In between it follows the number of texts, so that the
/// store of a small namespace, of which there may be hundreds, stays small.
const CANDIDATES: (usize, usize) = (256, 65_536);
/// Candidates per group. With one, two texts of the same pods with equal hashes would evict each other forever, and
/// neither would be stored.
const WAYS: usize = 4;
/// Smaller capacities are not shrunk.
const MIN_CAPACITY: usize = 64;

/// A reference to a text in [`NameTable`]. Give it back with [`NameTable::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

impl NameId {
    pub(super) fn number(self) -> u32 {
        self.0
    }

    pub(super) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A short hash of a pod, so that a pod that is seen twice does not count as two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodTag(u16);

/// Texts with reference counts. Releasing the last reference removes the text.
///
/// An entry costs some eighty bytes, so a text of a single pod is cheaper within the pod. [`NameTable::intern`] stores
/// a text at once; [`NameTable::intern_if_shared`] stores it when it is seen in a second pod.
#[derive(Debug, Default)]
pub struct NameTable {
    entries: Vec<Entry>,
    /// Positions in `entries`, by the hash of the text.
    index: HashTable<u32>,
    /// Free positions, the lowest first: low numbers are short, and the end of `entries` can be freed. A position may
    /// be outdated: it counts only if it exists and is free.
    free: BinaryHeap<Reverse<u32>>,
    /// Texts that were seen once: the hash selects a group of [`WAYS`], newest first, and the oldest is evicted. A lost
    /// candidate costs only memory.
    candidates: Vec<Candidate>,
    hasher: RandomState,
    /// Total size of all texts in bytes.
    text_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    /// The number of references; 0 for a free position.
    count: u32,
}

/// A text that was seen in one pod. Both are zero in an unused place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Candidate {
    text: u16,
    pod_tag: u16,
}

impl NameTable {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reference to a text, and stores it if it is new.
    pub fn intern(&mut self, text: &str) -> NameId {
        let hash = self.hasher.hash_one(text);
        self.held(hash, text).unwrap_or_else(|| self.insert(hash, text))
    }

    /// Adds a reference to a text that is stored or was recently seen in another pod. Returns `None` otherwise: the
    /// caller then writes the text in full.
    pub fn intern_if_shared(&mut self, text: &str, pod_tag: PodTag) -> Option<NameId> {
        let hash = self.hasher.hash_one(text);
        self.held(hash, text).or_else(|| self.seen_elsewhere(hash, pod_tag).then(|| self.insert(hash, text)))
    }

    pub fn pod_tag(&self, namespace: &str, name: &str) -> PodTag {
        let [low, high, ..] = self.hasher.hash_one((namespace, name)).to_le_bytes();
        PodTag(u16::from_le_bytes([low, high]))
    }

    /// The text, or an empty one after its release.
    pub fn get(&self, name: NameId) -> &str {
        self.entry(name.0).map_or("", |entry| &entry.text)
    }

    /// Releases a reference. The last one removes the text.
    pub fn release(&mut self, name: NameId) {
        let Some(entry) = self.entries.get_mut(place(name.0)).filter(|entry| entry.count > 0) else { return };
        // A saturated count is no longer exact, so the text stays.
        if entry.count != u32::MAX {
            entry.count -= 1;
        }
        if entry.count == 0 {
            self.remove(name.0);
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The memory in bytes, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        self.text_bytes
            + self.entries.capacity() * size_of::<Entry>()
            + self.index.allocation_size()
            + self.free.capacity() * size_of::<u32>()
            + self.candidates.capacity() * size_of::<Candidate>()
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(place(number))
    }

    /// Adds a reference to a stored text.
    fn held(&mut self, hash: u64, text: &str) -> Option<NameId> {
        let entries = &mut self.entries;
        let number = *self.index.find(hash, |number| entries.get(place(*number)).is_some_and(|e| *e.text == *text))?;
        let entry = entries.get_mut(place(number))?;
        entry.count = entry.count.saturating_add(1);
        Some(NameId(number))
    }

    fn insert(&mut self, hash: u64, text: &str) -> NameId {
        let entry = Entry { text: text.into(), count: 1 };
        let number = self.vacant();
        match self.entries.get_mut(place(number)) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        self.text_bytes += text.len();
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, number, |number| hash_at(entries, hasher, *number));
        NameId(number)
    }

    /// The lowest free position, or the end.
    fn vacant(&mut self) -> u32 {
        while let Some(Reverse(number)) = self.free.pop() {
            if self.entry(number).is_some_and(|entry| entry.count == 0) {
                return number;
            }
        }
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn remove(&mut self, number: u32) {
        let hash = hash_at(&self.entries, &self.hasher, number);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == number) {
            found.remove();
        }
        if let Some(entry) = self.entries.get_mut(place(number)) {
            self.text_bytes -= entry.text.len();
            entry.text = Box::default();
        }
        self.free.push(Reverse(number));
        while self.entries.last().is_some_and(|entry| entry.count == 0) {
            self.entries.pop();
        }
        self.shrink();
    }

    /// Frees memory when three quarters of it are unused.
    fn shrink(&mut self) {
        let spacious = |capacity: usize, len: usize| capacity > MIN_CAPACITY && len < capacity / 4;
        if self.is_empty() {
            (self.free, self.candidates) = (BinaryHeap::new(), Vec::new());
        }
        if spacious(self.entries.capacity(), self.entries.len()) {
            self.entries.shrink_to(self.entries.len() * 2);
            let end = self.entries.len();
            self.free.retain(|Reverse(number)| place(*number) < end);
            self.free.shrink_to(self.free.len() * 2);
        }
        if spacious(self.index.capacity(), self.index.len()) {
            let (entries, hasher) = (&self.entries, &self.hasher);
            self.index.shrink_to(self.index.len() * 2, |number| hash_at(entries, hasher, *number));
        }
    }

    /// Whether the text was recently seen in another pod. If it was not seen at all, it becomes a candidate.
    fn seen_elsewhere(&mut self, hash: u64, pod_tag: PodTag) -> bool {
        let places = self.len().next_power_of_two().clamp(CANDIDATES.0, CANDIDATES.1);
        if self.candidates.len() < places {
            // Growing drops the candidates. Their texts are written in full once more.
            self.candidates = vec![Candidate::default(); places];
        }
        let [low, high, tag_low, tag_high, ..] = hash.to_le_bytes();
        let text = u16::from_le_bytes([tag_low, tag_high]).max(1);
        let group = usize::from(u16::from_le_bytes([low, high])) & (self.candidates.len() / WAYS - 1);
        let Some(group) = self.candidates.chunks_exact_mut(WAYS).nth(group) else { return false };
        if let Some(candidates) = group.iter().find(|candidates| candidates.text == text) {
            return candidates.pod_tag != pod_tag.0;
        }
        group.rotate_right(1);
        if let Some(newest) = group.first_mut() {
            *newest = Candidate { text, pod_tag: pod_tag.0 };
        }
        false
    }
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn hash_at(entries: &[Entry], hasher: &RandomState, number: u32) -> u64 {
    hasher.hash_one(entries.get(place(number)).map_or("", |entry| &*entry.text))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn few_texts_take_little_memory() {
        let mut names = NameTable::new();
        for n in 0..100 {
            let (text, name) = (format!("text-{n}"), format!("pod-{n}"));
            let pod_tag = names.pod_tag("shop", &name);
            assert_eq!(names.intern_if_shared(&text, pod_tag), None);
        }
        assert!(names.bytes() <= 2_048, "{} bytes", names.bytes());
    }

    #[test]
    fn text_is_kept_once_until_its_last_release() {
        let mut names = NameTable::new();
        let first = names.intern("shop");
        assert_eq!((names.intern("shop"), names.len()), (first, 1));
        names.release(first);
        assert_eq!(names.get(first), "shop");
        names.release(first);
        assert!(names.is_empty() && names.get(first).is_empty());
        // A second release of the last reference has no effect.
        names.release(first);
        assert_eq!(names.intern("other"), first);
        assert_eq!(names.get(first), "other");
    }

    #[test]
    fn offered_text_is_shared_from_the_second_pod() {
        let mut names = NameTable::new();
        let (one, two) = (names.pod_tag("shop", "web-0"), names.pod_tag("shop", "web-1"));
        assert_ne!(one, two);
        assert_eq!(names.intern_if_shared("text", one), None);
        assert_eq!(names.intern_if_shared("text", one), None, "the same pod, seen again");
        let name = names.intern_if_shared("text", two).unwrap();
        assert_eq!(names.intern_if_shared("text", one), Some(name));
        assert_eq!(names.get(name), "text");
    }

    /// Texts that all pods share are stored from the second pod on, whatever their hashes are.
    #[test]
    fn shared_texts_do_not_evict_each_other() {
        for _ in 0..2_000 {
            let mut names = NameTable::new();
            let intern_if_shared = |names: &mut NameTable, pod: &str| {
                let pod_tag = names.pod_tag("shop", pod);
                (0..8).filter(|n| names.intern_if_shared(&format!("text-{n}"), pod_tag).is_some()).count()
            };
            assert_eq!(intern_if_shared(&mut names, "web-0"), 0);
            assert_eq!(intern_if_shared(&mut names, "web-1"), 8);
        }
    }

    #[test]
    fn low_places_are_used_first() {
        // Memory at the end is freed.
        let mut names = NameTable::new();
        let all: Vec<NameId> = (0..10_000).map(|n| names.intern(&format!("text {n}"))).collect();
        let full = names.bytes();
        for name in all.iter().skip(10) {
            names.release(*name);
        }
        assert!(names.bytes() < full / 50, "{} of {full} bytes", names.bytes());
        names.release(all[3]);
        names.release(all[7]);
        assert_eq!(names.intern("new"), all[3]);
        assert_eq!(names.intern("newer"), all[7]);
        assert_eq!(names.intern("newest"), NameId(10));
    }

    /// References are added and released at random: referenced texts are stored, and the others are not.
    #[test]
    #[expect(clippy::print_stdout, reason = "shown by the test runner if the test fails")]
    fn texts_are_neither_lost_nor_leaked() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut names = NameTable::new();
        let mut held: Vec<(NameId, String)> = Vec::new();
        for step in 0..40_000 {
            // Phases of growth and shrinkage alternate.
            let grows = if step / 5_000 % 2 == 0 { 8 } else { 3 };
            if rng.u8(..10) < grows || held.is_empty() {
                let text = format!("{}", rng.u32(..3_000));
                let pod_tag = PodTag(rng.u16(..));
                let name = if rng.bool() { Some(names.intern(&text)) } else { names.intern_if_shared(&text, pod_tag) };
                held.extend(name.map(|name| (name, text)));
            } else {
                let (name, _) = held.swap_remove(rng.usize(..held.len()));
                names.release(name);
            }
            if step % 1_000 == 0 {
                let texts: HashMap<&str, NameId> = held.iter().map(|(name, text)| (text.as_str(), *name)).collect();
                assert_eq!(names.len(), texts.len());
                assert!(held.iter().all(|(name, text)| names.get(*name) == text && texts[text.as_str()] == *name));
                assert_eq!(names.text_bytes, texts.keys().map(|text| text.len()).sum::<usize>());
            }
        }
        held.push((names.intern("last"), "last".to_owned()));
        for (name, _) in held {
            names.release(name);
        }
        assert!(names.is_empty() && names.entries.is_empty() && names.text_bytes == 0 && names.candidates.is_empty());
        assert!(names.bytes() < 4_000, "{} bytes", names.bytes());
    }
}
