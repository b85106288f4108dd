//! Reading all records.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::fake::{
    ASSIGNED, Fake, Fault, MARK, REST, cause, delete, delete_pod, inventory, pod, put, uid, write, write_pod,
};
use crate::{
    model::{digest::Fingerprint, uid::Uid},
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Projection, Registry as _,
        mapped::{TargetClient, recorder::ExchangeLog},
    },
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

fn fingerprint(client: &TargetClient, n: u8, name: &str) -> Fingerprint {
    let Projection::Record { fingerprint, .. } = client.project(&pod(n, name)) else { panic!() };
    fingerprint
}

/// The fingerprint that the inventory reports for a pod.
async fn reported(client: &TargetClient, n: u8) -> Option<Fingerprint> {
    let found = inventory(client).await.unwrap().into_iter().find(|item| item.uid == Uid::from(uid(n)));
    found.and_then(|item| item.fingerprint)
}

#[tokio::test]
async fn list_is_read_over_pages_without_foreign_records() {
    let fake = Fake::start().await;
    let writer = fake.client(REST);
    for n in 0..7 {
        assert_eq!(write_pod(&writer, n, "web").await, DONE);
    }
    fake.contents().records.insert("x".into(), json!({"id": "x", "owner": "another"}));
    fake.contents().page_size = 3;
    // Without its filter, the list shows all records.
    let client = fake.client(&REST.replace(r#"query: {owner: "{{ mark }}"}, "#, ""));
    let items = inventory(&client).await.unwrap();
    assert_eq!(items.len(), 7);
    assert!(items.iter().all(|item| item.fingerprint.unwrap() == fingerprint(&client, 1, "web")));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
}

#[tokio::test]
async fn contradicting_list_fails_as_a_whole() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    for n in 0..3 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    let record = fake.contents().records[&uid(1)].clone();
    let page = |results: serde_json::Value, next: serde_json::Value| {
        Fault::Say(json!({"results": results, "next": next, "count": 2}).to_string())
    };
    let mut nameless = record.clone();
    nameless["id"] = json!(null);
    for (faults, what) in [
        (vec![page(json!([record, record]), json!(null))], "listed twice"),
        (vec![page(json!([nameless, record]), json!(null))], "has no id"),
        (vec![page(json!([record]), json!(null))], "the registry counts 2"),
        (vec![page(json!([]), json!("/systems?page=9")), page(json!([]), json!("/systems?page=9"))], "second time"),
        (vec![Fault::Say("{}".into())], "no list"),
        (vec![Fault::Say("<html>".into())], ""),
        (vec![Fault::Say("[1]".into())], "no list"),
    ] {
        fake.fail(faults);
        let failure = inventory(&client).await.unwrap_err();
        assert!(failure.to_string().contains(what), "{what}: {failure}");
        assert!(what.is_empty() || matches!(failure, Failure::Inventory(_)), "{failure:?}");
        fake.contents().faults.clear();
    }
    fake.contents().miscount = 1;
    assert!(matches!(inventory(&client).await, Err(Failure::Inventory(_))));
    fake.contents().miscount = 0;
    assert_eq!(inventory(&client).await.unwrap().len(), 3, "nothing was forgotten");
}

#[tokio::test]
async fn failed_page_is_read_again_alone() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    for n in 0..5 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    fake.contents().page_size = 2;
    let first = client.inventory(None, None, 100).await.unwrap();
    fake.fail([Fault::Refuse(429, ""), Fault::Refuse(500, "")]);
    let again = async || client.inventory(None, first.next.clone(), 100).await;
    assert!(matches!(again().await, Err(Failure::Throttled { status: 429, .. })));
    assert!(matches!(again().await, Err(Failure::Broken(_))));
    let second = again().await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.count), (2, 2, 4));
    assert_eq!(again().await, Err(Failure::Expired), "the page is over");
}

#[tokio::test]
async fn records_written_in_the_lag_count_as_held() {
    let fake = Fake::start().await;
    let client = fake.client(&REST.replace("count: /count", "lag: 300ms"));
    for n in 0..3 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    fake.contents().hidden = (0..3).map(uid).collect();
    let items = inventory(&client).await.unwrap();
    assert!(items.len() == 3 && items[0].fingerprint.unwrap() == fingerprint(&client, 0, "web"));
    // A deleted record that a list still shows does not count.
    let old = fake.contents().records[&uid(2)].clone();
    assert_eq!(delete_pod(&client, 2).await, DONE);
    fake.contents().records.insert(uid(2), old);
    fake.contents().hidden.clear();
    assert_eq!(reported(&client, 2).await, None);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert!(reported(&client, 2).await.is_some());
}

