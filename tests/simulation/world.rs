//! Everything that the processes of a history share, and the promises that are checked.
//!
//! Each promise is checked at the moment that could break it: where a request is built, where it is accepted, where a
//! session is opened. The first breach ends the history.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use pod_registrar::{
    clock::Clock,
    model::{digest::Digest, ids::Version, moment::Moment, pod::Pod, uid::Uid},
    reconcile::{deletion::Removal, election::Leadership},
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::Instant,
};

use crate::{
    cluster::{Cluster, name_in},
    lease::Lease,
    mapped::registry::RestRegistry,
    network::Network,
    promise::{Breach, Promise},
    registry::SimulatedRegistry,
    shown::{Evidence, Watch},
    steps::{CLONE_FROM, ConfirmFault, Setup},
};

/// This many inferred deletions within the window need no second list; see [`pod_registrar::reconcile::absence`].
const UNGUARDED: usize = 50;
const WINDOW_MS: u64 = 600_000;
/// The names of processes in the first slot begin with this.
pub(crate) const FIRST: &str = "first";

pub(crate) struct Process {
    /// As the registry knows it.
    pub(crate) instance: String,
    pub(crate) alive: bool,
    pub(crate) clock: Clock,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) tasks: Vec<AbortHandle>,
    pub(crate) watches: Vec<Watch>,
    /// What the watches have shown: digest, and place in the log.
    pub(crate) shown: HashMap<Uid, (Option<Digest>, usize)>,
    /// When `shown` changed last, in milliseconds.
    pub(crate) shown_at: u64,
    /// Whether the registry has equalled `shown` since the last heartbeat.
    pub(crate) has_equalled: bool,
    pub(crate) evidence: HashMap<Uid, Evidence>,
    /// The place in the log of the last put of each pod.
    put_from: HashMap<Uid, usize>,
    in_flight: HashSet<Uid>,
    newest: Option<Version>,
    /// Versions of deletions after a complete list that lacked existing pods.
    misled: HashSet<Version>,
    /// Keys of records whose deletions followed from such a list.
    pub(crate) misled_keys: HashSet<Uid>,
    /// Whether the operator approved a hold of this process.
    pub(crate) approved: bool,
    /// When each pod was shown first, and when first as it is shown now, in milliseconds.
    pub(crate) shown_since: HashMap<Uid, (u64, u64)>,
    /// The session that the process knows, and since when it knows that the session was superseded.
    pub(crate) epoch: Option<u64>,
    pub(crate) fenced_at: Option<u64>,
    pub(crate) other_cluster: bool,
    /// The last second list: its round, its UIDs, and the length of the log.
    pub(crate) second_list: Option<(u64, HashSet<Uid>, usize)>,
    /// Second lists that a sample confirmed, and the length of the log.
    agreed: Vec<(HashSet<Uid>, usize)>,
    /// How often the cluster was confirmed to be the same.
    same: u32,
    /// Inferred deletions that no second list confirmed.
    unguarded: VecDeque<(u64, Uid)>,
}

impl Process {
    fn new(instance: String, watches: usize, first: Leadership) -> Self {
        Self {
            instance,
            alive: true,
            clock: Clock::start(),
            leadership: watch::channel(first).0,
            tasks: Vec::new(),
            watches: (0..watches).map(|_| Watch::default()).collect(),
            shown: HashMap::new(),
            shown_at: 0,
            has_equalled: false,
            evidence: HashMap::new(),
            put_from: HashMap::new(),
            in_flight: HashSet::new(),
            newest: None,
            misled: HashSet::new(),
            misled_keys: HashSet::new(),
            approved: false,
            shown_since: HashMap::new(),
            epoch: None,
            fenced_at: None,
            other_cluster: false,
            second_list: None,
            agreed: Vec::new(),
            same: 0,
            unguarded: VecDeque::new(),
        }
    }

    /// The cluster is the same one, and the sample is gone. This confirms the list of the round before, if there was
    /// one.
    pub(crate) fn found_gone(&mut self, round: u64) {
        self.same += 1;
        self.agreed.extend(
            self.second_list.take_if(|(listed, ..)| *listed + 1 == round).map(|(_, uids, place)| (uids, place)),
        );
    }
}

