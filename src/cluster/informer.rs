//! One watch: a kube-runtime watcher feeds the store, and the event loop is told which keys changed.
//!
//! The watcher's raw events are used, because everything built on them loses deletions in some way. What a list no longer
//! holds is not derived here: the event loop compares its ledger with the store after every complete list.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::StreamExt;
use kube::{Api, Client, api::ListParams};
use kube_runtime::watcher::{self, Event};
use tokio::sync::{mpsc, watch};

use super::{
    Cluster, Scope, Watched,
    progress::{self, GoOn},
    signs::Signs,
    tap::{Announced, Sign, Tap},
    timers::{LOOK_AT_AGE, Timers, wake},
};
use crate::{
    clock::Clock,
    model::{
        Ended, ListAge, Moment, Newest, Pod, Rule, Sighting, Uid, WatchList, desired, is_valid_id, retry,
        silence::{self, Notice, Silence},
    },
    store::{Store, Writer},
    telemetry::{Health, Metrics, metrics::RelistReason},
};

/// The server ends a watch after this time, with a bookmark before it. Short, so that silence is noticed soon: kube gives
/// a watch five seconds more and then begins it anew where it was.
const WATCH_SECS: u32 = 20;
/// Delays after failures in a row.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// After a failure it is asked sooner whether the cluster has gone back in time.
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Asking for one pod takes no longer.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// Failures that are further apart are not in a row: a quiet watch may work for hours without an event.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// Delays between lists that are older than what was seen before: a lagging server catches up soon, a restored one never.
const OLDER_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// What all watches have in common.
#[derive(Clone)]
pub struct Setup {
    /// Which pods are watched.
    pub scope: Scope,
    /// What becomes of them.
    pub rule: Arc<Rule>,
    /// How often a watch is built anew, with a complete list.
    pub relist_interval: Duration,
    /// After so much silence it is asked whether the cluster has gone back in time.
    pub look_after: Duration,
    /// Where it is told which keys changed.
    pub sightings: mpsc::Sender<Sighting>,
    /// A new value asks for a new list.
    pub relist: watch::Receiver<u64>,
    /// The time.
    pub clock: Clock,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Where it is told that a first list is complete.
    pub health: Health,
}

/// A watch on the pods of one namespace, or of all.
pub struct Informer {
    watch: usize,
    /// For the watch and its lists.
    api: Api<Watched>,
    /// For looking whether the cluster has gone back in time, which says nothing about the age of the view.
    aside: Api<Watched>,
    tap: Tap,
    signs: Signs,
    writer: Writer,
    setup: Setup,
    newest: Newest,
    failures: u32,
    failed_at: Moment,
    /// Whether the watcher that runs now has listed already.
    has_listed: bool,
    /// Whether any watcher has.
    ever_listed: bool,
    rng: fastrand::Rng,
}

/// Why a watcher is dropped.
enum Dropped {
    /// Another one takes its place.
    Anew(RelistReason),
    /// Nobody listens any more.
    Closed,
    /// The API server does not understand which pods are meant.
    Refused(String),
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refuses the selectors: it will do so for ever.
    #[error("the API server refuses to select pods like that: {0}; mend --label-selector or --field-selector")]
    Selection(String),
}

/// A list while it comes in.
#[derive(Default)]
struct Listing {
    begun: Moment,
    /// How old it is, once its first page has told.
    age: Option<ListAge>,
    pods: usize,
    unidentified: usize,
}

impl Listing {
    /// Whether as many pods came in as were announced, where it can be told.
    fn is_whole(&self, announced: Announced) -> bool {
        match announced {
            Announced::OnePage => true,
            Announced::Items(items) => items == self.pods + self.unidentified,
            Announced::Unknown => false,
        }
    }
}

