//! Held deletions, and approvals on the Lease.

use pod_registrar::model::ids::DEFAULT_OWNER;
use serde_json::Value;

use super::world::{LEASE, RegistryHost, Replica, create_lease};
use crate::{
    process::world::{CLUSTER, Kube, name},
    support::{Reader, SOON, Version, eventually},
};

const SELECTOR: [&str; 2] = ["--label-selector", "app=web"];

async fn holds(reader: &Reader, count: usize) {
    eventually("the registry holds these records", 2 * SOON, async || {
        let found = reader.ids(CLUSTER, DEFAULT_OWNER).await?.len();
        if found == count { Ok(()) } else { Err(format!("{found} records")) }
    })
    .await;
}

/// The names of holds that the Lease lists, with the numbers of deletions.
fn listed(kube: &Kube) -> Vec<(String, String)> {
    let lease = kube.api.lease("default", "registrar").unwrap();
    let text = lease["metadata"]["annotations"]["pod-registrar/held"].as_str().unwrap_or_default().to_owned();
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(names, count)| (names.split('/').next().unwrap().to_owned(), count.to_owned())).collect()
}

async fn one_listed(kube: &Kube, count: &str) -> String {
    eventually("the Lease lists a hold", 2 * SOON, async || match listed(kube).as_slice() {
        [(name, found)] if found == count => Ok(name.clone()),
        other => Err(format!("{other:?}")),
    })
    .await
}

/// A controller of one version holds deletions, and one of the other version deletes none of these. The hold of the
/// first one is approved while neither runs, which counts for the other version: it gives the same hold the same name.
async fn hold_survives(from: &Version, to: &Version) {
    let kube = Kube::start().await;
    create_lease(&kube).await;
    let registry = RegistryHost::start(&Version::current(), kube.folder.path()).await;
    let (reader, kubeconfig) = (registry.reader(), kube.kubeconfig.to_str().unwrap());
    kube.create(0..6);
    (0..3).for_each(|number| kube.label(&name(number), "other"));
    let flags = ["--registry-url", &registry.url, "--lease", LEASE];
    let narrow = [&flags[..], &SELECTOR].concat();
    let wide = Replica::start(from, &kube, "wide", &flags).await;
    holds(&reader, 6).await;
    wide.stop().await;

    let first = Replica::start(from, &kube, "first", &narrow).await;
    let hold = one_listed(&kube, "3").await;
    let second = Replica::start(to, &kube, "second", &narrow).await;
    first.stop().await;
    kube.create(6..7);
    holds(&reader, 7).await;
    second.stop().await;

    let approve = ["approve", &hold, "--approval-lease", LEASE, "--kubeconfig", kubeconfig];
    let mut approve = from.start(&approve);
    assert_eq!(approve.code().await, 0, "{:?}", approve.stderr());
    let third = Replica::start(to, &kube, "third", &narrow).await;
    holds(&reader, 4).await;
    let changes = reader.changes(CLUSTER).await.unwrap();
    let removed: Vec<&Value> = changes.iter().filter(|change| change["op"] == "delete").collect();
    assert!(removed.len() == 3 && removed.iter().all(|change| change["reason"] == "left-rule"), "{removed:?}");
    third.stop().await;
}

#[tokio::test]
async fn hold_and_approval_survive_an_upgrade() {
    let Some(previous) = Version::previous() else { return };
    hold_survives(&previous, &Version::current()).await;
}

#[tokio::test]
async fn hold_and_approval_survive_a_downgrade() {
    let Some(previous) = Version::previous() else { return };
    hold_survives(&Version::current(), &previous).await;
}
