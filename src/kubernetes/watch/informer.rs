//! One watch of pods. Lists and a kube-runtime watcher feed the store, and the event loop gets the UIDs that changed.
//!
//! A re-list runs while the old watch goes on. When the list is complete, a new watch starts at the newest version.
//!
//! | state | what happens | what follows |
//! | --- | --- | --- |
//! | no watch | the list is complete | a watch starts at the list's version |
//! | watch | the re-list is due or requested | a list begins; the watch goes on |
//! | watch | 410, an undecodable event, or a failure after a minute of silence | the watch is dropped; a list begins |
//! | watch | an event is older than the one before | the watch is dropped; a list begins after a backoff |
//! | watch and list | an event is newer than the list | the pod stays as the event shows it (see `store::pods`) |
//! | watch and list | an event is older than the list's item of its pod | the event is ignored |
//! | watch and list | a deletion event is newer than the list | the list's item of its pod is ignored |
//! | watch and list | the list is complete | a watch starts at the version of the list or of the newest event |
//! | list | it is older than what was seen when it began | it is discarded; another list begins after a backoff |
//!
//! The informer uses the watcher's raw events, because what kube builds on them can lose deletions. It does not handle
//! pods that are absent from a list: the event loop compares its ledger with the store after every complete list.

mod listing;
mod reports;
mod watching;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use kube::{Api, Client};
use kube_runtime::watcher::{self, Event};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tower::Layer as _;

use super::{
    list::{ListSource, ListStep, PageTurns},
    liveness::{Liveness, Probed},
    pod_object::Watched,
    stream::StreamObserver,
};
use crate::{
    clock::Clock,
    kubernetes::client::{ClusterConnection, PodSelection},
    model::{
        ids::{compare_resource_versions, is_valid_id},
        moment::Moment,
        pod::{
            Pod,
            to_record::{self, Rule},
        },
    },
    reconcile::{freshness::NewestVersion, paging::Paging, pod_event::PodEvent, retry, watch_ends::WatchFailures},
    store::{StoreWriter, WatchStore},
    telemetry::{
        health::Health,
        metrics::{Metrics, labels::RelistReason},
    },
};
use listing::Listing;
use reports::{Reports, WatchLog};

/// How often timers are checked.
const TICK: Duration = Duration::from_secs(1);
/// Delays after lists that are older than what was seen before: the first, and the longest. A lagging server catches up
/// soon, a restored one never.
const OLDER_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

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
}

/// Limits and logs that the watches of a process share.
#[derive(Clone, Default)]
pub struct SharedByWatches {
    turns: PageTurns,
    reports: Arc<Mutex<Reports>>,
}

type Events = BoxStream<'static, Result<Event<Watched>, watcher::Error>>;

/// A watch on the pods of one namespace, or of all.
pub struct Informer {
    /// The number of this watch.
    watch: usize,
    /// `*` stands for all namespaces.
    namespace: Box<str>,
    source: ListSource,
    /// The watcher's client; `observer` sees its streams.
    api: Api<Watched>,
    observer: StreamObserver,
    writer: StoreWriter,
    setup: WatchSetup,
    newest: NewestVersion,
    rng: fastrand::Rng,

    list: Option<Listing>,
    /// When the next list begins, and why.
    list_at: Option<(Moment, RelistReason)>,
    /// Whether a re-list was requested after the running list began.
    relist_requested: bool,
    /// A requested re-list does not begin before this.
    request_not_before: Moment,
    ever_listed: bool,
    paging: Paging,
    /// Number of lists in a row that were older than what was seen.
    older: u32,

    events: Option<Events>,
    /// The watcher is not polled before this.
    events_at: Moment,
    watch_failures: WatchFailures,
    /// Whether this watch has delivered a newer version.
    news: bool,
    /// The message of an ERROR event of this watch.
    refusal: Option<String>,

    liveness: Liveness,
    relist_at: Moment,
    tick_at: Moment,
    logged: WatchLog,
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
    Event(Option<Result<Event<Watched>, watcher::Error>>),
    Probed(Probed),
    RelistRequested,
    SenderGone,
    Timer,
}

impl Informer {
    /// A watch on one namespace, or on all.
    pub fn new(watch: usize, namespace: Option<&str>, cluster: &ClusterConnection, setup: WatchSetup) -> Self {
        let observer = StreamObserver::default();
        let client = Client::new(observer.layer(cluster.transport()), "default");
        let api = match namespace {
            None => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
        };
        let (clock, turns) = (setup.clock, setup.common.turns.clone());
        let source = ListSource::new(cluster.client(), namespace.map(str::to_owned), &setup.scope, turns, clock);
        let now = clock.now();
        let liveness = Liveness::new(setup.probe_after, now);
        Self {
            watch,
            namespace: namespace.unwrap_or("*").into(),
            source,
            api,
            observer,
            writer: StoreWriter::default(),
            setup,
            newest: NewestVersion::default(),
            rng: fastrand::Rng::new(),
            list: None,
            list_at: Some((now, RelistReason::Start)),
            relist_requested: false,
            request_not_before: now,
            ever_listed: false,
            paging: Paging::default(),
            older: 0,
            events: None,
            events_at: now,
            watch_failures: WatchFailures::default(),
            news: false,
            refusal: None,
            liveness,
            relist_at: now,
            tick_at: now + TICK,
            logged: WatchLog::default(),
        }
    }