/// Tells people when a view has become old, and when it is no longer.
async fn tell_age(watch: usize, signs: Signs, clock: Clock) -> Infallible {
    let mut silence = Silence::default();
    loop {
        match silence.look(signs.heard(), clock.now()) {
            Some(Notice::Old { silence }) => {
                let seconds = silence.as_secs();
                tracing::warn!(watch, seconds, "the view of the cluster is old, what happens there is not seen");
            }
            Some(Notice::Renewed { after }) => {
                tracing::info!(watch, seconds = after.as_secs(), "the view of the cluster is up to date again");
            }
            None => {}
        }
        tokio::time::sleep(LOOK_AT_AGE).await;
    }
}

impl Informer {
    /// A watch on one namespace, or on all. `watch` is its number.
    pub fn new(watch: usize, namespace: Option<&str>, cluster: &Cluster, setup: Setup) -> Self {
        let signs = Signs::new(watch, setup.clock, setup.metrics.clone());
        let for_tap = signs.clone();
        let tap = Tap::new(move |sign| for_tap.take(sign));
        let api = |client: Client| match namespace {
            None => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
        };
        Self {
            watch,
            api: api(cluster.tapped(tap.clone())),
            aside: api(cluster.client()),
            tap,
            signs,
            writer: Writer::default(),
            setup,
            newest: Newest::default(),
            failures: 0,
            failed_at: Moment::ZERO,
            has_listed: false,
            ever_listed: false,
            rng: fastrand::Rng::new(),
        }
    }

    /// The read side of the watch's store.
    pub fn store(&self) -> Store {
        self.writer.store()
    }

    /// Watches until nobody listens any more.
    ///
    /// # Errors
    /// When the very first list is refused because of the selectors.
    pub async fn run(self) -> Result<(), Error> {
        let age = tell_age(self.watch, self.signs.clone(), self.setup.clock);
        tokio::select! {
            ended = self.watch() => ended,
            never = age => match never {},
        }
    }

    async fn watch(mut self) -> Result<(), Error> {
        let mut reason = RelistReason::Start;
        loop {
            self.setup.metrics.relisted(reason);
            tracing::debug!(watch = self.watch, ?reason, "watch begins with a list");
            match self.watch_once().await {
                Dropped::Anew(next) => reason = next,
                Dropped::Closed => return Ok(()),
                Dropped::Refused(why) => return Err(Error::Selection(why)),
            }
            if reason == RelistReason::Stale {
                self.pause(OLDER_BACKOFF).await;
            }
        }
    }

    async fn watch_once(&mut self) -> Dropped {
        let config = watcher::Config {
            label_selector: self.setup.scope.label_selector.clone(),
            field_selector: self.setup.scope.fields(),
            timeout: Some(WATCH_SECS),
            ..watcher::Config::default()
        };
        let mut stream = std::pin::pin!(watcher::watcher(self.api.clone(), config));
        let mut listing = Listing::default();
        let interval = self.jittered(self.setup.relist_interval);
        let (clock, mut timers) = (self.setup.clock, None);
        self.setup.relist.mark_unchanged();
        self.has_listed = false;
        loop {
            if self.has_listed {
                // The intervals begin with the first complete list: a list may take longer than they are.
                timers.get_or_insert_with(|| Timers::start(clock.now(), interval, self.setup.look_after));
            }
            let event = tokio::select! {
                event = stream.next() => event,
                now = wake(clock, timers.as_ref(), &self.signs) => match self.woken(now, timers.as_mut()).await {
                    Some(reason) => return Dropped::Anew(reason),
                    None => continue,
                },
                asked = self.setup.relist.changed() => return match asked {
                    Ok(()) => Dropped::Anew(RelistReason::Requested),
                    Err(_) => Dropped::Closed,
                },
            };
            if let Some(timers) = &mut timers {
                // An API server that was away may have come back as it once was.
                let quiet = self.setup.look_after;
                let after = if matches!(event, Some(Ok(_))) { quiet } else { quiet.min(LOOK_AFTER_FAILURE) };
                timers.look_at = clock.now() + after;
            }
            let dropped = match event {
                Some(Ok(event)) => self.handle(event, &mut listing).await,
                Some(Err(error)) => self.failed(&error).await,
                None => Some(Dropped::Anew(RelistReason::Error)),
            };
            if let Some(dropped) = dropped {
                return dropped;
            }
        }
    }

