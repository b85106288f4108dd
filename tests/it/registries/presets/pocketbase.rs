//! `docs/examples/targets-pocketbase.yaml` against PocketBase.

use std::{collections::BTreeMap, path::Path};

use pod_registrar::{
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, exercise, listed, lose_answers, pods, process::live};
use crate::support::{
    Exchange, SOON, eventually,
    registries::{BuiltRegistries, HttpRegistry, PASSWORD, TargetWriter},
};

const RECORDS: &str = "/api/collections/systems/records";

struct PocketBase(HttpRegistry);

/// The example of the documentation, for this address. The password is in a file of the folder.
fn file(url: &str, folder: &Path) -> String {
    let example = include_str!("../../../../docs/examples/targets-pocketbase.yaml");
    let (password, address) = ("/etc/pod-registrar/pocketbase/password", "http://127.0.0.1:8090/api/");
    assert!(example.contains(password) && example.contains(address));
    let path = folder.join("password");
    std::fs::write(&path, format!("{PASSWORD}\n")).unwrap();
    example.replace(password, path.to_str().unwrap()).replace(address, &format!("{url}/api/"))
}

impl Witness for PocketBase {
    async fn records(&self) -> BTreeMap<String, Value> {
        let records = self.0.get(&format!("{RECORDS}?perPage=500")).await.body;
        let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
        records["items"].as_array().unwrap().iter().map(|record| (id(record), record.clone())).collect()
    }

    async fn edit(&self, id: &str) {
        let edited = self.0.patch(&format!("{RECORDS}/{id}"), &json!({"state": "edited"})).await;
        assert_eq!(edited.status, 200);
    }

    async fn remove(&self, id: &str) {
        assert_eq!(self.0.delete(&format!("{RECORDS}/{id}")).await.status, 204);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        let id = super::uid(99);
        assert_eq!(self.0.post(RECORDS, &json!({"id": id, "owner": mark})).await.status, 200);
        id
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }

    fn server(&mut self) -> Option<&mut HttpRegistry> {
        Some(&mut self.0)
    }
}

#[tokio::test]
async fn pocketbase_example_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (server, _) = registries.pocketbase().await;
    let (url, folder) = (server.url.clone(), tempfile::tempdir().unwrap());
    exercise(&url, |url| file(url, folder.path()), &PocketBase(server)).await;
}

#[tokio::test]
async fn pocketbase_example_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (server, _) = registries.pocketbase().await;
    let (url, folder) = (server.url.clone(), tempfile::tempdir().unwrap());
    lose_answers(&url, |url| file(url, folder.path()), &PocketBase(server)).await;
}

#[tokio::test]
async fn pocketbase_equals_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (server, _) = registries.pocketbase().await;
    let (url, folder) = (server.url.clone(), tempfile::tempdir().unwrap());
    let writes = |exchange: &Exchange| exchange.method != "GET" && exchange.path.contains("/records");
    live(&url, |url| file(url, folder.path()), PocketBase(server), writes).await;
}

/// PocketBase answers 403, as for a record that may not be changed.
#[tokio::test]
async fn pocketbase_token_that_expired_is_renewed() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (server, _) = registries.pocketbase().await;
    let folder = tempfile::tempdir().unwrap();
    let writer = TargetWriter::new(&file(&server.url, folder.path()), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let ours = pods(&writer, 1..3);
    assert_eq!(writer.put(&ours[0]).await, Ok(Verdict::Done));
    registries.set_pocketbase_password(&server).await;
    eventually("the record is written", SOON, async || match writer.put(&ours[1]).await {
        Ok(Verdict::Done) => Ok(()),
        refused @ Err(Failure::Unauthorized { .. }) => {
            writer.refused();
            Err(format!("{refused:?}"))
        }
        other => panic!("{other:?}"),
    })
    .await;
    listed(&writer, &ours).await;
}
