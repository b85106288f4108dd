//! Records of other writers, and two records of ours with one id.

use serde_json::json;

use super::fake::{
    ASSIGNED, Fake, Fault, MARK, REST, cause, delete, delete_pod, inventory, owner, pod, put, uid, write_pod,
};
use crate::{
    model::{ids::RecordOwner, uid::Uid},
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Registry as _,
        mapped::{TargetClient, adoption::Occupant, deletion_log::DeletionLog},
    },
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);
const FOREIGN: &str = "rejected: a record with this id has another owner mark; it is not touched";
const BATCH: &str = r#"
batch: [{path: bulk, body: {operations: "{{ operations }}"}, put: [{op: put, id: "{{ id }}", record: "{{ body }}"}], max: {records: 10}, atomic: true}]
"#;

async fn write_together(client: &TargetClient, pods: impl IntoIterator<Item = u8>) -> Vec<String> {
    let operations = pods.into_iter().map(|n| put(client, &pod(n, "web"))).collect();
    let verdicts = client.write(1, operations, true).await.unwrap();
    verdicts.into_iter().map(|verdict| cause(Ok(verdict))).collect()
}

#[tokio::test]
async fn foreign_record_is_never_replaced() {
    let fake = Fake::start().await;
    let theirs = json!({"id": uid(1), "owner": "another", "title": "theirs"});
    fake.contents().records.insert(uid(1), theirs.clone());
    let done = "Ok(Done)";
    let one = fake.client(REST);
    assert_eq!(cause(write_pod(&one, 1, "web").await), FOREIGN);
    let batches = fake.client(&format!("{REST}{BATCH}"));
    assert_eq!(write_together(&batches, 0..3).await, [done, FOREIGN, done]);
    assert_eq!(fake.contents().records[&uid(1)], theirs);
    fake.contents().records.clear();
    assert_eq!(cause(write_pod(&one, 1, "web").await), done);
    assert_eq!(fake.contents().records[&uid(1)]["owner"], MARK);
}

#[tokio::test]
async fn owners_and_clones_keep_their_records() {
    // Pods of a cloned cluster have the same UIDs. It has an id of its own.
    let second = RecordOwner { owner: "second".into(), ..owner() };
    let clone = RecordOwner { cluster_id: "clone".into(), ..owner() };
    for other in [second, clone] {
        for members in [REST.to_owned(), format!("{REST}{BATCH}")] {
            let fake = Fake::start().await;
            let (first, later) = (fake.client(&members), fake.client_of(&members, &other));
            assert_eq!(write_together(&first, [1]).await, ["Ok(Done)"]);
            assert_eq!(write_together(&later, [1]).await, [FOREIGN]);
            assert_eq!(write_together(&later, [2]).await, ["Ok(Done)"]);
            assert_eq!(write_together(&first, [1, 2]).await, ["Ok(Done)", FOREIGN]);
            let contents = fake.contents();
            let marks = contents.records.values().map(|record| record["owner"].as_str().unwrap().to_owned());
            let theirs = format!("pod-registrar:{}:{}", other.cluster_id, other.owner);
            assert_eq!(marks.collect::<Vec<_>>(), [MARK.to_owned(), theirs], "{members}");
        }
    }
}

#[tokio::test]
async fn batch_is_looked_up_and_leaves_together() {
    let fake = Fake::start().await;
    let client = fake.client(&format!("{REST}{BATCH}")).with_lookups(4);
    assert_eq!(write_together(&client, 0..10).await, ["Ok(Done)"; 10]);
    let requests = fake.requests();
    assert_eq!(requests.len(), 11);
    assert!(requests[..10].iter().all(|request| request.starts_with("GET ")), "{requests:?}");
    assert_eq!(requests[10], "POST bulk");
    // They are ours now.
    write_together(&client, 0..10).await;
    assert_eq!(fake.requests(), ["POST bulk"]);
    // A registry that does not answer is not asked about each of them.
    let fresh = fake.client(&format!("{REST}{BATCH}"));
    fake.fail([super::fake::Fault::Refuse(429, "")]);
    let operations = (0..10).map(|n| put(&fresh, &pod(n, "web"))).collect();
    assert!(matches!(fresh.write(1, operations, true).await, Err(Failure::Throttled { .. })));
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn forbidden_lookup_parks_one_record() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    fake.fail([super::fake::Fault::Refuse(403, "of another tenant")]);
    assert!(cause(write_pod(&client, 1, "web").await).starts_with("rejected: status 403: of another tenant"));
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
}

