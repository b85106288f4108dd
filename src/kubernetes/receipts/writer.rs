//! The writer of receipts: passes over pods, limits, and leadership.
//!
//! | limit | value |
//! | --- | --- |
//! | receipts per second | 50 |
//! | pods whose receipts are being written | 8 |
//! | pods that wait for their turn, besides those that wait for their gate | 4,096 |
//! | Events that wait for their turn | 1,000 |
//! | a pass over the pods that wait for their gate | every 5 s, and 1 ms more for each of them |
//! | a pass over the annotations of all pods | 1,000 pods per second, every 10 min; sooner if pods came or went, or a registry is not read |

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    board::ReceiptBoard,
    queue::{PodTurn, TurnQueue},
    request::{Error, ReceiptClient, ReceiptPod, ReceiptWrite},
};
use crate::{
    clock::Clock,
    model::{moment::Moment, pass::Pass, pod::receipt::AnnotationMark, uid::Uid, uid_map::UidMap},
    reconcile::{
        election::Leadership,
        fault_log::Reminder,
        receipts::{Acknowledgement, ReceiptKind, ReceiptKinds, Registration, TargetRecords, plan},
        retry::{self, RateLimit},
    },
    store::View,
    telemetry::metrics::{Metrics, labels::ReceiptOutcome},
};

const PER_SECOND: u32 = 50;
const AT_ONCE: usize = 8;
/// Acknowledgements that are taken at once.
const TAKEN_AT_ONCE: usize = 1_000;
const GATES_EVERY: Duration = Duration::from_secs(5);
const GATES_EVERY_PER_POD: Duration = Duration::from_millis(1);
const PASS_EVERY: Duration = Duration::from_secs(600);
/// The same if the pass may have missed something, and at least this multiple of the time that the pass took.
const PASS_AGAIN: Duration = Duration::from_secs(5);
const PASS_AGAIN_SHARE: u32 = 4;
/// Pods of a pass that are looked at together, and the time between two of these portions.
const PORTION: usize = 100;
const PORTION_EVERY: Duration = Duration::from_millis(100);
/// The first and the longest pause of all receipts after one that failed.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The first and the longest pause of the receipts of one kind in a namespace where they are forbidden.
const FORBIDDEN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));
/// How often a standby forgets pods that lists do not show any more.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
const FAR: Duration = Duration::from_secs(3_600);

/// Asks the event loops what their registries hold of these pods. Returns, for each target, an answer per pod.
pub type AskTargets = Box<dyn Fn(Vec<Uid>) -> BoxFuture<'static, Vec<Vec<TargetRecords>>> + Send + Sync>;

/// What the writer needs.
pub struct ReceiptParts {
    pub client: Client,
    pub kinds: ReceiptKinds,
    /// The names of all targets, in the order of the answers of `ask`.
    pub targets: Vec<&'static str>,
    /// The name of this process.
    pub instance: String,
    /// Whether rights are granted in namespaces, not in the cluster.
    pub rights_by_namespace: bool,
    pub board: ReceiptBoard,
    pub view: View,
    pub leadership: watch::Receiver<Leadership>,
    pub clock: Clock,
    pub metrics: Metrics,
    pub ask: AskTargets,
    pub rng: fastrand::Rng,
}

type Written = (ReceiptPod, Vec<(ReceiptWrite, Result<(), Error>)>);

pub struct ReceiptWriter {
    client: ReceiptClient,
    kinds: ReceiptKinds,
    targets: Vec<&'static str>,
    board: ReceiptBoard,
    view: View,
    leadership: watch::Receiver<Leadership>,
    clock: Clock,
    metrics: Metrics,
    ask: AskTargets,
    rng: fastrand::Rng,

    queue: TurnQueue,
    writes: JoinSet<Written>,
    /// The pods whose conditions and annotations are being written, each with whether to look at it again afterwards.
    busy: UidMap<bool>,
    limit: RateLimit,
    leads: bool,
    gates_at: Moment,
    pass: Option<AnnotationPass>,
    pass_at: Moment,
    /// Failures in a row.
    failures: u32,
    paused_until: Moment,
    forbidden: BTreeMap<(ReceiptKind, Box<str>), Forbidden>,
    reminders: BTreeMap<ReceiptKind, Reminder>,
}

