//! Facts about etcd that the presets `etcd` and `skydns` rely on.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::registries::{Answer, BuiltRegistries, HttpRegistry};

const FENCE: &str = "/mark/term";
const KEY: &str = "/systems/c/pod-1";

fn b64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

/// Writes the term unless a greater one is stored, as the preset does before the first write of a term.
async fn fence(etcd: &HttpRegistry, term: &str) -> Answer {
    let compare = json!({"key": b64(FENCE), "target": "VALUE", "result": "GREATER", "value": b64(term)});
    let (read, write) = (json!({"key": b64(FENCE)}), json!({"key": b64(FENCE), "value": b64(term)}));
    let body = json!({"compare": [compare], "success": [{"request_range": read}], "failure": [{"request_put": write}]});
    etcd.post("/v3/kv/txn", &body).await
}

fn unchanged(term: &str, seen: &str) -> Value {
    json!([
        {"key": b64(FENCE), "target": "VALUE", "value": b64(term)},
        {"key": b64(KEY), "target": "MOD", "mod_revision": seen},
    ])
}

/// A transaction of the preset: this operation, if the term and the revision are these.
async fn write(etcd: &HttpRegistry, term: &str, seen: &str, operation: Value) -> Answer {
    let failure = json!([{"request_range": {"key": b64(FENCE)}}]);
    let body = json!({"compare": unchanged(term, seen), "success": [operation], "failure": failure});
    etcd.post("/v3/kv/txn", &body).await
}

async fn put(etcd: &HttpRegistry, term: &str, seen: &str) -> Answer {
    write(etcd, term, seen, json!({"request_put": {"key": b64(KEY), "value": b64("{}")}})).await
}

async fn delete(etcd: &HttpRegistry, term: &str, seen: &str) -> Answer {
    write(etcd, term, seen, json!({"request_delete_range": {"key": b64(KEY)}})).await
}

async fn find(etcd: &HttpRegistry) -> Answer {
    etcd.post("/v3/kv/range", &json!({"key": b64(KEY)})).await
}

fn succeeded(answer: &Answer) -> bool {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text("/header/revision");
    match answer.body.get("succeeded") {
        // False is left out.
        None => false,
        Some(succeeded) => succeeded.as_bool().unwrap(),
    }
}

#[tokio::test]
async fn etcd_refuses_writes_of_an_old_term() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    assert!(!succeeded(&fence(&etcd, "007").await), "written, as none is stored");
    assert!(!succeeded(&fence(&etcd, "007").await), "written again, as none is greater");
    assert!(succeeded(&fence(&etcd, "006").await), "refused");
    let old = put(&etcd, "006", "0").await;
    assert!(!succeeded(&old));
    assert_eq!(old.text("/responses/0/response_range/kvs/0/value"), b64("007"));
    assert_eq!(find(&etcd).await.body.get("kvs"), None, "an absent key has no list of keys");
    assert!(succeeded(&put(&etcd, "007", "0").await));
}

#[tokio::test]
async fn etcd_compares_the_revision_of_a_key() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    fence(&etcd, "1").await;
    assert!(succeeded(&delete(&etcd, "1", "0").await), "what is absent can be deleted");
    let created = put(&etcd, "1", "0").await;
    assert!(succeeded(&created));
    let seen = created.text("/header/revision");
    assert_eq!(find(&etcd).await.text("/kvs/0/mod_revision"), seen, "the answer to a write has its revision");
    assert!(!succeeded(&put(&etcd, "1", "0").await), "it exists");
    let updated = put(&etcd, "1", &seen).await;
    assert!(succeeded(&updated));
    assert!(!succeeded(&put(&etcd, "1", &seen).await), "it has changed");
    assert!(!succeeded(&delete(&etcd, "1", &seen).await), "it has changed");
    assert!(succeeded(&delete(&etcd, "1", &updated.text("/header/revision")).await));
    assert_eq!(find(&etcd).await.body.get("kvs"), None);
}

#[tokio::test]
async fn etcd_pages_begin_with_their_first_key() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    for key in ["/a/1", "/a/2", "/a/3", "/a0"] {
        etcd.post("/v3/kv/put", &json!({"key": b64(key), "value": b64("{}")})).await;
    }
    let page = async |from: &str, revision: &str| {
        let body = json!({"key": b64(from), "range_end": b64("/a0"), "limit": 2, "revision": revision});
        etcd.post("/v3/kv/range", &body).await
    };
    let keys = |answer: &Answer| answer.body["kvs"].as_array().unwrap().len();
    let first = page("/a/", "0").await;
    assert_eq!((keys(&first), first.body["more"].as_bool()), (2, Some(true)));
    assert_eq!(first.text("/kvs/1/key"), b64("/a/2"));
    assert_eq!(page("/a/2", "0").await.text("/kvs/0/key"), b64("/a/2"), "the key itself comes again");
    let revision = first.text("/header/revision");
    etcd.post("/v3/kv/put", &json!({"key": b64("/a/4"), "value": b64("{}")})).await;
    let last = page("/a/2\0", &revision).await;
    assert_eq!((keys(&last), last.body.get("more")), (1, None), "the last page of a revision: {last:?}");
    etcd.post("/v3/kv/compaction", &json!({"revision": etcd_revision(&last)})).await;
    assert_eq!(page("/a/2\0", &revision).await.status, 400, "a compacted revision");
}

fn etcd_revision(answer: &Answer) -> String {
    answer.text("/header/revision")
}

#[tokio::test]
async fn etcd_reports_missing_credentials_as_bad_request() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let mut etcd = registries.etcd().await;
    for (path, body) in [
        ("user/add", json!({"name": "root", "password": "r"})),
        ("user/grant", json!({"user": "root", "role": "root"})),
        ("role/add", json!({"name": "writer"})),
        ("role/grant", json!({"name": "writer", "perm": {"permType": "READWRITE", "key": b64(KEY)}})),
        ("user/add", json!({"name": "writer", "password": "w"})),
        ("user/grant", json!({"user": "writer", "role": "writer"})),
        ("enable", json!({})),
    ] {
        let answer = etcd.post(&format!("/v3/auth/{path}"), &body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let anonymous = find(&etcd).await;
    assert_eq!((anonymous.status, anonymous.text("/message")), (400, "etcdserver: user name is empty".to_owned()));
    etcd.authorize("authorization", "outdated");
    assert_eq!(find(&etcd).await.status, 401);
    let login = etcd.post("/v3/auth/authenticate", &json!({"name": "writer", "password": "w"})).await;
    etcd.authorize("authorization", &login.text("/token"));
    assert_eq!(find(&etcd).await.status, 200);
    assert_eq!(etcd.post("/v3/kv/range", &json!({"key": b64("/other")})).await.status, 403);
}

#[tokio::test]
async fn etcd_rejects_what_cannot_be_a_record() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let etcd = registries.etcd().await;
    // More than its default limit of 1.5 MiB.
    let large = "x".repeat(1_600_000);
    let answer = etcd.post("/v3/kv/put", &json!({"key": b64(KEY), "value": b64(&large)})).await;
    assert_eq!((answer.status, answer.text("/message")), (400, "etcdserver: request is too large".to_owned()));
    assert_eq!(etcd.post("/v3/kv/put", &json!({"key": "%"})).await.status, 400);
    assert_eq!(etcd.post("/v3/kv/range", &json!({})).await.status, 400, "without a key");
}
