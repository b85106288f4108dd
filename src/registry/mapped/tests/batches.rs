//! Writing several records in one request.

use super::fake::{Fake, Fault, cause, delete, exclusive, pod, put, uid};
use crate::{
    model::uid::Uid,
    reconcile::outcome::{Failure, Verdict},
    registry::{Registry as _, mapped::TargetClient},
};

const ATOMIC: &str = r#"
batch:
  - path: bulk
    body: {operations: "{{ operations }}"}
    put: [{op: put, id: "{{ id }}", record: "{{ body }}"}]
    delete: [{op: delete, id: "{{ id }}"}]
    max: {records: 10}
    atomic: true
"#;

fn with(members: &str) -> String {
    format!("{}{members}", exclusive().trim_start())
}

async fn write(client: &TargetClient, names: &[&str]) -> Result<Vec<Verdict>, Failure> {
    let operations = names.iter().enumerate().map(|(n, name)| {
        let n = u8::try_from(n).unwrap();
        if *name == "-" { delete(client, &Uid::from(uid(n))) } else { put(client, &pod(n, name)) }
    });
    client.write(1, operations.collect(), true).await
}

fn rejected(verdicts: &[Verdict]) -> Vec<bool> {
    verdicts.iter().map(|verdict| matches!(verdict, Verdict::Rejected { .. })).collect()
}

#[tokio::test]
async fn batch_writes_and_deletes_together() {
    let fake = Fake::start().await;
    let client = fake.client(&with(ATOMIC));
    assert_eq!(client.capabilities().await.unwrap().max_batch_items, 10);
    fake.requests();
    assert_eq!(write(&client, &["a", "b", "c"]).await, Ok(vec![Verdict::Done; 3]));
    assert_eq!(write(&client, &["a2", "-", "c2"]).await, Ok(vec![Verdict::Done; 3]));
    assert_eq!(fake.requests(), ["POST bulk", "POST bulk"]);
    assert_eq!(fake.held(), 2);
}

#[tokio::test]
async fn atomic_refusal_is_divided_until_one_is_left() {
    let fake = Fake::start().await;
    let client = fake.client(&with(ATOMIC));
    let names = ["a", "b", "c", "d", "poison", "f", "g", "h"];
    let verdicts = write(&client, &names).await.unwrap();
    assert_eq!(rejected(&verdicts), names.map(|name| name == "poison"));
    assert!(fake.held() == 7 && fake.requests().len() <= 8);
}

#[tokio::test]
async fn named_fault_needs_no_division() {
    let fake = Fake::start().await;
    fake.contents().names_faults = true;
    let results = "    results: {items: /errors, failuresOnly: true, index: /index, reason: /what}\n";
    let client = fake.client(&with(&format!("{ATOMIC}{results}")));
    let verdicts = write(&client, &["a", "poison", "c", "d"]).await.unwrap();
    assert_eq!(rejected(&verdicts), [false, true, false, false]);
    assert!(matches!(&verdicts[1], Verdict::Rejected { cause } if cause.contains("poison")));
    assert_eq!((fake.requests().len(), fake.held()), (2, 3));
}

