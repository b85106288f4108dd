//! Rounds for targets that a file describes: two replicas, a registry in the test, and one trouble after the other.
//!
//! In the end both targets equal the cluster, no foreign record was touched, no record exists twice, and no record was
//! written without a change, unless the answer to its last write may have been lost. Some foreign records have the id
//! that a pod's own record would have: these pods are registered once the foreign records are gone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{churn::Churn, plane::Plane, run_rounds};
use crate::{
    cluster::{
        described::{EDITED, compare, mark, wanted, write_targets},
        rbac::deploy,
        world::{ClusterHarness, uid_of},
    },
    support::{Controller, Fault, Faults, FaultyProxy, RestRegistry, SOON, eventually},
};

/// The time until the last trouble of a round begins.
const TROUBLED_FOR: Duration = Duration::from_secs(26);
/// The time limit afterwards; see [`super::settled`].
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// Nothing may be written for this long while nothing changes. There is a resync in it.
const QUIET_FOR: Duration = Duration::from_secs(5);
/// The number of pods whose ids have foreign records.
const TAKEN: usize = 3;
/// The owner of foreign records.
const OTHER: &str = "other";
const RESYNC: [&str; 2] = ["--resync-interval", "3s"];

/// What goes wrong. Some of it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// A replica is killed, and started again.
    Replica(usize),
    /// All connections to the registry are reset, and new ones at once.
    Registry,
    /// Requests reach the registry, and their answers are lost.
    Answers,
    ApiServer,
    /// A person edits a record of each target.
    Edit,
    /// A person removes a record of each target.
    Removal,
    /// Another owner adds a record to each collection.
    Foreign,
}

impl Trouble {
    fn draw(random: &mut fastrand::Rng, with_parts: bool) -> Self {
        match random.u32(..if with_parts { 12 } else { 11 }) {
            0..3 => Self::Replica(random.usize(..2)),
            3..5 => Self::Registry,
            5..7 => Self::Answers,
            7 | 8 => Self::Edit,
            9 => Self::Removal,
            10 => Self::Foreign,
            _ => Self::ApiServer,
        }
    }

    /// Whether writes may get no answer while it lasts.
    fn loses_answers(self) -> bool {
        matches!(self, Self::Registry | Self::Answers | Self::ApiServer)
    }
}

struct Replica {
    name: String,
    kubeconfig: PathBuf,
    targets: PathBuf,
    flags: Vec<String>,
    running: Option<Controller>,
    /// Earlier processes, kept for their logs.
    past: Vec<Controller>,
}

impl Replica {
    fn new(world: &ClusterHarness, kubeconfig: &Path, targets: &Path, number: usize) -> Self {
        let (name, place) = (format!("replica-{number}"), format!("{0}/{0}", world.namespace));
        let flags = [
            ["--namespace", &world.namespace],
            ["--cluster-id", &world.cluster],
            ["--owner", &world.owner],
            ["--lease", &place],
            ["--lease-duration", "5s"],
            ["--instance", &name],
            RESYNC,
        ];
        let flags = flags.concat().into_iter().map(str::to_owned).collect();
        let (kubeconfig, targets) = (kubeconfig.to_owned(), targets.to_owned());
        let mut replica = Self { name, kubeconfig, targets, flags, running: None, past: Vec::new() };
        replica.run();
        replica
    }

    /// Starts the process unless it runs.
    fn run(&mut self) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.running.get_or_insert_with(|| Controller::start_with_targets(&self.kubeconfig, &self.targets, &flags));
    }

    fn kill(&mut self) {
        if let Some(mut controller) = self.running.take() {
            assert!(controller.is_running(), "{} has ended unexpectedly", self.name);
            controller.kill();
            self.past.push(controller);
        }
    }
}

struct Scene<'a> {
    world: &'a ClusterHarness,
    plane: Option<&'a Plane>,
    registry: RestRegistry,
    proxy: FaultyProxy,
    replicas: [Replica; 2],
    /// What lasts, and until when.
    lasting: Vec<(Instant, Trouble)>,
    random: fastrand::Rng,
    /// Makes edits and foreign records different from each other.
    made: usize,
    foreign: Vec<Value>,
    /// The UIDs of pods whose ids have foreign records.
    taken: Vec<String>,
}