struct AnnotationPass {
    pass: Pass,
    begun: Moment,
    /// When the next portion is due.
    next_at: Moment,
    /// Whether it is not known of all pods what the registries hold.
    has_unknown: bool,
}

/// Receipts of one kind are forbidden in one namespace.
struct Forbidden {
    times: u32,
    until: Moment,
}

impl ReceiptWriter {
    pub fn new(parts: ReceiptParts) -> Self {
        let ReceiptParts {
            client,
            kinds,
            targets,
            instance,
            rights_by_namespace,
            board,
            view,
            leadership,
            clock,
            metrics,
            ask,
            rng,
        } = parts;
        Self {
            client: ReceiptClient { client, instance, rights_by_namespace },
            kinds,
            targets,
            board,
            view,
            leadership,
            clock,
            metrics,
            ask,
            rng,
            queue: TurnQueue::default(),
            writes: JoinSet::new(),
            busy: UidMap::default(),
            limit: RateLimit::new(PER_SECOND),
            leads: false,
            gates_at: Moment::START,
            pass: None,
            pass_at: Moment::START,
            failures: 0,
            paused_until: Moment::START,
            forbidden: BTreeMap::new(),
            reminders: BTreeMap::new(),
        }
    }

    /// Writes receipts while this process leads. Never ends.
    pub async fn run(mut self, mut acknowledged: mpsc::Receiver<Acknowledgement>) {
        loop {
            let now = self.clock.now();
            self.follow(now);
            if self.leads {
                self.act().await;
            } else {
                self.stand_by(now);
            }
            let wake_at = self.wake_at(self.clock.now());
            tokio::select! {
                biased;
                // If the task that keeps the Lease has ended, the term runs out.
                Ok(()) = self.leadership.changed() => {}
                Some(written) = self.writes.join_next() => match written {
                    Ok(written) => self.written(written),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_cancelled) => {}
                },
                Some(first) = acknowledged.recv() => self.acknowledged(first, &mut acknowledged),
                () = self.board.changed() => {}
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
    }

    fn follow(&mut self, now: Moment) {
        let leads = self.leadership.borrow().term(now).is_some();
        if leads && !self.leads {
            (self.gates_at, self.pass_at) = (now, now);
        } else if !leads && self.leads {
            // The next leader finds what is missing.
            self.queue.clear();
            (self.writes, self.busy, self.pass) = (JoinSet::new(), UidMap::default(), None);
        }
        self.leads = leads;
    }

    /// Keeps the board small. The first pass as a leader finds all pods that wait.
    fn stand_by(&mut self, now: Moment) {
        drop(self.board.take_fresh());
        if now >= self.pass_at {
            self.board.forget_lost(&self.view);
            self.pass_at = now + FORGET_EVERY;
        }
    }

    fn wake_at(&mut self, now: Moment) -> Moment {
        if !self.leads {
            return self.pass_at;
        }
        let mut wake_at = now + FAR;
        let until = self.leadership.borrow().until();
        wake_at = until.filter(|until| *until > now).map_or(wake_at, |until| wake_at.min(until));
        if self.board.has_waiting() {
            wake_at = wake_at.min(self.gates_at);
        }
        wake_at = match &self.pass {
            _ if !self.kinds.annotation => wake_at,
            Some(pass) if self.queue.has_room() => wake_at.min(pass.next_at),
            Some(_) => wake_at,
            None => wake_at.min(self.pass_at),
        };
        if !self.queue.is_empty() && self.writes.len() < AT_ONCE {
            wake_at = wake_at.min(self.limit.next_at(now, 1).max(self.paused_until));
        }
        wake_at
    }

    fn acknowledged(&mut self, first: Acknowledgement, more: &mut mpsc::Receiver<Acknowledgement>) {
        let mut taken = 0;
        let mut next = Some(first);
        while let Some(Acknowledgement { target, pod, is_new }) = next.filter(|_| self.leads) {
            let waits = self.board.of(&pod).waits;
            let wants_event = is_new && self.kinds.event;
            if waits || self.kinds.annotation || wants_event {
                let has_room = self.queue.push(&pod, waits);
                if !has_room && self.kinds.annotation {
                    self.count(ReceiptKind::Annotation, ReceiptOutcome::Dropped);
                }
                if wants_event && !(has_room && self.queue.push_event(&pod, target)) {
                    self.count(ReceiptKind::Event, ReceiptOutcome::Dropped);
                }
            }
            taken += 1;
            next = if taken < TAKEN_AT_ONCE { more.try_recv().ok() } else { None };
        }
    }

    /// Does what is due.
    async fn act(&mut self) {
        let now = self.clock.now();
        let mut waiting = self.board.take_fresh();
        if now >= self.gates_at {
            let all = self.board.waiting();
            let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
            self.gates_at = now + GATES_EVERY + GATES_EVERY_PER_POD * count;
            waiting.extend(all);
        }
        for pod in &waiting {
            self.queue.push(pod, true);
        }
        self.continue_pass(now).await;
        self.begin_writes().await;
    }

    /// Looks for pods whose annotations differ.
    async fn continue_pass(&mut self, now: Moment) {
        if !self.kinds.annotation || !self.queue.has_room() {
            return;
        }
        if self.pass.is_none() && now >= self.pass_at {
            self.pass = Some(AnnotationPass { pass: self.board.pass(), begun: now, next_at: now, has_unknown: false });
        }
        let Some(mut pass) = self.pass.take() else { return };
        if now < pass.next_at {
            self.pass = Some(pass);
            return;
        }
        let pods = self.board.portion(&mut pass.pass, PORTION, &self.view);
        let answers = self.asked(pods.clone()).await;
        for (pod, answers) in pods.iter().zip(&answers) {
            let records = self.named(answers);
            pass.has_unknown |= records.iter().any(|(_, records)| records.registration == Registration::Unknown);
            let marks = self.board.of(pod);
            if plan(self.kinds, marks, &records).annotations.is_some() {
                self.queue.push(pod, false);
            }
        }
        if pass.pass.is_over() {
            let took = self.clock.now().since(pass.begun);
            // A list may have gone on. Before the first one there are no pods.
            let (_, length) = pass.pass.done_of();
            let is_early = pass.has_unknown || length == 0 || self.board.pass() != Pass::over(length);
            self.pass_at = now + if is_early { PASS_AGAIN.max(took * PASS_AGAIN_SHARE) } else { PASS_EVERY };
        } else {
            pass.next_at = now + PORTION_EVERY;
            self.pass = Some(pass);
        }
    }

    /// Begins to write the receipts of the next pods, as far as the limits allow.
    async fn begin_writes(&mut self) {
        loop {
            let now = self.clock.now();
            let most = AT_ONCE.saturating_sub(self.writes.len()).min(self.limit.available(now));
            if now < self.paused_until || most == 0 {
                return;
            }
            let turns = self.queue.take(most);
            if turns.is_empty() {
                return;
            }
            let answers = self.asked(turns.iter().map(|turn| turn.pod.clone()).collect()).await;
            // The term may have ended in the meantime.
            if self.leadership.borrow().term(self.clock.now()).is_none() {
                return;
            }
            for (turn, answers) in turns.into_iter().zip(answers) {
                self.begin_write(turn, &answers, now);
            }
        }
    }

    fn begin_write(&mut self, turn: PodTurn, answers: &[TargetRecords], now: Moment) {
        let PodTurn { pod: uid, events } = turn;
        let Some(pod) = self.view.get(&uid) else {
            self.board.remove(&uid);
            return;
        };
        let records = self.named(answers);
        let plan = plan(self.kinds, self.board.of(&uid), &records);
        let mut receipts = Vec::new();
        match self.busy.get_mut(&uid) {
            Some(again) => *again = true,
            None => {
                receipts.extend(plan.gate.then_some(ReceiptWrite::Gate));
                receipts.extend(plan.annotations.map(ReceiptWrite::Annotations));
            }
        }
        for target in events {
            let ids = records.iter().find(|(name, _)| *name == target).map(|(_, records)| records.ids.clone());
            receipts.push(ReceiptWrite::Event { target, ids: ids.unwrap_or_default() });
        }
        let forbidden = &self.forbidden;
        receipts.retain(|receipt| {
            let pause = forbidden.get(&(receipt.kind(), pod.namespace.clone()));
            pause.is_none_or(|pause| now >= pause.until)
        });
        if !receipts.is_empty() {
            self.limit.take(receipts.len());
            if receipts.iter().any(|receipt| receipt.kind() != ReceiptKind::Event) {
                self.busy.insert(&uid, false);
            }
            let pod = ReceiptPod { uid, namespace: pod.namespace, name: pod.name };
            self.writes.spawn(self.client.clone().write_all(pod, receipts, self.rng.fork()));
        }
    }

    /// What all targets say, per pod.
    async fn asked(&self, pods: Vec<Uid>) -> Vec<Vec<TargetRecords>> {
        if pods.is_empty() {
            return Vec::new();
        }
        let count = pods.len();
        let by_target = (self.ask)(pods).await;
        let of_pod = |at: usize| by_target.iter().map(|pods| pods.get(at).cloned().unwrap_or_default()).collect();
        (0..count).map(of_pod).collect()
    }

    fn named<'a>(&self, answers: &'a [TargetRecords]) -> Vec<(&'static str, &'a TargetRecords)> {
        self.targets.iter().copied().zip(answers).collect()
    }

