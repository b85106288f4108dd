//! The OpenAPI document against the server: addresses, problems, records.

use std::collections::BTreeSet;

use pod_registrar::registry::server::{
    http::{endpoints, page::OPENAPI},
    problem::ProblemKind,
};
use serde_json::{Value, json};
use strum::VariantArray as _;

use super::{Server, record, refused};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

#[test]
fn document_lists_exactly_the_servers_addresses() {
    let document = document();
    let written: BTreeSet<_> =
        operations(&document).map(|(method, path, _)| (method.to_uppercase(), path.to_owned())).collect();
    let served: BTreeSet<_> =
        endpoints().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(written, served);
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn document_names_every_problem_under_its_status() {
    let document = document();
    let names: BTreeSet<_> = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap().strip_prefix("urn:pod-registrar:problem:").unwrap())
        .collect();
    assert_eq!(names, ProblemKind::VARIANTS.iter().map(|kind| kind.name()).collect());
    let mut described = BTreeSet::new();
    for (_, path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(list) = response["description"].as_str().unwrap().strip_prefix("Problem: ") else {
                assert!(status.starts_with('2'), "{path}: {status}");
                continue;
            };
            for name in list.split(", ").map(|name| name.trim_matches('`')) {
                let kind = ProblemKind::VARIANTS.iter().find(|kind| kind.name() == name).unwrap();
                assert_eq!(kind.status().to_string(), *status, "{path}");
                described.insert(name.to_owned());
            }
        }
    }
    // `method-not-allowed` belongs to methods that are not in the document.
    assert_eq!(described.len() + 1, ProblemKind::VARIANTS.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, node: &Value) {
        match node {
            Value::Object(members) => {
                if let Some(to) = members.get("$ref") {
                    let pointer = to.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{pointer}");
                }
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

/// Removes each required member of a record, at any depth, and sends the record.
#[tokio::test]
async fn server_requires_what_the_record_schema_requires() {
    fn required(schema: &Value, at: &str, into: &mut Vec<String>) {
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            into.push(format!("{at}/{name}"));
            required(&schema["properties"][name], &format!("{at}/{name}"), into);
        }
    }
    let document = document();
    let mut pointers = Vec::new();
    required(&document["components"]["schemas"]["Record"], "", &mut pointers);
    let of_the_page = [
        "/schema",
        "/owner",
        "/cluster/id",
        "/pod/uid",
        "/pod/namespace",
        "/pod/name",
        "/state/lifecycle",
        "/times/created",
        "/version/epoch",
        "/version/seq",
    ];
    let leaves: BTreeSet<_> = pointers
        .iter()
        .filter(|pointer| !pointers.iter().any(|other| other.starts_with(&format!("{pointer}/"))))
        .map(String::as_str)
        .collect();
    assert_eq!(leaves, BTreeSet::from(of_the_page));
    let server = Server::start().await;
    let epoch = server.open().await;
    for pointer in &pointers {
        let mut record = record("a", epoch, 1, "web");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        record.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        let reply = server.call("PUT", "/v1/clusters/c/pods/a", Some(&record)).await;
        assert_eq!(reply.problem(), refused(422, "schema"), "{pointer}");
    }
    assert_eq!(server.put("a", epoch, 1, "web").await.status, 201);
    server.stop().await;
}

/// Removes each member at the top of a request's body, and sends the body.
#[tokio::test]
async fn schemas_of_requests_require_what_the_server_requires() {
    let document = document();
    let server = Server::start().await;
    let epoch = server.open().await;
    let session =
        json!({"clusterName": "c", "instance": "i", "ttlSeconds": 90, "scope": "s", "minEpoch": 0, "clusterUid": "u"});
    let beat =
        json!({"epoch": epoch, "instance": "i", "ttlSeconds": 90, "synced": true, "counts": {"pods": 1, "pending": 0}});
    let batch = json!({"epoch": epoch, "operations": []});
    // The session comes last, as it supersedes the one that the others need.
    for (schema, method, path, body) in [
        ("Heartbeat", "PUT", "/v1/clusters/c/session", beat),
        ("Batch", "POST", "/v1/clusters/c/pods:batch", batch),
        ("OpenSession", "POST", "/v1/clusters/c/session", session),
    ] {
        let schema = &document["components"]["schemas"][schema];
        let members: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(members, body.as_object().unwrap().keys().collect::<Vec<_>>(), "{path}");
        for name in members {
            let mut body = body.clone();
            body.as_object_mut().unwrap().remove(name);
            let required = schema["required"].as_array().unwrap().contains(&json!(name));
            let reply = server.call(method, path, Some(&body)).await;
            assert_eq!(reply.status == 422, required, "{path} without {name}: {reply:?}");
        }
    }
    server.stop().await;
}

#[test]
fn every_address_of_the_protocol_needs_a_token() {
    let document = document();
    assert_eq!(document["security"], json!([{"bearer": []}]));
    for (method, path, operation) in operations(&document).filter(|(_, path, _)| path.starts_with("/v1/")) {
        assert!(operation.get("security").is_none(), "{method} {path} has security of its own");
        assert!(operation["responses"].get("401").is_some(), "{method} {path} may answer 401");
    }
}

#[tokio::test]
async fn document_is_served() {
    let server = Server::start().await;
    let reply = server.get("/openapi.json").await;
    assert_eq!((reply.status, reply.kind.as_str()), (200, "application/json"));
    assert_eq!(reply.json(), document());
    server.stop().await;
}
