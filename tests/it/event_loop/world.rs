//! The surroundings of the event loop: a cluster that is a map, a watch that is driven by hand, and the fake registry.

use std::{collections::BTreeMap, time::Duration};

use pod_registrar::{
    clock::Clock,
    controller::{
        error::Error,
        event_loop::EventLoop,
        explain::{PodExplanation, PodQuestion, Question},
        options::{Approver, BACKLOG_WINDOW, ControllerOptions, Inputs, Outputs, TraceOutput, VISITS_PER_TURN},
        receipts::{ReceiptQuestion, ReceiptSink},
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
        activity::Activity,
        deletion::Deletion,
        election::Leadership,
        pod_event::{PodEvent, WatchList},
        receipts::TargetRecords,
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
use crate::support::series;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What the cluster answers when pods are looked up.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum LookUp {
    Truth,
    StillThere,
    OtherCluster,
    Nothing,
}

/// A running event loop and its surroundings.
pub(super) struct EventLoopHarness {
    pub(super) registry: Fake,
    pub(super) pods: BTreeMap<String, Pod>,
    /// Pods that exist and are not selected.
    pub(super) others: BTreeMap<String, Pod>,
    pub(super) look_up: LookUp,
    /// The samples that were looked up.
    pub(super) checks: Vec<Vec<String>>,
    /// The number of lists that were taken beside the watch.
    pub(super) second_lists: usize,
    pub(super) lists: usize,
    /// Whether a requested list arrives.
    pub(super) lists_arrive: bool,
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
    status: watch::Receiver<ControllerStatus>,
    activity: watch::Receiver<Activity>,
    approvals: mpsc::Sender<HoldId>,
    questions: mpsc::Sender<Question>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

/// The resource version of a deletion event. It has no order.
const NOT_COMPARED: &str = "opaque";

pub(super) fn options() -> ControllerOptions {
    ControllerOptions {
        target: "default",
        max_in_flight: 4,
        max_writes_per_second: 5_000,
        request_timeout: 10 * SECOND,
        backlog_window: BACKLOG_WINDOW,
        visits_per_turn: VISITS_PER_TURN,
        resync_interval: Duration::from_secs(1800),
        instance: "test:0000".into(),
        cluster_name: "test".into(),
        cluster_uid: Some("uid-of-cluster".into()),
        replaces_cluster_uid: None,
        is_previous_process: |other, ours| other != ours && other.split(':').next() == ours.split(':').next(),
        scope: "scope".into(),
        namespaces: Vec::new(),
        stop_within: Duration::from_secs(20),
        on_scope_change: ScopeChangePolicy::Hold,
        approver: Approver::Operator,
        start_epoch: 1_000,
        seed: 7,
    }
}

/// A pod whose record contains this text.
pub(super) fn pod(uid: &str, body: &str) -> Pod {
    pod_with(uid, body, "2026-11-23T10:00:00Z")
}

pub(super) fn pod_with(uid: &str, body: &str, created: &str) -> Pod {
    let owner = model::ids::RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let rule = Rule { owner, labels: AllowList::default(), annotations: AllowList::default() };
    let object = serde_json::json!({
        "metadata": {"uid": uid, "namespace": "default", "name": uid, "resourceVersion": "1",
            "creationTimestamp": created},
        "status": {"reason": body},
    });
    to_record::desired(serde_json::from_value(object).unwrap(), &rule).unwrap()
}

impl EventLoopHarness {
    /// Starts the loop with these pods, before any of them is listed.
    pub(super) fn start(registry: Fake, pods: impl IntoIterator<Item = Pod>, options: ControllerOptions) -> Self {
        Self::start_as(Leadership::Alone, registry, pods, options)
    }

    pub(super) fn start_as(
        leadership: Leadership,
        registry: Fake,
        pods: impl IntoIterator<Item = Pod>,
        options: ControllerOptions,
    ) -> Self {
        Self::start_all((None, None), leadership, registry, pods, options)
    }

    /// Starts the loop with a writer of receipts.
    pub(super) fn start_with(
        receipts: Option<ReceiptSink>,
        leadership: Leadership,
        registry: Fake,
        pods: impl IntoIterator<Item = Pod>,
        options: ControllerOptions,
    ) -> Self {
        Self::start_all((receipts, None), leadership, registry, pods, options)
    }

    /// Starts the loop with traces of changes.
    pub(super) fn start_traced(
        traces: Option<TraceOutput>,
        leadership: Leadership,
        registry: Fake,
        pods: impl IntoIterator<Item = Pod>,
        options: ControllerOptions,
    ) -> Self {
        Self::start_all((None, traces), leadership, registry, pods, options)
    }

    fn start_all(
        (receipts, traces): (Option<ReceiptSink>, Option<TraceOutput>),
        leadership: Leadership,
        registry: Fake,
        pods: impl IntoIterator<Item = Pod>,
        options: ControllerOptions,
    ) -> Self {
        let clock = Clock::start();
        let writer = StoreWriter::default();
        let view = View::new([writer.store()]);
        let (pod_events, pod_events_in) = mpsc::channel(100_000);
        let (relist_out, relist) = watch::channel(0);
        let (leadership, leads) = watch::channel(leadership);
        let (checks, asked) = mpsc::channel(4);
        let (answers, check_results) = mpsc::channel(4);
        let (controller_status, status) = watch::channel(ControllerStatus::default());
        let (shown, activity) = watch::channel(Activity::default());
        let (approvals, approvals_in) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        let health = Health::new(1);
        let metrics = Metrics::new(health.clone());
        let outputs = Outputs {
            checks,
            relist: relist_out,
            controller_status,
            activity: shown,
            receipts,
            traces,
            metrics: metrics.target("default"),
            health: health.add_loop(),
        };
        let event_loop = EventLoop::new(registry.clone(), view, options, clock, outputs);
        let (questions, questions_in) = mpsc::channel(1);
        let inputs = Inputs {
            pod_events: pod_events_in,
            check_results,
            leadership: leads,
            approvals: approvals_in,
            questions: questions_in,
        };
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
            lists_arrive: true,
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
            status,
            activity,
            approvals,
            questions,
            stop: Some(stop),
            task,
        }
    }

    /// Starts the loop, lists the pods, and waits until it is in sync.
    pub(super) async fn settled(registry: Fake, pods: impl IntoIterator<Item = Pod>) -> Self {
        let mut world = Self::start(registry, pods, options());
        world.list().await;
        world.pass(5 * SECOND).await;
        world
    }

    /// Delivers a complete list.
    pub(super) async fn list(&mut self) {
        self.lists += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = self.clock.now();
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.writer.begin_list(None);
        let mut uids = Vec::new();
        for pod in self.pods.values() {
            if self.writer.list_item(pod) {
                uids.push(pod.uid.clone());
            }
        }
        if self.registry.state().mapping.is_some() {
            self.report(PodEvent::Page { watch: 0, uids, at: begun }).await;
        }
        self.writer.end_list();
        let list = WatchList { begun, pods: self.pods.len(), trusted: self.trusted, identified: true };
        self.report(PodEvent::Listed { watch: 0, list }).await;
    }

    /// Delivers one page of a list.
    pub(super) async fn page(&mut self, count: usize) {
        let at = self.clock.now();
        self.writer.begin_list(None);
        let uids = self.pods.values().take(count).map(|pod| {
            self.writer.list_item(pod);
            pod.uid.clone()
        });
        let uids = uids.collect();
        self.report(PodEvent::Page { watch: 0, uids, at }).await;
    }

    /// Reports that a list failed.
    pub(super) async fn list_failed(&mut self) {
        self.report(PodEvent::ListFailed { watch: 0 }).await;
    }

    pub(super) fn is_in_sync(&self) -> bool {
        self.status.borrow().in_sync
    }

    pub(super) fn activity(&self) -> Activity {
        self.activity.borrow().clone()
    }

    pub(super) fn status(&self) -> ControllerStatus {
        self.status.borrow().clone()
    }

    pub(super) fn ability(&self) -> Ability {
        self.status.borrow().ability
    }

    /// Creates or changes a pod; the watch reports it.
    pub(super) async fn apply(&mut self, pod: Pod) {
        let (uid, name) = (pod.uid.clone(), pod.name.clone());
        self.writer.apply(&pod);
        self.pods.insert(uid.to_string(), pod);
        let at = self.clock.now();
        self.report(PodEvent::Applied { uid, name, watch: 0, at }).await;
    }

    /// Deletes a pod; the watch reports it.
    pub(super) async fn delete(&mut self, uid: &str) {
        self.pods.remove(uid).unwrap();
        self.writer.remove(&uid.into(), NOT_COMPARED);
        let at = self.clock.now();
        self.report(PodEvent::Deletion { uid: uid.into(), why: Deletion::Deleted, at }).await;
    }

    /// Creates one pod and deletes another; the watch reports both this much later.
    pub(super) async fn late(&mut self, pod: Pod, gone: &str, after: Duration) {
        let at = self.clock.now();
        self.pass(after).await;
        let (uid, name) = (pod.uid.clone(), pod.name.clone());
        self.writer.apply(&pod);
        self.pods.insert(uid.to_string(), pod);
        self.report(PodEvent::Applied { uid, name, watch: 0, at }).await;
        self.pods.remove(gone).unwrap();
        self.writer.remove(&gone.into(), NOT_COMPARED);
        self.report(PodEvent::Deletion { uid: gone.into(), why: Deletion::Deleted, at }).await;
    }

    async fn report(&mut self, pod_event: PodEvent) {
        self.pod_events.send(pod_event).await.unwrap();
    }

    /// Lets time pass. Requested lists arrive and checks are answered.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut alive = tokio::time::interval(10 * SECOND);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                _ = alive.tick() => if !self.silent { self.health.watch_alive(0); },
                Ok(()) = self.relist.changed() => if self.lists_arrive { self.list().await },
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

    /// Checks that the registry equals the cluster.
    pub(super) fn assert_equal(&self) {
        let digests = |pod: &Pod| pod.content.as_ref().unwrap().digest;
        let wanted: BTreeMap<_, _> = self.pods.iter().map(|(uid, pod)| (uid.clone(), digests(pod))).collect();
        let held: BTreeMap<_, _> =
            self.registry.state().records.iter().map(|(uid, (_, digest))| (uid.clone(), *digest)).collect();
        assert_eq!(held, wanted);
    }

    /// Reports the result of the election.
    pub(super) fn lead(&self, leadership: Leadership) {
        self.leadership.send_replace(leadership);
    }

    pub(super) async fn stop(mut self) -> Result<(), Error> {
        self.stop.take().map(|stop| stop.send(()));
        self.task.await.unwrap()
    }

    pub(super) fn held(&self) -> Vec<HoldSummary> {
        self.status.borrow().holds.clone()
    }

    pub(super) async fn approve(&self, hold: &HoldId) {
        self.approvals.send(hold.clone()).await.unwrap();
    }

    /// What the loop knows about a pod.
    pub(super) async fn explain(&self, uid: &str) -> PodExplanation {
        let (reply, answer) = oneshot::channel();
        self.questions.send(Question::Pod(PodQuestion { pod: uid.into(), reply })).await.unwrap();
        answer.await.unwrap()
    }

    /// What the loop tells the writer of receipts about a pod.
    pub(super) async fn records_of(&self, uid: &str) -> TargetRecords {
        let (reply, answer) = oneshot::channel();
        let question = ReceiptQuestion { pods: vec![uid.into()], reply };
        self.questions.send(Question::Receipts(question)).await.unwrap();
        answer.await.unwrap().remove(0)
    }

    /// Whether the loop ended with a panic.
    pub(super) async fn panicked(self) -> bool {
        assert!(self.task.is_finished(), "the loop still runs");
        self.task.await.is_err_and(|error| error.is_panic())
    }

    /// The loop never turns again, as if it waited forever.
    pub(super) fn hang(&self) {
        self.task.abort();
    }

    /// The value of a metric.
    pub(super) fn figure(&self, name: &str) -> usize {
        series(&self.metrics.encode().unwrap(), name)
    }

    /// The value of a metric in seconds.
    pub(super) fn seconds(&self, name: &str) -> f64 {
        series(&self.metrics.encode().unwrap(), &format!("{name}_seconds"))
    }

    /// The number of lists that were requested.
    pub(super) fn relists_asked(&self) -> u64 {
        *self.relist.borrow()
    }

    /// Ends the task that checks absent pods.
    pub(super) fn end_checks(&mut self) {
        self.answers = mpsc::channel(1).0;
    }

    /// The result of a loop that ended without a stop.
    pub(super) async fn ended(self) -> Result<(), Error> {
        assert!(self.task.is_finished(), "the loop still runs");
        self.task.await.unwrap()
    }
}

pub(super) fn ms_between(from: Instant, to: Instant) -> u128 {
    (to - from).as_millis()
}

/// This many pods: `uid-00000`, `uid-00001` and so on.
pub(super) fn many(count: usize, body: &str) -> impl Iterator<Item = Pod> + use<'_> {
    (0..count).map(move |n| pod(&format!("uid-{n:05}"), body))
}
