//! Two replicas with the rights of the deployment, each with its own proxies, and what disturbs them.

use std::path::PathBuf;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};

use super::{
    churn::BARE,
    plan::{Disturbance, Moment},
    plane::Plane,
};
use crate::{
    cluster::{
        faults::behind,
        rbac::deploy,
        world::{ClusterHarness, in_time},
    },
    support::{Controller, FaultyProxy, SOON, eventually},
};

/// A replica and its proxies.
pub(super) struct Replica {
    pub(super) name: String,
    kubeconfig: PathBuf,
    flags: Vec<String>,
    api: FaultyProxy,
    registry: FaultyProxy,
    running: Option<Controller>,
    paused: bool,
    /// Earlier processes, kept for their logs.
    past: Vec<Controller>,
}

impl Replica {
    async fn new(world: &ClusterHarness, account: &std::path::Path, number: usize, lease_duration: &str) -> Self {
        let name = format!("replica-{number}");
        let (api, kubeconfig) = behind(world, account, &name).await;
        let registry = FaultyProxy::start(world.registry.url.strip_prefix("http://").unwrap().to_owned()).await;
        let place = format!("{0}/{0}", world.namespace);
        let flags = [
            ["--namespace", &world.namespace],
            ["--cluster-id", &world.cluster],
            ["--owner", &world.owner],
            ["--lease", &place],
            ["--lease-duration", lease_duration],
            ["--instance", &name],
        ];
        let flags = flags.concat().into_iter().map(str::to_owned).collect();
        let mut replica =
            Self { name, kubeconfig, flags, api, registry, running: None, paused: false, past: Vec::new() };
        replica.run();
        replica
    }

    /// Starts the process unless it runs.
    fn run(&mut self) {
        if self.running.is_none() {
            let url = format!("http://{}", self.registry.address);
            let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
            self.running = Some(Controller::start(&self.kubeconfig, &url, &flags));
            self.paused = false;
        }
    }

    fn kill(&mut self) {
        if let Some(mut controller) = self.running.take() {
            assert!(controller.is_running(), "{} has ended unexpectedly", self.name);
            controller.kill();
            self.past.push(controller);
        }
    }

    async fn terminate(&mut self) {
        self.resume();
        if let Some(mut controller) = self.running.take() {
            controller.terminate();
            assert_eq!(controller.code().await, 0, "{} stops when it is asked to", self.name);
            self.past.push(controller);
        }
    }

    fn pause(&mut self) {
        if let Some(controller) = &mut self.running {
            controller.pause();
            self.paused = true;
        }
    }

    fn resume(&mut self) {
        if let (true, Some(controller)) = (self.paused, &mut self.running) {
            controller.resume();
        }
        self.paused = false;
    }

    /// The process, which has to run.
    pub(super) fn controller(&mut self) -> &mut Controller {
        let controller = self.running.as_mut().expect("a started replica");
        assert!(controller.is_running(), "{} has ended unexpectedly", self.name);
        controller
    }
}

/// Everything that can be disturbed, except the registry.
pub(super) struct Scene<'a> {
    pub(super) replicas: Vec<Replica>,
    plane: Option<&'a Plane>,
    registry_killed: bool,
}

impl<'a> Scene<'a> {
    /// Applies the manifests, starts both replicas, and waits until one of them writes.
    pub(super) async fn start(world: &ClusterHarness, plane: Option<&'a Plane>, random: &mut fastrand::Rng) -> Self {
        let account = deploy(world).await;
        let lease_duration = random.choice(["5s", "15s"]).unwrap();
        println!("a lease lasts {lease_duration}");
        let mut replicas = Vec::new();
        for number in 0..2 {
            replicas.push(Replica::new(world, &account, number, lease_duration).await);
        }
        // A disturbance before the first write would test nothing.
        eventually("a session", SOON, async || {
            let session = world.reader().writer(&world.cluster, &world.owner).await?;
            if session["state"] == "live" { Ok(()) } else { Err(session.to_string()) }
        })
        .await;
        Self { replicas, plane, registry_killed: false }
    }