    /// What a timer is a reason for.
    async fn woken(&self, now: Moment, timers: Option<&mut Timers>) -> Option<RelistReason> {
        let timers = timers.filter(|timers| now < timers.relist_at);
        let Some(timers) = timers else { return Some(RelistReason::Interval) };
        if silence::is_given_up(self.signs.heard(), self.signs.answered(), now) {
            tracing::warn!(
                watch = self.watch,
                "the API server answers and its watch tells nothing, the pods are listed"
            );
            return Some(RelistReason::Silent);
        }
        if now < timers.look_at {
            return None;
        }
        let gone_back = self.has_gone_back().await;
        timers.look_at = self.setup.clock.now() + self.setup.look_after;
        gone_back.then_some(RelistReason::Stale)
    }

    /// Whether the cluster is older than what was seen of it. A watch from a version that is yet to come is no error to an
    /// API server: it is silent, and a restored cluster would go unnoticed until the next list.
    async fn has_gone_back(&self) -> bool {
        let one = ListParams::default().limit(1);
        match tokio::time::timeout(LOOK_WITHIN, self.aside.list_metadata(&one)).await {
            Ok(Ok(list)) => {
                self.signs.take(Sign::Answered);
                list.metadata.resource_version.is_some_and(|version| self.newest.is_after(&version))
            }
            // The watch itself will fail, and is tried again.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    async fn pause(&mut self, (base, max): (Duration, Duration)) {
        self.failures = self.failures.saturating_add(1);
        let delay = retry::backoff(base, max, self.failures, self.rng.u64(..));
        tokio::time::sleep(delay).await;
    }

    async fn failed(&mut self, error: &watcher::Error) -> Option<Dropped> {
        self.setup.metrics.watch_failed();
        let now = self.setup.clock.now();
        if now > self.failed_at + FORGIVEN_AFTER {
            self.failures = 0;
        }
        self.failed_at = now;
        if let Some(why) = self.is_selection_refused(error) {
            return Some(Dropped::Refused(why));
        }
        tracing::warn!(watch = self.watch, %error, failures = self.failures + 1, "watch failed, it is tried again");
        let go_on = progress::after(error, self.failures + 1);
        self.pause(BACKOFF).await;
        match go_on {
            GoOn::Same => None,
            GoOn::Anew(reason) => Some(Dropped::Anew(reason)),
        }
    }

    /// What the API server says to selectors that it does not understand. Once it did, another cause is to blame.
    fn is_selection_refused(&self, error: &watcher::Error) -> Option<String> {
        let scope = &self.setup.scope;
        let selects = scope.label_selector.is_some() || scope.fields().is_some();
        match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
                if status.code == 400 && selects && !self.ever_listed =>
            {
                Some(status.message.clone())
            }
            _ => None,
        }
    }

    async fn handle(&mut self, event: Event<Watched>, listing: &mut Listing) -> Option<Dropped> {
        match event {
            Event::Init => {
                if std::mem::take(&mut self.has_listed) {
                    // The watcher lists again by itself when the server no longer keeps what it asks for.
                    self.setup.metrics.relisted(RelistReason::Gone);
                }
                *listing = Listing { begun: self.setup.clock.now(), ..Listing::default() };
                self.writer.begin_list();
                None
            }
            Event::InitApply(object) => self.list_item(object, listing),
            Event::InitDone => self.listed(std::mem::take(listing)).await,
            Event::Apply(object) => self.applied(object).await,
            Event::Delete(object) => self.deleted(&object).await,
        }
    }

    fn list_item(&mut self, object: Watched, listing: &mut Listing) -> Option<Dropped> {
        let age = *listing.age.get_or_insert_with(|| self.age());
        if age == ListAge::Older {
            return Some(Dropped::Anew(RelistReason::Stale));
        }
        let Some(pod) = self.pod(object) else {
            listing.unidentified += 1;
            return None;
        };
        listing.pods += 1;
        self.writer.list_item(&pod);
        None
    }

