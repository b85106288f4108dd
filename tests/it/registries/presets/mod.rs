//! The presets against the registries that they are made for: what a person and another writer do there, lost answers,
//! and two clusters in one registry.

mod consul;
mod elasticsearch;
mod etcd;
mod json_server;
mod messages;
mod nautobot;
mod netbox;
mod pocketbase;
mod port;
mod postgrest;
mod process;
mod servicenow;
mod skydns;

use std::collections::BTreeMap;

use pod_registrar::{
    demo::pod::{PodBuilder, pod},
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::Value;

use crate::support::{
    Fault, Faults, FaultyProxy,
    registries::{HttpRegistry, TargetWriter},
};

/// The clusters of these tests.
const CLUSTERS: [&str; 2] = [crate::process::world::CLUSTER, "c2"];

/// A registry as a person sees it, without the program.
trait Witness {
    /// All records by id, those of others too.
    async fn records(&self) -> BTreeMap<String, Value>;
    /// Changes the record of a pod, and leaves its mark as it is.
    async fn edit(&self, id: &str);
    async fn remove(&self, id: &str);
    /// Stores a record of another owner, as similar to ours as possible. Returns its id.
    async fn add_foreign(&self, mark: &str) -> String;
    /// The id of the record of a pod of the first cluster.
    fn id(&self, pod: &Pod) -> String;
    /// The server, if it can be restarted.
    fn server(&mut self) -> Option<&mut HttpRegistry> {
        None
    }
}

/// The UID of a test pod.
fn uid(number: usize) -> String {
    format!("8c1f0f52-3d5f-4f6c-9a9e-{number:012}")
}

fn object(number: usize) -> PodBuilder {
    pod(format!("web-{number}")).namespace("shop").uid(uid(number)).label("app", "web").ip(format!("10.0.0.{number}"))
}

fn created(builder: PodBuilder) -> Value {
    let mut object = builder.running().build();
    object["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z".into();
    object["metadata"]["resourceVersion"] = "7".into();
    object
}

fn pods(writer: &TargetWriter, numbers: std::ops::Range<usize>) -> Vec<Pod> {
    numbers.map(|number| writer.pod(created(object(number)))).collect()
}

fn all_done(verdicts: Result<Vec<Verdict>, Failure>) {
    let verdicts = verdicts.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Done), "{verdicts:?}");
}

async fn listed(writer: &TargetWriter, pods: &[Pod]) {
    assert_eq!(writer.inventory().await.unwrap(), writer.desired(pods));
}

/// What every registry has to go through. `file` makes the targets file for an address.
async fn exercise(url: &str, file: impl Fn(&str) -> String, witness: &impl Witness) {
    let file = file(url);
    let first = TargetWriter::new(&file, CLUSTERS[0]);
    first.begin(1).await.unwrap();
    listed(&first, &[]).await;

    // Registered, changed, deleted, and deleted again.
    let mut ours = pods(&first, 1..8);
    all_done(first.apply(&ours, &[]).await);
    listed(&first, &ours).await;
    let before = first.records(&ours[0]);
    ours[0] = first.pod(created(object(1).image("web:2").ip("10.0.1.1").label("app.kubernetes.io/name", "other")));
    let after = first.records(&ours[0]);
    // A record that follows from an address goes with it.
    for (key, _) in before.iter().filter(|(key, _)| !after.iter().any(|(kept, _)| kept == key)) {
        assert_eq!(first.delete(key).await, Ok(Verdict::Done));
    }
    assert_eq!(first.put(&ours[0]).await, Ok(Verdict::Done));
    let gone = ours.remove(1);
    for _ in 0..2 {
        assert_eq!(first.remove(&gone).await, Ok(Verdict::Done));
    }
    listed(&first, &ours).await;

    // A record of another owner, and another cluster.
    let foreign = witness.add_foreign("pod-registrar:other:default").await;
    let theirs = witness.records().await[&foreign].clone();
    let neighbour = TargetWriter::new(&file, CLUSTERS[1]);
    neighbour.begin(1).await.unwrap();
    let other = pods(&neighbour, 11..14);
    all_done(neighbour.apply(&other, &[]).await);
    listed(&neighbour, &other).await;
    listed(&first, &ours).await;

    // Another process knows as much.
    let second = TargetWriter::new(&file, CLUSTERS[0]);
    second.begin(2).await.unwrap();
    listed(&second, &ours).await;

    // A person edits one record, and removes another.
    witness.edit(&witness.id(&ours[0])).await;
    witness.remove(&witness.id(&ours[1])).await;
    let (listed_now, wanted) = (second.inventory().await.unwrap(), second.desired(&ours));
    let differ: Vec<_> = wanted.iter().filter(|(key, print)| listed_now.get(*key) != Some(print)).collect();
    assert_eq!(differ.len(), 2, "{listed_now:?} {wanted:?}");
    all_done(second.apply(&ours[..2], &[]).await);
    listed(&second, &ours).await;

    // What the process wrote in the meantime, and a person removed, is deleted without complaint.
    witness.remove(&witness.id(&ours[2])).await;
    assert_eq!(second.remove(&ours.remove(2)).await, Ok(Verdict::Done));
    listed(&second, &ours).await;

    assert_eq!(witness.records().await[&foreign], theirs, "untouched");
    let all = second.desired(&ours).len() + neighbour.desired(&other).len();
    assert_eq!(witness.records().await.len(), all + 1);
    assert!(second.exchanges().iter().all(|exchange| exchange.status.is_some()));
}

/// The answer to a write is lost, and it is sent again. `file` makes the targets file for an address.
async fn lose_answers(url: &str, file: impl Fn(&str) -> String, witness: &impl Witness) {
    let proxy = FaultyProxy::start(url.strip_prefix("http://").unwrap().to_owned()).await;
    let writer = TargetWriter::new(&file(&format!("http://{}", proxy.address)), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let lost = Faults { up: Fault::Clear, down: Fault::Truncate(0) };
    let mut pods = pods(&writer, 1..4);
    for changed in ["web:1", "web:2"] {
        for (number, pod) in pods.iter_mut().enumerate() {
            *pod = writer.pod(created(object(number + 1).image(changed)));
            let mut written = 0;
            while let Some((key, _)) = writer.records(pod).get(written) {
                proxy.set(lost);
                let verdict = writer.put_record(pod, key).await;
                assert!(matches!(verdict, Err(Failure::Broken(_))), "{verdict:?}");
                proxy.repair();
                assert_eq!(writer.put_record(pod, key).await, Ok(Verdict::Done), "{:#?}", writer.exchanges());
                written += 1;
            }
        }
        listed(&writer, &pods).await;
        assert_eq!(witness.records().await.len(), writer.desired(&pods).len());
    }
    for pod in &pods {
        for (key, _) in writer.records(pod).iter().rev() {
            let before = writer.exchanges().len();
            proxy.set(lost);
            let verdict = writer.delete(key).await;
            // A record that goes with another one needs no request.
            let is_sent = writer.exchanges().len() > before;
            assert!(matches!(verdict, Err(Failure::Broken(_))) || !is_sent, "{verdict:?}");
            proxy.repair();
            let mut verdict = writer.delete(key).await;
            // Where lists lag, a record that was just created may not be shown yet.
            while let Ok(Verdict::Retry { after: Some(after), .. }) = verdict {
                tokio::time::sleep(after).await;
                verdict = writer.delete(key).await;
            }
            assert_eq!(verdict, Ok(Verdict::Done), "{:#?}", writer.exchanges());
        }
    }
    assert_eq!(witness.records().await, BTreeMap::new());
}