    /// Begins or ends a disturbance. Nothing changes if it ended already.
    pub(super) async fn disturb(&mut self, world: &mut ClusterHarness, moment: &Moment) {
        match (&moment.what, moment.begins) {
            (Disturbance::Kill(number), true) => self.replicas[*number].kill(),
            (Disturbance::Terminate(number), true) => self.replicas[*number].terminate().await,
            (Disturbance::Kill(number) | Disturbance::Terminate(number), false) => self.replicas[*number].run(),
            (Disturbance::Pause(number), true) => self.replicas[*number].pause(),
            (Disturbance::Pause(number), false) => self.replicas[*number].resume(),
            (Disturbance::Registry, true) => self.kill_registry(world),
            (Disturbance::Registry, false) => self.bring_registry_back(world).await,
            (Disturbance::Part(part), begins) => {
                let plane = self.plane.expect("parts are drawn only with one");
                if begins { plane.kill(part).await } else { plane.bring_back(part).await }
            }
            (Disturbance::ApiConnection(number, faults), true) => self.replicas[*number].api.set(*faults),
            (Disturbance::ApiConnection(number, _), false) => self.replicas[*number].api.repair(),
            (Disturbance::RegistryConnections(faults), true) => {
                self.replicas.iter().for_each(|r| r.registry.set(*faults))
            }
            (Disturbance::RegistryConnections(_), false) => self.replicas.iter().for_each(|r| r.registry.repair()),
            (Disturbance::Unseen { pods, killed }, true) => {
                for replica in &mut self.replicas {
                    if *killed { replica.kill() } else { replica.api.cut() }
                }
                delete_bare(world, *pods).await;
            }
            (Disturbance::Unseen { killed, .. }, false) => {
                for replica in &mut self.replicas {
                    if *killed { replica.run() } else { replica.api.repair() }
                }
            }
        }
    }

    fn kill_registry(&mut self, world: &mut ClusterHarness) {
        if !self.registry_killed {
            world.registry.kill();
            self.registry_killed = true;
        }
    }

    async fn bring_registry_back(&mut self, world: &mut ClusterHarness) {
        if self.registry_killed {
            world.registry.start_again().await;
            self.registry_killed = false;
        }
    }

    /// Ends all disturbances.
    pub(super) async fn heal(&mut self, world: &mut ClusterHarness) {
        for replica in &self.replicas {
            replica.api.repair();
            replica.registry.repair();
        }
        if let Some(plane) = self.plane {
            plane.all_up().await;
        }
        self.bring_registry_back(world).await;
        for replica in &mut self.replicas {
            replica.resume();
            replica.run();
            replica.controller();
        }
    }

    /// Checks that no process of the round has panicked, even if it went on.
    pub(super) fn never_panicked(&self) {
        for controller in self.replicas.iter().flat_map(|replica| replica.running.iter().chain(&replica.past)) {
            assert!(!controller.logged("panicked at"), "a controller has panicked");
        }
    }
}

/// Deletes this many pods without a controller, or as many as there are, while the API server answers.
async fn delete_bare(world: &ClusterHarness, most: usize) {
    let api = world.api::<Pod>();
    let bare = ListParams::default().labels(BARE);
    let listed = in_time(api.list_metadata(&bare)).await.map(|list| list.items).unwrap_or_default();
    let names = listed.into_iter().take(most).filter_map(|pod| pod.metadata.name);
    let at_once = DeleteParams::default().grace_period(0);
    let deleted = stream::iter(names)
        .map(async |name| in_time(api.delete(&name, &at_once)).await.is_ok())
        .buffer_unordered(8)
        .filter(|deleted| std::future::ready(*deleted))
        .count()
        .await;
    println!("{deleted} pods were deleted unobserved");
}
