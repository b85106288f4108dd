//! The stand-in for Consul answers as Consul does, and what the preset `consul` relies on.

use serde_json::{Value, json};

use crate::support::registries::{BuiltRegistries, ConsulFake, FULL_TOKEN, RegistryCalls, SERVICE_TOKEN};

const NODE: &str = "k8s-c";
const REGISTER: &str = "/v1/catalog/register";
const DEREGISTER: &str = "/v1/catalog/deregister";

async fn consul(token: &str) -> (ConsulFake, RegistryCalls) {
    let fake = ConsulFake::start().await;
    let mut calls = RegistryCalls::new(&fake.url);
    calls.authorize("x-consul-token", FULL_TOKEN);
    assert_eq!(calls.put(REGISTER, &json!({"Node": NODE, "Address": "127.0.0.1"})).await.status, 200);
    calls.authorize("x-consul-token", token);
    (fake, calls)
}

fn set(id: &str, mark: &str) -> Value {
    let meta = json!({"managed-by": mark, "digest": "00"});
    json!({"Service": {"Verb": "set", "Node": NODE, "Service": {"ID": id, "Service": "web", "Meta": meta}}})
}

fn list(mark: &str) -> String {
    format!("/v1/catalog/node-services/{NODE}?filter=Meta%5B%22managed-by%22%5D%20%3D%3D%20%22{mark}%22")
}

#[tokio::test]
async fn consul_client_accepts_the_stand_in() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let consul = ConsulFake::start().await;
    let (code, lines) = registries.consul_client(&consul.url, FULL_TOKEN, &["check", NODE]).await;
    assert_eq!(code, 0, "{lines:#?}");
    let (code, lines) = registries.consul_client(&consul.url, "wrong", &["check", NODE]).await;
    assert_eq!(code, 1);
    assert!(lines.iter().any(|line| line.contains("403")), "{lines:?}");
}

#[tokio::test]
async fn consul_transaction_is_atomic() {
    let (fake, consul) = consul(FULL_TOKEN).await;
    let unnamed = json!({"Service": {"Verb": "delete", "Node": NODE, "Service": {"ID": "a"}}});
    let refused = consul.put("/v1/txn", &json!([set("a", "m"), unnamed, set("b", "m")])).await;
    assert_eq!((refused.status, &refused.body["Errors"][0]["OpIndex"]), (409, &json!(1)), "{refused:?}");
    assert_eq!(fake.services(NODE), Vec::<Value>::new());
    assert_eq!(consul.put("/v1/txn", &json!([set("a", "m"), set("b", "other")])).await.status, 200);
    let found = consul.get(&list("m")).await;
    assert_eq!(found.text("/Services/0/ID"), "a");
    assert_eq!(found.body["Services"].as_array().unwrap().len(), 1);
    let many: Vec<Value> = (0..129).map(|number| set(&format!("s{number}"), "m")).collect();
    assert_eq!(consul.put("/v1/txn", &json!(many)).await.status, 413);
}

#[tokio::test]
async fn consul_limits_metadata() {
    let (_fake, consul) = consul(FULL_TOKEN).await;
    let register = async |key: &str, value: &str| {
        let service = json!({"ID": "a", "Service": "web", "Meta": {key: value}});
        let body = json!({"Node": NODE, "SkipNodeUpdate": true, "Service": service});
        consul.put(REGISTER, &body).await.status
    };
    assert_eq!(register("label-app", &"x".repeat(512)).await, 200);
    assert_eq!(register("label-app", &"x".repeat(513)).await, 500);
    assert_eq!(register(&"k".repeat(129), "x").await, 500);
    assert_eq!(register("app.kubernetes.io/name", "x").await, 500);
}

#[tokio::test]
async fn consul_token_without_node_rights_sees_nothing() {
    let (fake, consul) = consul(SERVICE_TOKEN).await;
    assert_eq!(consul.put("/v1/txn", &json!([set("a", "m")])).await.status, 200);
    assert_eq!(fake.services(NODE).len(), 1);
    let found = consul.get(&list("m")).await;
    assert_eq!((found.status, &found.body["Services"]), (200, &Value::Null));
    assert_eq!(found.header("x-consul-results-filtered-by-acls"), "true");
    let gone = json!({"Node": NODE, "ServiceID": "a"});
    assert_eq!(consul.put(DEREGISTER, &gone).await.status, 200);
    let absent = consul.put(DEREGISTER, &gone).await;
    assert_eq!(absent.status, 500);
    assert!(absent.body.as_str().unwrap().contains("Unknown service"), "{absent:?}");
}

#[tokio::test]
async fn consul_without_a_token_denies_writes() {
    let (_fake, consul) = consul("").await;
    assert_eq!(consul.put(REGISTER, &json!({"Node": NODE, "Address": "127.0.0.1"})).await.status, 403);
    let refused = consul.put("/v1/txn", &json!([set("a", "m")])).await;
    assert_eq!(refused.status, 409, "a transaction without permission is a conflict");
    assert!(refused.text("/Errors/0/What").contains("Permission denied"));
    assert_eq!(consul.put(DEREGISTER, &json!({"Node": NODE, "ServiceID": "a"})).await.status, 403);
}