#[tokio::test]
async fn exclusive_target_looks_nothing_up() {
    let fake = Fake::start().await;
    let client = fake.client(&format!("{REST}{BATCH}exclusive: true\n"));
    write_together(&client, 0..10).await;
    assert_eq!(write_pod(&client, 11, "web").await, DONE);
    assert_eq!(fake.requests(), ["POST bulk".to_owned(), format!("PUT systems/{}", uid(11))]);
    // With a mark, records of others are still left out of lists.
    fake.contents().records.insert("x".into(), json!({"id": "x", "owner": "another"}));
    let open = fake.client(&format!("{REST}exclusive: true\n").replace(r#"query: {owner: "{{ mark }}"}, "#, ""));
    assert_eq!(inventory(&open).await.unwrap().len(), 11);
}

#[tokio::test]
async fn conditional_put_is_looked_up_after_refusal() {
    let fake = Fake::start().await;
    fake.contents().compares = true;
    let plain = r#"put: {path: "systems/{{ id }}"}"#;
    let put =
        r#"put: {path: "systems/{{ id }}", seen: /revision, headers: {If-Match: "{{ seen | default(omit) }}"MORE}}"#;
    let members = |more: &str| REST.replace(plain, &put.replace("MORE", more)).replace("{id:", "{seen: /revision, id:");
    let none = r#", If-None-Match: "{{ omit if seen is defined else '*' }}""#;
    let client = fake.client(&members(none));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(fake.requests(), [format!("PUT systems/{}", uid(1))]);
    fake.contents().records.insert(uid(2), json!({"id": uid(2), "owner": "another", "revision": 7}));
    assert_eq!(cause(write_pod(&client, 2, "web").await), FOREIGN);
    assert_eq!(fake.requests(), ["PUT", "GET"].map(|method| format!("{method} systems/{}", uid(2))));
    // A header that is left out is no condition.
    let client = fake.client(&members(""));
    assert_eq!(write_pod(&client, 3, "web").await, DONE);
    assert_eq!(fake.requests(), ["GET", "PUT"].map(|method| format!("{method} systems/{}", uid(3))));
}

#[tokio::test]
async fn known_one_of_two_records_counts() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let (client, fresh) = (fake.client(ASSIGNED), fake.client(ASSIGNED));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let double = |id: u8| {
        let mut record = fake.contents().records["1"].clone();
        record["id"] = json!(id);
        record
    };
    let (before, after) = (double(0), double(2));
    fake.contents().records.insert("0".into(), before);
    fake.contents().records.insert("2".into(), after);
    fake.contents().page_size = 1;
    fake.requests();
    for (client, counts) in [(&client, 1), (&fresh, 0)] {
        assert_eq!(inventory(client).await.unwrap().len(), 1);
        assert_eq!(write_pod(client, 1, &format!("web-{counts}")).await, DONE);
        assert_eq!(fake.requests().last().unwrap(), &format!("PATCH systems/{counts}"));
    }
    assert_eq!(fake.held(), 3, "the others stay");
    // The known one vanishes.
    fake.contents().records.remove("1");
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert_eq!(write_pod(&client, 1, "web-3").await, DONE);
    assert_eq!(fake.requests().last().unwrap(), "PATCH systems/0");
}

#[tokio::test]
async fn purge_reads_each_record_before_its_deletion() {
    const DELETES: &str = r#"
batch: [{path: bulk, body: {operations: "{{ operations }}"}, delete: [{op: delete, id: "{{ id }}"}], max: {records: 10}, atomic: true}]
"#;
    for members in [REST.to_owned(), format!("{REST}{DELETES}")] {
        let (fake, log) = (Fake::start().await, DeletionLog::default());
        for n in 1..=3 {
            fake.contents().records.insert(uid(n), json!({"id": uid(n), "owner": MARK}));
        }
        let client = fake.client(&members).with_deletion_log(&log);
        assert_eq!(inventory(&client).await.unwrap().len(), 3);
        // Another owner takes it since.
        let theirs = json!({"id": uid(1), "owner": "another"});
        fake.contents().records.insert(uid(1), theirs.clone());
        let deletions = (1..=2).map(|n| delete(&client, &Uid::from(uid(n)))).collect();
        assert_eq!(client.write(1, deletions, true).await.unwrap(), [Verdict::Done, Verdict::Done]);
        assert_eq!(delete_pod(&client, 3).await, DONE);
        assert_eq!(fake.contents().records, [(uid(1), theirs)].into());
        let deleted = [1, 2, 3].map(|n| log.has(&Uid::from(uid(n))));
        assert_eq!((deleted, log.count()), ([false, true, true], 2), "{members}");
        let reads = fake.requests().into_iter().filter(|request| request.starts_with("GET systems/")).count();
        assert_eq!(reads, 3, "one lookup per record");
    }
}

#[tokio::test]
async fn only_usable_records_of_others_are_adoptable() {
    const ADOPT: &str = r#"adopt: {path: systems, query: {title: "{{ body.title }}"}, at: /results/0}"#;
    const GONE: &str = r#", gone: "{{ item.state | default('') == 'retired' }}"}"#;
    let (fake, pod) = (Fake::start().await, pod(1, "web"));
    let by_id = fake.reader(&REST.replace("/digest}", &format!("/digest{GONE}")));
    let by_title = fake.reader(&format!("{ASSIGNED}{ADOPT}"));
    let found = async |reader: &crate::registry::mapped::reader::TargetReader, record: serde_json::Value| {
        fake.contents().records = [(uid(1), record)].into();
        let content = pod.content.as_ref().unwrap();
        let records = reader.target().records(&content.record, reader.term(), &|_, _| None).unwrap().unwrap();
        let rendered = crate::registry::mapped::kinds::rendered(records).remove(0);
        match reader.occupant(&rendered).await.unwrap() {
            Occupant::Nothing => "nothing".to_owned(),
            Occupant::Ours(_) => "ours".to_owned(),
            Occupant::Foreign(record) => format!("of {}", record.mark.unwrap_or_default()),
            Occupant::Unusable(why) => why,
        }
    };
    let theirs = json!({"id": uid(1), "owner": "tool", "title": "web"});
    assert_eq!(found(&by_id, theirs.clone()).await, "of tool");
    assert_eq!(found(&by_title, theirs).await, "of tool");
    let retired = json!({"id": uid(1), "owner": MARK, "state": "retired"});
    assert_eq!(found(&by_id, retired).await, "nothing", "it counts as deleted");
    // A registry that ignores what is asked for.
    let other = json!({"id": uid(2), "owner": "tool", "title": "web"});
    assert!(found(&by_id, other).await.contains("the record of another id"));
    // That of the pod before, which had the same name.
    let before = json!({"id": 7, "uid": uid(2), "owner": MARK, "title": "web"});
    assert_eq!(found(&by_title, before).await, "nothing");
    let large: serde_json::Value = serde_json::from_str("123456789012345678901").unwrap();
    let rounded = json!({"id": large, "owner": "tool", "title": "web"});
    assert!(found(&by_title, rounded).await.contains("more digits than can be kept"));
}

#[tokio::test]
async fn adopted_record_is_ours_by_its_id() {
    // `adopt` does not find it any more.
    let adopt = r#"adopt: {path: systems, query: {owner: tool}, at: /results/0}"#;
    let (fake, pod) = (Fake::start().await, pod(1, "web"));
    let reader = fake.reader(&format!("{ASSIGNED}{adopt}"));
    let content = pod.content.as_ref().unwrap();
    let records = reader.target().records(&content.record, reader.term(), &|_, _| None).unwrap().unwrap();
    let record = crate::registry::mapped::kinds::rendered(records).remove(0);
    fake.contents().records.insert("7".to_owned(), json!({"id": 7, "owner": "tool"}));
    assert!(!reader.is_ours(&record, Some(&json!(7))).await.unwrap());
    fake.contents().records.insert("7".to_owned(), json!({"id": 7, "uid": uid(1), "owner": MARK}));
    assert!(reader.is_ours(&record, Some(&json!(7))).await.unwrap());
}

/// Of NetBox and others: a device that has interfaces of others is not deleted.
#[tokio::test]
async fn refused_deletion_says_what_the_registry_says() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    fake.requests();
    for _ in 0..2 {
        fake.fail([Fault::Refuse(409, r#"{"detail": "2 interfaces need it"}"#)]);
        let cause = cause(delete_pod(&client, 1).await);
        assert!(cause.starts_with("retry: the registry refuses to delete the record: status 409"), "{cause}");
        assert!(cause.contains("2 interfaces need it"), "{cause}");
        let methods: Vec<String> = fake.requests().iter().map(|request| request[..3].to_owned()).collect();
        assert_eq!(methods, ["DEL", "GET"], "read again, and not sent again");
    }
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert_eq!(fake.held(), 0);
}

#[tokio::test]
async fn answer_without_a_record_names_the_rule() {
    // Some lookups say with 200 that there is nothing.
    let fake = Fake::start().await;
    let client = fake.client(REST);
    fake.fail([Fault::Say("{\"found\": false}".into())]);
    let rejected = cause(write_pod(&client, 1, "web").await);
    assert!(rejected.contains("`find` reads something without an id and an owner mark"), "{rejected}");
    assert!(rejected.contains("a rule of `outcome` in `find`"), "{rejected}");
    let rule = r#", outcome: [{if: "{{ answer.found is defined }}", is: absent}]}"#;
    let client = fake.client(&REST.replace(", at: \"\"}", &format!(", at: \"\"{rule}")));
    fake.fail([Fault::Say("{\"found\": false}".into())]);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
}
