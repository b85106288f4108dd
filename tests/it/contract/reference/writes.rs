//! Single writes: valid records, the order of versions, tombstones.

use std::time::Duration;

use pod_registrar::{model::digest::Digest, registry::server::store::prune::Retention};
use serde_json::{Value, json};

use super::{Server, delete_op, put_op, record, refused};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../docs/protocol-v1-vectors.json")).unwrap()
}

#[tokio::test]
async fn test_vectors_are_stored_and_come_back() {
    // Each record is stored with its published digest.
    for vector in vectors()["records"].as_array().unwrap() {
        let server = Server::start().await;
        let mut record = vector["record"].clone();
        let cluster = record["cluster"]["id"].as_str().unwrap().to_owned();
        let id = record["pod"]["uid"].as_str().unwrap().to_owned();
        let epoch = record["version"]["epoch"].as_u64().unwrap();
        let session = json!({"instance": "i", "ttlSeconds": 9, "minEpoch": epoch - 1});
        server.call("POST", &format!("/v1/clusters/{cluster}/session"), Some(&session)).await;
        let path = format!("/v1/clusters/{cluster}/pods/{id}");
        let reply = server.call("PUT", &path, Some(&record)).await;
        let version = json!({"epoch": epoch, "seq": record["version"]["seq"]});
        let stored = json!({"id": id, "digest": vector["digest"], "version": version});
        assert_eq!((reply.status, reply.json()), (201, stored), "{}", vector["name"]);
        let canonical = vector["canonical"].as_str().unwrap();
        assert_eq!(Digest::of_canonical(canonical.as_bytes()).to_string(), vector["digest"]);
        record["digest"] = vector["digest"].clone();
        assert_eq!(server.call("PUT", &path, Some(&record)).await.status, 200);
        assert_eq!(server.get(&path).await.json(), record);
        server.stop().await;
    }
}

