use std::collections::BTreeMap;

use pod_registrar::model::pod::Pod;
use serde_json::{Value, json};

use super::{Witness, exercise, lose_answers};
use crate::support::registries::{BuiltRegistries, HttpRegistry};

/// The example of the documentation, for this address.
pub(crate) fn file(url: &str) -> String {
    let example = include_str!("../../../../docs/examples/targets-json-server.yaml");
    let changed = example.replace("http://127.0.0.1:3000/", &format!("{url}/"));
    assert_ne!(changed, example);
    changed
}

impl Witness for HttpRegistry {
    async fn records(&self) -> BTreeMap<String, Value> {
        let records = self.get("/systems").await.body;
        let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
        records.as_array().unwrap().iter().map(|record| (id(record), record.clone())).collect()
    }

    async fn edit(&self, id: &str) {
        let edited = self.patch(&format!("/systems/{id}"), &json!({"state": "edited", "digest": "edited"})).await;
        assert_eq!(edited.status, 200);
    }

    async fn remove(&self, id: &str) {
        assert_eq!(self.delete(&format!("/systems/{id}")).await.status, 200);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        assert_eq!(self.post("/systems", &json!({"id": "theirs", "owner": mark})).await.status, 201);
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }
}

#[tokio::test]
async fn json_server_example_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let server = registries.json_server().await;
    exercise(&server.url, file, &server).await;
}

#[tokio::test]
async fn json_server_example_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let server = registries.json_server().await;
    lose_answers(&server.url, file, &server).await;
}