pub(crate) struct SimulatedWorld {
    pub(crate) setup: Setup,
    pub(crate) cluster: Cluster,
    /// Another cluster with the same id, to which the process in the second slot belongs.
    pub(crate) clone: Option<Cluster>,
    pub(crate) registry: SimulatedRegistry,
    /// The registry of a history with a mapped target.
    pub(crate) rest: RestRegistry,
    pub(crate) network: Network,
    pub(crate) processes: Vec<Process>,
    /// The faults of the next checks.
    pub(crate) confirm: VecDeque<ConfirmFault>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) breach: Option<Breach>,
    /// Whether something is wrong that only the next resync can find.
    pub(crate) drifted: bool,
    /// The last heartbeat: whether it was synced, and its pending changes.
    pub(crate) beat: Option<(bool, u64)>,
    /// Whether all faults have ended.
    pub(crate) healed: bool,
    /// The trace, if it is recorded.
    pub(crate) trace: Option<Vec<String>>,
    /// The number of moments so far, and the one at which the process in the first slot is killed.
    pub(crate) moments: u64,
    pub(crate) kill_at: Option<u64>,
    pub(crate) killed: Arc<Notify>,
    /// The processes in the two slots.
    pub(crate) slots: [Option<usize>; 2],
    pub(crate) lease: Lease,
    started: Instant,
}

/// The world as its tasks share it. One thread runs all of them, so the lock is never contended.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<SimulatedWorld>>);

impl Shared {
    pub(crate) fn new(world: SimulatedWorld) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, SimulatedWorld> {
        self.0.lock().unwrap()
    }
}

