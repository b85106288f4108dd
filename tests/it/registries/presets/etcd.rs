//! The preset `etcd` against etcd: terms, pages, passwords, and a store that lost everything.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use pod_registrar::{
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::{
    CLUSTERS, Witness, created, exercise, listed, lose_answers, object, pods,
    process::{Scene, change, create, ends, live, synced, targets},
};
use crate::process::world::Kube;
use crate::support::{
    Controller, Exchange, http_client,
    registries::{BuiltRegistries, HttpRegistry, TargetWriter},
    until,
};

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: etcd, preset: etcd, url: {url}/}}\n")
}

/// An etcd whose records are below `root`.
pub(super) struct Keys {
    pub(super) etcd: HttpRegistry,
    pub(super) root: &'static str,
    pub(super) id: fn(&Pod) -> String,
    pub(super) foreign: String,
}

fn keys(etcd: HttpRegistry) -> Keys {
    let id = |pod: &Pod| format!("/systems/{}/{}", CLUSTERS[0], pod.uid);
    Keys { etcd, root: "/systems", id, foreign: format!("/systems/{}/theirs", CLUSTERS[0]) }
}

fn b64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn plain(text: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap()
}

impl Keys {
    pub(super) async fn store(&self, key: &str, value: &Value) {
        let body = json!({"key": b64(key), "value": b64(&value.to_string())});
        assert_eq!(self.etcd.post("/v3/kv/put", &body).await.status, 200);
    }
}

impl Witness for Keys {
    async fn records(&self) -> BTreeMap<String, Value> {
        let range = json!({"key": b64(&format!("{}/", self.root)), "range_end": b64(&format!("{}0", self.root))});
        let answer = self.etcd.post("/v3/kv/range", &range).await;
        let none = Vec::new();
        let kvs = answer.body["kvs"].as_array().unwrap_or(&none);
        kvs.iter().map(|kv| (plain(&kv["key"]), serde_json::from_str(&plain(&kv["value"])).unwrap())).collect()
    }

    async fn edit(&self, id: &str) {
        let mut record = self.records().await.remove(id).unwrap();
        // A name of CoreDNS has a `ttl`.
        if record["ttl"].is_number() {
            record["ttl"] = 31.into();
        } else {
            record["state"]["lifecycle"] = "edited".into();
        }
        self.store(id, &record).await;
    }

    async fn remove(&self, id: &str) {
        let answer = self.etcd.post("/v3/kv/deleterange", &json!({"key": b64(id)})).await;
        assert_eq!((answer.status, answer.text("/deleted")), (200, "1".to_owned()));
    }

    async fn add_foreign(&self, mark: &str) -> String {
        self.store(&self.foreign, &json!({"owner": mark, "host": "10.9.9.9"})).await;
        self.foreign.clone()
    }

    fn id(&self, pod: &Pod) -> String {
        (self.id)(pod)
    }

    fn server(&mut self) -> Option<&mut HttpRegistry> {
        Some(&mut self.etcd)
    }
}

#[tokio::test]
async fn etcd_preset_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    exercise(&etcd.url.clone(), file, &keys(etcd)).await;
}

#[tokio::test]
async fn etcd_preset_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    lose_answers(&etcd.url.clone(), file, &keys(etcd)).await;
}

/// Whether a request writes a record, and not the term.
pub(super) fn writes(exchange: &Exchange) -> bool {
    let body = String::from_utf8_lossy(&exchange.body);
    exchange.path.ends_with("/txn") && body.contains("\"mod_revision\"")
}

#[tokio::test]
async fn etcd_equals_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    live(&etcd.url.clone(), file, keys(etcd), writes).await;
}

