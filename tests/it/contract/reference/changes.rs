//! The change log, as pages and as a stream.

use std::time::Duration;

use pod_registrar::registry::server::store::prune::Retention;
use serde_json::{Value, json};

use super::{Server, refused};

/// Reads a stream until it contains `until`.
async fn read_events(server: &Server, path: &str, last_id: Option<&str>, until: &str) -> String {
    let mut request = server.request("GET", path).header("accept", "text/event-stream");
    if let Some(id) = last_id {
        request = request.header("last-event-id", id);
    }
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let read = async {
        while !text.contains(until) {
            text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().expect("the stream ended")));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("no event in time");
    text
}

fn numbers(body: &Value) -> Vec<u64> {
    body["items"].as_array().unwrap().iter().map(|item| item["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn changes_are_numbered_and_read_in_parts() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.put("a", epoch, 1, "web").await;
    server.put("a", epoch, 1, "web").await;
    server.delete("never", epoch, 2).await;
    server.delete("a", epoch, 3).await;
    let body = server.get("/v1/changes?since=0").await.json();
    let at = "2026-11-23T10:00:00.000Z";
    assert_eq!(
        body,
        json!({"items": [
            {"n": 1, "at": at, "cluster": "c", "owner": "pod-registrar", "op": "put", "id": "a", "namespace": "shop",
             "name": "web", "epoch": epoch, "seq": 1},
            {"n": 2, "at": at, "cluster": "c", "owner": "pod-registrar", "op": "delete", "id": "a", "namespace": "shop",
             "name": "web", "epoch": epoch, "seq": 3, "reason": "deleted", "observed": "watch"}], "next": 2})
    );
    let part = server.get("/v1/changes?since=0&limit=1").await.json();
    assert_eq!((numbers(&part), &part["next"]), (vec![1], &json!(1)));
    assert_eq!(server.get("/v1/changes?since=2").await.json(), json!({"items": [], "next": 2}));
    assert_eq!(server.get("/v1/changes?since=3").await.problem(), refused(410, "gone"));
    for query in ["since=9007199254740992", "limit=0", "limit=9007199254740992", "cluster="] {
        assert_eq!(server.get(&format!("/v1/changes?{query}")).await.problem(), refused(422, "schema"), "{query}");
    }
    for id in ["", "x", "-1", "9007199254740992"] {
        let request = server.request("GET", "/v1/changes").header("last-event-id", id);
        assert_eq!(server.send(request).await.problem(), refused(422, "schema"), "{id}");
    }
    // Changes of other clusters are skipped.
    assert_eq!(server.get("/v1/changes?since=0&cluster=d").await.json(), json!({"items": [], "next": 2}));
    assert_eq!(numbers(&server.get("/v1/changes?owner=other").await.json()), [1, 2], "`owner` filters no changes");
    server.stop().await;
}

#[tokio::test]
async fn old_changes_answer_410() {
    let retention = Retention { max_changes: 2, change_age: Duration::from_secs(60), ..Retention::default() };
    let server = Server::with_retention(retention).await;
    let epoch = server.open().await;
    server.fill(epoch, 5).await;
    assert_eq!(numbers(&server.get("/v1/changes").await.json()), [4, 5]);
    assert_eq!(server.get("/v1/changes?since=2").await.problem(), refused(410, "gone"));
    assert_eq!(numbers(&server.get("/v1/changes?since=3").await.json()), [4, 5]);
    server.clock.advance_ms(61_000);
    server.delete("unknown", epoch, 9).await;
    assert_eq!(server.get("/v1/changes?since=4").await.problem(), refused(410, "gone"));
    assert_eq!(server.get("/v1/changes?since=5").await.json(), json!({"items": [], "next": 5}));
    server.put("z", epoch, 10, "web").await;
    assert_eq!(numbers(&server.get("/v1/changes?since=5").await.json()), [6]);
    server.stop().await;
}

#[tokio::test]
async fn stream_sends_past_then_present_and_resumes() {
    let server = Server::start().await;
    let epoch = server.open().await;
    server.fill(epoch, 3).await;
    let past = read_events(&server, "/v1/changes?since=1", None, "id: 3\n").await;
    assert!(past.contains("id: 2\n") && !past.contains("id: 1\n"), "{past}");
    let data = past.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["n"], 2);

    // The place at which a client resumes takes precedence over the one at which it started.
    let (text, reply) = tokio::join!(read_events(&server, "/v1/changes?since=0", Some("3"), "\"late\""), async {
        server.put("new", epoch, 99, "late").await
    });
    assert_eq!(reply.status, 201);
    assert!(text.contains("id: 4\n") && !text.contains("id: 3\n"), "{text}");

    let gone = server.request("GET", "/v1/changes").header("accept", "text/event-stream").header("last-event-id", "77");
    assert_eq!(server.send(gone).await.problem(), refused(410, "gone"));
    server.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::start().await;
    let mut stream = server.request("GET", "/v1/changes").header("accept", "text/event-stream").send().await.unwrap();
    server.stop().await;
    let end = tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await.expect("the stream did not end");
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test]
async fn the_number_of_streams_is_limited() {
    let server = Server::start().await;
    let mut open = Vec::new();
    let stream = || server.request("GET", "/v1/changes").header("accept", "text/event-stream");
    for _ in 0..64 {
        open.push(stream().send().await.unwrap());
    }
    let reply = server.send(stream()).await;
    assert_eq!(reply.problem(), refused(429, "rate-limited"));
    assert!(reply.headers.contains_key("retry-after"));
    drop(open);
    server.stop().await;
}
