//! The desired record of each record key, which the loop decides about.
//!
//! A registry may see pods otherwise than the store does ([`Registry::project`]). It then selects some of them, names
//! records by ids of its own, and compares what it writes. The table here follows from pod events, so that a decision
//! looks up its result and does not project the pod again.
//!
//! | the registry | key | table | bytes per record |
//! | --- | --- | --- | --- |
//! | sees every pod as the store does | UID of the pod | none | 0 |
//! | has a record per selected pod | UID of the pod | [`by_pod`] | 60 |
//! | has ids that pods can share, or several records per pod | made of the id | [`by_key`] | 160 |
//!
//! A pod that cannot be read, or whose record cannot be made, keeps its record as it is. So does a record that waits
//! for what the registry assigns to another one. [`families`] has the records that belong to others.

pub(super) mod absent;
mod by_key;
mod by_pod;
mod excluded;
pub(super) mod families;
pub(super) mod keys;
mod names;

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
};

use crate::{
    model::{
        pod::{Pod, StoredPod},
        recent::Recent,
        uid::Uid,
        uid_map::UidMap,
    },
    reconcile::{
        ledger::{
            Ledger,
            entry::{Known, LedgerEntry},
            pending::Pending,
        },
        status::{FailedRender, FailedRenders},
    },
    registry::{DesiredRecord, DesiredState, ParentRecord, Projection, Registry},
    store::View,
};

use by_key::KeyedRecords;
use by_pod::PodRecords;
use excluded::ExcludedPods;
use families::Families;
use keys::Keys;

/// Pods that are projected per turn of the loop, at most. One takes about 30 us.
const PROJECTED_PER_TURN: usize = 500;
/// Pods whose cause of failure is kept.
const CAUSES_MAX: usize = 100;
/// Characters of a cause that is kept.
const CAUSE_CHARS: usize = 256;

pub(super) struct DesiredRecords {
    view: View,
    table: Table,
    /// Pods to project again.
    stale: VecDeque<StalePod>,
    failed: Failed,
    excluded: ExcludedPods,
    pub(super) families: Families,
    /// Pods with a record that waits for another one.
    waiting: UidMap<()>,
    /// The names in registered records of absent pods, by key.
    registered_names: Recent<Box<str>>,
    /// Pods that were projected in this turn.
    projected: usize,
    had_unknown_keys: bool,
}

enum Table {
    Identity,
    ByPod(Box<PodRecords>),
    ByKey(Box<KeyedRecords>),
}

/// A pod to project again, because the registry may see it otherwise than before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StalePod {
    pub(super) uid: Uid,
    /// The watch that shows it, if it is known.
    pub(super) watch: Option<usize>,
    /// Whether its records wait for one that the registry holds now.
    pub(super) goes_on: bool,
}

/// The result of projecting a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Projected {
    /// The keys of its records.
    pub(super) keys: Keys,
    /// The records that it had before and has no more.
    pub(super) left: Vec<Left>,
}

/// A pod no longer has a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// No pod has the record any more.
    Free(Uid),
    /// Another pod has it now, and has to be projected.
    Passed { key: Uid, to: Uid },
}

/// What is known about the records of one pod.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordsOfPod {
    /// Their keys. For a pod that is gone or is not selected, those of the records that it had or would have.
    pub(super) keys: Vec<Uid>,
    pub(super) selected: bool,
    /// Why one cannot be made.
    pub(super) failed: Option<String>,
}

/// The records of the pods that a second list shows.
#[derive(Debug, Default)]
pub(super) struct ListedRecords {
    pub(super) keys: HashSet<Uid>,
    /// Pods that this process has not seen, if their keys are not their UIDs.
    pub(super) unknown: HashSet<Uid>,
    /// Records that pods would have if the settings selected them.
    pub(super) excluded: HashSet<Uid>,
    /// Whether the store lacks one of the pods.
    pub(super) exceeds_store: bool,
}

