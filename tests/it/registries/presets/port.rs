//! The preset `port` against a stand-in from Port's documentation.

use std::{collections::BTreeMap, path::Path};

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, created, exercise, listed, lose_answers, object, pods, process::live};
use crate::support::{
    Exchange,
    registries::{PortFake, TargetWriter},
};

/// A file for this address, with the client's credentials in files of a folder.
fn file(url: &str, folder: &Path) -> String {
    let secret = |name: &str, value: &str| {
        let path = folder.join(name);
        std::fs::write(&path, value).unwrap();
        path.display().to_string()
    };
    let (id, secret) = (secret("id", "id"), secret("secret", "secret-of-the-client"));
    format!(
        r#"targets:
  - name: portal
    preset: port
    url: {url}/v1/
    auth:
      login:
        path: auth/access_token
        body: {{clientId: "{{{{ secret.id }}}}", clientSecret: "{{{{ secret.secret }}}}"}}
        secrets: {{id: {id}, secret: {secret}}}
        token: /accessToken
        expires: /expiresIn
"#
    )
}

impl Witness for PortFake {
    async fn records(&self) -> BTreeMap<String, Value> {
        self.entities()
    }

    async fn edit(&self, id: &str) {
        self.by_hand(|entities| entities.get_mut(id).unwrap()["title"] = "edited".into());
    }

    async fn remove(&self, id: &str) {
        self.by_hand(|entities| _ = entities.remove(id));
    }

    async fn add_foreign(&self, mark: &str) -> String {
        let entity = json!({"identifier": "theirs", "title": "web", "properties": {"registrarOwner": mark}});
        self.by_hand(|entities| _ = entities.insert("theirs".into(), entity));
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }
}

#[tokio::test]
async fn port_preset_keeps_its_promises() {
    let (fake, folder) = (PortFake::start().await, tempfile::tempdir().unwrap());
    exercise(&fake.url, |url| file(url, folder.path()), &fake).await;
}

#[tokio::test]
async fn port_preset_survives_lost_answers() {
    let (fake, folder) = (PortFake::start().await, tempfile::tempdir().unwrap());
    lose_answers(&fake.url, |url| file(url, folder.path()), &fake).await;
}

#[tokio::test]
async fn port_equals_the_cluster() {
    let (fake, folder) = (PortFake::start().await, tempfile::tempdir().unwrap());
    let writes = |exchange: &Exchange| {
        let reads = exchange.method == "GET" || exchange.path.contains("/search") || exchange.path.contains("/auth/");
        !reads && exchange.path != "/v1/blueprints"
    };
    live(&fake.url.clone(), |url| file(url, folder.path()), fake, writes).await;
}

#[tokio::test]
async fn port_refuses_only_the_faulty_entity() {
    let (fake, folder) = (PortFake::start().await, tempfile::tempdir().unwrap());
    let writer = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    // More than one bulk request takes.
    let mut all = pods(&writer, 1..50);
    all[7] = writer.pod(created(object(8).image("unusable")));
    let verdicts = writer.apply(&all, &[]).await.unwrap();
    let rejected = verdicts.iter().enumerate().filter(|(_, verdict)| **verdict != Verdict::Done);
    assert_eq!(rejected.map(|(place, _)| place).collect::<Vec<_>>(), [7], "{verdicts:?}");
    assert!(matches!(&verdicts[7], Verdict::Rejected { cause } if cause.contains("pattern")), "{:?}", verdicts[7]);
    all.remove(7);
    listed(&writer, &all).await;
}
