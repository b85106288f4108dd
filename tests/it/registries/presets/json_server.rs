//! `docs/examples/targets-json-server.yaml` against json-server.

use std::collections::BTreeMap;

use pod_registrar::model::pod::Pod;
use serde_json::{Value, json};

use super::{Witness, exercise, lose_answers, process::live};
use crate::support::registries::{BuiltRegistries, HttpRegistry};

/// The example of the documentation, for this address.
fn file(url: &str) -> String {
    let example = include_str!("../../../../docs/examples/targets-json-server.yaml");
    let changed = example.replace("http://127.0.0.1:3000/", &format!("{url}/"));
    assert_ne!(changed, example);
    changed
}

struct JsonServer(HttpRegistry);

impl Witness for JsonServer {
    async fn records(&self) -> BTreeMap<String, Value> {
        let records = self.0.get("/systems").await.body;
        let id = |record: &Value| record["id"].as_str().unwrap().to_owned();
        records.as_array().unwrap().iter().map(|record| (id(record), record.clone())).collect()
    }

    async fn edit(&self, id: &str) {
        let edited = self.0.patch(&format!("/systems/{id}"), &json!({"state": "edited"})).await;
        assert_eq!(edited.status, 200);
    }

    async fn remove(&self, id: &str) {
        assert_eq!(self.0.delete(&format!("/systems/{id}")).await.status, 200);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        assert_eq!(self.0.post("/systems", &json!({"id": "theirs", "owner": mark})).await.status, 201);
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }

    fn server(&mut self) -> Option<&mut HttpRegistry> {
        Some(&mut self.0)
    }
}

async fn server(registries: &BuiltRegistries) -> (String, JsonServer) {
    let server = registries.json_server().await;
    (server.url.clone(), JsonServer(server))
}

#[tokio::test]
async fn json_server_example_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (url, witness) = server(&registries).await;
    exercise(&url, file, &witness).await;
}

#[tokio::test]
async fn json_server_example_survives_lost_answers() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (url, witness) = server(&registries).await;
    lose_answers(&url, file, &witness).await;
}

#[tokio::test]
async fn json_server_equals_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (url, witness) = server(&registries).await;
    live(&url, file, witness, |exchange| exchange.method != "GET").await;
}
