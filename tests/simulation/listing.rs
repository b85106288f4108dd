//! A list that arrives page by page, as in `kubernetes::watch::list` and `kubernetes::watch::informer`.
//!
//! The pages of a list come from one snapshot of the log. If the version of a list expires, the rest of the list comes
//! from a later snapshot.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use pod_registrar::{
    model::{moment::Moment, pod::Pod, uid::Uid},
    reconcile::{
        freshness::ListAge,
        paging::{LIMIT, NextPage, PageFailure, Paging, WHOLE},
        pod_event::{PodEvent, WatchList},
    },
    store::View,
};
use tokio::time::Instant;

use crate::{
    cluster::{Change, Name, What, name_of},
    informer::{Closed, Informer},
    shown::Complete,
    steps::{ListFault, PageFault, Refusal},
    world::SimulatedWorld,
};

/// A page with more pods than this multiple of the default page is too large.
const TOO_LARGE: usize = 4;

pub(crate) struct Listing {
    /// The time of its next stage.
    pub(crate) due: Instant,
    stage: Stage,
    fault: Option<ListFault>,
    begun: Moment,
    /// The length of the log when the page was requested.
    asked_at: usize,
    /// The last pod of the previous page; `None` for the first page.
    token: Option<Name>,
    snapshot: Snapshot,
    /// Whether the next page begins a later snapshot.
    is_rest: bool,
    is_consistent: bool,
    /// The number of pods on all pages, if the server reports it.
    announced: Option<usize>,
    pods: usize,
    shown: HashSet<Uid>,
    /// Pods that an event deleted after the list's version, and the versions of these events.
    pub(crate) deletions: HashMap<Uid, u64>,
    /// The version of the first page, and its place in the log.
    version: Option<u64>,
    first_place: usize,
}

enum Stage {
    /// A page is requested.
    Ask,
    /// The server reads the page.
    Read,
    /// The page arrives, or the request fails.
    Arrive(Result<Page, PageFailure>),
}

struct Page {
    pods: Vec<Arc<Pod>>,
    /// The number of pods after this page.
    remaining: usize,
}

/// The cluster as a list shows it.
#[derive(Default)]
struct Snapshot {
    pods: Vec<Arc<Pod>>,
    /// The pods that the list should show.
    all: HashSet<Uid>,
    version: u64,
    place: usize,
}

impl Listing {
    /// Notes that an event deleted a pod.
    pub(crate) fn note_deletion(&mut self, uid: &Uid, version: u64) {
        if self.version.is_none_or(|list| version > list) {
            self.deletions.insert(uid.clone(), version);
        }
    }

    fn is_first(&self) -> bool {
        self.token.is_none()
    }

    /// The next page of the snapshot.
    fn page(&self, most: usize) -> Page {
        let after = |pod: &&Arc<Pod>| self.token.is_none_or(|last| name_of(pod) > last);
        let mut left = self.snapshot.pods.iter().filter(after);
        let pods = left.by_ref().take(most).cloned().collect();
        Page { pods, remaining: left.count() }
    }
}

impl Informer {
    pub(crate) fn begin_list(&mut self) {
        (self.list_at, self.again) = (None, false);
        let fault = self.state(|world| {
            let watch = &mut world.processes[self.process].watches[self.watch];
            watch.broken = false;
            watch.lists.pop_front()
        });
        self.list = Some(Listing {
            due: Instant::now(),
            stage: Stage::Ask,
            fault,
            begun: self.clock.now(),
            asked_at: 0,
            token: None,
            snapshot: Snapshot::default(),
            is_rest: false,
            is_consistent: true,
            announced: None,
            pods: 0,
            shown: HashSet::new(),
            deletions: HashMap::new(),
            version: None,
            first_place: 0,
        });
    }

    /// Advances the list by one stage.
    pub(crate) async fn list_on(&mut self) -> Result<(), Closed> {
        let Some(mut list) = self.list.take() else { return Ok(()) };
        let latency = Duration::from_millis(self.state(|world| world.rng.u64(1..30)));
        match std::mem::replace(&mut list.stage, Stage::Ask) {
            Stage::Ask => {
                if list.is_first() {
                    (list.begun, list.is_consistent) = (self.clock.now(), true);
                    self.newest.begin_list();
                }
                list.asked_at = self.request_page(list.is_first());
                list.stage = Stage::Read;
                list.due = Instant::now() + latency;
            }
            Stage::Read => {
                let read = self.read(&mut list);
                let takes = match (&read, list.fault) {
                    (Err(PageFailure::TooSlow), _) => self.paging.within,
                    (_, Some(ListFault::Slow(ms))) if list.is_first() => Duration::from_millis(ms.into()),
                    _ => latency,
                };
                list.stage = Stage::Arrive(read);
                list.due = Instant::now() + takes;
            }
            Stage::Arrive(_) if list.fault == Some(ListFault::Fails) => {
                self.list_after_pause();
                return self.report(PodEvent::ListFailed { watch: self.watch }).await;
            }
            Stage::Arrive(Err(fault)) => {
                self.list = Some(list);
                return self.page_failed(&fault).await;
            }
            Stage::Arrive(Ok(page)) => {
                self.list = Some(list);
                return self.page_arrived(page).await;
            }
        }
        self.list = Some(list);
        Ok(())
    }