impl<'a> Scene<'a> {
    async fn start(world: &'a ClusterHarness, plane: Option<&'a Plane>, random: fastrand::Rng) -> Self {
        let account = deploy(world).await;
        let registry = RestRegistry::start().await;
        let proxy = FaultyProxy::start(registry.url.strip_prefix("http://").unwrap().to_owned()).await;
        let targets = write_targets(world, "targets.yaml", &format!("http://{}", proxy.address), "{}");
        let (mut taken, mut foreign) = (Vec::new(), Vec::new());
        for number in 0..TAKEN {
            let uid = uid_of(&world.create(&format!("taken-{number}")).await);
            foreign.extend(insert_foreign(world, &registry, &id_of(world, &uid)));
            taken.push(uid);
        }
        let replicas = [0, 1].map(|number| Replica::new(world, &account, &targets, number));
        let lasting = Vec::new();
        Self { world, plane, registry, proxy, replicas, lasting, random, made: 0, foreign, taken }
    }

    /// What should be registered while the foreign records are there.
    async fn wanted(&self) -> Result<BTreeMap<String, Value>, String> {
        let mut wanted = wanted(self.world).await?;
        wanted.retain(|uid, _| !self.taken.contains(uid));
        Ok(wanted)
    }

    /// The foreign records that a pod's own record waits for are gone.
    fn free(&self) {
        let taken: Vec<String> = self.taken.iter().map(|uid| id_of(self.world, uid)).collect();
        self.registry.by_hand(|systems, machines| {
            for records in [systems, machines] {
                records.retain(|_, record| taken.iter().all(|id| record["uid"] != id.as_str()));
            }
        });
    }

    async fn begin(&mut self, trouble: Trouble) {
        self.made += 1;
        let lasts = Duration::from_millis(self.random.u64(300..7_000));
        match trouble {
            Trouble::Replica(number) => self.replicas[number].kill(),
            Trouble::Registry | Trouble::Answers => {}
            Trouble::ApiServer => self.plane.expect("drawn only with one").kill("apiserver").await,
            Trouble::Edit => return self.edit(),
            Trouble::Removal => return self.remove(),
            Trouble::Foreign => return self.add_foreign(),
        }
        self.lasting.push((Instant::now() + lasts, trouble));
        self.connect();
    }

    async fn end(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Replica(number) => self.replicas[number].run(),
            Trouble::ApiServer => self.plane.expect("drawn only with one").bring_back("apiserver").await,
            _ => {}
        }
        self.connect();
    }

    /// Sets the faults of the connection to the registry, as what lasts demands.
    fn connect(&self) {
        let lasts = |trouble: Trouble| self.lasting.iter().any(|(_, other)| *other == trouble);
        // Before the first fault, and after the last one.
        self.registry.lose_answers(true);
        if lasts(Trouble::Registry) {
            self.proxy.cut();
        } else if lasts(Trouble::Answers) {
            self.proxy.set(Faults { up: Fault::Clear, down: Fault::Truncate(0) });
        } else {
            self.proxy.repair();
        }
        self.registry.lose_answers(self.lasting.iter().any(|(_, trouble)| trouble.loses_answers()));
    }

    /// Ends what is over at this time.
    async fn end_until(&mut self, now: Instant) {
        while let Some(index) = self.lasting.iter().position(|(until, _)| *until <= now) {
            let (_, trouble) = self.lasting.swap_remove(index);
            println!("end of {trouble:?}");
            self.end(trouble).await;
        }
    }

    /// Ends everything. All replicas run then.
    async fn heal(&mut self) {
        if let Some(plane) = self.plane {
            plane.all_up().await;
        }
        self.end_until(Instant::now() + Duration::from_secs(3_600)).await;
        self.replicas.iter_mut().for_each(Replica::run);
    }

    /// Chooses one of our records.
    fn any(&mut self, records: impl Iterator<Item = (String, Value)>) -> Option<String> {
        let mark = mark(self.world, &self.world.owner);
        let ours: Vec<String> = records.filter(|(_, record)| record["owner"] == mark).map(|(id, _)| id).collect();
        self.random.choice(ours)
    }

    fn ours(&mut self) -> (Option<String>, Option<String>) {
        let (systems, machines) = (self.registry.records(), self.registry.machines());
        (self.any(systems.into_iter()), self.any(machines.into_iter()))
    }

    fn edit(&mut self) {
        let (system, machine) = self.ours();
        let edited = Value::from(format!("{EDITED}{}", self.made));
        self.registry.by_hand(|systems, machines| {
            // One target compares the members, and the other one the digest.
            if let Some(record) = system.and_then(|id| systems.get_mut(&id)) {
                record["name"] = edited.clone();
            }
            if let Some(record) = machine.and_then(|id| machines.get_mut(&id)) {
                record["digest"] = edited;
            }
        });
    }

    fn remove(&mut self) {
        let (system, machine) = self.ours();
        self.registry.by_hand(|systems, machines| {
            system.map(|id| systems.remove(&id));
            machine.map(|id| machines.remove(&id));
        });
    }

    /// Records of another owner of the same cluster, for a pod that does not exist.
    fn add_foreign(&mut self) {
        let foreign = insert_foreign(self.world, &self.registry, &format!("foreign-{}", self.made));
        self.foreign.extend(foreign);
    }
}

