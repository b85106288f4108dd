//! Watches: order, last states, selectors, bookmarks, ends.

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use super::world::{ContractHarness, LIMIT, brief, everywhere, next, notice, text_at, version_of};

fn is(event: &Value, kind: &str, name: &str) -> bool {
    brief(event) == (kind.to_owned(), name.to_owned())
}

#[tokio::test]
async fn watch_from_a_list_shows_changes_in_order() {
    everywhere(|world| Box::pin(in_order(world))).await;
}

async fn in_order(world: &ContractHarness) {
    world.create("old", &json!({})).await;
    let start = world.now().await;
    let made = world.create("a", &json!({"step": "1"})).await;
    let mut lines = world.lines(&format!("resourceVersion={start}")).await;
    let changed = world.label("a", &json!({"step": "2"})).await;
    let gone = world.delete("a").await;
    let again = world.create("a", &json!({})).await;
    let mut seen = Vec::new();
    for kind in ["ADDED", "MODIFIED", "MODIFIED", "DELETED", "ADDED"] {
        let line = next(&mut lines).await;
        assert!(
            line.starts_with(&format!(r#"{{"type":"{kind}","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"#)),
            "{line}"
        );
        seen.push(serde_json::from_str::<Value>(&line).unwrap()["object"].take());
    }
    let versions: Vec<u64> = seen.iter().map(version_of).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    assert!(versions[0] > start.parse().unwrap());
    assert_eq!((&seen[0], &seen[1], &seen[3], &seen[4]), (&made, &changed, &gone, &again));
    assert_eq!(
        seen[2]["metadata"]["deletionGracePeriodSeconds"], 0,
        "it is marked before it is deleted, even if it never ran"
    );
    assert_eq!(gone["metadata"]["labels"]["step"], "2", "the last state");
    assert_eq!(gone["metadata"]["uid"], made["metadata"]["uid"]);
    assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"]);
    // The same events from an older version, at once.
    let replayed: Vec<Value> = world.watch(&format!("resourceVersion={start}&timeoutSeconds=1")).await.collect().await;
    assert_eq!(replayed.iter().map(|event| event["object"].clone()).collect::<Vec<_>>(), seen);
}

#[tokio::test]
async fn watch_without_a_version_shows_existing_pods_first() {
    everywhere(|world| Box::pin(from_nowhere(world))).await;
}

async fn from_nowhere(world: &ContractHarness) {
    world.create("b", &json!({})).await;
    world.create("a", &json!({})).await;
    for query in ["", "resourceVersion=0", "resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"]
    {
        let mut events = world.watch(&format!("{query}&timeoutSeconds=2")).await;
        assert!(is(&next(&mut events).await, "ADDED", "a"), "{query}");
        assert!(is(&next(&mut events).await, "ADDED", "b"), "{query}");
        assert_eq!(events.next().await, None, "{query}");
    }
    let bookmarked = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    for query in [bookmarked, "allowWatchBookmarks=true", "allowWatchBookmarks=true&resourceVersion=0"] {
        let now: u64 = world.now().await.parse().unwrap();
        let mut events = world.watch(query).await;
        assert!(is(&next(&mut events).await, "ADDED", "a"), "{query}");
        assert!(is(&next(&mut events).await, "ADDED", "b"), "{query}");
        let end = next(&mut events).await;
        assert_eq!(text_at(&end, "/type"), "BOOKMARK", "{query}");
        assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}), "{query}");
        if !query.contains("resourceVersion=0") {
            assert!(version_of(&end["object"]) >= now, "{query}: it starts from the newest version");
        }
        world.label("b", &json!({"now": format!("{}", fastrand::u32(..))})).await;
        assert!(is(&next(&mut events).await, "MODIFIED", "b"), "{query}");
    }
}

#[tokio::test]
async fn selector_watch_shows_entering_and_leaving() {
    // Entering the selection is an ADDED event, and leaving it is a DELETED event.
    everywhere(|world| Box::pin(transitions(world))).await;
}

async fn transitions(world: &ContractHarness) {
    let start = world.now().await;
    let mut events = world.watch(&format!("resourceVersion={start}&labelSelector=in")).await;
    world.create("a", &json!({})).await;
    let entered = world.label("a", &json!({"in": "yes", "step": "1"})).await;
    world.label("a", &json!({"in": "yes", "step": "2"})).await;
    let left = world.label("a", &json!({"step": "3"})).await;
    world.delete("a").await;
    world.create("b", &json!({"in": "yes"})).await;
    world.delete("b").await;
    let added = next(&mut events).await;
    assert!(is(&added, "ADDED", "a"), "{added}");
    assert_eq!(version_of(&added["object"]), version_of(&entered));
    assert!(is(&next(&mut events).await, "MODIFIED", "a"));
    let deleted = next(&mut events).await;
    assert!(is(&deleted, "DELETED", "a"), "{deleted}");
    assert_eq!(version_of(&deleted["object"]), version_of(&left), "the version of the change that deselected it");
    assert_eq!(deleted["object"]["metadata"]["labels"]["step"], "2", "the last state that was selected");
    assert!(is(&next(&mut events).await, "ADDED", "b"));
    assert!(is(&next(&mut events).await, "MODIFIED", "b"), "the pod is marked for deletion");
    assert!(is(&next(&mut events).await, "DELETED", "b"));
}

