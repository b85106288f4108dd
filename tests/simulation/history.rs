//! Plays a history: the real event loop under a paused clock, in a simulated world.

use std::{collections::BTreeMap, time::Duration};

use pod_registrar::{
    controller::{
        error::Error,
        event_loop::EventLoop,
        options::{Approver, ControllerOptions, Inputs, Outputs},
    },
    model::{digest::Digest, ids::Version, uid::Uid},
    reconcile::{absence::ScopeChangePolicy, status::ControllerStatus},
    registry::Registry,
    store::{StoreWriter, View},
    telemetry::{health::Health, metrics::Metrics},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    cluster::Cluster,
    confirm,
    informer::{self, Informer},
    lease,
    mapped::Writer,
    network::Connection,
    operator,
    promise::{Breach, Promise},
    steps::{CLONE_FROM, History, Setup, Step},
    take::{take, take_cluster},
    world::{Shared, SimulatedWorld},
};

/// The registry equals the cluster within this time after the last fault: a hold is checked again after at most five
/// minutes, and a session that was not closed is stale after 90 s.
const SETTLES_WITHIN_SECS: u64 = 500;
/// Then nothing is written for this long, which includes a heartbeat.
const RESTS_SECS: u64 = 70;
/// The number of further tries, until the last session of a dead process is stale.
const REST_TRIES: u64 = 6;
/// The longest time that a process takes to stop, alone and with a standby.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const HAND_OVER_WITHIN: Duration = Duration::from_millis(1_500);
/// A killed process is started again after this time.
const RESTART: Duration = Duration::from_millis(300);

/// How a history is played, besides its steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Play {
    /// Whether to record a trace.
    pub(crate) trace: bool,
    /// The moment at which the first process is killed and started again.
    pub(crate) kill_at: Option<u64>,
}

/// The result of a history.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) breach: Option<Breach>,
    pub(crate) trace: Vec<String>,
    /// The number of moments.
    pub(crate) moments: u64,
    /// The number of processes.
    pub(crate) processes: usize,
    /// The number of writes that changed a record.
    pub(crate) effects: u64,
    pub(crate) records: BTreeMap<Uid, Digest>,
}

impl History {
    /// Plays the history to its end.
    pub(crate) fn play(&self, play: Play) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut stage = Stage::new(self.setup.clone(), play);
            stage.play(&self.steps).await;
            stage.outcome()
        })
    }

    /// The cluster after these steps, without processes.
    pub(crate) fn cluster_after(&self) -> Cluster {
        let mut cluster = Cluster::new(usize::from(self.setup.watches));
        (0..self.setup.pods).for_each(|name| cluster.create(name));
        self.steps.iter().for_each(|step| _ = take_cluster(&mut cluster, *step));
        cluster
    }
}

struct Running {
    number: usize,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
    metrics: Metrics,
}

struct Stage {
    shared: Shared,
    running: [Option<Running>; 2],
}

impl Stage {
    fn new(setup: Setup, play: Play) -> Self {
        let mut world = SimulatedWorld::new(setup);
        world.trace = play.trace.then(Vec::new);
        world.kill_at = play.kill_at;
        for name in 0..world.setup.pods {
            world.cluster.create(name);
        }
        let own = CLONE_FROM..CLONE_FROM + world.setup.clone;
        world.clone.iter_mut().for_each(|clone| own.clone().for_each(|name| clone.create(name)));
        if let Some(rest) = world.setup.rest.filter(|_| world.setup.registered) {
            world.hold_wanted(rest);
        } else if world.setup.registered {
            let records = world.cluster.wanted().into_iter().zip(1..);
            world.registry.stored.records =
                records.map(|((uid, digest), seq)| (uid.to_string(), (Version { epoch: 1, seq }, digest))).collect();
            world.registry.stored.epoch = 1;
        }
        Self { shared: Shared::new(world), running: [None, None] }
    }

    fn outcome(self) -> Outcome {
        let mut world = self.shared.world();
        Outcome {
            breach: world.breach.take(),
            trace: world.trace.take().unwrap_or_default(),
            moments: world.moments,
            processes: world.processes.len(),
            effects: world.registry.changes,
            records: world
                .registry
                .stored
                .records
                .iter()
                .map(|(id, (_, digest))| (Uid::from(id.as_str()), *digest))
                .collect(),
        }
    }

