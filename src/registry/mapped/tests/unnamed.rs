//! Creates whose answer does not name what the registry assigned.

use std::time::Duration;

use serde_json::json;

use super::fake::{ASSIGNED, Fake, Fault, cause, delete_pod, inventory, uid, write_pod};
use crate::{
    reconcile::outcome::{Failure, Verdict},
    registry::{Registry as _, mapped::TargetClient},
};

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

/// A client in a term that is old enough to create records.
async fn in_old_term(fake: &Fake, members: &str) -> TargetClient {
    let members = members.replace("count: /count", "lag: 1s");
    let client = fake.client(&format!("{members}limits: {{timeout: 100ms}}\n"));
    tokio::time::sleep(client.inventory_again_after().unwrap() + Duration::from_millis(20)).await;
    inventory(&client).await.unwrap();
    // One that shows that the registry returns the mark.
    assert_eq!(write_pod(&client, 0, "web").await, DONE);
    inventory(&client).await.unwrap();
    fake.requests();
    client
}

#[tokio::test]
async fn hidden_create_is_not_created_again() {
    let nothing = || Fault::Say(json!({"results": []}).to_string());
    let absent = || Fault::Refuse(404, "{}");
    // What each write meets: an update needs the name, which the lookup tells, or is answered 404.
    let cases = [
        (unnamed(), vec![nothing()], vec![nothing()]),
        (ASSIGNED.to_owned(), vec![absent(), nothing()], vec![absent()]),
        (without_find(ASSIGNED), vec![absent()], vec![absent()]),
    ];
    for (members, update, deletion) in cases {
        let fake = assigning().await;
        let client = in_old_term(&fake, &members).await;
        assert_eq!(write_pod(&client, 1, "web").await, DONE);
        fake.requests();
        for _ in 0..2 {
            fake.fail(update.clone());
            let Ok(Verdict::Retry { after: Some(after), cause }) = write_pod(&client, 1, "web-2").await else {
                panic!("{members}")
            };
            assert!(after <= Duration::from_secs(1) && cause.contains("was created a moment ago"), "{cause}");
            fake.fail(deletion.clone());
            assert!(super::fake::cause(delete_pod(&client, 1).await).contains("was created a moment ago"));
        }
        assert!(fake.requests().iter().all(|request| !request.starts_with("POST")));
        assert_eq!((write_pod(&client, 1, "web-2").await, fake.held()), (DONE, 2), "it is shown");
        assert_eq!((delete_pod(&client, 1).await, fake.held()), (DONE, 1));
        // One that was removed by hand is created again after the lag.
        assert_eq!(write_pod(&client, 2, "web").await, DONE);
        fake.contents().records.pop_last();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!((write_pod(&client, 2, "web-2").await, fake.held()), (DONE, 2));
    }
}
