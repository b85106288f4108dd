//! Random changes of pods, and what the registry's change log must look like afterwards.

use std::{
    collections::{BTreeMap, HashSet},
    pin::pin,
    time::{Duration, Instant},
};

use pod_registrar::demo::pod::pod;
use serde_json::Value;

use super::world::Kube;

/// The pause between two changes beside other work.
const PAUSE: Duration = Duration::from_millis(20);

/// Pods of the namespace `default` that are created, changed and deleted at random, and the UIDs of the deleted ones.
pub(crate) struct Churn<'a> {
    kube: &'a Kube,
    pub(crate) random: fastrand::Rng,
    created: usize,
    pub(crate) gone: HashSet<String>,
}

impl<'a> Churn<'a> {
    pub(crate) fn new(kube: &'a Kube, seed: u64) -> Self {
        Self { kube, random: fastrand::Rng::with_seed(seed), created: 0, gone: HashSet::new() }
    }

    /// Makes one random change.
    pub(crate) fn step(&mut self) {
        let pods = self.kube.api.uids().into_iter().filter(|(key, _)| key.starts_with("default/"));
        let pods: Vec<(String, String)> = pods.collect();
        let drawn = self.random.usize(..pods.len());
        let (key, uid) = &pods[drawn];
        let (namespace, name) = key.split_once('/').unwrap();
        match self.random.u8(..10) {
            0..4 => {
                self.created += 1;
                let kube = self.kube;
                kube.api.create(pod(format!("new-{}", self.created)).label("app", "new").running()).unwrap();
            }
            4..7 => self.kube.label(name, &format!("v{}", self.random.u32(..))),
            7..9 => {
                self.kube.api.delete(namespace, name).unwrap();
                self.gone.insert(uid.clone());
            }
            _ => {
                // As a StatefulSet does: another pod under the same name.
                self.kube.api.delete(namespace, name).unwrap();
                self.gone.insert(uid.clone());
                self.kube.api.create(pod(name).label("app", "again").running()).unwrap();
            }
        }
    }

    /// Makes random changes until the work is done.
    pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            self.step();
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Makes random changes for a while.
    pub(crate) async fn go_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// Checks that each pod was put before it was deleted, and never again, and that only deleted pods were deregistered.
pub(crate) fn assert_in_order(changes: &[Value], gone: &HashSet<String>) {
    assert_in_order_but_for(changes, gone, |_, _| false);
}

/// Like [`assert_in_order`], but a new leader may put a record once more that the leader before it deleted: its view
/// may lag if it was paused. The caller checks that this is repaired.
pub(crate) fn assert_in_order_of_leaders(changes: &[Value], gone: &HashSet<String>) {
    assert_in_order_but_for(changes, gone, |before, after| after["epoch"].as_u64() > before["epoch"].as_u64());
}

fn assert_in_order_but_for(changes: &[Value], gone: &HashSet<String>, allowed: impl Fn(&Value, &Value) -> bool) {
    let mut ended: BTreeMap<&str, &Value> = BTreeMap::new();
    for change in changes {
        let id = change["id"].as_str().unwrap();
        if let Some(before) = ended.remove(id) {
            assert!(allowed(before, change), "{change} after {before}");
        }
        if change["op"] == "delete" {
            assert!(gone.contains(id), "an existing pod was deregistered: {change}");
            ended.insert(id, change);
        }
    }
}
