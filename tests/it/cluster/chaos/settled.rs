//! What must hold after all disturbances.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::Request;
use pod_registrar::model::{
    digest::{Buckets, Digest},
    ids::RecordOwner,
    pod::{
        object::PodObject,
        to_record::{AllowList, Rule, desired},
    },
};
use serde_json::Value;

use super::scene::Scene;
use crate::{
    cluster::world::{ClusterHarness, in_time},
    support::{SOON, eventually},
};

/// The time limit: the absence guard requests a second list after ten seconds, and a record that failed repeatedly
/// waits longer for its next retry.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// Nothing may be written for this long while nothing changes.
const QUIET_FOR: Duration = Duration::from_secs(4);

/// Waits until the registry equals the cluster by UID and digest, and each record equals its pod.
pub(super) async fn equal(world: &ClusterHarness) {
    eventually("the registry equals the cluster by UID and digest", SETTLED_WITHIN, async || {
        let (wanted, reader) = (wanted(world).await?, world.reader());
        let records = reader.records(&world.cluster, &world.owner).await?;
        let held: BTreeMap<String, String> = records
            .into_iter()
            .map(|(id, record)| (id, record["digest"].as_str().unwrap_or_default().to_owned()))
            .collect();
        let differing: BTreeSet<_> = wanted
            .iter()
            .filter(|(id, digest)| held.get(*id) != Some(&digest.to_string()))
            .map(|(id, _)| id)
            .chain(held.keys().filter(|id| !wanted.contains_key(*id)))
            .collect();
        if !differing.is_empty() {
            return Err(format!("{} pods and {} records, these differ: {differing:?}", wanted.len(), held.len()));
        }
        let (of_pods, of_records) = (buckets(&wanted), reader.buckets(&world.cluster, &world.owner).await?);
        if of_pods == of_records { Ok(()) } else { Err(format!("{of_pods:?} and {of_records:?}")) }
    })
    .await;
    world.equal().await;
}

/// The digests of the desired records, by UID.
async fn wanted(world: &ClusterHarness) -> Result<BTreeMap<String, Digest>, String> {
    let request = Request::get(format!("/api/v1/namespaces/{}/pods", world.namespace)).body(Vec::new()).unwrap();
    let mut list: Value = in_time(world.client.request(request)).await?;
    let rule = Rule {
        owner: RecordOwner {
            cluster_id: world.cluster.clone(),
            cluster_name: world.cluster.clone(),
            owner: world.owner.clone(),
        },
        labels: AllowList::new(["*"]),
        annotations: AllowList::default(),
    };
    let digest = |item: Value| {
        let object: PodObject = serde_json::from_value(item).map_err(|error| error.to_string())?;
        let pod = desired(object, &rule).map_err(|error| error.to_string())?;
        Ok((pod.uid.to_string(), pod.content.ok_or("no content")?.digest))
    };
    list["items"].as_array_mut().ok_or("no items")?.drain(..).map(digest).collect()
}

fn buckets(digests: &BTreeMap<String, Digest>) -> Vec<(u64, String)> {
    let division = Buckets::By8Bits;
    let mut buckets = vec![(0, Digest::default()); division.count()];
    for (id, digest) in digests {
        let (count, sum) = &mut buckets[division.of(id)];
        *count += 1;
        sum.xor(digest);
    }
    buckets.into_iter().map(|(count, sum)| (count, sum.hex())).collect()
}

/// Waits until exactly one replica leads and writes, and has the session of the registry.
pub(super) async fn one_writer(world: &ClusterHarness, scene: &mut Scene<'_>) {
    eventually("one writer", SOON, async || {
        let session = world.reader().writer(&world.cluster, &world.owner).await?;
        let instance = session["instance"].as_str().unwrap_or_default().to_owned();
        let mut stand = Vec::new();
        for replica in &mut scene.replicas {
            let owns = instance.starts_with(&format!("{}:", replica.name));
            let controller = replica.controller();
            let mut figures = [0.0; 4];
            for (figure, name) in figures.iter_mut().zip(["leader", "writer", "fenced", "deletions_held"]) {
                *figure = controller.figure(name).await;
            }
            stand.push((owns, figures));
        }
        stand.sort_by_key(|(owns, _)| *owns);
        let expected = [(false, [0.0; 4]), (true, [1.0, 1.0, 0.0, 0.0])];
        if stand == expected && session["state"] == "live" { Ok(()) } else { Err(format!("{stand:?}, {session}")) }
    })
    .await;
}

/// Waits until no pod changes, and checks that nothing is written then.
pub(super) async fn quiet(world: &ClusterHarness) {
    eventually("no pod changes", SETTLED_WITHIN, async || {
        let before = (wanted(world).await?, world.reader().changes(&world.cluster).await?.len());
        tokio::time::sleep(QUIET_FOR).await;
        let after = world.reader().changes(&world.cluster).await?;
        if wanted(world).await? != before.0 {
            return Err("they change".to_owned());
        }
        assert_eq!(after.len(), before.1, "written although nothing changed: {:#?}", &after[before.1..]);
        Ok(())
    })
    .await;
}
