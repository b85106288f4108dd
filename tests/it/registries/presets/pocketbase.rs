use std::{collections::BTreeMap, path::Path};

use pod_registrar::model::pod::Pod;
use serde_json::{Value, json};

use super::{Witness, exercise, lose_answers};
use crate::support::registries::{BuiltRegistries, HttpRegistry, PASSWORD};

const RECORDS: &str = "/api/collections/systems/records";

struct PocketBase(HttpRegistry);

/// The example of the documentation, for this address. The password is in a file of the folder.
pub(crate) fn file(url: &str, folder: &Path) -> String {
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
        let edited = self.0.patch(&format!("{RECORDS}/{id}"), &json!({"state": "edited", "digest": "edited"})).await;
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
