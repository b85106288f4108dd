//! Records that the registry acknowledges and does not list.

use std::collections::BTreeSet;

use serde_json::json;

use super::fake::{ASSIGNED, Fake, Fault, cause, delete_pod, inventory, uid, write_pod};
use crate::reconcile::outcome::{Failure, Verdict};

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
