//! The preset `consul` against the stand-in for Consul, read by its own Go client.

use std::collections::{BTreeMap, BTreeSet};

use pod_registrar::{
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, all_done, created, exercise, listed, lose_answers, object, pods, process::live};
use crate::support::{
    Exchange,
    registries::{BuiltRegistries, ConsulFake, FULL_TOKEN, RegistryCalls, SERVICE_TOKEN, TargetWriter},
};

struct Catalog {
    fake: ConsulFake,
    calls: RegistryCalls,
}

/// The node that stands for a cluster.
fn node(cluster: usize) -> String {
    format!("k8s-{}", CLUSTERS[cluster])
}

impl Catalog {
    async fn start() -> Self {
        let fake = ConsulFake::start().await;
        let mut calls = RegistryCalls::new(&fake.url);
        calls.authorize("x-consul-token", FULL_TOKEN);
        Self { fake, calls }
    }

    async fn register(&self, service: &Value) {
        let body = json!({"Node": node(0), "SkipNodeUpdate": true, "Service": service});
        assert_eq!(self.calls.put("/v1/catalog/register", &body).await.status, 200);
    }
}

/// A file for this address, with a token from a file in a folder.
fn file(url: &str, folder: &std::path::Path, token: &str) -> String {
    let path = folder.join("token");
    std::fs::write(&path, token).unwrap();
    let auth = format!("{{header: {{name: X-Consul-Token, file: {}}}}}", path.display());
    format!("targets:\n  - {{name: consul, preset: consul, url: {url}/, auth: {auth}}}\n")
}

impl Witness for Catalog {
    async fn records(&self) -> BTreeMap<String, Value> {
        let id = |service: &Value| service["ID"].as_str().unwrap().to_owned();
        let all = (0..2).flat_map(|cluster| self.fake.services(&node(cluster)));
        all.map(|service| (id(&service), service)).collect()
    }

    async fn edit(&self, id: &str) {
        let mut service = self.records().await.remove(id).unwrap();
        service["Meta"]["pod"] = "edited".into();
        self.register(&service).await;
    }

    async fn remove(&self, id: &str) {
        let body = json!({"Node": node(0), "ServiceID": id});
        assert_eq!(self.calls.put("/v1/catalog/deregister", &body).await.status, 200);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        self.register(&json!({"ID": "theirs", "Service": "web", "Meta": {"managed-by": mark}})).await;
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }
}

#[tokio::test]
async fn consul_preset_keeps_its_promises() {
    let (catalog, folder) = (Catalog::start().await, tempfile::tempdir().unwrap());
    exercise(&catalog.fake.url, |url| file(url, folder.path(), FULL_TOKEN), &catalog).await;
}

#[tokio::test]
async fn consul_preset_survives_lost_answers() {
    let (catalog, folder) = (Catalog::start().await, tempfile::tempdir().unwrap());
    lose_answers(&catalog.fake.url, |url| file(url, folder.path(), FULL_TOKEN), &catalog).await;
}

#[tokio::test]
async fn consul_equals_the_cluster() {
    let (catalog, folder) = (Catalog::start().await, tempfile::tempdir().unwrap());
    let writes = |exchange: &Exchange| {
        exchange.method != "GET" && !String::from_utf8_lossy(&exchange.body).contains("synthetic-node")
    };
    live(&catalog.fake.url.clone(), |url| file(url, folder.path(), FULL_TOKEN), catalog, writes).await;
}

#[tokio::test]
async fn consul_client_reads_what_the_preset_writes() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (catalog, folder) = (Catalog::start().await, tempfile::tempdir().unwrap());
    let url = &catalog.fake.url;
    let writer = TargetWriter::new(&file(url, folder.path(), FULL_TOKEN), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let many = pods(&writer, 1..300);
    all_done(writer.apply(&many, &[]).await);
    listed(&writer, &many).await;
    let read = async || -> BTreeMap<String, Value> {
        let (code, lines) = registries.consul_client(url, FULL_TOKEN, &["list", &node(0), writer.mark()]).await;
        assert_eq!(code, 0, "{lines:?}");
        let services: Vec<Value> = serde_json::from_str(&lines[0]).unwrap();
        services.into_iter().map(|service| (service["ID"].as_str().unwrap().to_owned(), service)).collect()
    };
    let services = read().await;
    let ids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(services.keys().cloned().collect::<BTreeSet<_>>(), ids(&many));
    let one = &services[&super::uid(7)];
    assert_eq!(
        (&one["Service"], &one["Address"], &one["Meta"]["pod"]),
        (&"web-7".into(), &"10.0.0.7".into(), &"web-7".into())
    );
    assert_eq!(one["Meta"]["label-app"], "web");
    assert_eq!(one["Weights"], json!({"Passing": 1, "Warning": 1}));
    let deletions: Vec<_> = many[50..].iter().map(|pod| writer.record(pod).0).collect();
    all_done(writer.apply(&[], &deletions).await);
    assert_eq!(read().await.into_keys().collect::<BTreeSet<_>>(), ids(&many[..50]));
}

#[tokio::test]
async fn consul_refuses_only_the_faulty_record() {
    let (catalog, folder) = (Catalog::start().await, tempfile::tempdir().unwrap());
    let writer = TargetWriter::new(&file(&catalog.fake.url, folder.path(), FULL_TOKEN), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let mut all = pods(&writer, 1..20);
    // Consul rejects this address.
    all[7] = writer.pod(created(object(8).ip("0.0.0.0")));
    let verdicts = writer.apply(&all, &[]).await.unwrap();
    let rejected = verdicts.iter().enumerate().filter(|(_, verdict)| matches!(verdict, Verdict::Rejected { .. }));
    assert_eq!(rejected.map(|(place, _)| place).collect::<Vec<_>>(), [7], "{verdicts:?}");
    let alone = writer.put(&all[7]).await;
    assert!(matches!(&alone, Ok(Verdict::Rejected { cause }) if cause.contains("Invalid service")), "{alone:?}");
    all.remove(7);
    listed(&writer, &all).await;
    // In a transaction, a service keeps its name. The next attempt is a request of its own.
    all[0] = writer.pod(created(object(1).label("app.kubernetes.io/name", "other")));
    let verdicts = writer.apply(&all[..3], &[]).await.unwrap();
    assert!(matches!(&*verdicts, [Verdict::Retry { .. }, Verdict::Done, Verdict::Done]), "{verdicts:?}");
    all_done(writer.apply(&all[..3], &[]).await);
    listed(&writer, &all).await;
}

#[tokio::test]
async fn consul_without_rights_stops_the_target() {
    let (catalog, folder) = (Catalog::start().await, tempfile::tempdir().unwrap());
    for token in [SERVICE_TOKEN, "wrong"] {
        let writer = TargetWriter::new(&file(&catalog.fake.url, folder.path(), token), CLUSTERS[0]);
        let refused = writer.begin(1).await;
        assert!(matches!(refused, Err(Failure::Unauthorized { status: 403, .. })), "{refused:?}");
    }
    // A token that may write and not list would see an empty list.
    let writer = TargetWriter::new(&file(&catalog.fake.url, folder.path(), FULL_TOKEN), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let ours = pods(&writer, 1..3);
    all_done(writer.apply(&ours, &[]).await);
    let blind = TargetWriter::new(&file(&catalog.fake.url, folder.path(), SERVICE_TOKEN), CLUSTERS[0]);
    let refused = blind.inventory().await;
    assert!(refused.is_err(), "{refused:?}");
}
