//! Records that are gone and keep their keys: the registry refuses to create others in their places.

use serde_json::json;

use super::fake::{ASSIGNED, Fake, Fault, cause, delete_pod, inventory, uid, write_pod};
use crate::reconcile::outcome::{Failure, Verdict};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

/// A target that retires records instead of deleting them.
fn retiring() -> String {
    ASSIGNED
        .replace("body: {", "body: {state: active, ")
        .replace(
            r#"delete: {path: "systems/{{ remote }}"}"#,
            r#"delete: {method: PATCH, path: "systems/{{ remote }}",
                body: {state: retired, uid: "{{ id }}", owner: "{{ mark }}"}}"#,
        )
        .replace("item: {", "item: {gone: \"{{ item.state == 'retired' }}\", ")
}

fn without_find() -> String {
    retiring().replace("find:", "vars: {x: 1}\n#")
}

async fn unique() -> Fake {
    let fake = Fake::start().await;
    (fake.contents().assigns, fake.contents().is_unique) = (true, true);
    fake
}

fn state(fake: &Fake) -> (usize, String) {
    (fake.held(), fake.contents().records["1"]["state"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn retired_record_comes_back() {
    let fake = unique().await;
    let client = fake.client(&retiring());
    let find = format!("GET systems?uid={}", uid(1));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert_eq!(state(&fake), (1, "retired".to_owned()));
    fake.requests();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(fake.requests(), ["POST systems", &find, "PATCH systems/1"]);
    assert_eq!(state(&fake), (1, "active".to_owned()));
    // Retired by hand, and also unknown to the next process.
    for client in [client, fake.client(&retiring())] {
        fake.contents().records.get_mut("1").unwrap()["state"] = json!("retired");
        assert!(inventory(&client).await.unwrap().is_empty());
        assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
        assert_eq!(state(&fake), (1, "active".to_owned()));
    }
}

#[tokio::test]
async fn listed_retired_record_needs_no_find() {
    let fake = unique().await;
    let client = fake.client(&without_find());
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert!(cause(write_pod(&client, 1, "web").await).starts_with("rejected: status 409"), "its `remote` is forgotten");
    assert!(inventory(&client).await.unwrap().is_empty());
    fake.requests();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(fake.requests(), ["POST systems", "PATCH systems/1"]);
    assert_eq!(state(&fake), (1, "active".to_owned()));
}

#[tokio::test]
async fn retired_record_without_remote_is_parked() {
    let fake = unique().await;
    let writer = fake.client(&retiring());
    assert_eq!(write_pod(&writer, 1, "web").await, DONE);
    assert_eq!(delete_pod(&writer, 1).await, DONE);
    let client = fake.client(&retiring().replace("remote: /id, mark", "remote: /none, mark"));
    let cause = cause(write_pod(&client, 1, "web").await);
    assert!(cause.starts_with("rejected: ") && cause.contains("does not read the `remote`"), "{cause}");
    assert_eq!(state(&fake), (1, "retired".to_owned()));
}

#[tokio::test]
async fn record_between_create_and_update_is_parked() {
    let fake = unique().await;
    let client = fake.client(&retiring());
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(delete_pod(&client, 1).await, DONE);
    // The record exists for creates, and is not there for updates.
    fake.contents().is_read_only = true;
    for start in ["retry", "retry", "rejected"] {
        let cause = cause(write_pod(&client, 1, "web").await);
        assert!(cause.starts_with(start) && cause.contains("contradict"), "{cause}");
    }
    assert_eq!(fake.held(), 1);
}

#[tokio::test]
async fn stale_create_brings_the_record_back() {
    let fake = unique().await;
    let client = fake.client(&retiring());
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(delete_pod(&client, 1).await, DONE);
    fake.fail([Fault::Refuse(412, "{}")]);
    fake.requests();
    assert_eq!(write_pod(&client, 1, "web").await, Ok(Verdict::Retry { after: None, cause: "status 412: {}".into() }));
    assert_eq!(state(&fake), (1, "retired".to_owned()), "its revision is not read");
    let client = fake.client(&retiring().replace("item: {", "item: {seen: /revision, "));
    fake.fail([Fault::Refuse(412, "{}")]);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(state(&fake), (1, "active".to_owned()));
}
