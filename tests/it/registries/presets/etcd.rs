use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use pod_registrar::{
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::{Witness, created, exercise, listed, lose_answers, object, pods};
use crate::support::registries::{BuiltRegistries, HttpRegistry, TargetWriter};

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: etcd, preset: etcd, url: {url}/}}\n")
}

/// An etcd whose records are below `root`. In the ids of pods, `{uid}` stands for the UID.
pub(super) struct Keys<'a> {
    pub(super) etcd: &'a HttpRegistry,
    pub(super) root: &'static str,
    pub(super) id: fn(&Pod) -> String,
    pub(super) foreign: &'static str,
}

fn keys(etcd: &HttpRegistry) -> Keys<'_> {
    Keys { etcd, root: "/systems", id: |pod| format!("/systems/c1/{}", pod.uid), foreign: "/systems/c1/theirs" }
}

fn b64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn plain(text: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap()
}

impl Keys<'_> {
    async fn store(&self, key: &str, value: &Value) {
        let body = json!({"key": b64(key), "value": b64(&value.to_string())});
        assert_eq!(self.etcd.post("/v3/kv/put", &body).await.status, 200);
    }
}

impl Witness for Keys<'_> {
    async fn records(&self) -> BTreeMap<String, Value> {
        let range = json!({"key": b64(&format!("{}/", self.root)), "range_end": b64(&format!("{}0", self.root))});
        let answer = self.etcd.post("/v3/kv/range", &range).await;
        let none = Vec::new();
        let kvs = answer.body["kvs"].as_array().unwrap_or(&none);
        kvs.iter().map(|kv| (plain(&kv["key"]), serde_json::from_str(&plain(&kv["value"])).unwrap())).collect()
    }

    async fn edit(&self, id: &str) {
        let mut record = self.records().await.remove(id).unwrap();
        record["digest"] = "edited".into();
        self.store(id, &record).await;
    }

    async fn remove(&self, id: &str) {
        let answer = self.etcd.post("/v3/kv/deleterange", &json!({"key": b64(id)})).await;
        assert_eq!((answer.status, answer.text("/deleted")), (200, "1".to_owned()));
    }

    async fn add_foreign(&self, mark: &str) -> String {
        self.store(self.foreign, &json!({"owner": mark, "host": "10.9.9.9"})).await;
        self.foreign.to_owned()
    }

    fn id(&self, pod: &Pod) -> String {
        (self.id)(pod)
    }
}

#[tokio::test]
async fn etcd_preset_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    exercise(&etcd.url, file, &keys(&etcd)).await;
}

#[tokio::test]
async fn etcd_preset_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    lose_answers(&etcd.url, file, &keys(&etcd)).await;
}

#[tokio::test]
async fn etcd_refuses_the_old_leader() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let (old, new) = (TargetWriter::new(&file(&etcd.url), "c1"), TargetWriter::new(&file(&etcd.url), "c1"));
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
    assert_eq!(new.put(&late).await, Ok(Verdict::Done), "it is equal, so nothing is written");
    assert_eq!(new.put(&new.pod(created(object(7).image("web:2")))).await, Err(Failure::StaleEpoch));
    listed(&old, &[&ours[..], &[late]].concat()).await;
}

#[tokio::test]
async fn etcd_that_lost_everything_is_filled_again() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let writer = TargetWriter::new(&file(&etcd.url), "c1");
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
    let writer = TargetWriter::new(&file(&etcd.url), "c1");
    writer.begin(3).await.unwrap();
    let ours = pods(&writer, 1..1_050);
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    listed(&writer, &ours).await;
}

#[tokio::test]
async fn etcd_preset_writes_with_a_password() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    let permit = |key: &str, end: &str| json!({"permType": "READWRITE", "key": b64(key), "range_end": b64(end)});
    for (path, body) in [
        ("user/add", json!({"name": "root", "password": "r"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("role/add", json!({"name": "writer"})),
        ("role/grant", json!({"name": "writer", "perm": permit("/systems/c1/", "/systems/c10")})),
        ("role/grant", json!({"name": "writer", "perm": permit("/pod-registrar:c1:", "/pod-registrar:c1;")})),
        ("user/add", json!({"name": "writer", "password": "not-a-secret"})),
        ("user/grant", json!({"user": "writer", "role": "writer"})),
        ("enable", json!({})),
    ] {
        let answer = etcd.post(&format!("/v3/auth/{path}"), &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let anonymous = TargetWriter::new(&file(&etcd.url), "c1").begin(1).await;
    assert!(matches!(anonymous, Err(Failure::Throttled { status: 400, .. })), "{anonymous:?}");
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "not-a-secret").unwrap();
    let login = format!(
        "{{path: v3/auth/authenticate, body: {{name: writer, password: '{{{{ secret.password }}}}'}}, \
         secrets: {{password: {}}}, token: /token, header: Authorization}}",
        password.display()
    );
    let file = format!("targets:\n  - {{name: etcd, preset: etcd, url: {}/, auth: {{login: {login}}}}}\n", etcd.url);
    let writer = TargetWriter::new(&file, "c1");
    writer.begin(1).await.unwrap();
    let ours = pods(&writer, 1..3);
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    listed(&writer, &ours).await;
    // Another cluster's keys are forbidden.
    let other = TargetWriter::new(&file, "c2");
    let refused = other.begin(1).await;
    assert!(matches!(refused, Err(Failure::Unauthorized { status: 403, .. })), "{refused:?}");
}
