//! Records whose keys are made of ids, which several pods can have.
//!
//! The pod that was created last owns the record; of pods created at the same time, the one with the larger UID. When
//! it leaves, the next one owns the record, and is projected again.
//!
//! | a pod | is in |
//! | --- | --- |
//! | that has records | `pods`; the owner of each also in `keys`, the others in `others` |
//! | whose records cannot be made and never could | `unknown`: their keys are not known |
//! | that the store lost without an event | `gone`, until its records are deleted |
//! | that is not selected, or has no record | nothing |

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use super::{Keys, Left, Projected};
use crate::{
    model::{
        pod::{Pod, StoredPod},
        recent::Recent,
        time,
        uid::Uid,
        uid_map::UidMap,
    },
    registry::{DesiredState, Projection},
};

/// Departed pods whose keys are kept, at least.
const DEPARTED_KEPT: usize = 200;

#[derive(Default)]
pub(super) struct KeyedRecords {
    pods: UidMap<Member>,
    keys: UidMap<Owned>,
    /// The other pods of keys that several pods have.
    others: HashMap<Uid, BTreeSet<Rank>>,
    unknown: UidMap<()>,
    /// The keys of pods that the store no longer has. Their deletion events may be still to come, and a second list
    /// may show that they exist.
    gone: UidMap<Keys>,
    /// The keys that pods had lately, for people who ask about such a pod.
    departed: Recent<Keys>,
}

/// A pod that has records.
struct Member {
    keys: Keys,
    /// Milliseconds since 1970. The least number if it cannot be read.
    created: i64,
}

/// A record and the pod that owns it.
struct Owned {
    owner: Uid,
    shown: StoredPod,
}

/// The pods of a key in the order in which they own its record, the last one first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    created: i64,
    uid: Uid,
}

impl KeyedRecords {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn shown(&self, key: &Uid) -> Option<StoredPod> {
        self.keys.get(key).map(|owned| owned.shown)
    }

    pub(super) fn owner_of(&self, key: &Uid) -> Option<&Uid> {
        self.keys.get(key).map(|owned| &owned.owner)
    }

    pub(super) fn keys_of(&self, pod: &Uid) -> &[Uid] {
        self.pods.get(pod).map(|member| &*member.keys).unwrap_or_default()
    }

    /// Also for a pod that the store no longer has.
    pub(super) fn last_keys_of(&self, pod: &Uid) -> &[Uid] {
        let gone = || self.gone.get(pod).map(|keys| &**keys).unwrap_or_default();
        self.pods.get(pod).map_or_else(gone, |member| &member.keys)
    }

    /// The keys that a pod had before it left, lately.
    pub(super) fn departed_keys_of(&self, pod: &Uid) -> &[Uid] {
        self.gone.get(pod).or_else(|| self.departed.get(pod)).map(|keys| &**keys).unwrap_or_default()
    }

    /// All pods that have the record of a key.
    pub(super) fn pods_of(&self, key: &Uid) -> impl Iterator<Item = &Uid> {
        let others = self.others.get(key).into_iter().flatten().map(|rank| &rank.uid);
        self.owner_of(key).into_iter().chain(others)
    }

    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    pub(super) fn project(&mut self, pod: &Pod, projection: Projection) -> Projected {
        match projection {
            Projection::Record { key, fingerprint } => self.take(pod, &[(key, StoredPod::Record(fingerprint))]),
            Projection::Records(records) => {
                let shown = |state| match state {
                    DesiredState::Made(fingerprint) => StoredPod::Record(fingerprint),
                    DesiredState::Waits | DesiredState::Failed { .. } => StoredPod::Unreadable,
                };
                let records: Vec<(Uid, StoredPod)> =
                    records.into_iter().map(|record| (record.key, shown(record.state))).collect();
                self.take(pod, &records)
            }
            Projection::NotSelected(_) => Projected { keys: Keys::default(), left: self.remove(&pod.uid) },
            Projection::Unreadable | Projection::Failed { .. } => Projected { keys: self.keep(pod), left: Vec::new() },
        }
    }

    /// The pod has these records.
    fn take(&mut self, pod: &Pod, records: &[(Uid, StoredPod)]) -> Projected {
        let created = created(pod);
        let keys: Keys = records.iter().map(|(key, _)| key.clone()).collect();
        let mut left = match self.pods.get_mut(&pod.uid).filter(|before| before.created == created) {
            Some(before) if before.keys == keys => Vec::new(),
            Some(before) => {
                let before = std::mem::replace(&mut before.keys, keys.clone());
                let lost = before.iter().filter(|key| !keys.contains(key));
                lost.filter_map(|key| self.leave(key, created, &pod.uid)).collect()
            }
            None => {
                let left = self.remove(&pod.uid);
                self.pods.insert(&pod.uid, Member { keys: keys.clone(), created });
                left
            }
        };
        if keys.is_empty() {
            self.pods.remove(&pod.uid);
        }
        for (key, shown) in records {
            self.enter(key, Rank { created, uid: pod.uid.clone() }, *shown);
        }
        // It may have the same key again.
        left.retain(|left| !matches!(left, Left::Free(free) if keys.contains(free)));
        Projected { keys, left }
    }