    pub fn store(&self) -> WatchStore {
        self.writer.store()
    }

    /// Watches until the receiver of pod events is gone, or the API server rejects the selectors of the first list.
    pub async fn run(mut self) -> Result<(), Error> {
        self.setup.relist.mark_unchanged();
        loop {
            let handled = match self.wait().await {
                Woken::Step(step) => self.take_step(step).await,
                Woken::Event(event) => self.take_event(event).await,
                Woken::Probed(probed) => self.probed(probed),
                Woken::RelistRequested => self.relist_was_requested(),
                Woken::SenderGone => Err(Stop::Closed),
                Woken::Timer => self.check_timers(),
            };
            match handled {
                Ok(()) => {}
                Err(Stop::Closed) => return Ok(()),
                Err(Stop::Refused(why)) => return Err(Error::Selection(why)),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let clock = self.setup.clock;
        let wake_at = self.list_at.map_or(self.tick_at, |(at, _)| self.tick_at.min(at));
        let (list, events, events_at) = (&mut self.list, &mut self.events, self.events_at);
        tokio::select! {
            step = async {
                match list {
                    Some(list) => list.steps.next().await,
                    None => std::future::pending().await,
                }
            } => Woken::Step(step),
            event = async {
                match events {
                    Some(events) => {
                        clock.sleep_until(events_at).await;
                        events.next().await
                    }
                    None => std::future::pending().await,
                }
            } => Woken::Event(event),
            probed = self.liveness.answer() => Woken::Probed(probed),
            changed = self.setup.relist.changed() => match changed {
                Ok(()) => Woken::RelistRequested,
                Err(_) => Woken::SenderGone,
            },
            () = clock.sleep_until(wake_at) => Woken::Timer,
        }
    }

    fn check_timers(&mut self) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        if let Some((at, reason)) = self.list_at
            && now >= at
        {
            self.begin_list(reason, now);
        }
        if now < self.tick_at {
            return Ok(());
        }
        self.tick_at = now + TICK;
        self.log_age(now);
        self.log_summaries(now);
        if self.list.is_some() || self.list_at.is_some() {
            return Ok(());
        }
        if now >= self.relist_at {
            self.begin_list(RelistReason::Interval, now);
        } else {
            self.liveness.probe(&self.source, &self.newest, now);
        }
        Ok(())
    }

    fn probed(&mut self, probed: Probed) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        if self.liveness.is_older(probed, now) && self.list.is_none() {
            self.drop_watch(RelistReason::Stale, now);
        }
        Ok(())
    }

    fn relist_was_requested(&mut self) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        if self.list.is_some() {
            self.relist_requested = true;
        } else if self.list_at.is_none() {
            self.list_at = Some((now.max(self.request_not_before), RelistReason::Requested));
        }
        Ok(())
    }

    /// Drops the watch and schedules a list, unless one is running.
    fn drop_watch(&mut self, reason: RelistReason, at: Moment) {
        self.events = None;
        if self.list.is_none() {
            self.list_at = Some((at, reason));
        }
    }

    /// The store is known to be up to date.
    fn note_alive(&mut self, now: Moment) {
        self.liveness.note_alive(now);
        self.setup.metrics.watch_alive(self.watch);
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    fn older_backoff(&mut self) -> Duration {
        self.older = self.older.saturating_add(1);
        retry::backoff(OLDER_BACKOFF.0, OLDER_BACKOFF.1, self.older, self.rng.u64(..))
    }

    async fn send(&mut self, pod_event: PodEvent) -> Result<(), Stop> {
        self.setup.pod_events.send(pod_event).await.map_err(|_| Stop::Closed)
    }

    /// The pod for the store. An undecodable pod keeps its stored form, or gets one without content. None if it has no
    /// valid UID.
    fn pod(&self, mut object: Watched) -> Option<Pod> {
        let cause = match object.take_pod() {
            Ok(pod) => match to_record::desired(pod, &self.setup.rule) {
                Ok(pod) => return Some(pod),
                Err(error) => error.to_string(),
            },
            Err(error) => error,
        };
        self.setup.metrics.pod_undecodable();
        let (namespace, name) = (object.namespace(), object.name());
        self.log_unreadable(namespace, name, &cause);
        let uid = object.uid().filter(|uid| is_valid_id(uid))?;
        let unreadable = || to_record::unreadable(uid, namespace, name, object.resource_version());
        Some(self.writer.get(&uid.into()).unwrap_or_else(unreadable))
    }
}
