//! One watch of pods. Lists and a kube-runtime watcher feed the store, and the event loop gets the UIDs that changed.
//!
//! A re-list runs while the old watch goes on. When the list is complete, a new watch starts at the newest version.
//!
//! | state | what happens | what follows | decided by |
//! | --- | --- | --- | --- |
//! | no watch | the list is complete | a watch starts at the list's version | `Listing::complete` |
//! | watch | the re-list is due or requested | a list begins; the watch goes on | `Listing::due` |
//! | watch | 410, or an undecodable event | the watch is dropped; a list begins | `PodWatch::failed` |
//! | watch | a failure after a minute of silence | the watch is dropped; a list begins | `Hearing::is_given_up` |
//! | watch | an event is older than the one before | the watch is dropped; a list begins after a backoff | `NewestVersion::event` |
//! | watch and list | an event is newer than the list | the pod stays as the event shows it | `store::pods` |
//! | watch and list | an event is older than the list's item of its pod | the event is ignored | `store::pods` |
//! | watch and list | a deletion event is newer than the list | the list's item of its pod is ignored | `Listing::is_deleted` |
//! | watch and list | the list is complete | a watch starts at the version of the list or of the newest event | `NewestVersion::begin_watch` |
//! | list | it is older than what was seen when it began | it is discarded; another list begins after a backoff | `Listing::first_page` |
//!
//! The informer owns the parts and applies what they return. It uses the watcher's raw events, because what kube builds
//! on them can lose deletions. It does not handle pods that are absent from a list: the event loop compares its ledger
//! with the store after every complete list.

mod decoding;
mod listing;
mod log;
mod watching;

use std::{sync::Arc, time::Duration};

use kube_runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::{
    list::{FailedAttempt, ListSource, ListStep, PageTurns, PodPage},
    liveness::{Liveness, Probed},
    pod_object::Watched,
};
use crate::{
    clock::Clock,
    kubernetes::{
        client::{ClusterConnection, PodSelection},
        receipts::board::ReceiptBoard,
    },
    model::{
        ids::is_valid_id,
        moment::Moment,
        pod::{Pod, to_record::Rule},
        uid::Uid,
    },
    reconcile::{deletion::Deletion, freshness::NewestVersion, pod_event::PodEvent},
    store::{StoreWriter, WatchStore},
    telemetry::{
        health::Health,
        metrics::{Metrics, labels::RelistReason},
    },
};
use listing::{AttemptEffect, FirstPage, ItemCounts, Listing, Wholeness};
use log::{Reports, RequestFailure, WatchLog};
use watching::{EventResult, PodWatch, WatchEffect};

/// How often timers are checked.
const TICK: Duration = Duration::from_secs(1);

/// Settings and channels of every watch.
#[derive(Clone)]
pub struct WatchSetup {
    pub scope: PodSelection,
    /// How a pod becomes a record.
    pub rule: Arc<Rule>,
    pub relist_interval: Duration,
    /// Time without events after which the informer checks whether the cluster was restored from a backup.
    pub probe_after: Duration,
    pub pod_events: mpsc::Sender<PodEvent>,
    /// Every change of the value requests a re-list.
    pub relist: watch::Receiver<u64>,
    pub common: SharedByWatches,
    pub clock: Clock,
    pub metrics: Metrics,
    pub health: Health,
    /// Where pods show their receipts, if some are written.
    pub receipts: Option<ReceiptBoard>,
}

/// Limits and logs that the watches of a process share.
#[derive(Clone, Default)]
pub struct SharedByWatches {
    turns: PageTurns,
    reports: Arc<Mutex<Reports>>,
}

/// A watch on the pods of one namespace, or of all.
pub struct Informer {
    /// The number of this watch.
    watch: usize,
    setup: WatchSetup,
    writer: StoreWriter,
    newest: NewestVersion,

    listing: Listing,
    watching: PodWatch,
    liveness: Liveness,
    log: WatchLog,
    tick_at: Moment,
}

/// Why an informer stops.
enum Stop {
    /// The receiver of pod events is gone.
    Closed,
    /// The API server rejects the selectors.
    Refused(String),
}

/// Why an informer ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server answered the first list with 400. Retrying does not help.
    #[error("the API server rejects the selection of pods: {0}; correct --label-selector or --field-selector")]
    Selection(String),
}

/// What woke the informer up.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box would cost an allocation per event")]
enum Woken {
    Step(Option<ListStep>),
    Event(Option<EventResult>),
    Probed(Probed),
    RelistRequested,
    SenderGone,
    Timer,
}