#[tokio::test]
async fn uncertain_refusal_leads_to_single_request() {
    let fake = Fake::start().await;
    let results = "    results: {items: /errors, failuresOnly: true, index: /index, reason: /what, \
        outcome: [{if: \"{{ item.what == 'not here' }}\", is: exists}]}\n";
    let members = with(&format!("{ATOMIC}{results}"));
    // Without `find`, the record is not read first.
    for find in [true, false] {
        let client = fake.client(&if find { members.clone() } else { members.replace("find:", "vars: {x: 1}\n#") });
        assert_eq!(write(&client, &["a", "b", "c"]).await, Ok(vec![Verdict::Done; 3]));
        let refusal = Fault::Refuse(409, r#"{"errors": [{"index": 1, "what": "not here"}]}"#);
        fake.requests();
        fake.fail([refusal.clone()]);
        let verdicts = write(&client, &["a2", "b2", "c2"]).await.unwrap();
        assert!(matches!(&*verdicts, [Verdict::Done, Verdict::Retry { .. }, Verdict::Done]), "{verdicts:?}");
        assert_eq!(fake.requests(), ["POST bulk", "POST bulk"]);
        assert_eq!(write(&client, &["a3", "b3"]).await, Ok(vec![Verdict::Done; 2]));
        let one = format!("systems/{}", uid(1));
        let alone = if find { vec![format!("GET {one}"), format!("PUT {one}")] } else { vec![format!("PUT {one}")] };
        assert_eq!(fake.requests(), [vec!["POST bulk".to_owned()], alone].concat());
        // An uncertain record is ours, and can be deleted.
        fake.fail([refusal]);
        write(&client, &["a", "b"]).await.unwrap();
        assert_eq!(write(&client, &["-", "-", "-"]).await, Ok(vec![Verdict::Done; 3]));
        assert_eq!(fake.held(), 0);
    }
}

#[tokio::test]
async fn each_record_has_its_own_result() {
    let fake = Fake::start().await;
    fake.contents().per_item = true;
    let results = "    results: {items: /results, id: /id, status: /status, reason: /reason}\n";
    let client = fake.client(&with(&format!("{}{results}", ATOMIC.replace("    atomic: true\n", ""))));
    fake.contents().hidden.insert(uid(2));
    let verdicts = write(&client, &["a", "poison", "c", "-"]).await.unwrap();
    assert!(matches!(&*verdicts, [Verdict::Done, Verdict::Rejected { .. }, Verdict::Uncertain { .. }, Verdict::Done]));
    // Results that cannot be read, and results that show no status where one is read.
    let results = ["\"failed\"", "99999", "{}"].map(|status| {
        let result = |n| format!(r#"{{"id": "{}", "status": {status}}}"#, uid(n));
        format!(r#"{{"results": [{}, {}]}}"#, result(0), result(1))
    });
    for answer in ["{}".to_owned()].into_iter().chain(results) {
        fake.fail([Fault::Say(answer.clone())]);
        let verdicts = write(&client, &["a2", "b2"]).await.unwrap();
        let uncertain = |verdict: &Verdict| matches!(verdict, Verdict::Uncertain { .. });
        assert!(verdicts.iter().all(uncertain), "{answer}: {verdicts:?}");
    }
}

#[tokio::test]
async fn unreadable_results_name_their_reading() {
    let fake = Fake::start().await;
    let results = "    results: {items: /results, id: /id}\n";
    let client = fake.client(&with(&format!("{}{results}", ATOMIC.replace("    atomic: true\n", ""))));
    for (answer, says) in [
        ("{}", "no list where `results.items` reads it"),
        (r#"{"results": []}"#, "the list that `results.items` reads is empty"),
        (r#"{"results": [{"id": "other"}]}"#, "check `results.id`"),
        ("done", "is not JSON: expected value at line 1 column 1"),
    ] {
        fake.fail([Fault::Say(answer.to_owned())]);
        let verdicts = write(&client, &["a", "b"]).await.unwrap();
        assert!(cause(Ok(verdicts[0].clone())).contains(says), "{answer}: {verdicts:?}");
    }
}

#[tokio::test]
async fn result_tells_the_revision_or_find_does() {
    let fake = Fake::start().await;
    fake.contents().per_item = true;
    let batch = ATOMIC
        .replace(
            "    atomic: true\n",
            "    results: {items: /results, id: /id, status: /status, reason: /reason, seen: /revision}\n",
        )
        .replace(r#"{op: delete, id: "{{ id }}"}"#, r#"{op: delete, id: "{{ id }}", revision: "{{ seen }}"}"#);
    let members = with(&batch).replace("item: {", "item: {seen: /revision, ");
    for (members, lookups) in [(members.clone(), 0), (members.replace(", seen: /revision}", "}"), 2)] {
        let client = fake.client(&members);
        assert_eq!(write(&client, &["a", "b"]).await, Ok(vec![Verdict::Done; 2]));
        fake.requests();
        assert_eq!(write(&client, &["-", "-"]).await, Ok(vec![Verdict::Done; 2]));
        let requests = fake.requests();
        assert_eq!((requests.len(), fake.held()), (lookups + 1, 0), "{requests:?}");
        let revision = fake.contents().revision;
        let sent = fake.contents().bodies.last().unwrap().clone();
        assert!(sent.contains(&format!("\"revision\":{revision}")), "{sent}");
    }
}

#[tokio::test]
async fn absent_record_is_deleted_by_batch() {
    let fake = Fake::start().await;
    fake.contents().per_item = true;
    let results = "    results: {items: /results, id: /id, status: /status}\n";
    let client = fake.client(&with(&ATOMIC.replace("    atomic: true\n", results)));
    assert_eq!(write(&client, &["a", "b"]).await, Ok(vec![Verdict::Done; 2]));
    fake.contents().records.clear();
    assert_eq!(write(&client, &["-", "-"]).await, Ok(vec![Verdict::Done; 2]));
}

#[tokio::test]
async fn batch_of_one_is_a_single_request() {
    let fake = Fake::start().await;
    let client = fake.client(&with(ATOMIC));
    assert_eq!(write(&client, &["a"]).await, Ok(vec![Verdict::Done]));
    assert_eq!(write(&client, &["-"]).await, Ok(vec![Verdict::Done]));
    // One of each, in a target whose batches only write.
    let puts = ATOMIC.replace("    delete: [{op: delete, id: \"{{ id }}\"}]\n", "");
    let client = fake.client(&with(&puts));
    assert_eq!(write(&client, &["a", "b"]).await, Ok(vec![Verdict::Done; 2]));
    assert_eq!(write(&client, &["a2", "-"]).await, Ok(vec![Verdict::Done; 2]));
    let [a, b] = [0, 1].map(|n| format!("systems/{}", uid(n)));
    let expected =
        [format!("PUT {a}"), format!("DELETE {a}"), "POST bulk".into(), format!("PUT {a}"), format!("DELETE {b}")];
    assert_eq!(fake.requests(), expected);
}

#[tokio::test]
async fn lasting_conflict_of_batch_parks_the_record() {
    let fake = Fake::start().await;
    let members: String = with(ATOMIC)
        .lines()
        .filter(|line| !line.starts_with("put:") && !line.starts_with("find:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let client = fake.client(&members);
    for parks in [false, false, true] {
        fake.fail([Fault::Refuse(409, "taken")]);
        let verdicts = client.write(1, vec![put(&client, &pod(1, "a"))], false).await.unwrap();
        assert_eq!(rejected(&verdicts), [parks]);
    }
}

#[tokio::test]
async fn failed_batch_is_a_failed_request() {
    let fake = Fake::start().await;
    let client = fake.client(&with(ATOMIC));
    for (fault, start) in [
        (Fault::Lose, "Err(Broken"),
        (Fault::Refuse(429, ""), "Err(Throttled"),
        (Fault::Refuse(401, ""), "Err(Unauthorized"),
        (Fault::Refuse(500, "no"), "Ok([Uncertain"),
    ] {
        fake.fail([fault]);
        let result = format!("{:?}", write(&client, &["a", "b"]).await);
        assert!(result.starts_with(start), "{result}");
    }
}

#[tokio::test]
async fn large_batch_is_sent_in_parts() {
    let fake = Fake::start().await;
    let client = fake.client(&with(&ATOMIC.replace("records: 10", "records: 3, bytes: 1KiB")));
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    assert_eq!(write(&client, &names).await, Ok(vec![Verdict::Done; 7]));
    assert!(fake.requests().len() >= 3);
    assert!(fake.contents().bodies.iter().all(|body| body.len() <= 1 << 10));
}

#[tokio::test]
async fn target_with_batches_alone_writes_single_records() {
    let fake = Fake::start().await;
    let members: String = with(ATOMIC)
        .lines()
        .filter(|line| !line.starts_with("put:") && !line.starts_with("delete:"))
        .map(|line| format!("{line}\n"))
        .collect();
    let client = fake.client(&members);
    assert_eq!(client.write(1, vec![put(&client, &pod(1, "a"))], false).await, Ok(vec![Verdict::Done]));
    let verdicts = client.write(1, vec![put(&client, &pod(2, "poison"))], false).await.unwrap();
    assert_eq!(rejected(&verdicts), [true]);
    assert_eq!(client.write(1, vec![delete(&client, &Uid::from(uid(1)))], false).await, Ok(vec![Verdict::Done]));
    assert!(fake.contents().records.is_empty());
}