#[tokio::test]
async fn etcd_refuses_the_old_leader() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let (old, new) =
        (TargetWriter::new(&file(&etcd.url), CLUSTERS[0]), TargetWriter::new(&file(&etcd.url), CLUSTERS[0]));
    old.begin(9).await.unwrap();
    let mut ours = pods(&old, 1..4);
    for pod in &ours {
        assert_eq!(old.put(pod).await, Ok(Verdict::Done));
    }
    // A term with more digits is greater.
    new.begin(10).await.unwrap();
    listed(&new, &ours).await;
    let changed = old.pod(created(object(1).image("web:2")));
    let key = old.record(&ours[1]).0;
    assert_eq!(old.put(&changed).await, Err(Failure::StaleEpoch));
    assert_eq!(old.delete(&key).await, Err(Failure::StaleEpoch));
    assert_eq!(old.begin(9).await, Err(Failure::StaleEpoch));
    let late = old.pod(created(object(7)));
    assert_eq!(old.put(&late).await, Err(Failure::StaleEpoch));
    listed(&new, &ours).await;
    ours[0] = changed;
    assert_eq!(new.put(&ours[0]).await, Ok(Verdict::Done));
    assert_eq!(new.delete(&key).await, Ok(Verdict::Done));
    ours.remove(1);
    listed(&new, &ours).await;
    // It gains the Lease again.
    old.begin(11).await.unwrap();
    listed(&old, &ours).await;
    assert_eq!(old.put(&late).await, Ok(Verdict::Done));
    assert_eq!(new.put(&late).await, Err(Failure::StaleEpoch), "even if it is equal");
    assert_eq!(new.put(&new.pod(created(object(7).image("web:2")))).await, Err(Failure::StaleEpoch));
    listed(&old, &[&ours[..], &[late]].concat()).await;
}

#[tokio::test]
async fn etcd_that_lost_everything_is_filled_again() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let writer = TargetWriter::new(&file(&etcd.url), CLUSTERS[0]);
    writer.begin(3).await.unwrap();
    let ours = pods(&writer, 1..4);
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    // The term is lost, too.
    let all = json!({"key": b64("\0"), "range_end": b64("\0")});
    assert_eq!(etcd.post("/v3/kv/deleterange", &all).await.status, 200);
    let verdict = writer.put(&writer.pod(created(object(1).image("web:2")))).await;
    assert!(matches!(verdict, Ok(Verdict::Retry { .. })), "{verdict:?}");
    listed(&writer, &[]).await;
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    listed(&writer, &ours).await;
}

#[tokio::test]
async fn etcd_lists_more_records_than_a_page() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let writer = TargetWriter::new(&file(&etcd.url), CLUSTERS[0]);
    writer.begin(3).await.unwrap();
    let ours = pods(&writer, 1..1_050);
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    listed(&writer, &ours).await;
}