impl Informer {
    /// A watch on one namespace, or on all.
    pub fn new(watch: usize, namespace: Option<&str>, cluster: &ClusterConnection, setup: WatchSetup) -> Self {
        let (clock, turns) = (setup.clock, setup.common.turns.clone());
        let source = ListSource::new(cluster.client(), namespace.map(str::to_owned), &setup.scope, turns, clock);
        let (now, mut rng) = (clock.now(), fastrand::Rng::new());
        Self {
            watch,
            writer: StoreWriter::default(),
            newest: NewestVersion::default(),
            listing: Listing::new(source.clone(), setup.relist_interval, rng.fork(), now),
            watching: PodWatch::new(namespace, cluster, &setup.scope, rng, now),
            liveness: Liveness::new(source, setup.probe_after, now),
            log: WatchLog::new(watch, namespace, setup.common.reports.clone(), setup.health.clone()),
            tick_at: now + TICK,
            setup,
        }
    }

    pub fn store(&self) -> WatchStore {
        self.writer.store()
    }

    /// Watches until the receiver of pod events is gone, or the API server rejects the selectors of the first list.
    pub async fn run(mut self) -> Result<(), Error> {
        self.setup.relist.mark_unchanged();
        loop {
            let woken = self.wait().await;
            match self.handle(woken, self.setup.clock.now()).await {
                Ok(()) => {}
                Err(Stop::Closed) => return Ok(()),
                Err(Stop::Refused(why)) => return Err(Error::Selection(why)),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let clock = self.setup.clock;
        let wake_at = self.listing.due_at().map_or(self.tick_at, |at| self.tick_at.min(at));
        tokio::select! {
            step = self.listing.next_step() => Woken::Step(step),
            event = self.watching.next(clock) => Woken::Event(event),
            probed = self.liveness.answer() => Woken::Probed(probed),
            changed = self.setup.relist.changed() => match changed {
                Ok(()) => Woken::RelistRequested,
                Err(_) => Woken::SenderGone,
            },
            () = clock.sleep_until(wake_at) => Woken::Timer,
        }
    }

    async fn handle(&mut self, woken: Woken, now: Moment) -> Result<(), Stop> {
        match woken {
            // Events may have arrived since the list was due, or since its first page was requested before.
            Woken::Step(Some(ListStep::Begins)) => self.newest.begin_list(),
            Woken::Step(Some(ListStep::Page(page))) => return self.page_arrived(page, now).await,
            Woken::Step(Some(ListStep::Failed(failed))) => return self.attempt_failed(&failed, now).await,
            Woken::Event(Some(Ok(event))) => return self.observe(event, now).await,
            Woken::SenderGone => return Err(Stop::Closed),
            Woken::Event(Some(Err(error))) => self.watch_failed(&error, now),
            // A list ends with its last page, and a watcher never ends, so neither is reached.
            Woken::Step(None) | Woken::Event(None) => self.drop_watch(RelistReason::Error, now),
            Woken::Probed(probed) => self.probed(probed, now),
            Woken::RelistRequested => self.listing.request(now),
            Woken::Timer => self.check_timers(now),
        }
        Ok(())
    }

    fn check_timers(&mut self, now: Moment) {
        if let Some(reason) = self.listing.due(now) {
            self.begin_list(reason, now);
        }
        if now < self.tick_at {
            return;
        }
        self.tick_at = now + TICK;
        self.log.silence(self.liveness.hearing.heard(), now);
        self.log.summaries(now);
        if !self.listing.is_idle() {
            return;
        }
        if self.listing.is_interval_over(now) {
            self.begin_list(RelistReason::Interval, now);
        } else {
            self.liveness.probe(&self.newest, now);
        }
    }

    fn probed(&mut self, probed: Probed, now: Moment) {
        if self.liveness.is_older(probed, now) && !self.listing.is_running() {
            self.drop_watch(RelistReason::Stale, now);
        }
    }

    /// Drops the watch and schedules a list, unless one is running.
    fn drop_watch(&mut self, reason: RelistReason, at: Moment) {
        self.watching.stop();
        self.listing.schedule(reason, at);
    }

    /// The store is known to be up to date.
    fn note_alive(&mut self, now: Moment) {
        self.liveness.hearing.note_alive(now);
        self.setup.health.watch_alive(self.watch);
    }

    fn begin_list(&mut self, reason: RelistReason, now: Moment) {
        self.setup.metrics.relisted(reason);
        self.log.list_began(reason);
        self.listing.begin(now);
        self.note_list_progress(now);
    }

    fn note_list_progress(&self, now: Moment) {
        let progress = self.listing.progress(self.writer.count(), now);
        self.setup.health.watch_lists(self.watch, progress);
    }

    async fn attempt_failed(&mut self, failed: &FailedAttempt, now: Moment) -> Result<(), Stop> {
        let FailedAttempt { error, is_stuck, failures, retry_in, .. } = failed;
        if error.status().is_some() {
            self.liveness.hearing.answers(now);
        }
        let effect = self.listing.attempt_failed(failed);
        if effect == AttemptEffect::FewerPods {
            self.log.page_too_large(error);
            return Ok(());
        }
        self.setup.metrics.watch_failed();
        if effect == AttemptEffect::SelectorsRejected {
            return Err(Stop::Refused(error.to_string()));
        }
        let failure = RequestFailure {
            what: "list",
            cause: error.to_string(),
            failures: *failures,
            retry_in: *retry_in,
            forbidden: error.status() == Some(403),
        };
        self.log.failed(&failure, now);
        if *is_stuck {
            self.send(PodEvent::ListFailed { watch: self.watch }).await?;
        }
        Ok(())
    }

    /// Puts a page into the store as it arrives.
    async fn page_arrived(&mut self, page: PodPage, now: Moment) -> Result<(), Stop> {
        self.note_alive(now);
        self.listing.page_arrived(&page);
        if page.is_first && !self.begin_list_in_store(&page, now) {
            return Ok(());
        }
        if !page.is_consistent {
            self.newest.rest_of_list(&page.version);
        }
        let PodPage { begun, items, next, is_consistent, .. } = page;
        let uids = self.store_items(items, now);
        self.note_list_progress(now);
        self.send(PodEvent::Page { watch: self.watch, uids, at: begun }).await?;
        if next.is_none() { self.listed(is_consistent, now).await } else { Ok(()) }
    }

    /// False if the list is discarded.
    fn begin_list_in_store(&mut self, page: &PodPage, now: Moment) -> bool {
        let effect = self.listing.first_page(page, &mut self.newest, now);
        match effect {
            FirstPage::Discarded { retry_in } => {
                self.log.list_older(retry_in);
                self.note_list_progress(now);
                return false;
            }
            FirstPage::Merged => self.writer.begin_list(Some(&page.version)),
            FirstPage::Replaces | FirstPage::Restored => {
                if effect == FirstPage::Restored {
                    self.log.cluster_restored();
                }
                self.watching.stop();
                self.writer.begin_list(None);
            }
        }
        true
    }

    /// Puts the items of a page into the store. Returns the pods that are new or changed.
    fn store_items(&mut self, items: Vec<Watched>, now: Moment) -> Vec<Uid> {
        let (mut changed, mut counts) = (Vec::new(), ItemCounts::default());
        for item in items {
            if item.uid().is_some_and(|uid| self.listing.is_deleted(uid)) {
                counts.pods += 1;
                continue;
            }
            let Some(decoded) = self.pod(item, now) else {
                counts.unidentified += 1;
                continue;
            };
            counts.pods += 1;
            let is_news = self.writer.list_item(&decoded.pod);
            self.note_receipts(&decoded);
            if is_news {
                changed.push(decoded.pod.uid);
            }
        }
        self.listing.count(counts);
        changed
    }

    /// The list is complete: a watch starts.
    async fn listed(&mut self, is_consistent: bool, now: Moment) -> Result<(), Stop> {
        let Some(complete) = self.listing.complete(is_consistent, &mut self.newest, now) else { return Ok(()) };
        self.note_list_progress(now);
        match complete.wholeness {
            Wholeness::Whole => {}
            Wholeness::Unsure(expected) => self.log.list_incomplete(expected),
            Wholeness::Inconsistent => self.log.list_inconsistent(),
        }
        if is_consistent {
            self.writer.end_list();
        }
        self.log.listed(complete.list.pods, now);
        self.setup.health.watch_listed(self.watch);
        if !self.watching.is_failing() {
            self.log.recovered();
        }
        match self.newest.begin_watch() {
            Some(version) => {
                self.watching.begin(&version, now);
                self.liveness.note_event(now);
            }
            None => self.drop_watch(RelistReason::Error, now),
        }
        self.send(PodEvent::Listed { watch: self.watch, list: complete.list }).await
    }

    /// Puts an event into the store.
    async fn observe(&mut self, event: Event<Watched>, now: Moment) -> Result<(), Stop> {
        self.liveness.note_event(now);
        match event {
            // The watcher begins with the empty list of `StreamObserver`.
            Event::Init | Event::InitApply(_) | Event::InitDone => Ok(()),
            Event::Apply(object) => self.applied(object, now).await,
            Event::Delete(object) => self.deleted(&object, now).await,
        }
    }

    async fn applied(&mut self, object: Watched, now: Moment) -> Result<(), Stop> {
        if !self.accept_or_drop_watch(object.resource_version(), now) {
            return Ok(());
        }
        let Some(decoded) = self.pod(object, now) else { return Ok(()) };
        let pod = &decoded.pod;
        self.listing.forget_deletion(&pod.uid);
        let before = self.writer.apply(pod);
        self.note_receipts(&decoded);
        if let Some(before) = before {
            // The name belongs to another pod now, so the one before is gone, even without a DELETED event.
            self.forget_receipts(&before);
            self.note_deletion(&before, &decoded.pod.resource_version);
            self.send(PodEvent::Deletion { uid: before, why: Deletion::Deleted, at: now }).await?;
        }
        let Pod { uid, name, .. } = decoded.pod;
        self.send(PodEvent::Applied { uid, name, watch: self.watch, at: now }).await
    }

    async fn deleted(&mut self, object: &Watched, now: Moment) -> Result<(), Stop> {
        if !self.accept_or_drop_watch(object.resource_version(), now) {
            return Ok(());
        }
        let Some(uid) = object.uid().filter(|uid| is_valid_id(uid)).map(Uid::from) else {
            // The event does not say which pod is gone, but a list shows the others.
            let cause = "a DELETED event has no valid UID";
            let effect = self.watching.reject(cause, RelistReason::Undecodable, Duration::ZERO, now);
            self.apply_watch(effect, now);
            return Ok(());
        };
        if !self.writer.remove(&uid, object.resource_version()) {
            return Ok(());
        }
        self.forget_receipts(&uid);
        self.note_deletion(&uid, object.resource_version());
        let why = if self.setup.scope.can_be_left() { Deletion::DeletedOrLeftSelection } else { Deletion::Deleted };
        self.send(PodEvent::Deletion { uid, why, at: now }).await
    }

    /// Whether an event is accepted. One that is older than the event before drops the watch.
    fn accept_or_drop_watch(&mut self, version: &str, now: Moment) -> bool {
        if self.newest.event(version) {
            self.watching.note_news();
            self.note_alive(now);
            return true;
        }
        let at_least = self.listing.older_backoff();
        let cause = "an event is older than the one before";
        let effect = self.watching.reject(cause, RelistReason::Stale, at_least, now);
        // The running list may come from the same lagging server.
        self.listing.discard();
        self.note_list_progress(now);
        self.apply_watch(effect, now);
        false
    }

    /// Remembers a deletion that the running list may not include.
    fn note_deletion(&mut self, uid: &Uid, version: &str) {
        if !self.listing.note_deletion(uid, version) {
            self.log.deletions_exceed_limit();
            self.watching.stop();
        }
    }

    fn watch_failed(&mut self, error: &watcher::Error, now: Moment) {
        if watching::is_answer(error) {
            self.liveness.hearing.answers(now);
        }
        let effect = self.watching.failed(error, now);
        self.apply_watch(effect, now);
    }

    fn apply_watch(&mut self, effect: WatchEffect, now: Moment) {
        match effect {
            WatchEffect::None => {}
            WatchEffect::Ended => {
                self.note_alive(now);
                self.log.recovered();
            }
            WatchEffect::Resume(failure) => {
                self.note_watch_failure(&failure, now);
                if self.listing.is_idle() && self.liveness.hearing.is_given_up(now) {
                    self.log.given_up(now);
                    self.drop_watch(RelistReason::Silent, now + failure.retry_in);
                }
            }
            WatchEffect::List(failure, reason) => {
                self.note_watch_failure(&failure, now);
                self.drop_watch(reason, now + failure.retry_in);
            }
        }
    }

    fn note_watch_failure(&mut self, failure: &RequestFailure, now: Moment) {
        self.liveness.failed(now);
        self.setup.metrics.watch_failed();
        self.log.failed(failure, now);
    }

    async fn send(&mut self, pod_event: PodEvent) -> Result<(), Stop> {
        self.setup.pod_events.send(pod_event).await.map_err(|_| Stop::Closed)
    }
}
