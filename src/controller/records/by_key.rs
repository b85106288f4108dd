//! Records whose keys are made of ids, which several pods can have.
//!
//! The pod that was created last owns the record; of pods created at the same time, the one with the larger UID. When
//! it leaves, the next one owns the record, and is projected again.
//!
//! | a pod | is in |
//! | --- | --- |
//! | that has a record | `pods`; the owner also in `keys`, the others in `others` |
//! | whose record cannot be made and never could | `unknown`: its key is not known |
//! | that the store lost without an event | `gone`, until its record is deleted |
//! | that is not selected | nothing |

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use super::{Left, Projected};
use crate::{
    model::{
        pod::{Pod, StoredPod},
        recent::Recent,
        time,
        uid::Uid,
        uid_map::UidMap,
    },
    registry::Projection,
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
    gone: UidMap<Uid>,
    /// The keys that pods had lately, for people who ask about such a pod.
    departed: Recent<Uid>,
}

/// A pod that has a record.
struct Member {
    key: Uid,
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

    pub(super) fn key_of(&self, pod: &Uid) -> Option<&Uid> {
        self.pods.get(pod).map(|member| &member.key)
    }

    /// Also for a pod that the store no longer has.
    pub(super) fn last_key_of(&self, pod: &Uid) -> Option<&Uid> {
        self.key_of(pod).or_else(|| self.gone.get(pod))
    }

    /// The key that a pod had before it left, lately.
    pub(super) fn departed_key_of(&self, pod: &Uid) -> Option<&Uid> {
        self.gone.get(pod).or_else(|| self.departed.get(pod))
    }

    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    pub(super) fn project(&mut self, pod: &Pod, projection: Projection) -> Projected {
        match projection {
            Projection::Record { key, fingerprint } => {
                let member = Member { key: key.clone(), created: created(pod) };
                let is_same = |before: &Member| before.key == key && before.created == member.created;
                let stays = self.pods.get(&pod.uid).is_some_and(is_same);
                let left = if stays { None } else { self.remove(&pod.uid) };
                self.unknown.remove(&pod.uid);
                self.enter(&pod.uid, member, StoredPod::Record(fingerprint));
                // It may have the same key again.
                let left = left.filter(|left| !matches!(left, Left::Free(free) if *free == key));
                Projected { key: Some(key), left }
            }
            Projection::NotSelected(_) => Projected { key: None, left: self.remove(&pod.uid) },
            Projection::Unreadable | Projection::Failed { .. } => Projected { key: self.keep(pod), left: None },
        }
    }

    /// The record of this pod stays as it is. Returns its key, if it is known.
    fn keep(&mut self, pod: &Pod) -> Option<Uid> {
        if let Some(key) = self.key_of(&pod.uid).cloned() {
            if let Some(owned) = self.keys.get_mut(&key).filter(|owned| owned.owner == pod.uid) {
                owned.shown = StoredPod::Unreadable;
            }
            return Some(key);
        }
        let Some(key) = self.gone.remove(&pod.uid) else {
            self.unknown.insert(&pod.uid, ());
            return None;
        };
        self.enter(&pod.uid, Member { key: key.clone(), created: created(pod) }, StoredPod::Unreadable);
        Some(key)
    }

    fn enter(&mut self, pod: &Uid, member: Member, shown: StoredPod) {
        let rank = Rank { created: member.created, uid: pod.clone() };
        let key = member.key.clone();
        self.pods.insert(pod, member);
        let Some(owned) = self.keys.get_mut(&key) else {
            self.keys.insert(&key, Owned { owner: pod.clone(), shown });
            return;
        };
        if owned.owner == *pod {
            owned.shown = shown;
            return;
        }
        let created = self.pods.get(&owned.owner).map_or(i64::MIN, |owner| owner.created);
        let before = Rank { created, uid: owned.owner.clone() };
        let others = self.others.entry(key).or_default();
        if rank > before {
            others.remove(&rank);
            others.insert(before);
            *owned = Owned { owner: rank.uid, shown };
        } else {
            others.insert(rank);
        }
    }

    /// The pod has no record any more.
    pub(super) fn remove(&mut self, pod: &Uid) -> Option<Left> {
        self.unknown.remove(pod);
        if let Some(member) = self.pods.remove(pod) {
            self.departed.insert(pod, member.key.clone(), DEPARTED_KEPT);
            return self.leave(member, pod);
        }
        let key = self.gone.remove(pod)?;
        (!self.keys.contains(&key)).then_some(Left::Free(key))
    }

    fn leave(&mut self, Member { key, created }: Member, pod: &Uid) -> Option<Left> {
        let owned = self.keys.get_mut(&key)?;
        let others = self.others.get_mut(&key);
        let left = if owned.owner != *pod {
            others?.remove(&Rank { created, uid: pod.clone() });
            None
        } else if let Some(next) = others.and_then(BTreeSet::pop_last) {
            // Until it is projected, the record stays as it is.
            *owned = Owned { owner: next.uid.clone(), shown: StoredPod::Unreadable };
            Some(Left::Passed { key: key.clone(), to: next.uid })
        } else {
            self.keys.remove(&key);
            Some(Left::Free(key.clone()))
        };
        if self.others.get(&key).is_some_and(BTreeSet::is_empty) {
            self.others.remove(&key);
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
        self.gone.retain_in(positions, |_, key| is_held(key) && !keys.contains(key));
    }

    /// Removes the pods at these positions that do not exist. Returns the pods that own a record instead of one of
    /// them.
    pub(super) fn retain_in(&mut self, positions: Range<usize>, exists: impl Fn(&Uid) -> bool) -> Vec<Uid> {
        let pods = positions.rev().filter_map(|position| self.pods.at(position)).map(|(pod, _)| pod);
        let missing: Vec<Uid> = pods.filter(|pod| !exists(pod)).cloned().collect();
        let mut passed = Vec::new();
        for pod in missing {
            let Some(member) = self.pods.remove(&pod) else { continue };
            self.gone.insert(&pod, member.key.clone());
            if let Some(Left::Passed { to, .. }) = self.leave(member, &pod) {
                passed.push(to);
            }
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
