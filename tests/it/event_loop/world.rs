//! A small world around the event loop: a cluster that is a map, a watch that is played by hand, and the fake registry.

use std::{collections::BTreeMap, time::Duration};

use pod_registrar::{
    clock::Clock,
    controller::{
        error::Error,
        event_loop::EventLoop,
        options::{BACKLOG_WINDOW, ControllerOptions, Inputs, Outputs},
    },
    model::{
        self,
        pod::{
            Pod,
            to_record::{self, AllowList, Rule},
        },
        uid::Uid,
    },
    reconcile::{
        absence::{
            ScopeChangePolicy,
            check::{Check, CheckFinding, CheckResult, Confirmation},
            hold::{HoldId, HoldSummary},
        },
        election::Leadership,
        ledger::pending::Deletion,
        pod_event::{PodEvent, WatchList},
        status::{Ability, ControllerStatus},
    },
    store::{StoreWriter, View},
    telemetry::{health::Health, metrics::Metrics},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

use super::fake::Fake;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What the cluster says when pods are looked up.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum LookUp {
    Truth,
    StillThere,
    OtherCluster,
    Nothing,
}

/// A running event loop and everything around it.
pub(super) struct World {
    pub(super) registry: Fake,
    pub(super) pods: BTreeMap<String, Pod>,
    /// Pods that are there and not selected.
    pub(super) others: BTreeMap<String, Pod>,
    pub(super) look_up: LookUp,
    /// The samples that were looked up.
    pub(super) checks: Vec<Vec<String>>,
    /// How many lists were taken beside the watch.
    pub(super) second_lists: usize,
    pub(super) lists: usize,
    /// Whether a request for a new list is obeyed.
    pub(super) obey: bool,
    /// Whether the watch shows no sign of life.
    pub(super) silent: bool,
    /// Whether lists are known not to be stale.
    pub(super) trusted: bool,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    writer: StoreWriter,
    pod_events: mpsc::Sender<PodEvent>,
    relist: watch::Receiver<u64>,
    leadership: watch::Sender<Leadership>,
    asked: mpsc::Receiver<Check>,
    answers: mpsc::Sender<CheckResult>,
    stands: watch::Receiver<ControllerStatus>,
    approvals: mpsc::Sender<HoldId>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

/// The version of an event that shows an end.
const NOT_COMPARED: &str = "opaque";

pub(super) fn options() -> ControllerOptions {
    ControllerOptions {
        max_in_flight: 4,
        max_writes_per_second: 5_000,
        request_timeout: 10 * SECOND,
        backlog_window: BACKLOG_WINDOW,
        resync_interval: Duration::from_secs(1800),
        instance: "test:0000".into(),
        cluster_name: "test".into(),
        cluster_uid: Some("uid-of-cluster".into()),
        replaces_cluster_uid: None,
        is_earlier_life: |other, ours| other.split(':').next() == ours.split(':').next(),
        scope: "scope".into(),
        namespaces: Vec::new(),
        stop_within: Duration::from_secs(20),
        on_scope_change: ScopeChangePolicy::Hold,
        start_epoch: 1_000,
        seed: 7,
    }
}

/// A pod whose record has this text in it.
pub(super) fn pod(uid: &str, body: &str) -> Pod {
    let writer = model::ids::RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let rule = Rule { writer, labels: AllowList::default(), annotations: AllowList::default() };
    let object = serde_json::json!({
        "metadata": {"uid": uid, "namespace": "default", "name": uid, "resourceVersion": "1",
            "creationTimestamp": "2026-11-23T10:00:00Z"},
        "status": {"reason": body},
    });
    to_record::desired(serde_json::from_value(object).unwrap(), &rule).unwrap()
}

impl World {
    /// A world with these pods, before any of them was listed.
    pub(super) fn start(registry: Fake, pods: impl IntoIterator<Item = Pod>, options: ControllerOptions) -> Self {
        Self::start_as(Leadership::Alone, registry, pods, options)
    }

    /// The same, as a leader or a follower.
    pub(super) fn start_as(
        leadership: Leadership,
        registry: Fake,
        pods: impl IntoIterator<Item = Pod>,
        options: ControllerOptions,
    ) -> Self {
        let clock = Clock::start();
        let writer = StoreWriter::default();
        let view = View::new([writer.store()]);
        let (pod_events, sightings_in) = mpsc::channel(100_000);
        let (relist_out, relist) = watch::channel(0);
        let (leadership, leads) = watch::channel(leadership);
        let (checks, asked) = mpsc::channel(4);
        let (answers, check_results) = mpsc::channel(4);
        let (controller_status, stands) = watch::channel(ControllerStatus::default());
        let (approvals, approvals_in) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        let (metrics, health) = (Metrics::new(1), Health::new(1));
        let outputs =
            Outputs { checks, relist: relist_out, controller_status, metrics: metrics.clone(), health: health.clone() };
        let event_loop = EventLoop::new(registry.clone(), view, options, clock, outputs);
        let inputs = Inputs { pod_events: sightings_in, check_results, leadership: leads, approvals: approvals_in };
        let task = tokio::spawn(event_loop.run(inputs, async {
            let _ = stopped.await;
        }));
        Self {
            registry,
            pods: pods.into_iter().map(|pod| (pod.uid.to_string(), pod)).collect(),
            others: BTreeMap::new(),
            look_up: LookUp::Truth,
            checks: Vec::new(),
            second_lists: 0,
            lists: 0,
            obey: true,
            silent: false,
            trusted: true,
            clock,
            metrics,
            health,
            writer,
            pod_events,
            relist,
            leadership,
            asked,
            answers,
            stands,
            approvals,
            stop: Some(stop),
            task,
        }
    }

    /// A world with these pods, listed, and given time to settle.
    pub(super) async fn settled(registry: Fake, pods: impl IntoIterator<Item = Pod>) -> Self {
        let mut world = Self::start(registry, pods, options());
        world.list().await;
        world.pass(5 * SECOND).await;
        world
    }

    /// A complete list comes in.
    pub(super) async fn list(&mut self) {
        self.lists += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = self.clock.now();
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.writer.begin_list(None);
        for pod in self.pods.values() {
            self.writer.list_item(pod);
        }
        self.writer.end_list();
        let list = WatchList { begun, pods: self.pods.len(), trusted: self.trusted, identified: true };
        self.tell(PodEvent::Listed { watch: 0, list }).await;
    }

    /// A page of a list comes in, with the pods that the store lacks so far.
    pub(super) async fn page(&mut self, count: usize) {
        let at = self.clock.now();
        self.writer.begin_list(None);
        let uids = self.pods.values().take(count).map(|pod| {
            self.writer.list_item(pod);
            pod.uid.clone()
        });
        let uids = uids.collect();
        self.tell(PodEvent::Page { watch: 0, uids, at }).await;
    }

    /// A list cannot be taken.
    pub(super) async fn list_failed(&mut self) {
        self.tell(PodEvent::ListFailed { watch: 0 }).await;
    }

    /// Whether the status page says that the registry is equal to the cluster.
    pub(super) fn in_step(&self) -> bool {
        self.stands.borrow().in_sync
    }

    /// What the loop says that it is able to do.
    pub(super) fn ability(&self) -> Ability {
        self.stands.borrow().ability
    }

    /// A pod appears or changes, and the watch shows it.
    pub(super) async fn apply(&mut self, pod: Pod) {
        let (uid, name) = (pod.uid.clone(), pod.name.clone());
        self.writer.apply(&pod);
        self.pods.insert(uid.to_string(), pod);
        let at = self.clock.now();
        self.tell(PodEvent::Applied { uid, name, watch: 0, at }).await;
    }

    /// A pod ends, and the watch shows it.
    pub(super) async fn delete(&mut self, uid: &str) {
        self.pods.remove(uid).unwrap();
        self.writer.remove(&uid.into(), NOT_COMPARED);
        let at = self.clock.now();
        self.tell(PodEvent::Deletion { uid: uid.into(), why: Deletion::Deleted, at }).await;
    }

    /// A pod that appears and one that ends, which the loop hears of so much later.
    pub(super) async fn late(&mut self, pod: Pod, gone: &str, after: Duration) {
        let at = self.clock.now();
        self.pass(after).await;
        let (uid, name) = (pod.uid.clone(), pod.name.clone());
        self.writer.apply(&pod);
        self.pods.insert(uid.to_string(), pod);
        self.tell(PodEvent::Applied { uid, name, watch: 0, at }).await;
        self.pods.remove(gone).unwrap();
        self.writer.remove(&gone.into(), NOT_COMPARED);
        self.tell(PodEvent::Deletion { uid: gone.into(), why: Deletion::Deleted, at }).await;
    }

    async fn tell(&mut self, sighting: PodEvent) {
        self.pod_events.send(sighting).await.unwrap();
    }

    /// Time passes; lists that are asked for come in, questions are answered.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut alive = tokio::time::interval(10 * SECOND);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                _ = alive.tick() => if !self.silent { self.metrics.watch_alive(0); },
                Ok(()) = self.relist.changed() => if self.obey { self.list().await },
                Some(check) = self.asked.recv() => self.answer(check).await,
            }
        }
    }

    async fn answer(&mut self, check: Check) {
        let round = check.round();
        let pods = match check {
            Check::Whole { .. } | Check::List { .. } => {
                self.second_lists += 1;
                let others = self.others.keys().filter(|_| matches!(check, Check::Whole { .. }));
                let finding =
                    CheckFinding::Listed(self.pods.keys().chain(others).map(|uid| uid.as_str().into()).collect());
                return self.answers.send(CheckResult { round, finding }).await.unwrap();
            }
            Check::Find { pods, not_looked_up, .. } => {
                let asked = pods.into_iter().map(|pod| pod.uid);
                let is_there = |uid: &Uid| {
                    let uid = &*uid.text();
                    self.pods.contains_key(uid) || self.others.contains_key(uid)
                };
                let finding = CheckFinding::Listed(asked.filter(is_there).chain(not_looked_up).collect());
                return self.answers.send(CheckResult { round, finding }).await.unwrap();
            }
            Check::LookUp { pods, .. } => pods.into_iter().map(|pod| pod.uid.to_string()).collect::<Vec<_>>(),
        };
        let is_there = |uid: &&String| self.pods.contains_key(*uid) || self.others.contains_key(*uid);
        let there = pods.iter().filter(is_there).count();
        let other = || CheckFinding::OtherCluster { expected: "a".into(), found: "b".into() };
        let finding = match self.look_up {
            LookUp::Truth if there == 0 => CheckFinding::Confirmation(Confirmation::Gone),
            LookUp::Truth => CheckFinding::Confirmation(Confirmation::StillThere(there)),
            LookUp::StillThere => CheckFinding::Confirmation(Confirmation::StillThere(1)),
            LookUp::OtherCluster => other(),
            LookUp::Nothing => CheckFinding::Confirmation(Confirmation::Unanswered("forbidden".into())),
        };
        self.checks.push(pods);
        self.answers.send(CheckResult { round, finding }).await.unwrap();
    }

    /// The registry holds the cluster's pods, as they are.
    pub(super) fn assert_equal(&self) {
        let digests = |pod: &Pod| pod.content.as_ref().unwrap().digest;
        let wanted: BTreeMap<_, _> = self.pods.iter().map(|(uid, pod)| (uid.clone(), digests(pod))).collect();
        let held: BTreeMap<_, _> =
            self.registry.state().records.iter().map(|(uid, (_, digest))| (uid.clone(), *digest)).collect();
        assert_eq!(held, wanted);
    }

    /// The lease makes this process the leader or a follower.
    pub(super) fn lead(&self, leadership: Leadership) {
        self.leadership.send_replace(leadership);
    }

    /// Asks the loop to stop and waits until it has.
    pub(super) async fn stop(mut self) -> Result<(), Error> {
        self.stop.take().map(|stop| stop.send(()));
        self.task.await.unwrap()
    }

    /// What waits for a person.
    pub(super) fn held(&self) -> Vec<HoldSummary> {
        self.stands.borrow().holds.clone()
    }

    /// A person approves a hold.
    pub(super) async fn approve(&self, hold: &HoldId) {
        self.approvals.send(hold.clone()).await.unwrap();
    }

    /// Whether the loop ended in a panic.
    pub(super) async fn panicked(self) -> bool {
        assert!(self.task.is_finished(), "the loop goes on");
        self.task.await.is_err_and(|error| error.is_panic())
    }

    /// The loop never turns again, as if it waited for something that never comes.
    pub(super) fn hang(&self) {
        self.task.abort();
    }

    /// What a metric without labels says.
    pub(super) fn figure(&self, name: &str) -> usize {
        let (text, name) = (self.metrics.encode().unwrap(), format!("pod_registrar_{name} "));
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// What a metric of seconds says.
    pub(super) fn seconds(&self, name: &str) -> f64 {
        let (text, name) = (self.metrics.encode().unwrap(), format!("pod_registrar_{name}_seconds "));
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }

    /// How often a new list was asked for.
    pub(super) fn relists_asked(&self) -> u64 {
        *self.relist.borrow()
    }

    /// How the loop ended by itself.
    pub(super) async fn ended(self) -> Result<(), Error> {
        assert!(self.task.is_finished(), "the loop goes on");
        self.task.await.unwrap()
    }
}

/// The time between two instants in whole milliseconds.
pub(super) fn ms_between(from: Instant, to: Instant) -> u128 {
    (to - from).as_millis()
}

/// So many pods, `uid-00000` and on.
pub(super) fn many(count: usize, body: &str) -> impl Iterator<Item = Pod> + use<'_> {
    (0..count).map(move |n| pod(&format!("uid-{n:05}"), body))
}