    /// Requests a page. Returns the place at which that happens.
    fn request_page(&mut self, is_first: bool) -> usize {
        let (is_restored, place) = self.state(|world| {
            let log = &world.cluster_of(self.process).log;
            (is_restored(log.get(world.processes[self.process].watches[self.watch].place..)), log.len())
        });
        // The servers of a restored cluster were stopped, so no watch on them survives, however it lags.
        self.is_watching &= !(is_restored && is_first);
        place
    }

    /// The server's answer to the request for a page.
    fn read(&mut self, list: &mut Listing) -> Result<Page, PageFailure> {
        let (process, watch) = (self.process, self.watch);
        let is_first = list.is_first();
        let fault = self.state(|world| world.processes[process].watches[watch].page_fault(!is_first));
        if let Some(fault) = fault {
            return Err(page_fault(fault));
        }
        let (is_interrupted, is_other_history, default_page) = self.state(|world| {
            let log = &world.cluster_of(process).log;
            let restored_since = |place: usize| is_restored(log.get(place..));
            (
                restored_since(list.asked_at),
                !is_first && restored_since(list.snapshot.place),
                usize::from(world.setup.list_page),
            )
        });
        if is_interrupted {
            // No request survives that its server is stopped. Otherwise it could show a version that is earlier than
            // that of an event after the request, and nothing tells that from a list that the event has overtaken.
            return Err(PageFailure::Broken);
        }
        if is_other_history {
            // The token belongs to another history.
            return Err(PageFailure::Refused { status: 400, retry_after: None });
        }
        if is_first || std::mem::take(&mut list.is_rest) {
            list.snapshot = self.state(|world| Snapshot::read(world, process, watch, list.fault));
        }
        let page = list.page(items(&self.paging, default_page));
        if page.pods.len() > TOO_LARGE * default_page { Err(PageFailure::TooLarge) } else { Ok(page) }
    }

    async fn page_failed(&mut self, fault: &PageFailure) -> Result<(), Closed> {
        let random = self.random();
        let continued = self.list.as_ref().is_some_and(|list| !list.is_first());
        let next = self.paging.failed(fault, continued, random);
        self.state(|world| world.trace(|| format!("a page of watch {} fails: {fault:?}, {next:?}", self.watch)));
        let Some(list) = &mut self.list else { return Ok(()) };
        let wait = match next {
            NextPage::Page(wait) => wait,
            NextPage::Whole(wait) => {
                (list.token, list.is_rest) = (None, false);
                wait
            }
            NextPage::Rest(_, wait) => {
                (list.is_rest, list.is_consistent) = (true, false);
                wait
            }
        };
        list.due = Instant::now() + wait;
        if *fault != PageFailure::TooLarge && self.paging.is_stuck(fault) {
            self.report(PodEvent::ListFailed { watch: self.watch }).await?;
        }
        Ok(())
    }

    async fn page_arrived(&mut self, page: Page) -> Result<(), Closed> {
        let is_last = page.remaining == 0;
        self.paging.arrived(is_last);
        let Some(list) = &self.list else { return Ok(()) };
        if list.is_first() && !self.first_page(&page) {
            return Ok(());
        }
        let uids = self.take_items(&page.pods);
        let Some(list) = &mut self.list else { return Ok(()) };
        if !list.is_consistent {
            self.newest.rest_of_list(&list.snapshot.version.to_string());
        }
        list.token = page.pods.last().map(|pod| name_of(pod));
        list.due = Instant::now();
        let (place, begun) = (list.snapshot.place, list.begun);
        self.state(|world| world.page_shows(self.process, self.watch, &page.pods, place));
        self.report(PodEvent::Page { watch: self.watch, uids, at: begun }).await?;
        if is_last { self.listed().await } else { Ok(()) }
    }

    /// Begins to store the list, unless it is stale. Returns whether it goes on.
    fn first_page(&mut self, page: &Page) -> bool {
        let Some(version) = self.list.as_ref().map(|list| list.snapshot.version) else { return false };
        match self.newest.list(Some(&version.to_string()), self.clock.now()) {
            ListAge::Older => {
                self.state(|world| world.trace(|| format!("a list of version {version} is stale")));
                self.list_after_pause();
                return false;
            }
            ListAge::Restored | ListAge::Fresh => {}
        }
        let is_said = page.remaining == 0 || self.state(|world| world.rng.u8(0..4) > 0);
        let Some(list) = &mut self.list else { return false };
        list.announced = is_said.then_some(page.pods.len() + page.remaining);
        (list.version, list.first_place, list.pods) = (Some(version), list.snapshot.place, 0);
        list.shown.clear();
        let is_comparable = !self.newest.is_restoring();
        if is_comparable {
            list.deletions.retain(|_, end| *end > version);
        } else {
            self.is_watching = false;
            list.deletions.clear();
        }
        self.writer.begin_list(is_comparable.then(|| version.to_string()).as_deref());
        true
    }