/// Sends each body as a put, and in a batch if it is JSON. The other operation of that batch succeeds.
#[tokio::test]
async fn test_vectors_to_refuse_are_refused() {
    let server = Server::start().await;
    let epoch = server.open().await;
    let vectors = vectors();
    for (seq, vector) in (1..).zip(vectors["refused"].as_array().unwrap()) {
        let (name, body) = (&vector["name"], vector["body"].as_str().unwrap());
        let problem = vector["problem"].as_str().unwrap();
        let expected = refused(if problem == "schema" { 422 } else { 409 }, problem);
        let put = server.request("PUT", "/v1/clusters/c/pods/u").body(body.to_owned());
        assert_eq!(server.send(put).await.problem(), expected, "{name}");
        if name == "truncated JSON" {
            continue;
        }
        let bad = format!(r#"{{"op":"put","id":"u","record":{body}}}"#);
        let text = format!(r#"{{"epoch":{epoch},"operations":[{bad},{}]}}"#, put_op("good", epoch, seq, "x"));
        let reply = server.send(server.request("POST", "/v1/clusters/c/pods:batch").body(text)).await;
        let results = reply.json()["results"].clone();
        assert_eq!((&results[0]["id"], &results[0]["status"]), (&json!("u"), &json!(expected.0)), "{name}");
        assert!(results[1]["problem"].is_null(), "{name}: {results}");
    }
    assert_eq!(server.get("/v1/clusters/c/pods/u").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn versions_order_puts() {
    let server = Server::start().await;
    let epoch = server.open().await;
    assert_eq!(server.put("a", epoch, 5, "one").await.status, 201);
    assert_eq!(server.put("a", epoch, 5, "one").await.status, 200);
    let digest = server.get("/v1/clusters/c/pods/a").await.json()["digest"].clone();
    for (seq, name) in [(5, "two"), (4, "two"), (4, "one")] {
        let reply = server.put("a", epoch, seq, name).await;
        assert_eq!(reply.problem(), refused(409, "stale-version"));
        assert_eq!(reply.json()["current"], json!({"epoch": epoch, "seq": 5, "digest": digest}));
    }
    assert_eq!(server.put("a", epoch, 6, "two").await.status, 200);
    assert_eq!(server.get("/v1/clusters/c/pods/a").await.json()["pod"]["name"], "two");
    // A new session's first version is above every version of the session before.
    let next = server.open().await;
    assert_eq!(server.put("a", next, 1, "three").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn newer_equal_record_moves_only_the_version() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("a", epoch, 1, "one").await;
    let mut again = record("a", epoch, 9, "one");
    again["version"]["resourceVersion"] = json!("77");
    again["schema"] = json!(2);
    assert_eq!(server.call("PUT", "/v1/clusters/c/pods/a", Some(&again)).await.status, 200);
    let shown = server.get("/v1/clusters/c/pods/a").await.json();
    assert_eq!(shown["version"], json!({"epoch": epoch, "seq": 9, "resourceVersion": "77"}));
    assert_eq!(shown["schema"], 2, "the digest leaves it out");
    assert_eq!(server.store.changes_since(0).await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn tombstone_refuses_puts_at_or_below_it() {
    // A put above it creates the record again.
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("a", epoch, 1, "one").await;
    assert_eq!(server.delete("a", epoch, 3).await.status, 204);
    assert_eq!(server.delete("a", epoch, 3).await.status, 204);
    assert_eq!(server.get("/v1/clusters/c/pods/a").await.problem(), refused(404, "not-found"));
    for seq in [2, 3] {
        let reply = server.put("a", epoch, seq, "one").await;
        assert_eq!(reply.problem(), refused(409, "tombstoned"));
        assert_eq!(reply.json()["current"], json!({"epoch": epoch, "seq": 3}));
    }
    assert_eq!(server.delete("a", epoch, 2).await.problem(), refused(409, "stale-version"));
    assert_eq!(server.delete("a", epoch, 4).await.status, 204);
    assert_eq!(server.put("a", epoch, 4, "one").await.problem(), refused(409, "tombstoned"));
    assert_eq!(server.put("a", epoch, 5, "one").await.status, 201);
    let operations: Vec<_> = server.store.changes_since(0).await.unwrap().into_iter().map(|change| change.op).collect();
    assert_eq!(operations, ["put", "delete", "put"]);
    server.stop().await;
}

#[tokio::test]
async fn deletes_follow_the_order_of_versions() {
    // The delete of an unknown id leaves a tombstone.
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("a", epoch, 5, "one").await;
    for seq in [4, 5] {
        assert_eq!(server.delete("a", epoch, seq).await.problem(), refused(409, "stale-version"));
    }
    assert_eq!(server.delete("never", epoch, 7).await.status, 204);
    assert_eq!(server.put("never", epoch, 6, "late").await.problem(), refused(409, "tombstoned"));
    for query in ["", "?epoch=0&seq=9", &format!("?epoch={epoch}&seq=0")] {
        let path = format!("/v1/clusters/c/pods/a{query}");
        assert_eq!(server.call("DELETE", &path, None).await.problem(), refused(422, "schema"), "{query}");
    }
    server.stop().await;
}

/// A later release of the controller may send other reasons.
#[tokio::test]
async fn unknown_reasons_of_deletions_are_kept() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("a", epoch, 1, "one").await;
    server.put("b", epoch, 2, "one").await;
    let path = |seq: u64, reason: &str| format!("/v1/clusters/c/pods/a?epoch={epoch}&seq={seq}&reason={reason}");
    assert_eq!(server.call("DELETE", &path(9, &"x".repeat(65)), None).await.problem(), refused(422, "schema"));
    assert_eq!(server.call("DELETE", &path(9, "whim"), None).await.status, 204);
    let mut operation = delete_op("b", epoch, 10);
    operation["observed"] = json!("dream");
    assert_eq!(server.batch(epoch, vec![operation.clone()]).await.status, 200);
    for bad in [json!("x".repeat(65)), json!(7), json!(null)] {
        operation["observed"] = bad;
        assert_eq!(server.batch(epoch, vec![operation.clone()]).await.json()["results"][0]["status"], 422);
    }
    let changes = server.store.changes_since(0).await.unwrap();
    let texts: Vec<_> =
        changes[2..].iter().map(|change| (change.reason.as_deref(), change.observed.as_deref())).collect();
    assert_eq!(texts, [(Some("whim"), None), (Some("deleted"), Some("dream"))]);
    server.stop().await;
}

#[tokio::test]
async fn tombstones_are_dropped_by_age_and_number() {
    // The oldest tombstones are removed first.
    let hour = Duration::from_secs(3600);
    let retention = Retention { tombstone_age: Duration::ZERO, max_tombstones: 2, ..Retention::default() };
    let server = Server::with_retention(retention).await;
    let epoch = server.open().await;
    for (seq, id) in (1..).zip(["a", "b", "c"]) {
        server.delete(id, epoch, seq).await;
        server.clock.advance_ms(1);
    }
    // The next write removes the oldest of three tombstones.
    assert_eq!(server.put("b", epoch, 1, "late").await.problem(), refused(409, "tombstoned"));
    assert_eq!(server.put("a", epoch, 1, "late").await.status, 201);
    // Tombstones are kept for at least an hour, even if a shorter time is set.
    server.clock.advance_ms(i64::try_from(hour.as_millis()).unwrap() - 10);
    assert_eq!(server.put("c", epoch, 1, "late").await.problem(), refused(409, "tombstoned"));
    server.clock.advance_ms(20);
    server.put("d", epoch, 4, "other").await;
    assert_eq!(server.put("c", epoch, 1, "late").await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn foreign_or_malformed_records_are_refused() {
    let server = Server::start().await;
    let epoch = server.open().await;
    let good = record("a", epoch, 1, "web");
    let put = |path: &'static str, text: String| server.send(server.request("PUT", path).body(text));
    let path = "/v1/clusters/c/pods/a";
    assert_eq!(put("/v1/clusters/c/pods/b", good.to_string()).await.problem(), refused(422, "schema"));
    assert_eq!(put("/v1/clusters/d/pods/a", good.to_string()).await.problem(), refused(409, "foreign-owner"));
    assert_eq!(put("/v1/clusters/c/pods/a?owner=x", good.to_string()).await.problem(), refused(409, "foreign-owner"));
    let twice = good.to_string().replacen('{', r#"{"deep":[{"a":1,"a":1}],"#, 1);
    for text in [twice, "nonsense".to_owned(), good.to_string().replacen('{', r#"{"n":9007199254740992,"#, 1)] {
        assert_eq!(put(path, text).await.problem(), refused(422, "schema"));
    }
    let mut wrong = good.clone();
    wrong["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    assert_eq!(put(path, wrong.to_string()).await.problem(), refused(422, "schema"));
    let mut large = good.clone();
    large["x"] = json!("x".repeat(64 << 10));
    assert_eq!(put(path, large.to_string()).await.problem(), refused(413, "too-large"));
    assert_eq!(put(path, "x".repeat(8 << 20)).await.problem(), refused(413, "too-large"));
    assert!(server.store.changes_since(0).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn ids_owners_and_clusters_are_checked() {
    let server = Server::start().await;
    let long = "x".repeat(129);
    for path in [
        "/v1/clusters/-c/pods".to_owned(),
        "/v1/clusters/c/pods/a%20b".to_owned(),
        "/v1/clusters/c/pods/a%2Fb".to_owned(),
        format!("/v1/clusters/c/pods/{long}"),
        "/v1/clusters/c/pods?owner=".to_owned(),
        "/v1/clusters/c/pods?owner=a/b".to_owned(),
        "/v1/clusters/c/pods:digest?owner=a&owner=b".to_owned(),
        "/v1/clusters/%FF/pods".to_owned(),
    ] {
        assert_eq!(server.get(&path).await.problem(), refused(422, "schema"), "{path}");
    }
    assert_eq!(server.get("/v1/clusters/c/pods/a~.:@-Z").await.status, 404);
    server.stop().await;
}
