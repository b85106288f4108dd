//! The JSON examples of `docs/protocol-v1.md` are accepted by the types of the protocol or by the server.
//!
//! A comment before an example names its type, as in `<!-- json: Heartbeat -->`.

use pod_registrar::registry::{
    inventory::BucketDigests,
    protocol::{
        BatchResults, CapabilitiesDocument, ClusterInfo, ClusterList, HeartbeatAccepted, InventoryAnswer, ListedRecord,
        Problem,
    },
    server::http::page::OPENAPI,
    session::{Heartbeat, OpenSession, SessionOpened},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::Server;
use crate::project;

const PAGE: &str = "docs/protocol-v1.md";

/// The page's examples, each with its type.
fn examples() -> Vec<(String, Value)> {
    let page = project::text(PAGE);
    let mut parts = page.split("```json\n");
    let mut before = parts.next().unwrap();
    let mut found = Vec::new();
    for part in parts {
        let (example, after) = part.split_once("\n```").unwrap();
        let mark = before.trim_end().lines().next_back().unwrap_or_default();
        let kind = mark.strip_prefix("<!-- json: ").and_then(|mark| mark.strip_suffix(" -->"));
        let kind = kind.unwrap_or_else(|| panic!("an example without a type: {example}"));
        found.push((kind.to_owned(), serde_json::from_str(example).unwrap_or_else(|e| panic!("{e}: {example}"))));
        before = after;
    }
    found
}

/// Checks that the example keeps all its members when it is read and written as this type.
fn is<T: Serialize + DeserializeOwned>(example: &Value) {
    let read: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{error}: {example}"));
    assert_eq!(serde_json::to_value(read).unwrap(), *example);
}

/// Checks that the example's members belong to a schema of the OpenAPI document, and that required ones exist.
fn has_members_of(schema: &Value, example: &Value) {
    let members = example.as_object().unwrap();
    assert!(members.keys().all(|name| schema["properties"].get(name).is_some()), "{example}");
    for name in schema["required"].as_array().unwrap() {
        assert!(members.contains_key(name.as_str().unwrap()), "{name} is missing: {example}");
    }
}

async fn is_stored(record: &Value) {
    let server = Server::start().await;
    let text = |pointer: &str| record.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let path = format!("/v1/clusters/{}", text("/cluster/id"));
    let epoch = record["version"]["epoch"].as_u64().unwrap();
    let session = json!({"instance": "i", "ttlSeconds": 90, "minEpoch": epoch - 1});
    assert_eq!(server.call("POST", &format!("{path}/session"), Some(&session)).await.status, 201);
    let reply = server.call("PUT", &format!("{path}/pods/{}", text("/pod/uid")), Some(record)).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    server.stop().await;
}

async fn is_applied(batch: &Value) {
    let server = Server::start().await;
    let session = json!({"instance": "i", "ttlSeconds": 90, "minEpoch": batch["epoch"].as_u64().unwrap() - 1});
    let cluster = batch.pointer("/operations/0/record/cluster/id").unwrap().as_str().unwrap();
    server.call("POST", &format!("/v1/clusters/{cluster}/session"), Some(&session)).await;
    let reply = server.call("POST", &format!("/v1/clusters/{cluster}/pods:batch"), Some(batch)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    server.stop().await;
}

#[tokio::test]
async fn page_examples_follow_the_protocol() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let schemas = &document["components"]["schemas"];
    let examples = examples();
    for (kind, example) in &examples {
        match kind.as_str() {
            "Capabilities" => is::<CapabilitiesDocument>(example),
            "OpenSession" => is::<OpenSession>(example),
            "SessionOpened" => is::<SessionOpened>(example),
            "Heartbeat" => is::<Heartbeat>(example),
            "HeartbeatAccepted" => is::<HeartbeatAccepted>(example),
            "Cluster" => is::<ClusterInfo>(example),
            "Clusters" => is::<ClusterList>(example),
            "Stored" => is::<ListedRecord>(example),
            "BatchResults" => is::<BatchResults>(example),
            "InventoryPage" => is::<InventoryAnswer>(example),
            "BucketDigests" => is::<BucketDigests>(example),
            "Problem" => is::<Problem>(example),
            "Record" => is_stored(example).await,
            "Batch" => is_applied(example).await,
            "Changes" => {
                has_members_of(&schemas["Changes"], example);
                let item = &schemas["Changes"]["properties"]["items"]["items"];
                example["items"].as_array().unwrap().iter().for_each(|change| has_members_of(item, change));
            }
            other => panic!("{other} is no type of the protocol"),
        }
    }
    assert!(examples.len() >= 15, "an example of each type");
}
