//! Pods are created, changed and deleted all the time.

use std::fmt;

use futures::{StreamExt, stream};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::world::{ClusterHarness, in_time, object, pod_spec};

/// The label of pods without a controller, which are not replaced when they are deleted.
pub(super) const BARE: &str = "kind=bare";
/// The number of workers that make changes at the same time.
const WORKERS: usize = 3;
/// The most pods of one worker.
const MOST: usize = 70;
/// The number of pods of the StatefulSet.
const STATEFUL: usize = 4;

/// The running churn. It stops when this is dropped.
pub(super) struct Churn {
    stop: CancellationToken,
    workers: Vec<JoinHandle<Counts>>,
}

#[derive(Default)]
pub(super) struct Counts {
    done: usize,
    failed: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes and {} failed ones", self.done, self.failed)
    }
}

impl Churn {
    /// Creates a StatefulSet and a Deployment, and starts the workers.
    pub(super) async fn start(world: &ClusterHarness, seed: u64) -> Self {
        let set: StatefulSet = object(workload("db", STATEFUL, &json!({"serviceName": "db"})));
        world.api().create(&PostParams::default(), &set).await.unwrap();
        let deployment: Deployment = object(workload("web", 15, &json!({})));
        world.api().create(&PostParams::default(), &deployment).await.unwrap();
        let stop = CancellationToken::new();
        let worker = |number: usize| {
            let worker = Worker {
                pods: world.api(),
                deployments: world.api(),
                random: fastrand::Rng::with_seed(seed.wrapping_add(number as u64)),
                number,
                made: 0,
                alive: Vec::new(),
                counts: Counts::default(),
            };
            tokio::spawn(worker.work(stop.clone()))
        };
        let workers = (0..WORKERS).map(worker).collect();
        Self { stop, workers }
    }

    pub(super) async fn stop(mut self) -> Counts {
        self.stop.cancel();
        let mut all = Counts::default();
        for worker in self.workers.drain(..) {
            let Counts { done, failed } = worker.await.unwrap();
            all.done += done;
            all.failed += failed;
        }
        all
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        // The test failed before it stopped the churn.
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

fn workload(name: &str, replicas: usize, more: &Value) -> Value {
    let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()}});
    let more = more.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(more);
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Makes one change after the other.
struct Worker {
    pods: Api<Pod>,
    deployments: Api<Deployment>,
    random: fastrand::Rng,
    number: usize,
    made: usize,
    alive: Vec<String>,
    counts: Counts,
}

impl Worker {
    async fn work(mut self, stop: CancellationToken) -> Counts {
        while !stop.is_cancelled() {
            let done = self.change().await;
            self.counts.done += usize::from(done);
            self.counts.failed += usize::from(!done);
            // A limit, even if every change fails at once.
            tokio::time::sleep(std::time::Duration::from_millis(self.random.u64(10..80))).await;
        }
        self.counts
    }

    async fn change(&mut self) -> bool {
        let full = self.alive.len() >= MOST;
        match self.random.u32(..15) {
            0..5 if !full => self.create().await,
            5..9 if !self.alive.is_empty() => self.label().await,
            9 => {
                let name = format!("db-{}", self.random.usize(..STATEFUL));
                self.delete(&name).await
            }
            10 => self.scale().await,
            11 => self.recreate().await,
            12 if full => self.delete_many().await,
            _ if full || self.random.bool() => self.delete_one().await,
            _ => self.create().await,
        }
    }

    async fn create(&mut self) -> bool {
        let name = format!("pod-{}-{}", self.number, self.made);
        self.made += 1;
        // Even if the request failed: perhaps only its answer was lost.
        self.alive.push(name.clone());
        self.create_named(&name).await
    }

    async fn create_named(&self, name: &str) -> bool {
        let (key, value) = BARE.split_once('=').unwrap();
        let pod = object(json!({"metadata": {"name": name, "labels": {key: value, "app": "web"}}, "spec": pod_spec()}));
        in_time(self.pods.create(&PostParams::default(), &pod)).await.is_ok()
    }

    async fn label(&mut self) -> bool {
        let name = self.random.choice(&self.alive).unwrap();
        let patch = Patch::Merge(json!({"metadata": {"labels": {"app": format!("v{}", self.made)}}}));
        self.made += 1;
        in_time(self.pods.patch(name, &PatchParams::default(), &patch)).await.is_ok()
    }

    /// Gracefully or by force.
    async fn delete(&mut self, name: &str) -> bool {
        let how = DeleteParams::default().grace_period(self.random.u32(..2) * 2);
        in_time(self.pods.delete(name, &how)).await.is_ok()
    }

    fn any(&mut self) -> Option<String> {
        let any = self.random.usize(..self.alive.len().max(1));
        (any < self.alive.len()).then(|| self.alive.swap_remove(any))
    }

    async fn delete_one(&mut self) -> bool {
        match self.any() {
            Some(name) => self.delete(&name).await,
            None => self.create().await,
        }
    }

    /// Another pod under the same name.
    async fn recreate(&mut self) -> bool {
        let Some(name) = self.any() else { return self.create().await };
        self.alive.push(name.clone());
        let at_once = DeleteParams::default().grace_period(0);
        let deleted = in_time(self.pods.delete(&name, &at_once)).await.is_ok();
        self.create_named(&name).await && deleted
    }

    async fn delete_many(&mut self) -> bool {
        let count = self.random.usize(5..30);
        let names: Vec<String> = (0..count).filter_map(|_| self.any()).collect();
        let (pods, at_once) = (&self.pods, DeleteParams::default().grace_period(0));
        let deleted = stream::iter(names)
            .map(async |name| in_time(pods.delete(&name, &at_once)).await.is_ok())
            .buffer_unordered(8)
            .collect::<Vec<bool>>()
            .await;
        deleted.into_iter().all(|deleted| deleted)
    }

    async fn scale(&mut self) -> bool {
        let patch = Patch::Merge(json!({"spec": {"replicas": self.random.u32(..40)}}));
        in_time(self.deployments.patch_scale("web", &PatchParams::default(), &patch)).await.is_ok()
    }
}