#[tokio::test]
async fn record_found_in_the_lag_counts_as_held() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let members = format!("{}limits: {{timeout: 100ms}}\n", ASSIGNED.replace("count: /count", "lag: 400ms"));
    let client = fake.client(&members);
    // A young term creates nothing before lists show what earlier terms wrote.
    tokio::time::sleep(client.inventory_again_after().unwrap() + Duration::from_millis(20)).await;
    inventory(&client).await.unwrap();
    fake.fail([Fault::Lose]);
    assert!(write_pod(&client, 1, "web").await.is_err());
    assert_eq!(write_pod(&client, 1, "web").await, DONE, "it is looked up and equal");
    fake.contents().hidden.insert("1".to_owned());
    assert_eq!(reported(&client, 1).await, Some(fingerprint(&client, 1, "web")));
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    assert_eq!(fake.held(), 1, "it is not created again");
}

#[tokio::test]
async fn lookup_in_the_lag_proves_no_absence() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let members = format!("{}limits: {{timeout: 200ms}}\n", ASSIGNED.replace("count: /count", "lag: 800ms"));
    let client = fake.client(&members);
    tokio::time::sleep(client.inventory_again_after().unwrap() + Duration::from_millis(20)).await;
    inventory(&client).await.unwrap();
    // One that shows that the registry returns the mark.
    assert_eq!(write_pod(&client, 0, "web").await, DONE);
    inventory(&client).await.unwrap();
    // One answer is lost, and the other one is not clear.
    for (n, lost) in [(1, Fault::Lose), (2, Fault::Replace(500))] {
        fake.fail([lost]);
        assert_ne!(write_pod(&client, n, "web").await, DONE);
        tokio::time::sleep(Duration::from_millis(250)).await;
        for deletes in [false, true] {
            fake.fail([Fault::Say(json!({"results": []}).to_string())]);
            let result = if deletes { delete_pod(&client, n).await } else { write_pod(&client, n, "web").await };
            let cause = cause(result);
            assert!(cause.contains("not be shown yet"), "{n} {deletes}: {cause}");
        }
        assert_eq!(write_pod(&client, n, "web").await, DONE, "it is shown, and equal");
        assert_eq!(fake.held(), usize::from(n) + 1);
    }
}

#[tokio::test]
async fn record_is_missing_after_two_lists_apart() {
    let fake = Fake::start().await;
    let client = fake.client(&REST.replace("count: /count", "lag: 200ms"));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    tokio::time::sleep(Duration::from_millis(250)).await;
    fake.contents().hidden.insert(uid(1));
    assert!(reported(&client, 1).await.is_some(), "one list alone may lag");
    assert!(reported(&client, 1).await.is_some());
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(reported(&client, 1).await, None);
}

#[tokio::test]
async fn changed_value_is_written_twice_and_then_settled() {
    let fake = Fake::start().await;
    fake.contents().edit = Some(|record| record["digest"] = json!("00"));
    let client = fake.client(REST);
    let ours = fingerprint(&client, 1, "web");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let shown = reported(&client, 1).await;
    assert!(shown.is_some() && shown != Some(ours));
    assert_eq!(reported(&client, 1).await, shown, "it was not written again yet");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!((reported(&client, 1).await, client.left_differing()), (Some(ours), 1));
    // Another difference is drift.
    fake.contents().records.get_mut(&uid(1)).unwrap()["digest"] = json!("1f".repeat(16));
    assert_ne!(reported(&client, 1).await, Some(ours));
    assert_eq!(client.left_differing(), 0);
    client.prepare(9).await.unwrap();
    assert_eq!(client.left_differing(), 0);
}