/// The id of a pod's own record.
fn id_of(world: &ClusterHarness, uid: &str) -> String {
    format!("{}-{uid}", world.owner)
}

/// Adds a record of another owner with this id to each collection.
fn insert_foreign(world: &ClusterHarness, registry: &RestRegistry, id: &str) -> [Value; 2] {
    let record = json!({"id": id, "uid": id, "pod": id, "name": "n/p", "digest": "", "owner": mark(world, OTHER)});
    registry.insert(id, record.clone());
    let mut machine = record.clone();
    machine["id"] = registry.insert_machine(record.clone());
    [record, machine]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn described_targets_equal_the_cluster_after_troubles() {
    run_rounds(one).await;
}

/// Runs one round. Returns its result in one line.
async fn one(world: &mut ClusterHarness, plane: Option<&Plane>, seed: u64) -> String {
    let (world, mut random) = (&*world, fastrand::Rng::with_seed(seed));
    let mut scene = Scene::start(world, plane, random.fork()).await;
    let mark = mark(world, &world.owner);
    let churn = Churn::start(world, random.u64(..)).await;
    // A trouble before the first write would test nothing.
    eventually("a record in both collections", SOON, async || {
        let counts = (scene.registry.records().len(), scene.registry.machines().len());
        if counts.0 > TAKEN && counts.1 > TAKEN { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TROUBLED_FOR {
        tokio::time::sleep(Duration::from_millis(random.u64(100..1_800))).await;
        scene.end_until(Instant::now()).await;
        let trouble = Trouble::draw(&mut random, plane.is_some());
        if scene.lasting.iter().all(|(_, other)| *other != trouble) {
            println!("{:5.1} s: {trouble:?}", start.elapsed().as_secs_f64());
            scene.begin(trouble).await;
            count += 1;
        }
    }
    scene.heal().await;
    let (churned, healed) = (churn.stop().await, Instant::now());
    let equal = async || compare(&scene.registry, &scene.wanted().await?, &mark);
    eventually("both targets equal the cluster", SETTLED_WITHIN, equal).await;
    let took = healed.elapsed();
    eventually("nothing changes and nothing is written", SETTLED_WITHIN, async || {
        let before = (scene.wanted().await?, scene.registry.writes());
        compare(&scene.registry, &before.0, &mark)?;
        tokio::time::sleep(QUIET_FOR).await;
        let after = (scene.wanted().await?, scene.registry.writes());
        if before == after { Ok(()) } else { Err(format!("{} writes", after.1 - before.1)) }
    })
    .await;
    compare(&scene.registry, &scene.wanted().await.unwrap(), &mark).unwrap();
    judge(&scene);
    scene.free();
    let equal = async || compare(&scene.registry, &wanted(world).await?, &mark);
    eventually("pods without foreign records are registered", SETTLED_WITHIN, equal).await;
    assert_eq!(scene.registry.findings(), Vec::<String>::new());
    format!("{count} troubles, {churned}, {} writes, equal {took:.1?} after the churn's end", scene.registry.writes())
}

fn judge(scene: &Scene<'_>) {
    assert_eq!(scene.registry.findings(), Vec::<String>::new());
    let held: Vec<Value> =
        scene.registry.records().into_values().chain(scene.registry.machines().into_values()).collect();
    let lost: Vec<_> = scene.foreign.iter().filter(|record| !held.contains(record)).collect();
    assert!(lost.is_empty(), "foreign records were changed or removed: {lost:?}");
    for controller in scene.replicas.iter().flat_map(|replica| replica.running.iter().chain(&replica.past)) {
        assert!(!controller.logged("panicked at"), "a controller has panicked");
    }
}