    async fn play(&mut self, steps: &[Step]) {
        let shares_lease = {
            let world = self.shared.world();
            world.setup.lease && world.clone.is_none()
        };
        if shares_lease {
            tokio::spawn(lease::keep(self.shared.clone()));
        }
        self.start(0);
        for step in steps {
            if !matches!(step, Step::Wait(_)) {
                self.shared.world().moment(|| format!("== {step:?}"));
            }
            self.step(*step).await;
            self.restart_ended().await;
            if self.shared.world().breach.is_some() {
                return;
            }
        }
        if self.shared.world().clone.is_some() {
            // The registry cannot hold both clusters, so nothing settles before the operator has decided.
            heal(&mut self.shared.world());
            return self.wait(Duration::from_secs(SETTLES_WITHIN_SECS)).await;
        }
        self.settle().await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Wait(ms) => self.wait(Duration::from_millis(u64::from(ms))).await,
            Step::Start(slot) => self.start(usize::from(slot)),
            Step::Crash(slot) => self.crash(usize::from(slot)),
            Step::Stop(slot) => self.stop(usize::from(slot)).await,
            step => {
                let mut world = self.shared.world();
                take(&mut world, step);
                world.wake_watches();
            }
        }
    }

    /// Lets time pass. A process that is killed in that time is started again.
    async fn wait(&mut self, time: Duration) {
        let killed = self.shared.world().killed.clone();
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                () = killed.notified() => {
                    tokio::time::sleep(RESTART).await;
                    // A step may have started the next one already.
                    let world = self.shared.world();
                    self.running[0].take_if(|running| !world.processes[running.number].alive);
                    drop(world);
                    self.start(0);
                }
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }

    /// Starts a process, which knows nothing.
    fn start(&mut self, slot: usize) {
        if self.running[slot].is_some() {
            return;
        }
        let mut world = self.shared.world();
        let number = world.begin_process(slot);
        let (setup, instance) = (world.setup.clone(), world.processes[number].instance.clone());
        let options = ControllerOptions {
            target: TARGET,
            max_in_flight: usize::from(setup.max_in_flight),
            request_timeout: crate::network::REQUEST_TIMEOUT,
            max_writes_per_second: u32::from(setup.writes_per_second),
            backlog_window: usize::from(setup.backlog_window),
            visits_per_turn: usize::from(setup.visits_per_turn),
            resync_interval: Duration::from_secs(u64::from(setup.resync_secs)),
            instance,
            cluster_name: "cluster".into(),
            cluster_uid: Some("cluster".into()),
            replaces_cluster_uid: None,
            is_previous_process,
            scope: "scope".into(),
            namespaces: match setup.watches {
                1 => Vec::new(),
                watches => (0..watches).map(|watch| format!("ns-{watch}")).collect(),
            },
            stop_within: if setup.lease { HAND_OVER_WITHIN } else { STOP_WITHIN },
            on_scope_change: ScopeChangePolicy::Hold,
            approver: Approver::Operator,
            start_epoch: if setup.rest.is_some() { 1 + world.now() / 1_000 } else { 0 },
            seed: setup.seed.wrapping_add(number as u64),
        };
        let clock = world.processes[number].clock;
        let (pod_events, pod_events_in) = mpsc::channel(1_000);
        let (relist_out, relist) = watch::channel(0);
        let (checks, asked) = mpsc::channel(4);
        let (answers, check_results) = mpsc::channel(4);
        let (operator, approvals) = mpsc::channel(1);
        let (controller_status, status) = watch::channel(ControllerStatus::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut stores = Vec::new();
        for watch in 0..usize::from(setup.watches) {
            let writer = StoreWriter::default();
            stores.push(writer.store());
            let wake = world.processes[number].watches[watch].wake.clone();
            let informer = Informer::new(self.shared.clone(), (number, watch), writer, pod_events.clone(), clock, wake);
            world.processes[number].tasks.push(tokio::spawn(informer.run()).abort_handle());
        }
        let answering = tokio::spawn(confirm::confirm(self.shared.clone(), number, asked, answers));
        let relisting = tokio::spawn(informer::relist(self.shared.clone(), number, relist));
        world.processes[number].tasks.extend([answering.abort_handle(), relisting.abort_handle()]);
        let leadership = world.processes[number].leadership.subscribe();
        let (_, questions) = mpsc::channel(1);
        let inputs = Inputs { pod_events: pod_events_in, check_results, leadership, approvals, questions };
        let health = Health::new(usize::from(setup.watches));
        let metrics = Metrics::new(health.clone());
        let (relist, activity, receipts, traces) = (relist_out, watch::Sender::default(), None, None);
        let outputs = {
            let (metrics, health) = (metrics.target(TARGET), health.add_loop());
            Outputs { checks, relist, controller_status, activity, receipts, traces, metrics, health }
        };
        let (shared, view) = (self.shared.clone(), View::new(stores));
        let task = if let Some(rest) = setup.rest {
            spawn(EventLoop::new(Writer::new(shared, number, rest), view, options, clock, outputs), inputs, stopped)
        } else {
            let connection = Connection { shared, process: number };
            spawn(EventLoop::new(connection, view, options, clock, outputs), inputs, stopped)
        };
        let approving = tokio::spawn(operator::approve_when_healed(self.shared.clone(), number, status, operator));
        let living = tokio::spawn(operator::live(health, usize::from(setup.watches)));
        let tasks = [task.abort_handle(), approving.abort_handle(), living.abort_handle()];
        world.processes[number].tasks.extend(tasks);
        world.end_if_killed(number);
        drop(world);
        self.running[slot] = Some(Running { number, stop: Some(stop), task, metrics });
    }

    fn crash(&mut self, slot: usize) {
        self.shared.world().kill(slot);
        self.running[slot] = None;
    }

    async fn stop(&mut self, slot: usize) {
        let Some(running) = &mut self.running[slot] else { return };
        running.stop.take().map(|stop| stop.send(()));
        // The loop stops within twenty seconds.
        let ended = tokio::time::timeout(Duration::from_secs(21), &mut running.task).await;
        let mut world = self.shared.world();
        if ended.is_err() {
            world.broken(Promise::Survives, || "the process does not stop".to_owned());
        }
        world.release_lease(running.number);
        world.kill(slot);
        drop(world);
        self.running[slot] = None;
    }

    /// Starts processes again that ended.
    async fn restart_ended(&mut self) {
        for slot in 0..2 {
            let Some(running) = self.running[slot].take_if(|running| running.task.is_finished()) else { continue };
            let result = running.task.await;
            let mut world = self.shared.world();
            let other_cluster = world.processes[running.number].other_cluster;
            match result {
                Ok(Err(Error::ClusterChanged { .. })) if other_cluster => {}
                Err(error) if error.is_cancelled() => {}
                result => world.broken(Promise::Survives, || format!("the process ended unexpectedly: {result:?}")),
            }
            world.kill(slot);
            drop(world);
            self.start(slot);
        }
    }

    /// Ends all faults, and waits until the registry equals the cluster.
    async fn settle(&mut self) {
        heal(&mut self.shared.world());
        self.shared.world().healed = true;
        if self.running.iter().all(Option::is_none) {
            self.start(0);
        }
        self.shared.world().wake_watches();
        self.leave_one_writer().await;
        let (mut passed, mut difference) = (0, None);
        // A write in flight may still be rejected, and then waits for a resync.
        while passed < SETTLES_WITHIN_SECS + self.until_resync() {
            self.wait(Duration::from_secs(1)).await;
            passed += 1;
            self.restart_ended().await;
            difference = self.shared.world().difference();
            if difference.is_none() || self.shared.world().breach.is_some() {
                break;
            }
        }
        if let Some(difference) = difference {
            self.shared.world().broken(Promise::Converges, || format!("after {passed} s without faults, {difference}"));
        } else {
            self.rest().await;
        }
    }

    /// While two processes write for one cluster, no deletion is inferred until one stops. All else is registered.
    async fn leave_one_writer(&mut self) {
        if !self.shared.world().has_two_writers() {
            return;
        }
        let (mut passed, mut missing) = (0, Vec::new());
        while passed < SETTLES_WITHIN_SECS + self.until_resync() {
            self.wait(Duration::from_secs(1)).await;
            passed += 1;
            self.restart_ended().await;
            missing = self.shared.world().differences().0;
            if missing.is_empty() || self.shared.world().breach.is_some() {
                break;
            }
        }
        if !missing.is_empty() {
            let how =
                format!("after {passed} s without faults and with two writers, missing or different: {missing:?}");
            return self.shared.world().broken(Promise::Converges, || how);
        }
        let slot = self.shared.world().rng.usize(0..2);
        self.stop(slot).await;
    }

    /// The longest time until a resync, if there is something that only a resync finds.
    fn until_resync(&self) -> u64 {
        let world = self.shared.world();
        // A record that a lagging list lacks is missing only if the next list lacks it, too.
        let resyncs = if world.setup.rest.is_some_and(|rest| rest.lag_ms > 0) { 2 } else { 1 };
        if world.drifted { resyncs * u64::from(world.setup.resync_secs) * 11 / 10 } else { 0 }
    }

    /// Checks that the ledger of the writer has exactly the records of the registry.
    fn check_ledger(&self) {
        let mut world = self.shared.world();
        let knows = !world.drifted && world.registry.foreign.is_empty();
        let Some(session) = world.registry.stored.session.clone().filter(|_| knows) else { return };
        let held = world.registry.stored.records.len();
        // A registry that is restored from before all sessions gives an epoch a second time. If two processes write,
        // both may have it, and neither is fenced: each learns of the other's writes at its next resync.
        let sharing = |running: &&Running| world.processes[running.number].epoch == Some(session.epoch);
        if self.running.iter().flatten().filter(sharing).count() > 1 {
            return;
        }
        for running in self.running.iter().flatten() {
            let ledger_records = records_in(&running.metrics, "registered");
            if world.processes[running.number].instance == session.instance && ledger_records != Some(held) {
                world.broken(Promise::Memory, || {
                    format!("the ledger has {ledger_records:?} records, the registry {held}")
                });
            }
        }
    }

    /// Checks that a process which starts now writes nothing to a mapped registry but what it rejected before. If the
    /// registry changes what is written, each record is written twice at most.
    async fn check_restart(&mut self) {
        let (rest, records, before) = {
            let world = self.shared.world();
            let Some(rest) = world.setup.rest.filter(|_| world.breach.is_none()) else { return };
            (rest, world.rest.ours().count() as u64, world.rest.writes)
        };
        let rejected = self.running.iter().flatten().filter_map(|running| records_in(&running.metrics, "parked")).max();
        for slot in 0..2 {
            self.stop(slot).await;
        }
        self.start(0);
        self.wait(Duration::from_secs(RESTS_SECS)).await;
        let mut world = self.shared.world();
        let writes = world.rest.writes - before;
        let most = if rest.trims && rest.compares_bodies { 2 * records } else { rejected.unwrap_or_default() as u64 };
        let difference = world.difference();
        if writes > most || difference.is_some() {
            world.broken(Promise::Restarts, || format!("{writes} writes after a restart, difference: {difference:?}"));
        }
    }

    /// Checks that nothing more is written, after the requests in flight have arrived.
    async fn rest(&mut self) {
        let counts = |world: &SimulatedWorld| (world.registry.changes + world.rest.writes, world.registry.opened);
        let mut restless = None;
        let until_resync = self.until_resync();
        for _ in 0..REST_TRIES + until_resync.div_ceil(RESTS_SECS) {
            let before = counts(&self.shared.world());
            self.shared.world().beat = None;
            self.wait(Duration::from_secs(RESTS_SECS)).await;
            self.restart_ended().await;
            let is_broken = {
                let world = self.shared.world();
                let after = counts(&world);
                restless = (after != before).then(|| format!("changes and sessions were {before:?} and are {after:?}"));
                restless = restless.or_else(|| world.difference()).or_else(|| world.pending());
                world.breach.is_some()
            };
            if restless.is_none() || is_broken {
                self.check_ledger();
                return self.check_restart().await;
            }
        }
        if let Some(restless) = restless {
            self.shared.world().broken(Promise::Rests, || restless);
        }
    }
}