    /// The records of this pod stay as they are. Returns their keys, if they are known.
    fn keep(&mut self, pod: &Pod) -> Keys {
        if let Some(keys) = self.pods.get(&pod.uid).map(|member| member.keys.clone()) {
            for key in keys.iter() {
                if let Some(owned) = self.keys.get_mut(key).filter(|owned| owned.owner == pod.uid) {
                    owned.shown = StoredPod::Unreadable;
                }
            }
            return keys;
        }
        let Some(keys) = self.gone.remove(&pod.uid) else {
            self.unknown.insert(&pod.uid, ());
            return Keys::default();
        };
        let created = created(pod);
        self.pods.insert(&pod.uid, Member { keys: keys.clone(), created });
        for key in keys.iter() {
            self.enter(key, Rank { created, uid: pod.uid.clone() }, StoredPod::Unreadable);
        }
        keys
    }

    /// The pod has the record of this key.
    fn enter(&mut self, key: &Uid, rank: Rank, shown: StoredPod) {
        let Some(owned) = self.keys.get_mut(key) else {
            self.keys.insert(key, Owned { owner: rank.uid, shown });
            return;
        };
        if owned.owner == rank.uid {
            owned.shown = shown;
            return;
        }
        let created = self.pods.get(&owned.owner).map_or(i64::MIN, |owner| owner.created);
        let before = Rank { created, uid: owned.owner.clone() };
        let others = self.others.entry(key.clone()).or_default();
        if rank > before {
            others.remove(&rank);
            others.insert(before);
            *owned = Owned { owner: rank.uid, shown };
        } else {
            others.insert(rank);
        }
    }

    /// The pod has no record any more.
    pub(super) fn remove(&mut self, pod: &Uid) -> Vec<Left> {
        self.unknown.remove(pod);
        if let Some(Member { keys, created }) = self.pods.remove(pod) {
            let left = keys.iter().filter_map(|key| self.leave(key, created, pod)).collect();
            self.departed.insert(pod, keys, DEPARTED_KEPT);
            return left;
        }
        let keys = self.gone.remove(pod).unwrap_or_default();
        keys.iter().filter(|key| !self.keys.contains(key)).cloned().map(Left::Free).collect()
    }

    fn leave(&mut self, key: &Uid, created: i64, pod: &Uid) -> Option<Left> {
        let owned = self.keys.get_mut(key)?;
        let others = self.others.get_mut(key);
        let left = if owned.owner != *pod {
            others?.remove(&Rank { created, uid: pod.clone() });
            None
        } else if let Some(next) = others.and_then(BTreeSet::pop_last) {
            // Until it is projected, the record stays as it is.
            *owned = Owned { owner: next.uid.clone(), shown: StoredPod::Unreadable };
            Some(Left::Passed { key: key.clone(), to: next.uid })
        } else {
            self.keys.remove(key);
            Some(Left::Free(key.clone()))
        };
        if self.others.get(key).is_some_and(BTreeSet::is_empty) {
            self.others.remove(key);
        }
        left
    }

    /// The number of pods that have a record.
    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// The number of rows that [`Self::retain_without`] looks at.
    pub(super) fn without(&self) -> usize {
        self.unknown.len().max(self.gone.len())
    }

    /// Forgets the pods without a record, at these positions, that do not exist. `is_held` says whether the registry
    /// may hold the record of a key.
    pub(super) fn retain_without(
        &mut self,
        positions: Range<usize>,
        exists: impl Fn(&Uid) -> bool,
        is_held: impl Fn(&Uid) -> bool,
    ) {
        self.unknown.retain_in(positions.clone(), |pod, ()| exists(pod));
        let keys = &self.keys;
        self.gone.retain_in(positions, |_, gone| gone.iter().any(|key| is_held(key) && !keys.contains(key)));
    }

    /// Removes the pods at these positions that do not exist. Returns the pods that own a record instead of one of
    /// them.
    pub(super) fn retain_in(&mut self, positions: Range<usize>, exists: impl Fn(&Uid) -> bool) -> Vec<Uid> {
        let pods = positions.rev().filter_map(|position| self.pods.at(position)).map(|(pod, _)| pod);
        let missing: Vec<Uid> = pods.filter(|pod| !exists(pod)).cloned().collect();
        let mut passed = Vec::new();
        for pod in missing {
            let Some(Member { keys, created }) = self.pods.remove(&pod) else { continue };
            for key in keys.iter() {
                if let Some(Left::Passed { to, .. }) = self.leave(key, created, &pod) {
                    passed.push(to);
                }
            }
            self.gone.insert(&pod, keys);
        }
        passed
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.pods.memory() + self.keys.memory()
    }
}

fn created(pod: &Pod) -> i64 {
    let created = pod.content.as_ref().and_then(|content| time::parse(&content.record.times.created));
    created.map_or(i64::MIN, |at| at.as_millisecond())
}