    /// Stores a page. Returns the pods that are new or changed.
    fn take_items(&mut self, pods: &[Arc<Pod>]) -> Vec<Uid> {
        let Some(list) = &mut self.list else { return Vec::new() };
        list.pods += pods.len();
        list.shown.extend(pods.iter().map(|pod| pod.uid.clone()));
        let kept = pods.iter().filter(|pod| !list.deletions.contains_key(&pod.uid));
        kept.filter(|pod| self.writer.list_item(pod)).map(|pod| pod.uid.clone()).collect()
    }

    async fn listed(&mut self) -> Result<(), Closed> {
        let Some(list) = self.list.take() else { return Ok(()) };
        let is_consistent = list.is_consistent;
        if is_consistent {
            self.writer.end_list();
        }
        self.newest.begin_watch();
        self.is_watching = true;
        self.shorten_pause();
        let is_whole = list.announced == Some(list.pods);
        let is_restored = is_consistent && self.newest.completes_restore();
        let trusted = is_consistent && is_whole && !is_restored;
        let identified = is_consistent && list.fault != Some(ListFault::Unidentified);
        let (random, now) = (self.random(), Instant::now());
        self.ask_again_at = now + self.paging.listed(identified, random);
        if self.again {
            self.list_at = Some(self.ask_again_at);
        }
        let watch_list = WatchList { begun: list.begun, pods: list.pods, trusted, identified };
        self.state(|world| {
            world.begins_watch(self.process, self.watch, list.first_place);
            let Snapshot { all, place, .. } = &list.snapshot;
            let complete = Complete { place: *place, all, shown: &list.shown, is_consistent, list: watch_list };
            world.list_completes(self.process, self.watch, &complete);
            let mut store = HashSet::new();
            View::new([self.writer.store()]).each_of_watch(0, |uid| _ = store.insert(uid.clone()));
            world.check_store(self.process, self.watch, &store);
        });
        self.report(PodEvent::Listed { watch: self.watch, list: watch_list }).await
    }

    fn random(&self) -> u64 {
        self.state(|world| world.rng.u64(..))
    }
}

impl Snapshot {
    /// The cluster as the server reads it now, or as the fault says.
    fn read(world: &mut SimulatedWorld, process: usize, watch: usize, fault: Option<ListFault>) -> Self {
        let cluster = world.cluster_of(process);
        let end = cluster.log.len();
        let place = match fault {
            Some(ListFault::Old(back)) => cluster.earlier(end, usize::from(back)),
            _ => end,
        };
        let (mut pods, version) = cluster.list_at(watch, place);
        let all = pods.iter().map(|pod| pod.uid.clone()).collect();
        match fault {
            Some(ListFault::Empty) => pods.clear(),
            Some(ListFault::Lacks(of)) => {
                let lacked = world.rng.u16(0..u16::from(of.max(1)));
                pods.retain(|pod| name_of(pod) % u16::from(of.max(1)) != lacked);
            }
            Some(ListFault::Unidentified) => _ = pods.pop(),
            _ => {}
        }
        Self { pods, all, version, place }
    }
}

/// The number of pods on a page if the default page has this number.
fn items(paging: &Paging, default_page: usize) -> usize {
    match paging.limit {
        WHOLE => usize::MAX,
        limit => (limit as usize * default_page).div_ceil(LIMIT as usize).max(1),
    }
}

fn page_fault(fault: PageFault) -> PageFailure {
    match fault {
        PageFault::Refused(Refusal::Unreachable) => PageFailure::Broken,
        PageFault::Refused(Refusal::Status(status)) => PageFailure::Refused { status, retry_after: None },
        PageFault::Refused(Refusal::After(status, secs)) => {
            PageFailure::Refused { status, retry_after: Some(Duration::from_secs(secs.into())) }
        }
        PageFault::TooLarge => PageFailure::TooLarge,
        PageFault::TooSlow => PageFailure::TooSlow,
        PageFault::Expired { offered } => PageFailure::Expired { offered: offered.then(|| "rest".to_owned()) },
    }
}

/// Whether the cluster was restored in this part of the log.
pub(crate) fn is_restored(log: Option<&[Change]>) -> bool {
    log.is_some_and(|log| log.iter().any(|change| matches!(change.what, What::Restored(_))))
}
