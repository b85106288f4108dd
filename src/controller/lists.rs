//! The newest complete list of each watch. They show which pods are absent; if they are too old, the watches have to
//! list again.

use std::time::Duration;

use crate::{
    model::moment::Moment,
    reconcile::{absence::CompleteList, pod_event::WatchList},
};

/// If a requested list does not come, it is requested again after the first time, then after twice as long, up to the
/// second.
const RELIST_BACKOFF: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));

pub(super) struct Lists {
    watches: Vec<Watch>,
    /// The namespace of each watch. Empty if one watch shows all namespaces.
    namespaces: Vec<String>,
    has_page: bool,
    /// Whether an absence waits for newer lists.
    is_needed: bool,
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Default)]
struct Watch {
    list: Option<WatchList>,
    /// Whether a later list than `list` failed.
    is_failing: bool,
}

/// When the watches were asked to list again.
#[derive(Clone, Copy)]
struct Asked {
    at: Moment,
    /// How often they were asked again because no list came.
    repeats: u32,
}

impl Watch {
    /// The list, if absence from it counts.
    fn usable(self) -> Option<WatchList> {
        self.list.filter(|list| list.identified && !self.is_failing)
    }
}

impl Lists {
    pub(super) fn new(watches: usize, namespaces: Vec<String>) -> Self {
        Self { watches: vec![Watch::default(); watches], namespaces, has_page: false, is_needed: false, asked: None }
    }

    pub(super) fn page_arrived(&mut self) {
        self.has_page = true;
    }

    /// Whether any page of pods has arrived.
    pub(super) fn has_page(&self) -> bool {
        self.has_page
    }

    pub(super) fn listed(&mut self, watch: usize, list: WatchList) {
        if let Some(place) = self.watches.get_mut(watch) {
            *place = Watch { list: Some(list), is_failing: false };
            self.has_page = true;
        }
    }

    /// A watch cannot list, so that absence from it does not count. Returns whether that is new.
    pub(super) fn failed(&mut self, watch: usize) -> bool {
        self.watches.get_mut(watch).is_some_and(|watch| !std::mem::replace(&mut watch.is_failing, true))
    }

    /// Whether every watch has listed or has failed to.
    pub(super) fn are_settled(&self) -> bool {
        self.watches.iter().all(|watch| watch.list.is_some() || watch.is_failing)
    }

    pub(super) fn is_failing(&self, watch: usize) -> bool {
        self.watches.get(watch).is_some_and(|watch| watch.is_failing)
    }

    pub(super) fn is_any_failing(&self) -> bool {
        self.watches.iter().any(|watch| watch.is_failing)
    }

    pub(super) fn is_cluster_wide(&self) -> bool {
        self.namespaces.is_empty()
    }

    pub(super) fn failing_namespaces(&self) -> Vec<String> {
        let named = self.namespaces.iter().zip(&self.watches);
        named.filter(|(_, watch)| watch.is_failing).map(|(namespace, _)| namespace.clone()).collect()
    }

    /// The watch whose list shows whether pods of a namespace are absent.
    pub(super) fn watch_of(&self, namespace: &str) -> Option<usize> {
        let watch = self.namespaces.iter().position(|watched| watched == namespace);
        // Pods of other namespaces are not selected, and are absent from any list.
        watch.or_else(|| self.watches.iter().position(|watch| watch.usable().is_some()))
    }

    /// When the list of a watch was begun, or without a watch, the oldest list of all. None if absence does not count.
    pub(super) fn begun(&self, watch: Option<usize>) -> Option<Moment> {
        match watch {
            Some(watch) => self.watches.get(watch)?.usable().map(|list| list.begun),
            None => self.over_all().map(|list| list.begun),
        }
    }

    /// The lists of all watches as one: begun with the oldest of them, trusted if all are. None if the list of any
    /// watch is missing, failed or unusable.
    pub(super) fn over_all(&self) -> Option<CompleteList> {
        let all = self.watches.iter().map(|watch| watch.usable()).collect::<Option<Vec<_>>>()?;
        together(all.into_iter())
    }

    /// The usable lists as one, whatever the other watches do. None if no list is usable.
    pub(super) fn over_some(&self) -> Option<CompleteList> {
        together(self.watches.iter().filter_map(|watch| watch.usable()))
    }

    /// Whether the list of a watch has no pods, or without a watch, any list.
    pub(super) fn is_empty(&self, watch: Option<usize>) -> bool {
        let is_empty = |watch: &Watch| watch.list.is_some_and(|list| list.pods == 0);
        match watch {
            Some(watch) => self.watches.get(watch).is_some_and(is_empty),
            None => self.watches.iter().any(is_empty),
        }
    }

    /// Notes whether an absence waits for newer lists.
    pub(super) fn set_needed(&mut self, is_needed: bool) {
        self.is_needed = is_needed;
    }

    /// When to ask the watches for new lists. None if no absence waits for one, and until every watch has listed or
    /// failed.
    pub(super) fn due_at(&self) -> Option<Moment> {
        let after = |Asked { at, repeats }: Asked| {
            at + (RELIST_BACKOFF.0 * 2_u32.saturating_pow(repeats.min(10))).min(RELIST_BACKOFF.1)
        };
        (self.is_needed && self.are_settled()).then(|| self.awaited().map_or(Moment::START, after))
    }

    /// The last request for lists, if one of them is still to come.
    fn awaited(&self) -> Option<Asked> {
        let listed = self.watches.iter().filter(|watch| !watch.is_failing);
        let oldest = listed.filter_map(|watch| watch.list.map(|list| list.begun)).min();
        self.asked.filter(|asked| oldest.is_none_or(|begun| begun <= asked.at))
    }

    /// Whether to ask the watches for new lists now. Counts the request.
    pub(super) fn ask_again(&mut self, now: Moment) -> bool {
        let is_due = self.due_at().is_some_and(|at| now >= at);
        if is_due {
            self.asked = Some(Asked { at: now, repeats: self.awaited().map_or(0, |asked| asked.repeats + 1) });
        }
        is_due
    }
}

fn together(lists: impl Iterator<Item = WatchList>) -> Option<CompleteList> {
    lists
        .map(|WatchList { begun, trusted, .. }| CompleteList { begun, trusted })
        .reduce(|a, b| CompleteList { begun: a.begun.min(b.begun), trusted: a.trusted && b.trusted })
}
