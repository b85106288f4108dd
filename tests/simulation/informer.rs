//! A process's side of the cluster: its watches, and who answers what the brake asks.
//!
//! The watches do what `cluster::informer` does, with values instead of HTTP: the same store, the same rule for what is
//! older than what was seen before, the same conclusions from names.

use std::{collections::HashSet, sync::Arc, time::Duration};

use pod_registrar::{
    clock::Clock,
    model::{
        Ended, ListAge, Newest, Pod, Sighting, Uid, WatchList,
        brake::{Answer, Confirmation, Finding, Inquiry},
    },
    store::Writer,
};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    cluster::{What, name_in, name_of},
    steps::{ConfirmFault, ListFault},
    world::{Evidence, Shared, World},
};

/// A watch of a process.
pub(crate) struct Informer {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
    pub(crate) watch: usize,
    pub(crate) writer: Writer,
    pub(crate) sightings: mpsc::Sender<Sighting>,
    pub(crate) clock: Clock,
    pub(crate) newest: Newest,
    pub(crate) wake: Arc<Notify>,
}

/// Why a watch ends.
enum Dropped {
    /// A list takes its place.
    Anew,
    /// It went back in time: a list, a little later.
    Stale,
    Closed,
}

impl Informer {
    /// Watches until nobody listens any more.
    pub(crate) async fn run(mut self) {
        let mut pause = Duration::from_secs(1);
        loop {
            let dropped = if self.list().await { self.watch().await } else { Dropped::Stale };
            match dropped {
                Dropped::Anew => pause = Duration::from_secs(1),
                Dropped::Stale => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(20));
                }
                Dropped::Closed => return,
            }
        }
    }

    fn state<T>(&self, read: impl FnOnce(&mut World) -> T) -> T {
        read(&mut self.shared.world())
    }

    /// Takes a list. False where there is none, or one that is too old.
    async fn list(&mut self) -> bool {
        // On a paused clock a list would begin at the very moment at which it was asked for.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = self.clock.now();
        self.newest.begin_list();
        let (fault, first, second) = self.state(|world| {
            let watch = &mut world.processes[self.process].watches[self.watch];
            watch.broken = false;
            (watch.lists.pop_front(), world.rng.u64(1..30), world.rng.u64(1..30))
        });
        tokio::time::sleep(Duration::from_millis(first)).await;
        let (pods, all, version, place) = self.read(fault);
        let slow = if let Some(ListFault::Slow(ms)) = fault { u64::from(ms) } else { second };
        tokio::time::sleep(Duration::from_millis(slow)).await;
        if fault == Some(ListFault::Fails) {
            let _ = self.sightings.send(Sighting::ListFailed { watch: self.watch }).await;
            return false;
        }
        let age = self.newest.list(Some(&version.to_string()), self.clock.now());
        if age == ListAge::Older {
            self.state(|world| world.tell(|| format!("a list of version {version} is older than what was seen")));
            return false;
        }
        self.writer.begin_list(None);
        for pod in &pods {
            self.writer.list_item(pod);
        }
        self.writer.end_list();
        self.newest.begin_watch();
        let (trusted, identified) = (age == ListAge::Fresh, fault != Some(ListFault::Unidentified));
        let list = WatchList { begun, pods: pods.len(), trusted, identified };
        self.state(|world| self.listed(world, &pods, &all, list, place));
        self.tell(Sighting::Listed { watch: self.watch, list }).await
    }

    /// What the list holds, what it should hold, and where in the log that was.
    fn read(&self, fault: Option<ListFault>) -> (Vec<Arc<Pod>>, HashSet<Uid>, u64, usize) {
        self.state(|world| {
            let cluster = world.cluster_of(self.process);
            let end = cluster.log.len();
            let place = match fault {
                Some(ListFault::Old(back)) => cluster.earlier(end, usize::from(back)),
                _ => end,
            };
            let (mut pods, version) = cluster.list_at(self.watch, place);
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
            (pods, all, version, place)
        })
    }

    /// Notes what the process is shown now.
    fn listed(&self, world: &mut World, pods: &[Arc<Pod>], all: &HashSet<Uid>, list: WatchList, place: usize) {
        let now = world.cluster_of(self.process).log.len();
        world.moment(|| {
            let uids: Vec<String> = pods.iter().map(|pod| pod.uid.to_string()).collect();
            format!("watch {} lists, {} changes old: {uids:?}", self.watch, now - place)
        });
        let mine: HashSet<Uid> = {
            let cluster = &world.cluster;
            let of_watch = |uid: &&Uid| cluster.watch_of(name_in(uid)) == self.watch;
            world.processes[self.process].shown.keys().filter(of_watch).cloned().collect()
        };
        let at = world.now();
        let process = &mut world.processes[self.process];
        process.shown_at = at;
        let plain = list.trusted && list.pods > 0;
        for uid in mine {
            process.shown.remove(&uid);
            process
                .evidence
                .insert(uid.clone(), Evidence::Absent { plain, omitted: list.identified && all.contains(&uid) });
        }
        for evidence in process.evidence.values_mut() {
            // Another list without it: one that held pods is enough.
            if let Evidence::Absent { plain: before, .. } = evidence {
                *before |= plain;
            }
        }
        // A list that says that it could not identify everything misleads nobody.
        for uid in all.iter().filter(|_| list.identified) {
            let omitted = process.evidence.entry(uid.clone()).or_insert(Evidence::Absent { plain, omitted: true });
            if let Evidence::Absent { omitted, .. } = omitted {
                *omitted = true;
            }
        }
        for pod in pods {
            let digest = pod.content.as_ref().map(|content| content.digest);
            process.evidence.remove(&pod.uid);
            process.shown.insert(pod.uid.clone(), (digest, place));
        }
        let watch = &mut process.watches[self.watch];
        watch.listed |= list.identified;
        watch.plain |= plain;
        watch.place = place;
    }

    async fn watch(&mut self) -> Dropped {
        loop {
            while let Some(change) = match self.next() {
                Ok(change) => change,
                Err(dropped) => return dropped,
            } {
                let dropped = match &change.2 {
                    What::Shown(pod) => self.applied(pod, change.0, change.1).await,
                    What::Ended(pod) => self.ended(pod, change.0).await,
                    What::Restored(_) => Some(Dropped::Anew),
                };
                if let Some(dropped) = dropped {
                    return dropped;
                }
            }
            self.wake.notified().await;
        }
    }

    /// The next event of this watch, if it is to be shown now.
    fn next(&self) -> Result<Option<(u64, usize, What)>, Dropped> {
        self.state(|world| {
            let of_clone = world.is_of_clone(self.process);
            let World { processes, cluster, clone, .. } = world;
            let cluster = clone.as_ref().filter(|_| of_clone).unwrap_or(cluster);
            let watch = &mut processes[self.process].watches[self.watch];
            if watch.broken {
                return Err(Dropped::Anew);
            }
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
                return Ok(Some((change.version, watch.place, change.what.clone())));
            }
            Ok(None)
        })
    }

    async fn applied(&mut self, pod: &Arc<Pod>, version: u64, place: usize) -> Option<Dropped> {
        if !self.newest.event(&version.to_string()) {
            return Some(Dropped::Stale);
        }
        if let Some(before) = self.writer.apply(pod) {
            self.end(before).await;
        }
        self.state(|world| {
            world.moment(|| format!("watch {} shows {}", self.watch, pod.uid));
            let digest = pod.content.as_ref().map(|content| content.digest);
            let at = world.now();
            let process = &mut world.processes[self.process];
            process.shown_at = at;
            process.evidence.remove(&pod.uid);
            process.shown.insert(pod.uid.clone(), (digest, place));
        });
        let (uid, name) = (pod.uid.clone(), pod.name.clone());
        let told = self.tell(Sighting::Applied { uid, name, watch: self.watch, at: self.clock.now() }).await;
        (!told).then_some(Dropped::Closed)
    }

    async fn ended(&mut self, pod: &Arc<Pod>, version: u64) -> Option<Dropped> {
        if !self.newest.event(&version.to_string()) {
            return Some(Dropped::Stale);
        }
        (!self.end(pod.uid.clone()).await).then_some(Dropped::Closed)
    }

    async fn end(&mut self, uid: Uid) -> bool {
        self.writer.remove(&uid, "");
        self.state(|world| {
            world.moment(|| format!("watch {} shows the end of {uid}", self.watch));
            let at = world.now();
            let process = &mut world.processes[self.process];
            process.shown_at = at;
            process.shown.remove(&uid);
            process.evidence.insert(uid.clone(), Evidence::Ended);
        });
        let at = self.clock.now();
        self.tell(Sighting::Ended { uid, why: Ended::DeletedOrLeftRule, at }).await
    }

    async fn tell(&self, sighting: Sighting) -> bool {
        self.sightings.send(sighting).await.is_ok()
    }
}