#[tokio::test]
async fn edit_of_a_faithful_record_is_always_repaired() {
    // The same edit again and again, before each list, is no change that the registry makes.
    let edit = |fake: &Fake| fake.contents().records.get_mut(&uid(1)).unwrap()["digest"] = json!("00");
    for is_found in [false, true] {
        let fake = Fake::start().await;
        let client = fake.client(REST);
        assert_eq!(write_pod(&client, 1, "web").await, DONE);
        let client = if is_found { fake.client(REST) } else { client };
        if is_found {
            assert_eq!(write_pod(&client, 1, "web").await, DONE, "a lookup shows it, equal");
        } else {
            inventory(&client).await.unwrap();
        }
        for _ in 0..4 {
            edit(&fake);
            assert_ne!(reported(&client, 1).await, Some(fingerprint(&client, 1, "web")));
            assert_eq!(write_pod(&client, 1, "web").await, DONE);
        }
        // Another record was not shown yet.
        fake.contents().edit = Some(|record| record["digest"] = json!("00"));
        for _ in 0..2 {
            assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
            inventory(&client).await.unwrap();
        }
        assert_eq!(client.left_differing(), 1);
    }
}

/// A target whose records are compared by their members.
fn by_members() -> String {
    REST.replace(", digest: \"{{ digest }}\"", "").replace("digest: /digest", "body: ''")
}

#[tokio::test]
async fn members_are_compared_without_a_digest() {
    let fake = Fake::start().await;
    let writer = fake.client(&by_members());
    assert_eq!(write_pod(&writer, 1, "web").await, DONE);
    fake.contents().records.get_mut(&uid(1)).unwrap()["added"] = json!("by others");
    // A new process remembers nothing, and finds the record equal.
    let client = fake.client(&by_members());
    let ours = fingerprint(&client, 1, "web");
    assert_eq!(reported(&client, 1).await, Some(ours));
    // An edit by hand is repaired.
    for (member, edited) in [("title", json!("edited")), ("node", json!("edited"))] {
        fake.contents().records.get_mut(&uid(1)).unwrap()[member] = edited;
        assert_ne!(reported(&client, 1).await, Some(ours));
        assert_eq!(write_pod(&client, 1, "web").await, DONE);
        assert_eq!(reported(&client, 1).await, Some(ours));
    }
    let record = fake.contents().records[&uid(1)].clone();
    assert_eq!((&record["title"], record.get("node")), (&json!("web"), None));
}

#[tokio::test]
async fn restart_compares_records_of_any_size() {
    const EACH: usize = 200 << 10;
    let fake = Fake::start().await;
    fake.contents().page_size = 30;
    let members = by_members().replace("body: {title", &format!("body: {{filler: {}, title", "x".repeat(EACH)));
    let writer = fake.client(&members);
    let records = (17 << 20) / EACH;
    let numbers = || (0..records).map(|n| u8::try_from(n).unwrap());
    for n in numbers() {
        assert_eq!(write_pod(&writer, n, "web").await, DONE);
    }
    fake.requests();
    let client = fake.client(&members);
    let listed: Vec<_> = inventory(&client).await.unwrap().into_iter().filter_map(|item| item.fingerprint).collect();
    assert_eq!(listed, numbers().map(|n| fingerprint(&client, n, "web")).collect::<Vec<_>>());
    assert!(fake.requests().iter().all(|request| request.starts_with("GET ")));
}

#[tokio::test]
async fn member_added_to_made_names_is_settled() {
    let fake = Fake::start().await;
    fake.contents().edit = Some(|record| record["labels"]["theirs"] = json!(1));
    let labels = r#"body: {labels: {$each: "{{ [pod.name] }}", $key: "{{ it }}", $value: 1}, title"#;
    let members = by_members().replace("body: {title", labels);
    let client = fake.client(&members);
    let ours = fingerprint(&client, 1, "web");
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_ne!(reported(&client, 1).await, Some(ours));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!((reported(&client, 1).await, client.left_differing()), (Some(ours), 1));
}

#[tokio::test]
async fn presence_alone_means_one_write_per_process() {
    let fake = Fake::start().await;
    let members = REST.replace(", digest: \"{{ digest }}\"", "").replace(", digest: /digest", "");
    let client = fake.client(&members);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let ours = fingerprint(&client, 1, "web");
    assert_eq!(reported(&client, 1).await, Some(ours));
    let other = fake.client(&members);
    assert_ne!(reported(&other, 1).await, Some(ours));
    assert_eq!(write_pod(&other, 1, "web").await, DONE);
    assert_eq!(reported(&other, 1).await, Some(ours));
}