impl SimulatedWorld {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            cluster: Cluster::new(usize::from(setup.watches)),
            clone: (setup.clone > 0).then(|| Cluster::new(usize::from(setup.watches))),
            registry: SimulatedRegistry::default(),
            rest: RestRegistry::new(setup.rest.unwrap_or_default(), usize::from(setup.page)),
            network: Network::default(),
            processes: Vec::new(),
            confirm: VecDeque::new(),
            rng: fastrand::Rng::with_seed(setup.seed),
            breach: None,
            // Such a registry accepts late writes, which only a resync finds.
            drifted: setup.rest.is_some(),
            beat: None,
            healed: false,
            trace: None,
            moments: 0,
            kill_at: None,
            killed: Arc::new(Notify::new()),
            slots: [None; 2],
            lease: Lease::default(),
            started: Instant::now(),
            setup,
        }
    }

    /// Milliseconds since the start of the history.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    /// Something happens: it is traced, counted, and may be the moment at which the process is killed.
    pub(crate) fn moment(&mut self, what: impl FnOnce() -> String) {
        self.note_equality();
        self.trace(what);
        self.moments += 1;
        if self.kill_at == Some(self.moments) {
            self.trace(|| "the process is killed".to_owned());
            self.kill(0);
            self.killed.notify_one();
        }
    }

    pub(crate) fn trace(&mut self, what: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} s  {}", now as f64 / 1000.0, what()));
        }
    }

    pub(crate) fn broken(&mut self, promise: Promise, how: impl FnOnce() -> String) {
        if self.breach.is_none() {
            let breach = Breach { promise, how: how() };
            self.trace(|| format!("BROKEN {breach}"));
            self.breach = Some(breach);
        }
    }

    /// Adds a process and returns its number.
    pub(crate) fn begin_process(&mut self, slot: usize) -> usize {
        let number = self.processes.len();
        let name = if slot == 0 { FIRST } else { "second" };
        // Lives of one process share the part before the colon.
        let instance = if self.setup.in_place { format!("{name}:{number}") } else { format!("{name}-{number}") };
        let first = match self.setup.lease {
            // Each of two clusters has its own lease, which its only process holds.
            true if self.clone.is_some() => Leadership::Leader { term: 1, until: Moment::from_secs(u64::MAX) },
            true => Leadership::Follower,
            false => Leadership::Alone,
        };
        self.processes.push(Process::new(instance.clone(), usize::from(self.setup.watches), first));
        self.slots[slot] = Some(number);
        self.moment(|| format!("{instance} starts"));
        number
    }

    /// Ends the tasks of a process that was killed while it started.
    pub(crate) fn end_if_killed(&mut self, number: usize) {
        let process = &mut self.processes[number];
        if !process.alive {
            process.tasks.drain(..).for_each(|task| task.abort());
        }
    }

    /// The process in a slot ends at its next await.
    pub(crate) fn kill(&mut self, slot: usize) {
        if let Some(number) = self.slots[slot].take() {
            let process = &mut self.processes[number];
            process.alive = false;
            process.tasks.drain(..).for_each(|task| task.abort());
        }
    }

    /// Whether a process belongs to the clone.
    pub(crate) fn is_of_clone(&self, number: usize) -> bool {
        self.clone.is_some() && !self.processes[number].instance.starts_with(FIRST)
    }

    pub(crate) fn cluster_of(&self, number: usize) -> &Cluster {
        self.clone.as_ref().filter(|_| self.is_of_clone(number)).unwrap_or(&self.cluster)
    }

    /// The cluster in which pods with this UID exist.
    fn cluster_with(&self, uid: &Uid) -> &Cluster {
        self.clone.as_ref().filter(|_| name_in(uid) >= CLONE_FROM).unwrap_or(&self.cluster)
    }

    pub(crate) fn wake_watches(&self) {
        for watch in self.processes.iter().filter(|process| process.alive).flat_map(|process| &process.watches) {
            watch.wake.notify_one();
        }
    }

    // What processes may do.

    /// A put is built.
    pub(crate) fn put_built(&mut self, number: usize, pod: &Pod, digest: Digest, version: Version) {
        self.version_taken(number, version);
        let process = &mut self.processes[number];
        let shown = process.shown.get(&pod.uid).copied();
        let Some((_, place)) = shown.filter(|(held, _)| *held == Some(digest)) else {
            return self.broken(Promise::NoPhantom, || format!("a put of {} that the store does not show", pod.uid));
        };
        let before = process.put_from.insert(pod.uid.clone(), place);
        if before.is_some_and(|before| before > place) {
            self.broken(Promise::Order, || format!("a put of {} goes back to an earlier state", pod.uid));
        }
    }

    fn version_taken(&mut self, number: usize, version: Version) {
        let before = self.processes[number].newest.replace(version);
        if before.is_some_and(|before| before >= version) {
            self.broken(Promise::Order, || format!("version {version:?} is taken after {before:?}"));
        }
    }

    /// A deletion is built.
    pub(crate) fn delete_built(&mut self, number: usize, uid: &Uid, removal: Removal, version: Version) {
        self.version_taken(number, version);
        let process = &self.processes[number];
        if process.shown.contains_key(uid) {
            return self.broken(Promise::NoFalseDelete, || format!("a delete of {uid}, which the store shows"));
        }
        let evidence = process.evidence.get(uid).copied();
        if matches!(evidence, Some(Evidence::Absent { omitted: true, .. })) {
            self.processes[number].misled.insert(version);
            self.processes[number].misled_keys.insert(uid.clone());
        }
        match removal {
            Removal::Observed(_) if matches!(evidence, Some(Evidence::Deletion(_))) => {}
            Removal::Observed(_) => {
                self.broken(Promise::NoFalseDelete, || {
                    format!("a delete of {uid} as observed, without a deletion event")
                });
            }
            Removal::Inferred => self.absence_built(number, uid, evidence),
            Removal::LeftSelection if self.is_approved(uid) => {}
            Removal::LeftSelection => {
                self.broken(Promise::NoFalseDelete, || {
                    format!("a delete of {uid} because of settings, which did not change")
                });
            }
        }
    }

    /// Whether the operator approves the deletion: after the last fault, if the cluster does not show the pod.
    fn is_approved(&self, uid: &Uid) -> bool {
        self.healed && !self.cluster_with(uid).shows(uid)
    }

    fn absence_built(&mut self, number: usize, uid: &Uid, evidence: Option<Evidence>) {
        let now = self.now();
        let born = self.cluster_with(uid).lives.get(uid).map(|life| life.born);
        let alone = self.clone.is_none();
        let records = self.registry.stored.records.len().max(self.rest.rows.len());
        let by_operator = self.is_approved(uid);
        let watch = self.cluster_with(uid).watch_of(name_in(uid));
        let process = &mut self.processes[number];
        let all_listed = process.watches.iter().all(|watch| watch.listed);
        let (absent, plain) = match evidence {
            Some(Evidence::Absent { plain, .. }) => (true, plain),
            // A list overtook the event.
            Some(Evidence::Deletion(_)) => (all_listed, true),
            // No watch ever showed the pod. The watch of the namespace that its record names counts alone, because the
            // others may be unable to list.
            None => (process.watches[watch].listed, process.watches[watch].plain),
        };
        if !absent || !process.watches[watch].proves(now) || process.same == 0 {
            // After the last fault, the operator approves what needs an approval, and no pod is looked up.
            if by_operator {
                return;
            }
            return self.broken(Promise::NoFalseDelete, || format!("a delete of {uid} as absent, without proof"));
        }
        let lacks =
            |(list, place): &(HashSet<Uid>, usize)| !list.contains(uid) && born.is_none_or(|born| born < *place);
        // Which list confirmed an absence is known only for one cluster.
        if process.agreed.iter().any(lacks) || !alone || (process.approved && by_operator) {
            return;
        }
        if !process.unguarded.iter().any(|(_, unguarded)| unguarded == uid) {
            process.unguarded.push_back((now, uid.clone()));
        }
        while process.unguarded.front().is_some_and(|(at, _)| at + WINDOW_MS < now) {
            process.unguarded.pop_front();
        }
        let unguarded = process.unguarded.len();
        if !plain {
            self.broken(Promise::Guard, || {
                format!("{uid} is absent from an empty or old list, and no second list confirmed it")
            });
        } else if unguarded > UNGUARDED.max(records / 10) {
            self.broken(Promise::Guard, || format!("{unguarded} absences are sent, and no second list confirmed them"));
        }
    }

    /// Only the leader changes the registry.
    fn must_lead(&mut self, number: usize) {
        let process = &self.processes[number];
        if process.leadership.borrow().term(process.clock.now()).is_none() {
            let instance = process.instance.clone();
            self.broken(Promise::Fencing, || format!("{instance} does not lead, but writes"));
        }
    }

    /// A request with these operations is sent.
    pub(crate) fn sent(&mut self, number: usize, uids: &[Uid]) {
        self.must_lead(number);
        for uid in uids {
            if !self.processes[number].in_flight.insert(uid.clone()) {
                self.broken(Promise::OneInFlight, || format!("two requests in flight for {uid}"));
            }
        }
    }

    /// The request is answered, or was given up.
    pub(crate) fn landed(&mut self, number: usize, uids: &[Uid]) {
        for uid in uids {
            self.processes[number].in_flight.remove(uid);
        }
    }

    /// The registry removes a record.
    pub(crate) fn deleted(&mut self, number: usize, uid: &Uid, version: Version) {
        // A clone that was down for long leaves records that the original may clean up.
        let cleaned_up = name_in(uid) >= CLONE_FROM && !self.is_of_clone(number);
        let excused = self.processes[number].misled.contains(&version) || cleaned_up;
        let cluster = self.cluster_with(uid);
        let interrupted = cluster.lives.get(uid).is_some_and(|life| life.interrupted);
        if cluster.shows(uid) && !interrupted && !excused {
            self.broken(Promise::NoFalseDelete, || format!("{uid} is removed, and the cluster shows it"));
        }
    }

    /// A session is requested.
    pub(crate) fn session_requested(&mut self, number: usize) {
        self.must_lead(number);
        // An answer of the same moment may be handled later.
        if self.processes[number].fenced_at.is_some_and(|at| at < self.now()) {
            let instance = self.processes[number].instance.clone();
            self.broken(Promise::Fencing, || format!("{instance} was fenced and takes its session back"));
        }
    }

    /// What is still pending although everything works.
    pub(crate) fn pending(&self) -> Option<String> {
        match self.beat {
            None if self.setup.rest.is_some() => None,
            None => Some("no writer sent a heartbeat".to_owned()),
            Some((true, 0)) => None,
            // Records of another owner stay rejected forever.
            Some(_) if !self.registry.foreign.is_empty() => None,
            Some((synced, pending)) => Some(format!("the heartbeat says synced: {synced}, pending: {pending}")),
        }
    }

    /// Whether two processes write for one cluster without a lease.
    pub(crate) fn has_two_writers(&self) -> bool {
        !self.setup.lease && self.clone.is_none() && self.slots.iter().all(Option::is_some)
    }

    /// How the registry differs from the cluster, if it does.
    pub(crate) fn difference(&self) -> Option<String> {
        let (missing, extra) = self.differences();
        (!missing.is_empty() || !extra.is_empty())
            .then(|| format!("missing or different: {missing:?}, left over: {extra:?}"))
    }

    /// The records that are missing or different, and those that are left over.
    pub(crate) fn differences(&self) -> (Vec<String>, Vec<String>) {
        if self.setup.rest.is_some() {
            return self.rest_differences();
        }
        let foreign = &self.registry.foreign;
        let mut wanted = self.cluster.wanted();
        wanted.retain(|uid, _| !foreign.contains(uid));
        let held = &self.registry.stored.records;
        let missing =
            wanted.iter().filter(|(uid, digest)| held.get(&*uid.text()).is_none_or(|(_, held)| held != *digest));
        let missing: Vec<String> = missing.map(|(uid, _)| uid.to_string()).collect();
        let extra: Vec<String> =
            held.keys().filter(|id| !wanted.contains_key(&Uid::from(id.as_str()))).cloned().collect();
        (missing, extra)
    }
}