    /// How old the list is that comes in: one that is older than what was seen must not reach the store.
    fn age(&mut self) -> ListAge {
        let age = self.newest.list(self.tap.list_head().version.as_deref(), self.setup.clock.now());
        match age {
            ListAge::Fresh => {}
            ListAge::Older => {
                tracing::warn!(watch = self.watch, "a list is older than what was seen before it, it is taken again");
            }
            ListAge::Restored => {
                tracing::warn!(watch = self.watch, "the cluster has gone back in time, deletions will be confirmed");
            }
        }
        age
    }

    async fn listed(&mut self, listing: Listing) -> Option<Dropped> {
        let Listing { begun, age, pods, unidentified } = listing;
        let age = age.unwrap_or_else(|| self.age());
        if age == ListAge::Older {
            return Some(Dropped::Anew(RelistReason::Stale));
        }
        let announced = self.tap.list_head().announced;
        let whole = listing.is_whole(announced);
        if !whole {
            tracing::info!(watch = self.watch, ?announced, "a list may lack pages, what it lacks will be confirmed");
        }
        self.failures = 0;
        (self.has_listed, self.ever_listed) = (true, true);
        self.writer.end_list();
        self.setup.health.watch_listed(self.watch);
        tracing::info!(watch = self.watch, pods, "pods listed");
        let trusted = whole && !self.newest.completes_restore();
        let list = WatchList { begun, pods, trusted, identified: unidentified == 0 };
        self.tell(Sighting::Listed { watch: self.watch, list }).await
    }

    async fn applied(&mut self, object: Watched) -> Option<Dropped> {
        if !self.newest.event(object.resource_version()) {
            return Some(Dropped::Anew(RelistReason::Stale));
        }
        self.failures = 0;
        let pod = self.pod(object)?;
        if let Some(before) = self.writer.apply(&pod) {
            // The name went to another pod without a DELETED event: the one before is gone all the same.
            let ended = self.tell(Sighting::Ended { uid: before, why: Ended::Deleted }).await;
            if ended.is_some() {
                return ended;
            }
        }
        let Pod { uid, name, .. } = pod;
        self.tell(Sighting::Applied { uid, name, watch: self.watch, at: self.setup.clock.now() }).await
    }

    async fn deleted(&mut self, object: &Watched) -> Option<Dropped> {
        if !self.newest.event(object.resource_version()) {
            return Some(Dropped::Anew(RelistReason::Stale));
        }
        self.failures = 0;
        let Some(uid) = object.uid().map(Uid::from) else {
            // Which pod ended cannot be told from the event: a list can tell.
            return Some(Dropped::Anew(RelistReason::Undecodable));
        };
        self.writer.remove(&uid);
        let why = if self.setup.scope.can_be_left() { Ended::DeletedOrLeftRule } else { Ended::Deleted };
        self.tell(Sighting::Ended { uid, why }).await
    }

    async fn tell(&self, sighting: Sighting) -> Option<Dropped> {
        self.setup.sightings.send(sighting).await.is_err().then_some(Dropped::Closed)
    }

    /// The pod for the store. One that cannot be read is kept as it was, or as being there; nothing, if even its
    /// identity cannot be read.
    fn pod(&self, mut object: Watched) -> Option<Pod> {
        let cause = match object.take_pod() {
            Ok(pod) => match desired::desired(pod, &self.setup.rule) {
                Ok(pod) => return Some(pod),
                Err(error) => error.to_string(),
            },
            Err(error) => error,
        };
        self.setup.metrics.pod_undecodable();
        let (namespace, name) = (object.namespace(), object.name());
        tracing::warn!(namespace, name, cause, "pod cannot be read, its record is left as it is");
        let uid = object.uid().filter(|uid| is_valid_id(uid))?;
        let unreadable = || desired::unreadable(uid, namespace, name, object.resource_version());
        Some(self.writer.get(&uid.into()).unwrap_or_else(unreadable))
    }
}
