//! Reading: pages, filters, bucket digests, capabilities.

use std::collections::BTreeSet;

use pod_registrar::model::digest::{Buckets, Digest};
use serde_json::{Value, json};

use super::{Server, put_op, record, refused};

/// Reads all pages and returns their UIDs in order.
async fn read_all(server: &Server, query: &str) -> (Vec<String>, Value) {
    let (mut ids, mut page) = (Vec::new(), String::new());
    loop {
        let reply = server.get(&format!("/v1/clusters/c/pods?{query}&page={page}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        let id = |item: &Value| item["id"].as_str().or(item["pod"]["uid"].as_str()).unwrap().to_owned();
        ids.extend(body["items"].as_array().unwrap().iter().map(id));
        match body["next"].as_str() {
            Some(next) => page = next.to_owned(),
            None => return (ids, body),
        }
    }
}

#[tokio::test]
async fn pages_are_ordered_complete_and_counted() {
    let server = Server::start().await;
    let empty = server.get("/v1/clusters/c/pods").await.json();
    assert_eq!(empty, json!({"items": [], "count": 0, "asOf": 0}));
    let epoch = server.open().await;
    server.fill(epoch, 23).await;
    for limit in [1, 5, 23, 24, 100_000] {
        let (ids, last) = read_all(&server, &format!("limit={limit}")).await;
        let sorted: BTreeSet<_> = ids.iter().cloned().collect();
        assert_eq!(ids, Vec::from_iter(sorted));
        assert_eq!((ids.len(), &last["count"], &last["asOf"]), (23, &json!(23), &json!(23)));
    }
    let item = server.get("/v1/clusters/c/pods?limit=1").await.json()["items"][0].clone();
    let stored = &server.records().await["p0"];
    assert_eq!(item, json!({"id": "p0", "digest": stored["digest"], "version": {"epoch": epoch, "seq": 1}}));
    assert_eq!(server.get("/v1/clusters/c/pods?limit=0").await.problem(), refused(422, "schema"));
    server.stop().await;
}

#[tokio::test]
async fn lasting_record_appears_once_during_churn() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.fill(epoch, 20).await;
    let first = server.get("/v1/clusters/c/pods?limit=10").await.json();
    server.delete("p0", epoch, 100).await;
    server.put("p00", epoch, 101, "new").await;
    server.put("zz", epoch, 102, "new").await;
    let next = first["next"].as_str().unwrap();
    let second = server.get(&format!("/v1/clusters/c/pods?limit=100&page={next}")).await.json();
    let items = [first["items"].as_array().unwrap().clone(), second["items"].as_array().unwrap().clone()].concat();
    let ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    for n in 1..20 {
        assert_eq!(ids.iter().filter(|id| **id == format!("p{n}")).count(), 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn page_tokens_expire_and_belong_to_one_reading() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.fill(epoch, 5).await;
    let next = server.get("/v1/clusters/c/pods?limit=2").await.json()["next"].as_str().unwrap().to_owned();
    let page = format!("/v1/clusters/c/pods?limit=2&page={next}");
    assert_eq!(server.get(&page).await.status, 200);
    assert_eq!(server.get(&format!("{page}&lifecycle=active")).await.problem(), refused(410, "gone"));
    assert_eq!(server.get("/v1/clusters/c/pods?page=rubbish").await.problem(), refused(410, "gone"));
    server.clock.advance_ms(16 * 60 * 1_000);
    assert_eq!(server.get(&page).await.problem(), refused(410, "gone"));
    server.stop().await;
}

#[tokio::test]
async fn full_view_lists_whole_records() {
    // Filters narrow the items and their count.
    let server = Server::start().await;
    let epoch = server.open().await;
    server.fill(epoch, 7).await;
    let mut done = record("done", epoch, 50, "Batch-1");
    done["state"]["lifecycle"] = json!("finished");
    done["placement"] = json!({"node": "node-3"});
    done["future"] = json!({"z": [1]});
    server.call("PUT", "/v1/clusters/c/pods/done", Some(&done)).await;
    let body = server.get("/v1/clusters/c/pods?view=full&lifecycle=finished").await.json();
    assert_eq!(body["count"], 1);
    assert_eq!(body["items"][0]["future"], done["future"]);
    assert_eq!(server.get("/v1/clusters/c/pods?view=full&limit=9000").await.json()["count"], 8);
    for (query, count) in [
        ("q=bATCH", 1),
        ("q=shop/web", 7),
        ("q=p3", 1),
        ("q=NODE-3", 1),
        ("q=%25", 0),
        ("q=web&lifecycle=finished", 0),
        ("lifecycle=active", 7),
        ("lifecycle=&q=", 8),
    ] {
        let (ids, last) = read_all(&server, &format!("view=full&limit=3&{query}")).await;
        assert_eq!((ids.len(), &last["count"]), (count, &json!(count)), "{query}");
    }
    let (long, blank) = (format!("q={}", "x".repeat(257)), format!("q={}", "+".repeat(257)));
    let twice = "limit=1&limit=1";
    for query in ["lifecycle=dead", "view=all", "limit=x", "limit=9007199254740992", twice, &long, &blank] {
        assert_eq!(server.get(&format!("/v1/clusters/c/pods?{query}")).await.problem(), refused(422, "schema"));
    }
    server.stop().await;
}

#[tokio::test]
async fn bucket_digest_is_the_xor_of_its_records() {
    // Each bucket can be read alone.
    let server = Server::start().await;
    let epoch = server.open().await;
    server.fill(epoch, 300).await;
    server.delete("p7", epoch, 1_000).await;
    server.put("p8", epoch, 1_001, "changed").await;
    let stored = server.records().await;
    for buckets in [Buckets::One, Buckets::By8Bits, Buckets::By16Bits] {
        let mut expected = vec![(0, Digest::default()); buckets.count()];
        for (id, record) in &stored {
            let entry = &mut expected[buckets.of(id)];
            entry.0 += 1;
            entry.1.xor(&record["digest"].as_str().unwrap().parse().unwrap());
        }
        let body = server.get(&format!("/v1/clusters/c/pods:digest?buckets={}", buckets.count())).await.json();
        let expected: Vec<Value> = expected.iter().map(|(n, d)| json!({"count": n, "digest": d.hex()})).collect();
        assert_eq!(body, json!({"buckets": expected, "count": 299, "asOf": 302}));
        let bucket = buckets.of("p8");
        let (ids, last) = read_all(&server, &format!("limit=2&buckets={}&bucket={bucket}", buckets.count())).await;
        let of_bucket: Vec<_> = stored.keys().filter(|id| buckets.of(id) == bucket).cloned().collect();
        assert_eq!(ids, of_bucket);
        assert_eq!(last["count"], json!(of_bucket.len()));
    }
    assert_eq!(server.get("/v1/clusters/c/pods:digest").await.json()["buckets"].as_array().unwrap().len(), 256);
    for path in ["pods:digest?buckets=2", "pods?bucket=256&buckets=256", "pods?bucket=0&buckets=3"] {
        assert_eq!(server.get(&format!("/v1/clusters/c/{path}")).await.problem(), refused(422, "schema"));
    }
    server.stop().await;
}

#[tokio::test]
async fn owners_do_not_see_each_other() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.batch(epoch, vec![put_op("a", epoch, 1, "x")]).await;
    assert_eq!(server.get("/v1/clusters/c/pods/a?owner=blue").await.status, 404);
    assert_eq!(server.get("/v1/clusters/c/pods?owner=blue").await.json()["count"], 0);
    assert_eq!(server.get("/v1/clusters/c/pods:digest?owner=blue").await.json()["count"], 0);
    assert_eq!(server.get("/v1/clusters/c/pods/a?owner=pod-registrar").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn capabilities_are_served_and_unknown_addresses_refused() {
    let server = Server::start().await;
    assert_eq!(
        server.get("/v1/capabilities").await.json(),
        json!({"protocol": "v1", "maxBatchItems": 500, "maxBatchBytes": 4_194_304, "maxRecordBytes": 65_536,
            "features": ["batch", "digest-inventory", "sessions", "tombstones", "changes"]})
    );
    assert_eq!(server.get("/v2").await.problem(), refused(404, "not-found"));
    let reply = server.call("PATCH", "/v1/clusters", None).await;
    assert_eq!(
        (reply.problem(), &reply.headers["allow"]),
        (refused(405, "method-not-allowed"), &"GET,HEAD".parse().unwrap())
    );
    assert_eq!(server.call("HEAD", "/v1/clusters", None).await.status, 200);
    assert_eq!(server.get("/v1/clusters/c/pods%3Adigest").await.problem(), refused(404, "not-found"));
    server.stop().await;
}
