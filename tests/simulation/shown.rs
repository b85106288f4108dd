//! What the watches have shown a process: the view with which the promises are checked.
//!
//! Each part of the view has the place in the log that it comes from. The later place wins, whether an event or a list
//! shows it and whichever of them arrives first.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use pod_registrar::{
    model::{pod::Pod, uid::Uid},
    reconcile::pod_event::WatchList,
};
use tokio::sync::Notify;

use crate::{
    cluster::name_in,
    listing::is_restored,
    promise::Promise,
    steps::{ListFault, PageFault},
    world::{Process, SimulatedWorld},
};

/// Why a pod is no longer shown to a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Evidence {
    /// An event deleted it, at this place.
    Deletion(usize),
    /// A complete list lacked it.
    Absent {
        /// Whether the list contained pods and was not suspected to be stale.
        plain: bool,
        /// Whether the list lacked an existing pod.
        omitted: bool,
    },
}

#[derive(Default)]
pub(crate) struct Watch {
    /// The place up to which the log was shown.
    pub(crate) place: usize,
    pub(crate) lags: bool,
    /// The watch catches up event by event.
    pub(crate) catches_up: bool,
    /// The number of next events that are lost.
    pub(crate) lose: u8,
    /// The number of past events that are shown again.
    pub(crate) replay: usize,
    /// The watch breaks, and the next one begins with a list.
    pub(crate) broken: bool,
    /// A list is requested; the watch continues.
    pub(crate) asked: bool,
    pub(crate) lists: VecDeque<ListFault>,
    /// Requests for pages that fail.
    pub(crate) pages: VecDeque<PageFault>,
    pub(crate) wake: Arc<Notify>,
    /// Whether the watch had a complete list, and whether one contained pods and was not suspected to be stale.
    pub(crate) listed: bool,
    pub(crate) plain: bool,
    /// The time of its last complete list, if that list proves no absence.
    unproven_at: Option<u64>,
}

impl Watch {
    /// Whether its last list proves absences. The process may not know yet of a list of this moment.
    pub(crate) fn proves(&self, now: u64) -> bool {
        self.unproven_at.is_none_or(|at| at == now)
    }

    /// Makes the next list, or the next pages, fail.
    pub(crate) fn add(&mut self, fault: ListFault) {
        match fault {
            ListFault::Pages(count, fault) => self.pages.extend((0..count).map(|_| fault)),
            fault => self.lists.push_back(fault),
        }
    }

    /// The fault of a request for a page. A first page has no token that could expire.
    pub(crate) fn page_fault(&mut self, continued: bool) -> Option<PageFault> {
        let is_due = |fault: &PageFault| continued || !matches!(fault, PageFault::Expired { .. });
        let place = self.pages.iter().position(is_due)?;
        self.pages.remove(place)
    }
}

/// A complete list and its faults.
pub(crate) struct Complete<'a> {
    /// The place in the log that it shows.
    pub(crate) place: usize,
    /// The pods that it should have shown.
    pub(crate) all: &'a HashSet<Uid>,
    /// The pods that it showed.
    pub(crate) shown: &'a HashSet<Uid>,
    /// Whether its pages show one moment.
    pub(crate) is_consistent: bool,
    pub(crate) list: WatchList,
}

impl Process {
    /// Whether a later place was shown of the pod.
    fn has_later(&self, uid: &Uid, place: usize) -> bool {
        let shown = self.shown.get(uid).is_some_and(|(_, shown)| *shown > place);
        shown || matches!(self.evidence.get(uid), Some(Evidence::Deletion(ended)) if *ended > place)
    }

    fn show(&mut self, pod: &Pod, place: usize, now: u64) {
        self.shown_at = now;
        if self.has_later(&pod.uid, place) {
            return;
        }
        let digest = pod.content.as_ref().map(|content| content.digest);
        self.evidence.remove(&pod.uid);
        let before = self.shown.insert(pod.uid.clone(), (digest, place));
        let (_, state) = self.shown_since.entry(pod.uid.clone()).or_insert((now, now));
        if before.is_none_or(|(before, _)| before != digest) {
            *state = now;
        }
    }
}