    fn written(&mut self, (pod, results): Written) {
        let was_busy = results.iter().any(|(receipt, _)| receipt.kind() != ReceiptKind::Event);
        for (receipt, result) in results {
            let kind = receipt.kind();
            match &result {
                Ok(()) => match &receipt {
                    ReceiptWrite::Gate => self.board.gate_written(&pod.uid),
                    ReceiptWrite::Annotations(annotations) => {
                        self.board.annotations_written(&pod.uid, AnnotationMark::of(annotations));
                    }
                    ReceiptWrite::Event { .. } => {}
                },
                Err(error) => self.failed(&pod, kind, error),
            }
            self.count(kind, outcome(&result));
            if result.is_ok() {
                self.recovered(kind, &pod.namespace);
            }
        }
        if was_busy && self.busy.remove(&pod.uid) == Some(true) {
            self.queue.push(&pod.uid, self.board.of(&pod.uid).waits);
        }
    }

    fn recovered(&mut self, kind: ReceiptKind, namespace: &str) {
        self.failures = 0;
        self.forbidden.remove(&(kind, namespace.into()));
        if self.reminders.remove(&kind).is_some() {
            tracing::info!(kind = <&str>::from(kind), "receipts can be written again");
        }
    }

    fn failed(&mut self, pod: &ReceiptPod, kind: ReceiptKind, error: &Error) {
        let now = self.clock.now();
        match error {
            Error::Gone => return,
            Error::Forbidden(_) => {
                let key = (kind, pod.namespace.clone());
                let pause = self.forbidden.entry(key).or_insert(Forbidden { times: 0, until: now });
                // Those that were under way together count once.
                if now >= pause.until {
                    pause.times = pause.times.saturating_add(1);
                    pause.until = now + retry::backoff(FORBIDDEN.0 * 2, FORBIDDEN.1, pause.times, self.rng.u64(..));
                }
            }
            Error::Refused(_) => {}
            Error::Unanswered(_) if now >= self.paused_until => {
                self.failures = self.failures.saturating_add(1);
                self.paused_until = now + retry::backoff(PAUSE.0, PAUSE.1, self.failures, self.rng.u64(..));
            }
            Error::Unanswered(_) => {}
        }
        let (kind_name, pod) = (<&str>::from(kind), format!("{}/{}", pod.namespace, pod.name));
        if self.reminders.entry(kind).or_default().is_due(now) {
            tracing::warn!(
                kind = kind_name,
                pod,
                %error,
                "receipt not written; retrying later. Records are not affected"
            );
        } else {
            tracing::debug!(kind = kind_name, pod, %error, "receipt not written");
        }
    }

    fn count(&self, kind: ReceiptKind, outcome: ReceiptOutcome) {
        self.metrics.receipt(kind.into(), outcome);
    }
}

fn outcome(result: &Result<(), Error>) -> ReceiptOutcome {
    match result {
        Ok(()) => ReceiptOutcome::Written,
        Err(Error::Gone) => ReceiptOutcome::Gone,
        Err(Error::Forbidden(_) | Error::Refused(_)) => ReceiptOutcome::Refused,
        Err(Error::Unanswered(_)) => ReceiptOutcome::Failed,
    }
}