/// Makes a user who may read and write keys with these prefixes, and demands passwords.
pub(super) async fn restrict(etcd: &HttpRegistry, prefixes: &[&str]) {
    let grant = |prefix: &&str| {
        // The first key that does not have the prefix.
        let (rest, last) = prefix.split_at(prefix.len() - 1);
        let end = format!("{rest}{}", char::from(last.as_bytes()[0] + 1));
        let permission = json!({"permType": "READWRITE", "key": b64(prefix), "range_end": b64(&end)});
        ("role/grant", json!({"name": "writer", "perm": permission}))
    };
    let mut steps = vec![
        ("user/add", json!({"name": "root", "password": "r"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("role/add", json!({"name": "writer"})),
    ];
    steps.extend(prefixes.iter().map(grant));
    steps.extend([
        ("user/add", json!({"name": "writer", "password": "not-a-secret"})),
        ("user/grant", json!({"user": "writer", "role": "writer"})),
        ("enable", json!({})),
    ]);
    for (path, body) in steps {
        let answer = etcd.post(&format!("/v3/auth/{path}"), &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

/// The member `auth` for that user, with the password in a file of a folder.
pub(super) fn login(folder: &Path) -> String {
    let password = folder.join("password");
    std::fs::write(&password, "not-a-secret").unwrap();
    format!(
        "auth: {{login: {{path: v3/auth/authenticate, body: {{name: writer, password: '{{{{ secret.password }}}}'}}, \
         secrets: {{password: {}}}, token: /token, header: Authorization}}}}",
        password.display()
    )
}

#[tokio::test]
async fn etcd_preset_writes_with_a_password() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let ours = CLUSTERS[0];
    restrict(&etcd, &[&format!("/systems/{ours}/"), &format!("/pod-registrar:{ours}:")]).await;
    let anonymous = TargetWriter::new(&file(&etcd.url), CLUSTERS[0]).begin(1).await;
    assert!(matches!(anonymous, Err(Failure::Unauthorized { status: 400, .. })), "{anonymous:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = format!("targets:\n  - {{name: etcd, preset: etcd, url: {}/, {}}}\n", etcd.url, login(folder.path()));
    let writer = TargetWriter::new(&file, CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let ours = pods(&writer, 1..3);
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    listed(&writer, &ours).await;
    // Another cluster's keys are forbidden.
    let other = TargetWriter::new(&file, CLUSTERS[1]);
    let refused = other.begin(1).await;
    assert!(matches!(refused, Err(Failure::Unauthorized { status: 403, .. })), "{refused:?}");
}

/// The term that etcd holds for the first cluster.
async fn stored_term(keys: &Keys, mark: &str) -> u64 {
    let answer = keys.etcd.post("/v3/kv/range", &json!({"key": b64(&format!("/{mark}/term"))})).await;
    plain(&answer.body["kvs"][0]["value"]).parse().unwrap()
}

/// A cluster with a Lease, an etcd, and a targets file for it.
async fn with_lease(etcd: &HttpRegistry) -> (Kube, std::path::PathBuf) {
    let kube = Kube::start().await;
    let leases = format!("{}/apis/coordination.k8s.io/v1/namespaces/default/leases", kube.api.url());
    let lease = json!({"metadata": {"name": "registrar"}, "spec": {}});
    assert_eq!(http_client().post(&leases).json(&lease).send().await.unwrap().status(), 201);
    let path = targets(kube.folder.path(), &file(&etcd.url));
    create(&kube, 0..10);
    (kube, path)
}

const LEASE: [&str; 4] = ["--lease", "default/registrar", "--lease-duration", "5s"];

#[tokio::test]
async fn etcd_holds_the_term_of_the_leader() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let (kube, path) = with_lease(&keys.etcd).await;
    let reader = TargetWriter::new(&file(&keys.etcd.url), CLUSTERS[0]);
    let mark = reader.mark().to_owned();
    let scene = Scene { kube: &kube, witness: &keys, reader };
    let start = |name: &str| {
        Controller::start_with_targets(&kube.kubeconfig, &path, &[&LEASE[..], &["--instance", name]].concat())
    };
    let mut first = start("first");
    scene.equal("of the first leader").await;
    let term = stored_term(&keys, &mark).await;
    let mut second = start("second");
    second.ready().await;
    // The leader does not notice that it is not the leader any more, and another one takes over.
    first.pause();
    create(&kube, 10..15);
    kube.delete(0..3);
    scene.equal("of the second leader").await;
    assert!(stored_term(&keys, &mark).await > term);
    first.resume();
    change(&kube, 5, 1);
    scene.equal("when the first one is back").await;
    // It leads again.
    ends(second).await;
    change(&kube, 6, 1);
    scene.equal("when the first one leads again").await;
    assert!(stored_term(&keys, &mark).await > term + 1);
    ends(first).await;
}

#[tokio::test]
async fn etcd_refuses_a_lease_older_than_a_process() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let keys = keys(registries.etcd().await);
    let (kube, path) = with_lease(&keys.etcd).await;
    let reader = TargetWriter::new(&file(&keys.etcd.url), CLUSTERS[0]);
    let mark = reader.mark().to_owned();
    let scene = Scene { kube: &kube, witness: &keys, reader };
    let mut leader = Controller::start_with_targets(&kube.kubeconfig, &path, &LEASE);
    scene.equal("of the leader").await;
    synced(&mut leader, "etcd").await;
    ends(leader).await;
    let created = stored_term(&keys, &mark).await >> 20;
    until("the Lease is older than the next process", || now_secs() > created).await;
    change(&kube, 1, 1);
    let alone = Controller::start_with_targets(&kube.kubeconfig, &path, &[]);
    scene.equal("without a Lease").await;
    ends(alone).await;
    assert!(stored_term(&keys, &mark).await >> 20 > created);
    let before = keys.records().await;
    change(&kube, 2, 1);
    let mut leader = Controller::start_with_targets(&kube.kubeconfig, &path, &LEASE);
    leader.log_line("another writer's term is in force").await;
    leader.terminate();
    assert_eq!(leader.code().await, 0);
    assert_eq!(keys.records().await, before);
    keys.remove(&format!("/{mark}/term")).await;
    let leader = Controller::start_with_targets(&kube.kubeconfig, &path, &LEASE);
    scene.equal("with the Lease again").await;
    ends(leader).await;
}

/// Seconds since 1970.
fn now_secs() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
