//! One watch of pods: lists and a kube-runtime watcher feed the store, and the event loop hears which keys changed.
//!
//! A list and a watch run side by side. A new list is taken while the old watch goes on; when it is complete, a new watch
//! starts where both have come to.
//!
//! | now | happens | then |
//! | --- | --- | --- |
//! | no watch | a list is complete | the watch starts at the list's version |
//! | watch | interval, request | a list begins, the watch goes on |
//! | watch | the version is gone, an event cannot be read, it fails after a minute of silence | the watch is dropped, a list begins |
//! | watch | an event is older than one before it | the watch is dropped, a list begins after a pause |
//! | watch and list | an event shows a version after the list's | it outlives the list (see `store::pods`) |
//! | watch and list | an event is older than what the list has shown of its pod | it changes nothing |
//! | watch and list | an event shows a pod's end after the list's version | the list's item of that pod is passed over |
//! | watch and list | the list is complete | a watch starts at the list's or the newest event's version, whichever is newer |
//! | list | it is older than what was seen when it began | it is discarded, another one begins after a pause |
//!
//! The watcher's raw events are used, because everything built on them loses deletions in some way. What a list no longer
//! holds is not derived here: the event loop compares its ledger with the store after every complete list.

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

/// How often timers are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Delays between lists that are older than what was seen before: a lagging server catches up soon, a restored one never.
const OLDER_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// What all watches have in common.
#[derive(Clone)]
pub struct WatchSetup {
    /// Which pods are watched.
    pub scope: PodSelection,
    /// What becomes of them.
    pub rule: Arc<Rule>,
    /// How often pods are listed again.
    pub relist_interval: Duration,
    /// Time without events after which the informer asks whether the cluster has gone back in time.
    pub probe_after: Duration,
    /// Where it is told which keys changed.
    pub pod_events: mpsc::Sender<PodEvent>,
    /// A new value asks for a new list.
    pub relist: watch::Receiver<u64>,
    /// What the watches of a process share.
    pub common: SharedByWatches,
    /// The time.
    pub clock: Clock,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it is told that a first list is complete.
    pub health: Health,
}

/// What the watches of a process share: whose turn it is to read a page, and what was logged of all.
#[derive(Clone, Default)]
pub struct SharedByWatches {
    turns: PageTurns,
    reports: Arc<Mutex<Reports>>,
}

type Events = BoxStream<'static, Result<Event<Watched>, watcher::Error>>;

/// A watch on the pods of one namespace, or of all.
pub struct Informer {
    watch: usize,
    /// The namespace, or `*` for all.
    namespace: Box<str>,
    source: ListSource,
    /// For the watcher.
    api: Api<Watched>,
    observer: StreamObserver,
    writer: StoreWriter,
    setup: WatchSetup,
    newest: NewestVersion,
    rng: fastrand::Rng,

    list: Option<Listing>,
    /// When a list is to begin, and why.
    list_at: Option<(Moment, RelistReason)>,
    /// Whether a list was asked for that the one under way does not count as.
    again: bool,
    /// No list that is asked for begins before.
    ask_again_at: Moment,
    ever_listed: bool,
    paging: Paging,
    /// Lists in a row that were older than what was seen.
    older: u32,

    events: Option<Events>,
    /// The watcher is not asked for events before.
    events_at: Moment,
    ends: WatchFailures,
    /// Whether this watch has brought anything newer.
    news: bool,
    /// What the server has said in an ERROR event of this watch.
    refusal: Option<String>,

    liveness: Liveness,
    relist_at: Moment,
    tick_at: Moment,
    logged: WatchLog,
}

/// Why an informer stops.
enum Stop {
    /// The receiver of sightings is gone.
    Closed,
    /// The API server does not understand which pods are meant.
    Refused(String),
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses the selectors: it will do so for ever.
    #[error("the API server rejects the selection of pods: {0}; correct --label-selector or --field-selector")]
    Selection(String),
}

/// What the informer waits for.
#[expect(clippy::large_enum_variant, reason = "it is moved once, and a box would cost an allocation per event")]
enum Woken {
    Step(Option<ListStep>),
    Event(Option<Result<Event<Watched>, watcher::Error>>),
    Probed(Probed),
    Asked(bool),
    Time,
}

impl Informer {
    /// A watch on one namespace, or on all. `watch` is its number.
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
            again: false,
            ask_again_at: now,
            ever_listed: false,
            paging: Paging::default(),
            older: 0,
            events: None,
            events_at: now,
            ends: WatchFailures::default(),
            news: false,
            refusal: None,
            liveness,
            relist_at: now,
            tick_at: now + TICK,
            logged: WatchLog::default(),
        }
    }

    /// The read side of the watch's store.
    pub fn store(&self) -> WatchStore {
        self.writer.store()
    }

    /// Watches until the receiver of sightings is gone.
    ///
    /// # Errors
    /// When the very first list is refused because of the selectors.
    pub async fn run(mut self) -> Result<(), Error> {
        self.setup.relist.mark_unchanged();
        loop {
            let handled = match self.wait().await {
                Woken::Step(step) => self.take_step(step).await,
                Woken::Event(event) => self.take_event(event).await,
                Woken::Probed(probed) => self.probed(probed),
                Woken::Asked(true) => self.asked(),
                Woken::Asked(false) => Err(Stop::Closed),
                Woken::Time => self.look_at_timers(),
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
            asked = self.setup.relist.changed() => Woken::Asked(asked.is_ok()),
            () = clock.sleep_until(wake_at) => Woken::Time,
        }
    }

    /// What is due.
    fn look_at_timers(&mut self) -> Result<(), Stop> {
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

    /// A new list was asked for.
    fn asked(&mut self) -> Result<(), Stop> {
        let now = self.setup.clock.now();
        if self.list.is_some() {
            self.again = true;
        } else if self.list_at.is_none() {
            self.list_at = Some((now.max(self.ask_again_at), RelistReason::Requested));
        }
        Ok(())
    }

    /// The watch is not worth going on with: a list begins, unless one is under way.
    fn drop_watch(&mut self, reason: RelistReason, at: Moment) {
        self.events = None;
        if self.list.is_none() {
            self.list_at = Some((at, reason));
        }
    }

    /// The view is known to be up to date.
    fn is_alive(&mut self, now: Moment) {
        self.liveness.is_alive(now);
        self.setup.metrics.watch_alive(self.watch);
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    fn older_backoff(&mut self) -> Duration {
        self.older = self.older.saturating_add(1);
        retry::backoff(OLDER_BACKOFF.0, OLDER_BACKOFF.1, self.older, self.rng.u64(..))
    }

    async fn tell(&mut self, pod_event: PodEvent) -> Result<(), Stop> {
        self.setup.pod_events.send(pod_event).await.map_err(|_| Stop::Closed)
    }

    /// The pod for the store. One that cannot be read is kept as it was, or as being there; nothing, if even its
    /// identity cannot be read.
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
