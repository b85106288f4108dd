//! Targets that a file describes: with ids that we choose, and with ids that the registry assigns. Two installations
//! share one registry, and each keeps to its own records.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::world::{ClusterHarness, in_cluster, in_time, uid_of};
use crate::support::{Controller, RestRegistry, SOON, eventually};

/// Both targets of an installation. The header tells the registry who sends a request.
const TARGETS: &str = r#"
targets:
  - name: chosen-ids
    url: URL
    headers: {X-Owner: "{{ mark }}"}
    select: SELECT
    id: &id "{{ owner }}-{{ pod.uid }}"
    body: &body
      pod: "{{ pod.uid }}"
      name: "{{ pod.namespace }}/{{ pod.name }}"
      app: "{{ pod.labels.app | default('') }}"
      node: "{{ placement.node | default('') }}"
      phase: "{{ state.phase | default('') }}"
      addresses: "{{ placement.podIPs }}"
      uid: "{{ id }}"
      owner: "{{ mark }}"
    put: {path: "systems/{{ id }}"}
    delete: {path: "systems/{{ id }}"}
    find: {path: "systems/{{ id }}", at: ""}
    list: {path: systems, query: {size: 40}, items: /results, next: {url: /next}}
    item: {id: /uid, mark: /owner, body: ""}
  - name: assigned-ids
    url: URL
    headers: {X-Owner: "{{ mark }}"}
    select: SELECT
    id: *id
    body: {<<: *body, digest: "{{ digest }}"}
    create: {path: machines, remote: /id}
    update: {path: "machines/{{ remote }}"}
    delete: {path: "machines/{{ remote }}"}
    find: {path: machines, query: {uid: "{{ id }}"}, at: /results/0}
    list: {path: machines, query: {size: 40}, items: /results, next: {url: /next}}
    item: {id: /uid, remote: /id, mark: /owner, digest: /digest}
"#;

/// What a person writes into a record begins so.
pub(super) const EDITED: &str = "edited-";

/// Writes a file with both targets for this address. `select` is the member in flow style.
pub(super) fn write_targets(world: &ClusterHarness, name: &str, url: &str, select: &str) -> PathBuf {
    let path = world.folder.path().join(name);
    std::fs::write(&path, TARGETS.replace("URL", url).replace("SELECT", select)).unwrap();
    path
}

pub(super) fn mark(world: &ClusterHarness, owner: &str) -> String {
    format!("pod-registrar:{}:{owner}", world.cluster)
}

/// What the records should say, by UID, according to the API server.
pub(super) async fn wanted(world: &ClusterHarness) -> Result<BTreeMap<String, Value>, String> {
    let pods = in_time(world.api::<Pod>().list(&ListParams::default())).await?;
    Ok(pods.items.iter().map(|pod| (uid_of(pod), record_of(pod))).collect())
}

fn record_of(pod: &Pod) -> Value {
    let (metadata, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    let addresses = status.and_then(|status| status.pod_ips.as_deref()).unwrap_or_default();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    json!({
        "name": format!("{}/{}", text(metadata.namespace.as_deref()), text(metadata.name.as_deref())),
        "app": metadata.labels.as_ref().and_then(|labels| labels.get("app").cloned()).unwrap_or_default(),
        "node": text(spec.and_then(|spec| spec.node_name.as_deref())),
        "phase": text(status.and_then(|status| status.phase.as_deref())),
        "addresses": addresses.iter().map(|address| address.ip.clone()).collect::<Vec<_>>(),
    })
}

/// What the records of a mark say, by the UID of the pod.
fn held(records: BTreeMap<String, Value>, mark: &str) -> Result<BTreeMap<String, Value>, String> {
    let mut held = BTreeMap::new();
    for record in records.into_values().filter(|record| record["owner"] == mark) {
        let uid = record["pod"].as_str().unwrap_or_default().to_owned();
        if record["digest"].as_str().is_some_and(|digest| digest.starts_with(EDITED)) {
            return Err(format!("an edit is left: {record}"));
        }
        let shown = ["name", "app", "node", "phase", "addresses"].map(|member| (member, record[member].clone()));
        if held.insert(uid, Value::from_iter(shown)).is_some() {
            return Err(format!("a pod has two records: {record}"));
        }
    }
    Ok(held)
}

/// Says how the registry differs from the pods, if it does.
pub(super) fn compare(registry: &RestRegistry, wanted: &BTreeMap<String, Value>, mark: &str) -> Result<(), String> {
    for (name, records) in [("chosen-ids", registry.records()), ("assigned-ids", registry.machines())] {
        let held = held(records, mark)?;
        let differ = wanted.iter().find(|(uid, record)| held.get(*uid).is_some_and(|held| held != *record));
        if let Some((uid, record)) = differ {
            return Err(format!("{name}: {uid} is {record}, registered as {}", held[uid]));
        }
        let (lacks, excess) = (
            wanted.keys().filter(|uid| !held.contains_key(*uid)).count(),
            held.keys().filter(|uid| !wanted.contains_key(*uid)).count(),
        );
        if lacks + excess > 0 {
            return Err(format!("{name}: of {} pods, {lacks} are missing, {excess} are left over", wanted.len()));
        }
    }
    Ok(())
}

#[tokio::test]
async fn installations_in_one_registry_keep_apart() {
    in_cluster(async |world| {
        let registry = RestRegistry::start().await;
        let file = write_targets(world, "targets.yaml", &registry.url, "{}");
        let start = |world: &ClusterHarness, owner: &str, file: &PathBuf| {
            let flags = ["--namespace", &world.namespace, "--cluster-id", &world.cluster, "--owner", owner];
            let flags = [&flags[..], &["--resync-interval", "2s"]].concat();
            Controller::start_with_targets(&world.kubeconfig, file, &flags)
        };
        let equal = async |world: &ClusterHarness, owners: &[&str]| {
            eventually("the registry equals the pods", SOON, async || {
                let wanted = wanted(world).await?;
                owners.iter().try_for_each(|owner| compare(&registry, &wanted, &mark(world, owner)))
            })
            .await;
        };
        let mut controllers = [start(world, "a", &file), start(world, "b", &file)];
        for number in 0..12 {
            world.create(&format!("pod-{number}")).await;
        }
        world.running(12).await;
        equal(world, &["a", "b"]).await;

        // One of them is down, and both have work to do.
        controllers[0].kill();
        world.label("pod-1", "changed").await;
        world.delete("pod-2").await;
        equal(world, &["b"]).await;
        controllers[0] = start(world, "a", &file);
        equal(world, &["a", "b"]).await;

        // One of them removes all of its records.
        controllers[0].terminate();
        assert_eq!(controllers[0].code().await, 0);
        let none = write_targets(world, "none.yaml", &registry.url, "{when: \"{{ false }}\"}");
        controllers[0] = start(world, "a", &none);
        eventually("its records are removed", SOON, async || compare(&registry, &BTreeMap::new(), &mark(world, "a")))
            .await;
        equal(world, &["b"]).await;
        assert_eq!(registry.findings(), Vec::<String>::new());
    })
    .await;
}