#[tokio::test]
async fn scheduled_pod_is_deleted_in_three_steps() {
    everywhere(|world| Box::pin(graceful(world))).await;
}

async fn graceful(world: &ContractHarness) {
    let start = world.now().await;
    let mut document = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    document["spec"] =
        json!({"nodeName": "node-0", "containers": [{"name": "app", "image": "registry.example.com/app:1"}]});
    let (code, pod) = world.send("POST", &world.pods(""), Some(&document)).await;
    assert_eq!(code, 201, "{pod}");
    assert_eq!((&pod["status"]["phase"], &pod["spec"]["nodeName"]), (&json!("Pending"), &json!("node-0")));
    let marked = world.delete("a").await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    let mut events = world.watch(&format!("resourceVersion={start}")).await;
    let mut steps = Vec::new();
    while steps.last().is_none_or(|(kind, _)| kind != "DELETED") {
        let event = next(&mut events).await;
        assert_eq!(brief(&event).1, "a");
        let metadata = &event["object"]["metadata"];
        assert_eq!(metadata.get("deletionTimestamp").is_some(), metadata.get("deletionGracePeriodSeconds").is_some());
        steps.push((text_at(&event, "/type"), metadata["deletionGracePeriodSeconds"].as_u64()));
    }
    let mut marks: Vec<_> =
        steps.iter().filter(|(_, grace)| grace.is_some()).map(|(kind, grace)| (&**kind, *grace)).collect();
    // The kubelet may write the status of a pod that is marked for deletion.
    marks.dedup();
    assert_eq!(marks, [("MODIFIED", Some(30)), ("MODIFIED", Some(0)), ("DELETED", Some(0))]);
}

#[tokio::test]
async fn bookmark_names_only_a_version() {
    // It comes before the watch times out.
    everywhere(|world| Box::pin(bookmarks(world))).await;
}

async fn bookmarks(world: &ContractHarness) {
    let start = world.now().await;
    let query = format!("resourceVersion={start}&allowWatchBookmarks=true&timeoutSeconds=5");
    let began = Instant::now();
    let mut events = world.watch(&query).await;
    // A bookmark is sent only if something happened since the watch began.
    let newest = version_of(&world.create("a", &json!({})).await);
    assert!(is(&next(&mut events).await, "ADDED", "a"));
    let bookmark = next(&mut events).await;
    assert_eq!(text_at(&bookmark, "/type"), "BOOKMARK");
    let version = version_of(&bookmark["object"]);
    assert!(version >= newest);
    let expected = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()},
        "spec": {"containers": null}, "status": {}});
    assert_eq!(bookmark["object"], expected);
    while let Some(event) = events.next().await {
        assert_eq!(text_at(&event, "/type"), "BOOKMARK");
    }
    assert_in_time(began, 5);
    let began = Instant::now();
    let silent: Vec<Value> = world.watch(&format!("resourceVersion={version}&timeoutSeconds=2")).await.collect().await;
    assert_eq!(silent, [Value::Null; 0], "no bookmarks without a request for them");
    assert_in_time(began, 2);
}

fn assert_in_time(began: Instant, seconds: u64) {
    let took = began.elapsed();
    // A real server counts from the arrival of the request, and ends slightly early.
    assert!(took >= Duration::from_secs(seconds) - Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(seconds) + LIMIT / 3, "{took:?}");
}

#[tokio::test]
async fn expired_version_is_an_error_event() {
    // A watch from a later version gets no event.
    everywhere(|world| Box::pin(past_and_future(world))).await;
}

async fn past_and_future(world: &ContractHarness) {
    world.create("a", &json!({})).await;
    let future: Vec<Value> = world.watch("resourceVersion=99999999999&timeoutSeconds=1").await.collect().await;
    assert_eq!(future, [Value::Null; 0]);
    if let Some(server) = &world.stand_in {
        server.compact();
    }
    let mut events = world.watch("resourceVersion=1&timeoutSeconds=2").await;
    let event = events.next().await.unwrap_or_default();
    if world.is_real() && text_at(&event, "/type") != "ERROR" {
        notice("skipped on the real API server: its first change has not expired (restart the server to expire it)");
        return;
    }
    assert_eq!(text_at(&event, "/type"), "ERROR", "{event}");
    let status = &event["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(410), &json!("Expired"))
    );
    assert!(text_at(status, "/message").starts_with("too old resource version: 1 ("), "{status}");
    assert_eq!(events.next().await, None, "the watch ends after it");
}