#[tokio::test]
async fn unmarked_records_of_others_are_left_alone() {
    let fake = Fake::start().await;
    let members = REST.replace(", mark: /owner", "").replace(r#"query: {owner: "{{ mark }}"}, "#, "");
    let client = fake.client(&members);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    fake.contents().records.insert(uid(2), json!({"id": uid(2)}));
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert_eq!(delete_pod(&client, 2).await, DONE);
    assert_eq!(fake.held(), 2, "this process did not write it");
    let exclusive = fake.client(&format!("{members}exclusive: true\n"));
    assert_eq!(inventory(&exclusive).await.unwrap().len(), 2);
    assert_eq!(delete_pod(&exclusive, 2).await, DONE);
    assert_eq!(fake.held(), 1);
}

#[tokio::test]
async fn unknown_record_is_deleted_after_the_first_list() {
    // Their ids are not known before it, so that nothing can be sent.
    let assigned: String = ASSIGNED.lines().filter(|line| !line.starts_with("find")).flat_map(|l| [l, "\n"]).collect();
    let named = format!("id: \"pod-{{{{ pod.uid }}}}\"\n{REST}");
    for (assigns, members) in [(true, assigned), (false, named)] {
        let fake = Fake::start().await;
        fake.contents().assigns = assigns;
        let writer = fake.client(&members);
        assert_eq!(write_pod(&writer, 1, "web").await, DONE);
        let client = fake.client(&members);
        let key = |n| put(&client, &pod(n, "web")).uid;
        let waits = cause(write(&client, delete(&client, &key(1))).await);
        assert!(waits.contains("waiting for a list"), "{waits}");
        assert_eq!(inventory(&client).await.unwrap().len(), 1);
        assert_eq!(write(&client, delete(&client, &key(1))).await, DONE);
        assert_eq!(fake.held(), 0);
        assert_eq!(write(&client, delete(&client, &key(3))).await, DONE, "the list lacks it");
    }
}

#[tokio::test]
async fn retired_record_counts_as_deleted() {
    let fake = Fake::start().await;
    let members = REST.replace("item: {", "item: {gone: /retired, ");
    let client = fake.client(&members);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    fake.contents().records.get_mut(&uid(1)).unwrap()["retired"] = json!(true);
    assert_eq!(inventory(&client).await.unwrap().len(), 0);
}

#[tokio::test]
async fn overlapping_page_is_no_duplicate() {
    // etcd's next page may begin with the last key.
    let fake = Fake::start().await;
    let client = fake.client(
        &REST
            .replace("next: {url: /next}, count: /count", "next: {then: /next}")
            .replace(r#"query: {owner: "{{ mark }}"}"#, r#"query: {page: "{{ page | default(omit) }}"}"#),
    );
    for n in 0..3 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    let record = |n: u8| fake.contents().records[&uid(n)].clone();
    let pages = [
        json!({"results": [record(0), record(1)], "next": "1"}),
        json!({"results": [record(1), record(2)], "next": null}),
    ];
    fake.fail(pages.map(|page| Fault::Say(page.to_string())));
    assert_eq!(inventory(&client).await.unwrap().len(), 3);
}

#[tokio::test]
async fn number_that_loses_digits_is_refused() {
    const LONG: &str = "100000000000000000000000000021";
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(ASSIGNED);
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    let shown = fake.contents().records["1"].to_string().replace("\"id\":1,", &format!("\"id\":{LONG},"));
    let page = Fault::Say(format!(r#"{{"results": [{shown}], "count": 1}}"#));
    fake.fail([page]);
    let failure = inventory(&client).await.unwrap_err();
    let says = "`remote`: 1e+29 is a number with more digits than can be kept";
    assert!(matches!(&failure, Failure::Inventory(cause) if cause.contains(says)), "{failure}");
    // The record of another owner does not matter.
    fake.fail([Fault::Say(format!(r#"{{"results": [{}], "count": 1}}"#, shown.replace(MARK, "another")))]);
    assert_eq!(inventory(&client).await, Ok(Vec::new()));
    let client = fake.client(ASSIGNED);
    fake.fail([Fault::Say(shown.clone())]);
    assert!(cause(write_pod(&client, 3, "web").await).starts_with(&format!("uncertain: {says}")));
    let found = shown.replace(&uid(2), &uid(3));
    fake.fail([Fault::Say(format!(r#"{{"results": [{found}]}}"#))]);
    fake.requests();
    assert!(
        cause(write_pod(&client, 3, "web").await).starts_with("rejected: in the answer to `find`, `remote`: 1e+29 is")
    );
    assert_eq!(fake.requests(), [format!("GET systems?uid={}", uid(3))], "no second one is created");
}

#[tokio::test]
async fn template_does_not_hide_lost_digits() {
    let fake = Fake::start().await;
    let record = json!({"id": 1, "uid": uid(1), "owner": MARK}).to_string();
    let shown = record.replace("\"id\":1", "\"id\":100000000000000000000000000021");
    for members in [
        r#"id: /uid, remote: "systems/{{ item.id }}""#,
        r#"id: /uid, remote: {a: "{{ 'n' ~ item.id }}"}"#,
        r#"id: "s-{{ item.id }}", remote: /uid"#,
        "id: /id, remote: /uid",
    ] {
        let client = fake.client(&ASSIGNED.replace("item: {id: /uid, remote: /id", &format!("item: {{{members}")));
        fake.fail([Fault::Say(format!(r#"{{"results": [{shown}], "count": 1}}"#))]);
        let failure = inventory(&client).await.unwrap_err().to_string();
        assert!(failure.contains("1e+29 is a number with more digits"), "{members}: {failure}");
    }
}

#[tokio::test]
async fn deletion_at_another_address_is_noticed() {
    let fake = Fake::start().await;
    let client = fake.client(&REST.replace("delete: {path: \"systems/", "delete: {path: \"sytems/"));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    for times in 1..=4 {
        assert_eq!(delete_pod(&client, 1).await, DONE, "404 is success");
        assert!(reported(&client, 1).await.is_some());
        assert_eq!(client.kinds[0].records.lock().ineffective.is_reported(), times >= 3, "{times}");
    }
}

#[tokio::test]
async fn commands_refuse_what_the_client_refuses() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    let reader = fake.reader(REST);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let record = fake.contents().records[&uid(1)].clone();
    let mut nameless = record.clone();
    nameless["id"] = json!(null);
    let mut foreign = nameless.clone();
    foreign["owner"] = json!("another");
    let page = |results: &[serde_json::Value]| {
        Fault::Say(json!({"results": results, "next": null, "count": results.len()}).to_string())
    };
    for (results, what) in [
        (vec![record.clone(), record.clone()], Some("listed twice")),
        (vec![nameless, record.clone()], Some("has no id")),
        (vec![foreign, record], None),
    ] {
        fake.fail([page(&results), page(&results), page(&results)]);
        let causes = [
            inventory(&client).await.err(),
            reader.list(&reader.target().kinds[0]).await.err(),
            reader.probe().await.err(),
        ];
        for cause in causes {
            assert_eq!(cause.is_some(), what.is_some(), "{cause:?}");
            let text = cause.map(|cause| cause.to_string()).unwrap_or_default();
            assert!(text.contains(what.unwrap_or_default()), "{text}");
        }
    }
}

#[tokio::test]
async fn hostile_answers_break_nothing() {
    let fake = Fake::start().await;
    let log = Arc::new(ExchangeLog::default());
    let client = fake.client_with(REST, Some(log.clone()));
    let deep = "[".repeat(10_000);
    for text in
        ["null", "[]", "\"\"", "{\"results\": 1}", "{\"results\": [null, 1, \"\", []], \"count\": 4}", &deep, "\u{0}"]
    {
        for _ in 0..2 {
            fake.fail([Fault::Say(text.to_owned())]);
            let _ = inventory(&client).await;
            fake.fail([Fault::Say(text.to_owned())]);
            let result = write_pod(&client, 1, "web").await;
            let cause = cause(result);
            assert!(cause.len() < 1_000 && !cause.contains('\u{0}'), "{cause}");
            fake.contents().faults.clear();
        }
    }
    assert!(log.exchanges().len() >= 20);
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    assert!(put(&client, &pod(2, "web")).size_at_most > 0);
}
