//! Simulates the workloads of a small cluster in the stand-in: rollouts, jobs that finish, StatefulSets whose pods are
//! created again under their names, and a container that crashes.
//!
//! Everything is drawn from a seed and follows tokio's clock, so a paused test repeats it at once.

mod cluster;
mod workload;

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::api::Api;
use cluster::DemoCluster;

/// Interval at which pods are replaced.
const TICK: Duration = Duration::from_millis(10);

/// Pods that are created or replaced before other tasks get their turn.
const BATCH: usize = 100;

#[derive(Clone, Debug)]
pub struct LifeOptions {
    /// The number of pods, without those that are starting or ending.
    pub pods: usize,
    /// Pods that are replaced per second.
    pub churn: f64,
    pub nodes: usize,
    pub seed: u64,
}

impl Default for LifeOptions {
    fn default() -> Self {
        Self { pods: 60, churn: 0.5, nodes: 5, seed: 1 }
    }
}

/// Fills the stand-in with running pods, and simulates them until `shutdown` completes. Their documents remain.
pub async fn live(api: Api, options: LifeOptions, shutdown: impl Future<Output = ()>) {
    let mut cluster = DemoCluster::new(api, &options);
    tokio::pin!(shutdown);
    while cluster.fill(BATCH) {
        // Many pods take a while: other tasks get their turn, and the shutdown is obeyed.
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            () = tokio::task::yield_now() => {}
        }
    }
    let churn = if options.churn.is_finite() { options.churn.max(0.0) } else { 0.0 };
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut due = 0.0;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => return,
            now = ticks.tick(), if churn > 0.0 => {
                due += churn * now.duration_since(last).as_secs_f64();
                last = now;
                // On a machine that is too slow, the churn is lower: overdue replacements are dropped.
                let most = BATCH.min(options.pods);
                let mut done = 0;
                while due >= 1.0 && done < most {
                    cluster.replace_one();
                    due -= 1.0;
                    done += 1;
                }
                if done == most {
                    due = 0.0;
                }
            }
            () = sleep_until(cluster.next_step()) => {}
        }
        cluster.step(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::demo::api;

    fn documents(api: &Api) -> Vec<Value> {
        let keys = api.uids().into_keys();
        keys.filter_map(|key| key.split_once('/').and_then(|(namespace, name)| api.pod(namespace, name))).collect()
    }

    /// Simulates a cluster for a while. Returns the server, and the UIDs at the start.
    async fn live_for(time: Duration, options: LifeOptions) -> (Api, BTreeMap<String, String>) {
        let api = Api::new(api::ApiOptions::default());
        let begun = std::cell::RefCell::new(BTreeMap::new());
        let shutdown = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            begun.replace(api.uids());
            tokio::time::sleep(time).await;
        };
        live(api.clone(), options, shutdown).await;
        (api, begun.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn churn_replaces_pods_at_the_set_rate() {
        // The number of pods stays about the same.
        let options = LifeOptions { pods: 80, churn: 4.0, nodes: 3, seed: 5 };
        let (api, begun) = live_for(Duration::from_secs(60), options).await;
        assert_eq!(begun.len(), 80);
        let now = api.uids();
        assert!((70..=100).contains(&now.len()), "{} pods", now.len());
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (begun.values().collect(), now.values().collect());
        assert!(after.difference(&before).count() > 60, "240 replacements leave few of the first pods");
        let same_names: Vec<_> =
            begun.iter().filter(|(key, uid)| now.get(*key).is_some_and(|new| new != *uid)).collect();
        assert!(
            same_names
                .iter()
                .any(|(key, _)| key.contains("orders-db") || key.contains("kafka") || key.contains("ledger-db"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn demo_has_pods_of_every_kind() {
        let (api, _) =
            live_for(Duration::from_secs(30), LifeOptions { pods: 120, churn: 6.0, nodes: 4, seed: 9 }).await;
        let pods = documents(&api);
        let text = |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let phases: BTreeSet<_> = pods.iter().map(|pod| text(pod, "/status/phase")).collect();
        assert!(phases.contains("Running") && phases.contains("Succeeded"), "{phases:?}");
        let owners: BTreeSet<_> = pods.iter().map(|pod| text(pod, "/metadata/ownerReferences/0/kind")).collect();
        assert_eq!(owners.into_iter().collect::<Vec<_>>(), ["Job", "ReplicaSet", "StatefulSet"]);
        let crashing = pods.iter().find(|pod| {
            text(pod, "/status/containerStatuses/0/state/waiting/reason") == "CrashLoopBackOff"
                && pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0)
        });
        assert!(crashing.is_some());
        let living = pods.iter().filter(|pod| text(pod, "/status/phase") == "Running");
        let addresses: Vec<_> = living.map(|pod| text(pod, "/status/podIP")).filter(|ip| !ip.is_empty()).collect();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len(), "no two pods have one address");
    }

    #[tokio::test(start_paused = true)]
    async fn same_seed_gives_the_same_pods() {
        let options = LifeOptions { pods: 40, churn: 5.0, nodes: 3, seed: 11 };
        let (a, _) = live_for(Duration::from_secs(20), options.clone()).await;
        let (b, _) = live_for(Duration::from_secs(20), options).await;
        assert_eq!(a.uids(), b.uids());
    }
}
