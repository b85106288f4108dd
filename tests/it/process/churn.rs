//! Random changes of pods, and what the registry's change log must look like afterwards.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use pod_registrar::demo::pod::pod;
use serde_json::Value;

use super::world::Kube;

/// Pods that are created, changed and deleted at random, and the UIDs of the deleted ones.
pub(super) struct Churn<'a> {
    kube: &'a Kube,
    pub(super) random: fastrand::Rng,
    created: usize,
    pub(super) gone: HashSet<String>,
}

impl<'a> Churn<'a> {
    pub(super) fn new(kube: &'a Kube, seed: u64) -> Self {
        Self { kube, random: fastrand::Rng::with_seed(seed), created: 0, gone: HashSet::new() }
    }

    /// Makes one random change.
    pub(super) fn step(&mut self) {
        let pods: Vec<(String, String)> = self.kube.api.uids().into_iter().collect();
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

    /// Makes random changes for a while.
    pub(super) async fn go_on(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// Checks that each pod was put before it was deleted, and never again, and that only deleted pods were deregistered.
pub(super) fn assert_in_order(changes: &[Value], gone: &HashSet<String>) {
    assert_in_order_but_for(changes, gone, |_, _| false);
}

/// Like [`assert_in_order`], but a new leader may put a record once more that the leader before it deleted: its view
/// may lag if it was paused. The caller checks that this is repaired.
pub(super) fn assert_in_order_of_leaders(changes: &[Value], gone: &HashSet<String>) {
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