impl SimulatedWorld {
    pub(crate) fn event_shows(&mut self, number: usize, watch: usize, pod: &Pod, place: usize) {
        self.moment(|| format!("watch {watch} shows {}", pod.uid));
        let now = self.now();
        self.processes[number].show(pod, place, now);
    }

    pub(crate) fn event_deletes(&mut self, number: usize, watch: usize, uid: &Uid, place: usize) {
        self.moment(|| format!("watch {watch} shows the deletion of {uid}"));
        let now = self.now();
        let process = &mut self.processes[number];
        process.shown_at = now;
        if !process.has_later(uid, place) {
            process.shown.remove(uid);
            process.evidence.insert(uid.clone(), Evidence::Deletion(place));
        }
    }

    pub(crate) fn page_shows(&mut self, number: usize, watch: usize, pods: &[Arc<Pod>], place: usize) {
        let age = self.cluster_of(number).log.len() - place;
        self.moment(|| {
            let uids: Vec<String> = pods.iter().map(|pod| pod.uid.to_string()).collect();
            format!("watch {watch} lists, {age} changes old: {uids:?}")
        });
        let now = self.now();
        pods.iter().for_each(|pod| self.processes[number].show(pod, place, now));
    }

    /// Begins a watch at the place of its list, or of an event that is later.
    pub(crate) fn begins_watch(&mut self, number: usize, watch: usize, place: usize) {
        let before = self.processes[number].watches[watch].place;
        let is_overtaken = before > place && !is_restored(self.cluster_of(number).log.get(place..before));
        self.processes[number].watches[watch].place = if is_overtaken { before } else { place };
    }

    /// Whether the process was shown every pod of its cluster.
    pub(crate) fn sees_all(&self, number: usize) -> bool {
        let shown = &self.processes[number].shown;
        self.cluster_of(number).selected.values().all(|pod| shown.contains_key(&pod.uid))
    }

    /// Checks that the store of a watch holds exactly what was shown.
    pub(crate) fn check_store(&mut self, number: usize, watch: usize, store: &HashSet<Uid>) {
        let cluster = &self.cluster;
        let shown = self.processes[number].shown.keys().filter(|uid| cluster.watch_of(name_in(uid)) == watch);
        let shown: HashSet<Uid> = shown.cloned().collect();
        if shown != *store {
            let differing = Vec::from_iter(shown.symmetric_difference(store).cloned());
            self.broken(Promise::Store, || format!("the store differs from what was shown: {differing:?}"));
        }
    }

    /// Notes what a complete list proves.
    pub(crate) fn list_completes(&mut self, number: usize, watch: usize, complete: &Complete<'_>) {
        let Complete { place, all, shown, is_consistent, list } = *complete;
        self.moment(|| format!("the list of watch {watch} is complete: {list:?}"));
        let now = self.now();
        let cluster = &self.cluster;
        let process = &mut self.processes[number];
        process.shown_at = now;
        process.watches[watch].unproven_at = (!is_consistent || !list.identified).then_some(now);
        if !is_consistent {
            return;
        }
        let plain = list.trusted && list.pods > 0;
        let is_gone = |uid: &Uid, at: usize| cluster.watch_of(name_in(uid)) == watch && at <= place;
        let gone = process.shown.iter().filter(|(uid, (_, at))| is_gone(uid, *at) && !shown.contains(*uid));
        for uid in gone.map(|(uid, _)| uid.clone()).collect::<Vec<Uid>>() {
            process.shown.remove(&uid);
            let omitted = list.identified && all.contains(&uid);
            process.evidence.insert(uid, Evidence::Absent { plain, omitted });
        }
        for evidence in process.evidence.values_mut() {
            // A second list also lacks it; one that contained pods is enough.
            if let Evidence::Absent { plain: before, .. } = evidence {
                *before |= plain;
            }
        }
        // A list that reports unidentified items misleads no process.
        for uid in all.difference(shown).filter(|uid| list.identified && !process.shown.contains_key(*uid)) {
            let omitted = process.evidence.entry(uid.clone()).or_insert(Evidence::Absent { plain, omitted: true });
            if let Evidence::Absent { omitted, .. } = omitted {
                *omitted = true;
            }
        }
        let watch = &mut process.watches[watch];
        watch.listed |= list.identified;
        watch.plain |= plain;
    }
}
