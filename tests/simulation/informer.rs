//! A watch of a process, with values instead of HTTP.
//!
//! It works like `kubernetes::watch::informer`, with the same store and the same rules for pages and for stale
//! versions: events are applied one by one, lists arrive page by page, and a list may run beside the watch.

use std::{sync::Arc, time::Duration};

use pod_registrar::{
    clock::Clock,
    model::{pod::Pod, uid::Uid},
    reconcile::{deletion::Deletion, freshness::NewestVersion, paging::Paging, pod_event::PodEvent},
    store::StoreWriter,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use crate::{
    cluster::What,
    listing::Listing,
    world::{Shared, SimulatedWorld},
};

/// With a paused clock, a list would otherwise begin at the moment of its request.
const SOON: Duration = Duration::from_millis(1);
/// The delays after a stale list or event.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

pub(crate) struct Informer {
    shared: Shared,
    pub(crate) process: usize,
    pub(crate) watch: usize,
    pub(crate) writer: StoreWriter,
    pod_events: mpsc::Sender<PodEvent>,
    pub(crate) clock: Clock,
    pub(crate) newest: NewestVersion,
    wake: Arc<Notify>,
    pub(crate) paging: Paging,
    /// The list that is running.
    pub(crate) list: Option<Listing>,
    /// When the next list begins.
    pub(crate) list_at: Option<Instant>,
    /// Whether a list was requested while one was running.
    pub(crate) again: bool,
    /// The earliest begin of a requested list.
    pub(crate) ask_again_at: Instant,
    /// Whether events are applied.
    pub(crate) is_watching: bool,
    /// The earliest time of the next event.
    events_at: Instant,
    pub(crate) pause: Duration,
}

/// The process no longer reads events.
pub(crate) struct Closed;

/// An event: its version, the place after it, and the change.
type Event = (u64, usize, What);

impl Informer {
    pub(crate) fn new(
        shared: Shared,
        (process, watch): (usize, usize),
        writer: StoreWriter,
        pod_events: mpsc::Sender<PodEvent>,
        clock: Clock,
        wake: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            process,
            watch,
            writer,
            pod_events,
            clock,
            newest: NewestVersion::default(),
            wake,
            paging: Paging::default(),
            list: None,
            list_at: Some(now + SOON),
            again: false,
            ask_again_at: now,
            is_watching: false,
            events_at: now,
            pause: PAUSE.0,
        }
    }

    /// Runs until the process no longer reads events.
    pub(crate) async fn run(mut self) {
        while self.work().await.is_ok() {
            let events_at = Some(self.events_at).filter(|at| *at > Instant::now());
            let due = self.list.as_ref().map(|list| list.due).into_iter().chain(self.list_at).chain(events_at).min();
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Does everything that is due.
    async fn work(&mut self) -> Result<(), Closed> {
        loop {
            self.take_requests();
            let now = Instant::now();
            if let Some(event) = self.next() {
                self.take(event).await?;
            } else if self.list.as_ref().is_some_and(|list| list.due <= now) {
                self.list_on().await?;
            } else if self.list.is_none() && self.list_at.is_some_and(|at| at <= now) {
                self.begin_list();
            } else {
                return Ok(());
            }
        }
    }

    pub(crate) fn state<T>(&self, read: impl FnOnce(&mut SimulatedWorld) -> T) -> T {
        read(&mut self.shared.world())
    }

    /// Takes the requests of the history and of the event loop.
    fn take_requests(&mut self) {
        let (broken, asked) = self.state(|world| {
            let watch = &mut world.processes[self.process].watches[self.watch];
            (watch.broken, std::mem::take(&mut watch.asked))
        });
        let now = Instant::now();
        if broken {
            self.drop_watch(SOON);
        }
        if asked && self.list.is_some() {
            self.again = true;
        } else if asked && self.list_at.is_none() {
            self.list_at = Some(self.ask_again_at.max(now + SOON));
        }
    }

    /// Ends the watch. A running list continues.
    fn drop_watch(&mut self, delay: Duration) {
        self.is_watching = false;
        if self.list.is_none() {
            let at = Instant::now() + delay;
            self.list_at = Some(self.list_at.map_or(at, |before| before.min(at)));
        }
    }

    /// Drops the list as well, and requests another one after a pause.
    pub(crate) fn list_after_pause(&mut self) {
        self.list = None;
        self.list_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// After a complete list, the next pause is short.
    pub(crate) fn shorten_pause(&mut self) {
        self.pause = PAUSE.0;
    }

    /// The next event of this watch, if it is due.
    fn next(&self) -> Option<Event> {
        if !self.is_watching || self.events_at > Instant::now() {
            return None;
        }
        self.state(|world| {
            let of_clone = world.is_of_clone(self.process);
            let SimulatedWorld { processes, cluster, clone, .. } = world;
            let cluster = clone.as_ref().filter(|_| of_clone).unwrap_or(cluster);
            let watch = &mut processes[self.process].watches[self.watch];
            watch.place = cluster.earlier(watch.place, std::mem::take(&mut watch.replay));
            while !watch.lags
                && let Some(change) = cluster.log.get(watch.place)
            {
                watch.place += 1;
                let all = matches!(change.what, What::Restored(_));
                if change.watch != self.watch && !all {
                    continue;
                }
                if watch.lose > 0 && !all {
                    watch.lose -= 1;
                    continue;
                }
                return Some((change.version, watch.place, change.what.clone()));
            }
            watch.catches_up &= watch.lags;
            None
        })
    }

    async fn take(&mut self, (version, place, what): Event) -> Result<(), Closed> {
        if let What::Restored(_) = what {
            self.drop_watch(SOON);
            return Ok(());
        }
        if !self.newest.event(&version.to_string()) {
            self.is_watching = false;
            // A running list may come from the same server.
            self.list_after_pause();
            return Ok(());
        }
        let (catches_up, pause) = self.state(|world| {
            let catches_up = world.processes[self.process].watches[self.watch].catches_up;
            (catches_up, if catches_up { world.rng.u64(1..40) } else { 0 })
        });
        if catches_up {
            self.events_at = Instant::now() + Duration::from_millis(pause);
        }
        match what {
            What::Shown(pod) => self.applied(&pod, version, place).await,
            What::Deleted(pod) => {
                if self.writer.remove(&pod.uid, &version.to_string()) {
                    self.deleted(pod.uid.clone(), version, place).await?;
                }
                Ok(())
            }
            What::Restored(_) => Ok(()),
        }
    }

    async fn applied(&mut self, pod: &Arc<Pod>, version: u64, place: usize) -> Result<(), Closed> {
        if let Some(list) = &mut self.list {
            list.deletions.remove(&pod.uid);
        }
        if let Some(before) = self.writer.apply(pod) {
            self.deleted(before, version, place).await?;
        }
        self.state(|world| world.event_shows(self.process, self.watch, pod, place));
        let (uid, name) = (pod.uid.clone(), pod.name.clone());
        self.report(PodEvent::Applied { uid, name, watch: self.watch, at: self.clock.now() }).await
    }

    async fn deleted(&mut self, uid: Uid, version: u64, place: usize) -> Result<(), Closed> {
        if let Some(list) = &mut self.list {
            list.note_deletion(&uid, version);
        }
        self.state(|world| world.event_deletes(self.process, self.watch, &uid, place));
        let at = self.clock.now();
        self.report(PodEvent::Deletion { uid, why: Deletion::DeletedOrLeftSelection, at }).await
    }

    pub(crate) async fn report(&self, pod_event: PodEvent) -> Result<(), Closed> {
        self.pod_events.send(pod_event).await.map_err(|_| Closed)
    }
}

/// Passes the loop's requests for lists to the watches of a process, in their order. A channel would wake them in any
/// order.
pub(crate) async fn relist(shared: Shared, process: usize, mut asked: watch::Receiver<u64>) {
    while asked.changed().await.is_ok() {
        for watch in &mut shared.world().processes[process].watches {
            watch.asked = true;
            watch.wake.notify_one();
        }
    }
}