impl DesiredRecords {
    pub(super) fn new<R: Registry>(view: View, registry: &R) -> Self {
        let table = match registry {
            _ if registry.is_identity() => Table::Identity,
            _ if registry.keys_are_uids() => Table::ByPod(Box::default()),
            _ => Table::ByKey(Box::default()),
        };
        Self {
            view,
            table,
            stale: VecDeque::new(),
            failed: Failed::default(),
            excluded: ExcludedPods::default(),
            families: Families::default(),
            waiting: UidMap::default(),
            registered_names: Recent::default(),
            projected: 0,
            had_unknown_keys: false,
        }
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Whether keys and records are those of the store, so that pods need not be projected.
    pub(super) fn is_identity(&self) -> bool {
        matches!(self.table, Table::Identity)
    }

    pub(super) fn keys_are_uids(&self) -> bool {
        !matches!(self.table, Table::ByKey(_))
    }

    /// The number of desired records.
    pub(super) fn len(&self) -> usize {
        match &self.table {
            Table::Identity => self.view.len(),
            Table::ByPod(table) => table.len(),
            Table::ByKey(table) => table.len(),
        }
    }

    pub(super) fn contains(&self, key: &Uid) -> bool {
        self.shown_by(None, key).is_some()
    }

    /// The desired record of a key. `watch` is the only one that can show its pod, if it is known.
    pub(super) fn shown_by(&self, watch: Option<usize>, key: &Uid) -> Option<StoredPod> {
        match &self.table {
            Table::Identity => self.view.shown_by(watch, key),
            Table::ByPod(table) => table.shown(key),
            Table::ByKey(table) => table.shown(key),
        }
    }

    /// As [`Self::shown_by`], for a decision. A record that only the registry has named stays as it is while it may
    /// belong to a pod whose key is unknown.
    pub(super) fn shown_to_decide(
        &self,
        key: &Uid,
        entry: Option<&LedgerEntry>,
        pending: Option<&Pending>,
    ) -> Option<StoredPod> {
        let watch = entry.and_then(LedgerEntry::watch);
        let may_belong = || {
            let is_deleted = pending.is_some_and(|pending| pending.deletion.is_some());
            watch.is_none() && !is_deleted && self.has_unknown_keys()
        };
        self.shown_by(watch, key).or_else(|| may_belong().then_some(StoredPod::Unreadable))
    }

    /// The pod whose record has this key, if the store has it.
    pub(super) fn pod_of(&self, key: &Uid) -> Option<Pod> {
        self.view.get(self.owner_of(key)?)
    }

    /// The UID of the pod whose record has this key.
    pub(super) fn owner_of<'a>(&'a self, key: &'a Uid) -> Option<&'a Uid> {
        match &self.table {
            Table::Identity | Table::ByPod(_) => Some(key),
            Table::ByKey(table) => table.owner_of(key),
        }
    }

    /// The keys of a pod's records. Empty if the pod has none, or they are unknown.
    pub(super) fn keys_of<'a>(&'a self, pod: &'a Uid) -> &'a [Uid] {
        match &self.table {
            Table::Identity => std::slice::from_ref(pod),
            Table::ByPod(table) => table.shown(pod).map(|_| std::slice::from_ref(pod)).unwrap_or_default(),
            Table::ByKey(table) => table.keys_of(pod),
        }
    }

    /// All pods that have the record of a key.
    pub(super) fn pods_of(&self, key: &Uid) -> Vec<Uid> {
        match &self.table {
            Table::Identity | Table::ByPod(_) => vec![key.clone()],
            Table::ByKey(table) => table.pods_of(key).cloned().collect(),
        }
    }

    /// The records of a pod, which may be gone.
    pub(super) fn records_of(&self, pod: &Uid) -> RecordsOfPod {
        let departed = || match &self.table {
            Table::ByKey(table) => table.departed_keys_of(pod),
            Table::Identity | Table::ByPod(_) => std::slice::from_ref(pod),
        };
        let known = [self.keys_of(pod), self.excluded.keys_of(pod)].into_iter().find(|keys| !keys.is_empty());
        let keys = known.unwrap_or_else(departed).to_vec();
        let cause = |shown: &Option<Box<FailedPod>>| {
            shown.as_ref().map_or_else(|| "the log has the cause".to_owned(), |shown| shown.cause.clone())
        };
        RecordsOfPod { keys, selected: !self.excluded.contains(pod), failed: self.failed.pods.get(pod).map(cause) }
    }

    /// Whether there are pods with records whose keys are unknown, because those cannot be made.
    fn has_unknown_keys(&self) -> bool {
        matches!(&self.table, Table::ByKey(table) if table.has_unknown())
    }

    /// Whether the last unknown key became known since the last call.
    pub(super) fn take_resolved(&mut self) -> bool {
        let has = self.has_unknown_keys();
        std::mem::replace(&mut self.had_unknown_keys, has) && !has
    }

    /// Pods whose records cannot be made.
    pub(super) fn failed(&self) -> usize {
        self.failed.pods.len()
    }

    /// Whether each pod was projected as the registry sees it now, and no record waits for another one.
    pub(super) fn is_projected(&self) -> bool {
        self.stale.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn failed_renders(&self) -> FailedRenders {
        self.failed.summary()
    }
}

/// Changes.
impl DesiredRecords {
    /// Takes a pod of the store, as the registry sees it.
    pub(super) fn project(&mut self, pod: &Pod, projection: Projection) -> Projected {
        self.projected += 1;
        let cause = projection.failures().next().map(|(_, cause)| (pod.full_name(), cause));
        self.failed.note(&pod.uid, cause);
        let parents = self.note_waiting(&pod.uid, &projection);
        let excluded = match &projection {
            Projection::NotSelected(excluded) => Some(excluded.clone()),
            _ => None,
        };
        let projected = match &mut self.table {
            Table::Identity => Projected { keys: Keys::One(pod.uid.clone()), left: Vec::new() },
            Table::ByPod(table) => table.project(&pod.uid, &projection),
            Table::ByKey(table) => table.project(pod, projection),
        };
        for (key, parent) in parents {
            if self.owner_of(&key) == Some(&pod.uid) {
                self.families.note(&key, &parent);
            }
        }
        self.excluded.note(&pod.uid, excluded, !projected.left.is_empty());
        projected
    }

    /// Notes whether a record of the pod waits. Returns the parents of its records.
    fn note_waiting(&mut self, pod: &Uid, projection: &Projection) -> Vec<(Uid, ParentRecord)> {
        let records = if let Projection::Records(records) = projection { &records[..] } else { &[] };
        if records.iter().any(|record| record.state == DesiredState::Waits) {
            self.waiting.insert(pod, ());
        } else if !self.waiting.is_empty() {
            self.waiting.remove(pod);
        }
        let parent = |record: &DesiredRecord| Some((record.key.clone(), record.parent.clone()?));
        records.iter().filter_map(parent).collect()
    }

    /// A request about the record is answered. If the registry holds it as it should be, it has left its former parent.
    pub(super) fn settle(&mut self, key: &Uid, ledger: &Ledger) {
        if self.is_held(key, ledger) {
            self.families.settle(key);
        }
    }

    /// Whether the registry holds a record as it should be.
    pub(super) fn is_held(&self, key: &Uid, ledger: &Ledger) -> bool {
        match self.shown_by(None, key) {
            Some(StoredPod::Record(fingerprint)) => ledger.known(key) == Known::Registered(fingerprint),
            Some(StoredPod::Unreadable) => false,
            None => ledger.known(key) == Known::Absent,
        }
    }

    /// The pod was deleted.
    pub(super) fn remove(&mut self, pod: &Uid) -> Vec<Left> {
        self.failed.note(pod, None);
        self.excluded.remove(pod);
        self.waiting.remove(pod);
        match &mut self.table {
            Table::Identity => Vec::new(),
            Table::ByPod(table) => table.remove(pod).into_iter().collect(),
            Table::ByKey(table) => table.remove(pod),
        }
    }

    /// Projects this pod before other work.
    pub(super) fn project_soon(&mut self, pod: StalePod) {
        self.stale.push_front(pod);
    }

    /// Projects all pods again.
    pub(super) fn project_all(&mut self) {
        if self.is_identity() {
            return;
        }
        let (view, stale) = (&self.view, &mut self.stale);
        stale.clear();
        for watch in 0..view.watches() {
            view.each_of_watch(watch, |uid| {
                stale.push_back(StalePod { uid: uid.clone(), watch: Some(watch), goes_on: false })
            });
        }
    }

    /// The next pod to project again, if this turn has time for it.
    pub(super) fn next_stale(&mut self) -> Option<StalePod> {
        if self.is_turn_over() { None } else { self.stale.pop_front() }
    }

    /// Counts work that is like projecting a pod.
    pub(super) fn note_work(&mut self) {
        self.projected += 1;
    }

    pub(super) fn begin_turn(&mut self) {
        self.projected = 0;
    }

    /// Whether enough pods were projected in this turn.
    pub(super) fn is_turn_over(&self) -> bool {
        self.projected >= PROJECTED_PER_TURN
    }

    /// Whether there is more to project, or a turn that was over left something else.
    pub(super) fn has_more_to_do(&self) -> bool {
        !self.stale.is_empty() || self.is_turn_over()
    }
}

/// Second lists.
impl DesiredRecords {
    /// The records of the pods that a list shows.
    pub(super) fn listed(&self, pods: HashSet<Uid>) -> ListedRecords {
        // The store is not asked, because each contradiction asks for another list.
        let exceeds_store = self.is_identity() || pods.iter().any(|pod| !self.view.contains(pod));
        let mut listed = ListedRecords { exceeds_store, ..ListedRecords::default() };
        let mut pods = pods;
        pods.retain(|pod| {
            let is_excluded = self.excluded.contains(pod);
            listed.excluded.extend(self.excluded.keys_of(pod).iter().cloned());
            !is_excluded
        });
        let Table::ByKey(table) = &self.table else {
            return ListedRecords { keys: pods, ..listed };
        };
        for pod in pods {
            match table.last_keys_of(&pod) {
                // It has no record, or that cannot be made.
                [] if self.view.contains(&pod) => {}
                [] => _ = listed.unknown.insert(pod),
                keys => listed.keys.extend(keys.iter().cloned()),
            }
        }
        listed
    }

    /// Those of these absent keys whose pods exist and were not selected since this process started.
    pub(super) fn out_of_scope(&self, absent: &HashSet<Uid>, settings_changed: bool) -> HashSet<Uid> {
        self.excluded.out_of_scope(absent, settings_changed)
    }

    /// The keys of all records in the ledger that no pod has.
    pub(super) fn absent_keys(&self, ledger: &Ledger) -> HashSet<Uid> {
        let keys = (0..ledger.entry_count()).filter_map(|position| ledger.entry_at(position));
        keys.filter(|(key, _)| !self.contains(key)).map(|(key, _)| key.clone()).collect()
    }
}

/// Pods whose records cannot be made, with the names and causes of some.
#[derive(Default)]
struct Failed {
    pods: UidMap<Option<Box<FailedPod>>>,
    causes: usize,
}

#[derive(Default)]
struct FailedPod {
    /// Its namespace and name.
    pod: String,
    cause: String,
}

impl Failed {
    /// Notes why the record of a pod cannot be made, or that it can.
    fn note(&mut self, pod: &Uid, failure: Option<(String, &str)>) {
        let Some((name, cause)) = failure else {
            if let Some(Some(_)) = self.pods.remove(pod) {
                self.causes -= 1;
            }
            return;
        };
        let causes = &mut self.causes;
        let kept = self.pods.get_or_insert_with(pod, || {
            let is_kept = *causes < CAUSES_MAX;
            *causes += usize::from(is_kept);
            is_kept.then(Box::default)
        });
        if let Some(kept) = kept {
            **kept = FailedPod { pod: name, cause: cause.chars().take(CAUSE_CHARS).collect() };
        }
    }

    fn retain_in(&mut self, positions: Range<usize>, exists: impl Fn(&Uid) -> bool) {
        let causes = &mut self.causes;
        self.pods.retain_in(positions, |pod, cause| {
            let stays = exists(pod);
            *causes -= usize::from(!stays && cause.is_some());
            stays
        });
    }

    fn summary(&self) -> FailedRenders {
        let first = |(uid, shown): (&Uid, &Option<Box<FailedPod>>)| {
            let FailedPod { pod, cause } = &**shown.as_ref()?;
            Some(FailedRender { uid: uid.clone(), pod: pod.clone(), cause: cause.clone() })
        };
        FailedRenders { count: self.pods.len(), first: self.pods.iter().filter_map(first).take(CAUSES_MAX).collect() }
    }
}

#[cfg(test)]
mod tests;
