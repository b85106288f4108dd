//! Batches: item by item, in order, at most one operation per UID.

use serde_json::{Value, json};

use super::{Server, delete_op, put_op, refused};

fn outcomes(reply: &super::Reply) -> Vec<(String, u64, String)> {
    let results = reply.json()["results"].as_array().unwrap().clone();
    let name = |result: &Value| {
        let kind = result["problem"]["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:pod-registrar:problem:").unwrap_or_default().to_owned()
    };
    let outcome = |r: &Value| (r["id"].as_str().unwrap().to_owned(), r["status"].as_u64().unwrap(), name(r));
    results.iter().map(outcome).collect()
}

fn expect(id: &str, status: u64, name: &str) -> (String, u64, String) {
    (id.to_owned(), status, name.to_owned())
}

#[tokio::test]
async fn complete_batch_answers_200_in_request_order() {
    // The result of each put carries its digest.
    let server = Server::start().await;
    let epoch = server.open().await;
    let reply = server
        .batch(epoch, vec![put_op("b", epoch, 1, "x"), delete_op("z", epoch, 2), put_op("a", epoch, 3, "y")])
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(outcomes(&reply), [expect("b", 201, ""), expect("z", 204, ""), expect("a", 201, "")]);
    let stored = server.records().await;
    assert_eq!(reply.json()["results"][0]["digest"], stored["b"]["digest"]);
    assert!(reply.json()["results"][1].get("digest").is_none());
    assert_eq!(server.batch(epoch, Vec::new()).await.json(), json!({"results": []}));
    server.stop().await;
}

#[tokio::test]
async fn one_bad_item_spoils_no_other() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("old", epoch, 9, "x").await;
    server.delete("dead", epoch, 9).await;
    let mut foreign = put_op("foreign", epoch, 1, "x");
    foreign["record"]["owner"] = json!("blue");
    let mut large = put_op("large", epoch, 1, "x");
    large["record"]["x"] = json!("x".repeat(64 << 10));
    let mut unknown = put_op("unknown", epoch, 1, "x");
    unknown["op"] = json!("patch");
    let mut null = put_op("null", epoch, 1, "x");
    null["record"]["pod"]["labels"] = json!(null);
    let operations = vec![
        put_op("good", epoch, 1, "x"),
        foreign,
        large,
        unknown,
        null,
        put_op("epoch", epoch + 1, 1, "x"),
        delete_op("epoch2", epoch - 1, 1),
        put_op("old", epoch, 8, "y"),
        put_op("dead", epoch, 8, "y"),
        json!({"op": "delete", "id": "no-version"}),
        json!({"op": "put", "id": "no-record"}),
        json!({"op": "put"}),
        json!("text"),
        json!({"op": "delete", "id": "a b", "version": {"epoch": epoch, "seq": 1}}),
        delete_op("fine", epoch, 2),
    ];
    let reply = server.batch(epoch, operations).await;
    assert_eq!(reply.status, 207);
    let schema = |id: &str| expect(id, 422, "schema");
    assert_eq!(
        outcomes(&reply),
        [
            expect("good", 201, ""),
            expect("foreign", 409, "foreign-owner"),
            expect("large", 413, "too-large"),
            schema("unknown"),
            schema("null"),
            schema("epoch"),
            schema("epoch2"),
            expect("old", 409, "stale-version"),
            expect("dead", 409, "tombstoned"),
            schema("no-version"),
            schema("no-record"),
            schema(""),
            schema(""),
            schema("a b"),
            expect("fine", 204, ""),
        ]
    );
    assert_eq!(reply.json()["results"][7]["problem"]["current"]["seq"], 9);
    server.stop().await;
}

#[tokio::test]
async fn duplicate_key_in_a_record_refuses_its_item() {
    // The other items of the batch are applied.
    let server = Server::start().await;
    let epoch = server.open().await;
    let bad = put_op("bad", epoch, 1, "x").to_string().replacen(r#""schema":1"#, r#""schema":1,"x":{"k":1,"k":1}"#, 1);
    let text = format!(r#"{{"epoch":{epoch},"operations":[{bad},{}]}}"#, put_op("good", epoch, 2, "x"));
    let reply = server.send(server.request("POST", "/v1/clusters/c/pods:batch").body(text)).await;
    assert_eq!(outcomes(&reply), [expect("bad", 422, "schema"), expect("good", 201, "")]);
    server.stop().await;
}

#[tokio::test]
async fn malformed_batch_applies_nothing() {
    let server = Server::start().await;
    let epoch = server.open().await;
    let good = put_op("a", epoch, 1, "x");
    let twice = server.batch(epoch, vec![good.clone(), put_op("b", epoch, 2, "x"), delete_op("a", epoch, 3)]).await;
    assert_eq!(twice.problem(), refused(422, "schema"));
    let post = |text: String| server.send(server.request("POST", "/v1/clusters/c/pods:batch").body(text));
    for text in [
        format!(r#"{{"operations":[{good}]}}"#),
        format!(r#"{{"epoch":{epoch}}}"#),
        format!(r#"{{"epoch":{epoch},"epoch":{epoch},"operations":[{good}]}}"#),
        format!(r#"{{"epoch":"{epoch}","operations":[{good}]}}"#),
        format!(r#"{{"epoch":{epoch},"operations":{good}}}"#),
        format!(r#"{{"epoch":{epoch},"operations":[{good}"#),
        "[]".to_owned(),
    ] {
        assert_eq!(post(text.clone()).await.problem(), refused(422, "schema"), "{text:.60}");
    }
    assert!(server.store.changes_since(0).await.unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn batch_above_a_limit_is_refused_whole() {
    let server = Server::start().await;
    let epoch = server.open().await;
    let many = |count: u64| (0..count).map(|n| put_op(&format!("p{n}"), epoch, n + 1, "x")).collect();
    assert_eq!(server.batch(epoch, many(501)).await.problem(), refused(413, "too-large"));
    let mut heavy: Vec<Value> = many(80);
    for operation in &mut heavy {
        operation["record"]["x"] = json!("x".repeat(60_000));
    }
    assert_eq!(server.batch(epoch, heavy).await.problem(), refused(413, "too-large"));
    assert!(server.store.changes_since(0).await.unwrap().is_empty());
    assert_eq!(server.batch(epoch, many(500)).await.status, 200);
    server.stop().await;
}
