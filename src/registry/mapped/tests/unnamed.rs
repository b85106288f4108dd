//! Creates whose answer does not name what the registry assigned.

use std::time::Duration;

use super::fake::{ASSIGNED, Fake, Fault, cause, inventory, uid, write_pod};
use crate::reconcile::outcome::{Failure, Verdict};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

/// The target whose `create` has no `remote`. `item` reads it.
fn unnamed() -> String {
    ASSIGNED.replace("create: {path: systems, remote: /id}", "create: {path: systems}")
}

fn without_find(members: &str) -> String {
    members.replace("find:", "vars: {x: 1}\n#")
}

async fn assigning() -> Fake {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    fake
}

fn find(n: u8) -> String {
    format!("GET systems?uid={}", uid(n))
}

#[tokio::test]
async fn lost_unnamed_create_is_looked_up() {
    let fake = assigning().await;
    let client = fake.client(&format!("{}limits: {{timeout: 400ms}}", unnamed()));
    fake.fail([Fault::Lose]);
    assert!(matches!(write_pod(&client, 1, "web").await, Err(Failure::Broken(_))));
    assert_eq!(write_pod(&client, 1, "web").await, DONE, "found, and equal");
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    assert_eq!(fake.requests(), ["POST systems".to_owned(), find(1), "PATCH systems/1".to_owned()]);
    fake.fail([Fault::Refuse(502, "not applied")]);
    assert!(matches!(write_pod(&client, 2, "web").await, Err(Failure::Broken(_))));
    assert!(cause(write_pod(&client, 2, "web").await).contains("may still arrive"));
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(write_pod(&client, 2, "web").await, DONE, "not found, and created");
    assert_eq!(fake.held(), 2);
}

#[tokio::test]
async fn lost_unnamed_create_without_find_awaits_list() {
    let fake = assigning().await;
    let client = fake.client(&without_find(&unnamed()));
    fake.fail([Fault::Lose]);
    assert!(write_pod(&client, 1, "web").await.is_err());
    assert!(cause(write_pod(&client, 1, "web").await).contains("waiting for the next list"));
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    // One that was acknowledged has no name before a list shows it.
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    for _ in 0..2 {
        assert!(cause(write_pod(&client, 2, "web-2").await).starts_with("retry: waiting for a list that shows"));
    }
    assert_eq!(inventory(&client).await.unwrap().len(), 2);
    assert_eq!((write_pod(&client, 2, "web-2").await, fake.held()), (DONE, 2));
}

#[tokio::test]
async fn unnamed_create_waits_in_a_new_term() {
    let fake = assigning().await;
    let members = unnamed().replace("count: /count", "lag: 300ms");
    let client = fake.client(&format!("{members}limits: {{timeout: 100ms}}\n"));
    assert!(cause(write_pod(&client, 1, "web").await).contains("an earlier term may have created it"));
    assert_eq!(fake.requests(), [""; 0]);
}