/// Runs an event loop until it is asked to stop.
fn spawn<R: Registry>(
    event_loop: EventLoop<R>,
    inputs: Inputs,
    stopped: oneshot::Receiver<()>,
) -> JoinHandle<Result<(), Error>> {
    tokio::spawn(event_loop.run(inputs, async {
        // If the sender is dropped, the process is killed and not asked to stop.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }))
}

/// The name of the only target.
const TARGET: &str = "default";

/// Processes with the same text before the colon are lives of one process.
pub(crate) fn is_previous_process(other: &str, ours: &str) -> bool {
    other != ours && other.split(':').next() == ours.split(':').next()
}

/// The number of records in this state in the ledger, if it is known.
fn records_in(metrics: &Metrics, state: &str) -> Option<usize> {
    let text = metrics.encode().unwrap();
    let series = format!("pod_registrar_records{{target=\"{TARGET}\",state=\"{state}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

/// Ends all faults.
fn heal(world: &mut SimulatedWorld) {
    world.trace(|| "== no more faults".to_owned());
    world.network = Default::default();
    world.confirm.clear();
    world.lease.cut = [false; 2];
    world.rest.poison.clear();
    world.rest.broken.clear();
    (world.rest.wrong, world.rest.wrong_readings) = (None, 0);
    world.registry.poison.clear();
    world.registry.broken.clear();
    (world.registry.wrong, world.registry.wrong_readings) = (None, 0);
    for watch in world.processes.iter_mut().flat_map(|process| &mut process.watches) {
        (watch.lags, watch.lose, watch.replay, watch.broken) = (false, 0, 0, true);
        watch.lists.clear();
        watch.pages.clear();
    }
}
