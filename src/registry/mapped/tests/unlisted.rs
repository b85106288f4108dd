//! Records that the registry acknowledges and does not list.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use super::fake::{ASSIGNED, Fake, Fault, cause, delete_pod, inventory, uid, write_pod};
use crate::{
    reconcile::outcome::{Failure, Verdict},
    registry::{Registry as _, mapped::TargetClient},
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

/// The target without `find`.
fn without_find() -> String {
    ASSIGNED.replace("find:", "vars: {x: 1}\n#")
}

async fn assigning() -> Fake {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    fake
}

/// The registry cuts the mark.
fn cut(fake: &Fake) {
    fake.contents().edit = Some(|record| record["owner"] = json!("pod-reg"));
}

#[tokio::test]
async fn cut_mark_makes_no_second_record() {
    let fake = assigning().await;
    cut(&fake);
    for started in 1..3 {
        let client = fake.client(ASSIGNED);
        for _ in 0..3 {
            assert!(inventory(&client).await.unwrap().is_empty());
            for n in 1..4 {
                let result = write_pod(&client, n, "web").await;
                assert!(result == DONE || cause(result).contains("another owner mark"));
            }
        }
        // Each start tries one record, and no record is there twice.
        let uids: BTreeSet<_> = fake.contents().records.values().map(|record| record["uid"].to_string()).collect();
        assert_eq!((fake.held(), uids.len()), (started, started));
    }
    // The registry returns the mark from now on, and the record with the cut one is removed.
    fake.contents().edit = None;
    fake.contents().records.clear();
    let client = fake.client(ASSIGNED);
    inventory(&client).await.unwrap();
    fake.requests();
    for n in 1..5 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    let find = |n| format!("GET systems?uid={}", uid(n));
    let post = || "POST systems".to_owned();
    assert_eq!(fake.requests(), [find(1), post(), find(1), post(), post(), post()]);
}

#[tokio::test]
async fn short_list_makes_no_second_record() {
    let fake = assigning().await;
    let client = fake.client(ASSIGNED);
    for n in 1..4 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    for hidden in [vec!["2"], vec!["1", "2", "3"]] {
        fake.contents().hidden = hidden.iter().map(ToString::to_string).collect();
        for _ in 0..2 {
            assert_eq!(inventory(&client).await.unwrap().len(), 3 - hidden.len());
            for n in 1..4 {
                assert_eq!(write_pod(&client, n, "web").await, DONE);
            }
        }
    }
    assert_eq!(fake.held(), 3);
    // Deleted by hand.
    fake.contents().records.remove("3");
    fake.contents().hidden.clear();
    assert_eq!(inventory(&client).await.unwrap().len(), 2);
    fake.requests();
    assert_eq!(write_pod(&client, 3, "web").await, DONE);
    assert_eq!(fake.requests(), [format!("GET systems?uid={}", uid(3)), "POST systems".to_owned()]);
}

#[tokio::test]
async fn unlisted_record_without_find_is_parked() {
    let fake = assigning().await;
    cut(&fake);
    let client = fake.client(&without_find());
    for _ in 0..3 {
        assert!(inventory(&client).await.unwrap().is_empty());
        let result = write_pod(&client, 1, "web").await;
        assert!(result == DONE || cause(result).contains("or add `find`"));
    }
    assert_eq!(fake.held(), 1);
    // One that a list showed was deleted by hand.
    fake.contents().edit = None;
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    fake.contents().records.remove("2");
    assert!(inventory(&client).await.unwrap().is_empty());
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    assert_eq!(fake.held(), 2);
    // The pod of the parked record is gone: nothing of ours is known.
    assert_eq!(delete_pod(&client, 1).await, DONE);
}

#[tokio::test]
async fn lost_answer_does_not_prove_the_mark() {
    let fake = assigning().await;
    let client = fake.client(ASSIGNED);
    inventory(&client).await.unwrap();
    fake.fail([Fault::Refuse(422, "{}")]);
    assert!(cause(write_pod(&client, 1, "web").await).starts_with("rejected"));
    fake.requests();
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    assert_eq!(fake.requests(), [format!("GET systems?uid={}", uid(2)), "POST systems".to_owned()]);
}

/// The registry has records of five pods, in pages of two.
async fn paged() -> Fake {
    let fake = assigning().await;
    let writer = fake.client(ASSIGNED);
    for n in 1..6 {
        assert_eq!(write_pod(&writer, n, "web").await, DONE);
    }
    fake.contents().page_size = 2;
    fake.requests();
    fake
}

/// Reads a list while this record is deleted: the pages after the first one move up, and one of their records is skipped.
async fn list_while_deleting(fake: &Fake, client: &TargetClient, id: &str) -> Result<usize, Failure> {
    let mut page = client.inventory(None, None, 100).await?;
    fake.contents().records.remove(id);
    let mut shown = page.items.len();
    while let Some(token) = page.next.take() {
        page = client.inventory(None, Some(token), 100).await?;
        shown += page.items.len();
    }
    Ok(shown)
}

#[tokio::test]
async fn record_that_a_list_skips_is_looked_up() {
    let fake = paged().await;
    let client = fake.client(ASSIGNED);
    assert_eq!(list_while_deleting(&fake, &client, "1").await, Ok(4), "one of them is deleted, and one is skipped");
    assert_eq!(client.inventory_again_after(), None);
    fake.requests();
    let find = |n| format!("GET systems?uid={}", uid(n));
    assert_eq!(write_pod(&client, 3, "web").await, DONE);
    assert_eq!(fake.requests(), [find(3)], "it is there, and equal");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(fake.requests(), ["PATCH systems/1".to_owned(), find(1), "POST systems".to_owned()]);
    // A second list agrees with the first one.
    inventory(&client).await.unwrap();
    fake.requests();
    assert_eq!(write_pod(&client, 6, "web").await, DONE);
    assert_eq!((fake.requests(), fake.held()), (vec!["POST systems".to_owned()], 6));
}

#[tokio::test]
async fn skipped_record_without_find_awaits_another_list() {
    let fake = paged().await;
    let client = fake.client(&without_find().replace(", count: /count", ""));
    assert_eq!(list_while_deleting(&fake, &client, "1").await, Ok(4));
    assert_eq!(client.inventory_again_after(), Some(Duration::ZERO));
    fake.requests();
    for n in [3, 6] {
        assert!(cause(write_pod(&client, n, "web").await).starts_with("retry: one list of several pages"), "{n}");
    }
    let deletion = cause(delete_pod(&client, 3).await);
    assert!(deletion.starts_with("retry: waiting for a list that shows whether"), "{deletion}");
    assert_eq!(fake.requests(), [""; 0]);
    // The second list lacks the deleted record, which the first one showed.
    for again in [Some(Duration::ZERO), None] {
        assert_eq!(inventory(&client).await.unwrap().len(), 4);
        assert_eq!(client.inventory_again_after(), again);
    }
    assert_eq!(write_pod(&client, 6, "web").await, DONE);
    assert_eq!((fake.requests().pop().unwrap().as_str(), fake.held()), ("POST systems", 5));
    // Later lists skip records that were shown before.
    assert_eq!(inventory(&client).await.unwrap().len(), 5);
    assert_eq!(list_while_deleting(&fake, &client, "2").await, Ok(4));
    assert!(cause(write_pod(&client, 4, "web").await).starts_with("retry: one list of several pages"));
    assert_eq!(client.inventory_again_after(), Some(Duration::ZERO));
    // This list was asked for, and may have skipped a record as well.
    assert_eq!(list_while_deleting(&fake, &client, "3").await, Ok(3));
    assert_eq!(client.inventory_again_after(), Some(Duration::ZERO));
    assert_eq!(inventory(&client).await.unwrap().len(), 3);
    assert_eq!(write_pod(&client, 2, "web").await, DONE, "two lists lack it");
    assert!(cause(write_pod(&client, 3, "web").await).starts_with("retry: one list of several pages"));
    let uids: BTreeSet<_> = fake.contents().records.values().map(|record| record["uid"].to_string()).collect();
    assert_eq!((fake.held(), uids.len()), (4, 4));
}

#[tokio::test]
async fn skipped_create_without_answer_awaits_another_list() {
    let fake = paged().await;
    let members = format!("{}limits: {{timeout: 400ms}}\n", without_find().replace(", count: /count", ""));
    let client = fake.client(&members);
    for _ in 0..2 {
        inventory(&client).await.unwrap();
    }
    fake.fail([Fault::Lose]);
    assert!(write_pod(&client, 6, "web").await.is_err());
    tokio::time::sleep(Duration::from_millis(450)).await;
    fake.contents().hidden.insert("6".to_owned());
    assert_eq!(inventory(&client).await.unwrap().len(), 5);
    assert!(cause(write_pod(&client, 6, "web").await).contains("waiting for the next list"));
    assert_eq!(client.inventory_again_after(), Some(Duration::ZERO));
    fake.contents().hidden.clear();
    assert_eq!(inventory(&client).await.unwrap().len(), 6);
    assert_eq!(write_pod(&client, 6, "web-2").await, DONE);
    assert_eq!(fake.held(), 6);
}

#[tokio::test]
async fn falling_count_discards_the_list() {
    let fake = paged().await;
    let client = fake.client(&without_find());
    let failure = list_while_deleting(&fake, &client, "1").await.unwrap_err();
    assert!(matches!(&failure, Failure::Inventory(cause) if cause.contains("counted 5 records")), "{failure}");
    assert_eq!((inventory(&client).await.unwrap().len(), client.inventory_again_after()), (4, None));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(fake.requests().pop().unwrap(), "POST systems");
}