/// Hands the loop's wish for new lists to a process's watches, in their order: a channel would wake them in any.
pub(crate) async fn relist(shared: Shared, process: usize, mut asked: watch::Receiver<u64>) {
    while asked.changed().await.is_ok() {
        for watch in &mut shared.world().processes[process].watches {
            watch.broken = true;
            watch.wake.notify_one();
        }
    }
}

/// Answers what the brake of a process asks.
pub(crate) async fn confirm(
    shared: Shared,
    process: usize,
    mut questions: mpsc::Receiver<Inquiry>,
    answers: mpsc::Sender<Confirmation>,
) {
    while let Some(inquiry) = questions.recv().await {
        let round = inquiry.round();
        let (fault, latency) = {
            let mut world = shared.world();
            world.moment(|| format!("the brake asks {inquiry:?}"));
            (world.confirm.pop_front(), world.rng.u64(1..50))
        };
        let latency = if let Some(ConfirmFault::Slow(ms)) = fault { u64::from(ms) } else { latency };
        tokio::time::sleep(Duration::from_millis(latency)).await;
        let finding = finding(&mut shared.world(), process, &inquiry, fault);
        if answers.send(Confirmation { round, finding }).await.is_err() {
            return;
        }
    }
}

fn finding(world: &mut World, process: usize, inquiry: &Inquiry, fault: Option<ConfirmFault>) -> Finding {
    let there: HashSet<Uid> = world.cluster_of(process).selected.values().map(|pod| pod.uid.clone()).collect();
    let finding = match (fault, inquiry) {
        (Some(ConfirmFault::Unanswered), _) => Finding::Answer(Answer::Unanswered("forbidden".into())),
        (Some(ConfirmFault::OtherCluster), _) => {
            world.processes[process].other_cluster = true;
            Finding::OtherCluster { expected: "a".into(), found: "b".into() }
        }
        (_, Inquiry::Whole { .. }) => Finding::Listed(world.cluster_of(process).living()),
        (_, Inquiry::Find { pods, unasked, .. }) => {
            let living = world.cluster_of(process).living();
            let asked = pods.iter().map(|(uid, ..)| uid).filter(|uid| living.contains(*uid));
            Finding::Listed(asked.chain(unasked).cloned().collect())
        }
        (_, Inquiry::List { .. }) => {
            let end = world.cluster_of(process).log.len();
            world.processes[process].second_list = Some((inquiry.round(), there.clone(), end));
            Finding::Listed(there)
        }
        (_, Inquiry::LookUp { pods, .. }) => match pods.iter().filter(|(uid, ..)| there.contains(uid)).count() {
            0 => {
                world.processes[process].found_gone(inquiry.round());
                Finding::Answer(Answer::Gone)
            }
            count => Finding::Answer(Answer::StillThere(count)),
        },
    };
    world.moment(|| match &finding {
        Finding::Listed(uids) => format!("the cluster answers with a list of {} pods", uids.len()),
        other => format!("the cluster answers {other:?}"),
    });
    finding
}
