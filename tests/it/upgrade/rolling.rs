//! Replicas and the reference registry are replaced one by one while pods change.

use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};
use serde_json::Value;

use super::world::{LEASE, QUIET, RegistryHost, Replica, create_lease, is_followed, one_leads, quiet_records};
use crate::{
    process::{
        churn::{Churn, assert_in_order_of_leaders},
        world::{CLUSTER, Kube},
    },
    support::{SOON, Version, seed},
};

/// Longer than the test, so that no Lease expires.
const LEASE_DURATION: &str = "5m";
const QUIET_PODS: usize = 20;

struct Scene<'k> {
    kube: &'k Kube,
    url: String,
    started: usize,
}

impl Scene<'_> {
    async fn replica(&mut self, version: &Version) -> Replica {
        self.started += 1;
        let flags = ["--registry-url", &self.url, "--lease", LEASE, "--lease-duration", LEASE_DURATION];
        Replica::start(version, self.kube, &format!("r{}", self.started), &flags).await
    }

    /// Replaces each replica by one of another version, which runs beside it first.
    async fn roll(&mut self, mut old: Vec<Replica>, to: &Version, is_leader_first: bool) -> Vec<Replica> {
        old.sort_by_key(|replica| replica.leads(self.kube) != is_leader_first);
        let (mut old, mut new) = (old.into_iter(), Vec::new());
        while let Some(replica) = old.next() {
            new.push(self.replica(to).await);
            replica.stop().await;
            one_leads(self.kube, &old.as_slice().iter().chain(&new).collect::<Vec<_>>()).await;
            let name = format!("beside-r{}", self.started);
            is_followed(self.kube, &crate::support::Reader::new(&self.url), &name).await;
        }
        new
    }
}

/// Checks that no record was written again, unless the versions make it differently.
fn assert_written_once(before: &[(String, Value)], after: &[(String, Value)]) {
    for (uid, record) in before {
        let (_, now) = after.iter().find(|(other, _)| other == uid).unwrap();
        if record["digest"] == now["digest"] {
            assert_eq!(record["version"], now["version"], "{uid} was written again with the same content");
        }
    }
}

/// The registry goes first, both ways, so that controllers of each version write to that of the other. Then goes the
/// standby before the leader, and back the leader before the standby.
#[tokio::test]
async fn rolling_upgrade_and_downgrade_lose_nothing() {
    let Some(previous) = Version::previous() else { return };
    let current = Version::current();
    let kube = Kube::start().await;
    create_lease(&kube).await;
    let mut registry = RegistryHost::start(&previous, kube.folder.path()).await;
    let reader = registry.reader();
    kube.create(0..20);
    for number in 0..QUIET_PODS {
        kube.api.create(pod(format!("quiet-{number}")).namespace(QUIET).label("app", QUIET).running()).unwrap();
    }
    let mut scene = Scene { kube: &kube, url: registry.url.clone(), started: 0 };
    let replicas = vec![scene.replica(&previous).await, scene.replica(&previous).await];
    kube.equals(&reader, SOON).await;
    let first = quiet_records(&reader).await;
    assert_eq!(first.len(), QUIET_PODS);
    let mut churn = Churn::new(&kube, seed());

    let copy = churn.beside(registry.upgrade(&current)).await;
    let replicas = churn.beside(scene.roll(replicas, &current, false)).await;
    kube.equals(&reader, 2 * SOON).await;
    let upgraded = quiet_records(&reader).await;
    assert_written_once(&first, &upgraded);

    let is_kept = churn.beside(registry.downgrade(&previous, &copy)).await;
    churn.beside(is_followed(&kube, &reader, "between")).await;
    let replicas = churn.beside(scene.roll(replicas, &previous, true)).await;
    kube.equals(&reader, 2 * SOON).await;
    if is_kept {
        assert_written_once(&upgraded, &quiet_records(&reader).await);
    }
    let changes = reader.changes(CLUSTER).await.unwrap();
    assert_in_order_of_leaders(&changes, &churn.gone);
    let epochs: Vec<u64> = changes.iter().map(|change| change["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted(), "a former leader wrote after a later one: {epochs:?}");
    for replica in replicas {
        replica.stop().await;
    }
    let writer = reader.writer(CLUSTER, DEFAULT_OWNER).await.unwrap();
    assert_eq!(writer["state"], "closed", "{writer}");
}
