//! Writing and deleting single records.

use std::time::Duration;

use serde_json::json;

use super::{
    fake::{
        ASSIGNED, Fake, Fault, MARK, REST, cause, delete, delete_pod, exclusive, inventory, pod, put, uid, write,
        write_pod,
    },
    memory::HOOK,
};
use crate::{
    model::{ids::Version, pod::Pod},
    reconcile::outcome::{Failure, Verdict},
    registry::{Projection, RecordChange, Registry as _},
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

#[tokio::test]
async fn record_is_put_and_deleted() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let record = fake.contents().records[&uid(1)].clone();
    assert_eq!((&record["title"], &record["owner"]), (&json!("web"), &json!(MARK)));
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert!(fake.contents().records.is_empty());
    assert_eq!(fake.requests(), ["GET", "PUT", "DELETE"].map(|method| format!("{method} systems/{}", uid(1))));
    assert_eq!(delete_pod(&client, 1).await, DONE, "it is looked up, and gone");
    assert_eq!(fake.requests(), [format!("GET systems/{}", uid(1))]);
}

#[tokio::test]
async fn put_without_an_answer_is_deleted() {
    // Neither a memory nor `find` shows the record.
    let list = "list: {path: systems, items: /results, count: /count}\nitem: {id: /id}\n";
    for members in [HOOK.to_owned(), format!("{HOOK}{list}")] {
        let fake = Fake::start().await;
        let client = fake.client(&members);
        let lists = members.contains("list:");
        for fault in [Fault::Lose, Fault::Refuse(502, "")] {
            fake.fail([fault]);
            assert!(write_pod(&client, 1, "web").await.is_err());
            if lists {
                assert_eq!(inventory(&client).await.unwrap().len(), fake.held(), "this process wrote it");
            }
            fake.requests();
            // A refusal says nothing about the request before.
            assert!(cause(write_pod(&client, 1, "poison").await).starts_with("rejected"));
            assert!(delete_pod(&client, 1).await.is_ok());
            assert_eq!((fake.requests().len(), fake.held()), (2, 0), "{members}");
        }
        assert!(cause(write_pod(&client, 2, "poison").await).starts_with("rejected"));
        fake.contents().records.insert(uid(2), json!({"id": uid(2), "title": "theirs"}));
        assert!(inventory(&client).await.is_ok_and(|shown| shown.is_empty()) || !lists);
        assert_eq!(delete_pod(&client, 2).await, DONE);
        assert_eq!(fake.held(), 1, "it was clearly refused");
    }
}

#[tokio::test]
async fn encoded_record_is_that_of_its_pod() {
    // A projection keeps its rendered record for the next call, which may be about another state of the pod.
    let fake = Fake::start().await;
    let client = fake.client(REST);
    let (web, other) = (pod(1, "web"), pod(1, "web-2"));
    let encoded = |pod: &Pod| {
        let (version, content) = (Version { epoch: 1, seq: 1 }, pod.content.as_ref().unwrap());
        client.encode(&pod.uid, version, RecordChange::Put(pod, content)).unwrap().fingerprint
    };
    let alone = encoded(&web);
    client.project(&other);
    assert_eq!(encoded(&web), alone, "another record was rendered last");
    assert_ne!(encoded(&other), alone);
    client.project(&web);
    assert_eq!(encoded(&web), alone);
    assert_eq!(encoded(&web), alone, "the record is rendered again");
}

#[tokio::test]
async fn foreign_record_is_never_deleted() {
    let fake = Fake::start().await;
    let client = fake.client(REST);
    fake.contents().records.insert(uid(1), json!({"id": uid(1), "owner": "another", "title": "theirs"}));
    assert_eq!(delete_pod(&client, 1).await, DONE, "nothing of ours is there");
    assert_eq!(fake.held(), 1);
    // A record of ours that another owner took over.
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
    fake.contents().records.insert(uid(2), json!({"id": uid(2), "owner": "another"}));
    assert_eq!(inventory(&client).await.unwrap().len(), 0);
    assert_eq!(delete_pod(&client, 2).await, DONE);
    assert_eq!(fake.held(), 2);
}

#[tokio::test]
async fn shared_id_is_looked_up_before_takeover() {
    let fake = Fake::start().await;
    let members = format!("{REST}id: \"{{{{ pod.namespace }}}}.{{{{ pod.name }}}}\"\n");
    let client = fake.client(&members);
    fake.contents().records.insert("shop.web".into(), json!({"id": "shop.web", "owner": "another"}));
    assert!(cause(write_pod(&client, 1, "web").await).starts_with("rejected: a record with this id has another"));
    assert_eq!(write_pod(&client, 1, "api").await, DONE);
    assert_eq!(fake.requests(), ["GET systems/shop.web", "GET systems/shop.api", "PUT systems/shop.api"]);
    let Projection::Record { key, .. } = client.project(&pod(1, "api")) else { panic!() };
    let Projection::Record { key: same, .. } = client.project(&pod(2, "api")) else { panic!() };
    assert_eq!(key, same);
    assert_eq!(write(&client, delete(&client, &key)).await, DONE);
    assert_eq!(fake.requests(), ["DELETE systems/shop.api"]);
    assert_eq!(client.record_id(&key, None).unwrap().id.unwrap(), "shop.api", "people are shown what was deleted");
}

#[tokio::test]
async fn assigned_id_is_kept_for_later_requests() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(ASSIGNED);
    for name in ["web", "web-2"] {
        assert_eq!(write_pod(&client, 1, name).await, DONE);
    }
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert_eq!(fake.requests(), ["POST systems", "PATCH systems/1", "DELETE systems/1"]);
}

#[tokio::test]
async fn lost_create_makes_no_second_record() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(&format!("{ASSIGNED}limits: {{timeout: 400ms}}"));
    fake.fail([Fault::Lose]);
    assert!(matches!(write_pod(&client, 1, "web").await, Err(Failure::Broken(_))));
    assert_eq!(write_pod(&client, 1, "web").await, DONE, "found, and equal");
    assert_eq!((fake.held(), fake.requests().len()), (1, 2));
    fake.fail([Fault::Refuse(502, "not applied")]);
    assert!(matches!(write_pod(&client, 2, "web").await, Err(Failure::Broken(_))));
    assert!(cause(write_pod(&client, 2, "web").await).contains("may still arrive"));
    assert!(cause(delete_pod(&client, 2).await).contains("may still arrive"));
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(write_pod(&client, 2, "web").await, DONE, "not found, and created");
    assert_eq!(fake.held(), 2);
}

#[tokio::test]
async fn create_refused_by_a_proxy_is_looked_up() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(ASSIGNED);
    for (n, status) in [(1, 408), (2, 503)] {
        fake.fail([Fault::Replace(status)]);
        assert!(matches!(write_pod(&client, n, "web").await, Err(Failure::Broken(_))));
        assert_eq!(write_pod(&client, n, "web").await, DONE, "found, and equal");
        assert_eq!(fake.held(), usize::from(n));
    }
    // One that the registry refused is sent again without a lookup. A file may say that it always does.
    let certain = format!("{ASSIGNED}outcome: [{{status: 503, is: retry}}]\n");
    for (members, fault) in [(ASSIGNED, Fault::AskToWait(503)), (&certain, Fault::Refuse(503, ""))] {
        let client = fake.client(members);
        fake.requests();
        fake.fail([fault]);
        assert!(matches!(write_pod(&client, 3, "web").await, Err(Failure::Throttled { status: 503, .. })));
        assert_eq!(write_pod(&client, 3, "web").await, DONE);
        assert_eq!(fake.requests(), ["POST systems"; 2]);
    }
}

#[tokio::test]
async fn lost_create_without_find_waits_for_list() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(&ASSIGNED.replace("find:", "limits: {timeout: 400ms}\n#"));
    fake.fail([Fault::Lose]);
    assert!(write_pod(&client, 1, "web").await.is_err());
    assert!(cause(write_pod(&client, 1, "web").await).contains("waiting for the next list"));
    assert!(cause(delete_pod(&client, 1).await).contains("waiting for the next list"));
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    assert_eq!(fake.held(), 1);
    // A list without it shows that the create had no effect, unless it was read too soon.
    fake.fail([Fault::Refuse(502, "")]);
    assert!(write_pod(&client, 2, "web").await.is_err());
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert!(cause(write_pod(&client, 2, "web").await).contains("waiting for the next list"));
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert_eq!(write_pod(&client, 2, "web").await, DONE);
}

#[tokio::test]
async fn create_waits_while_lists_may_lag() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let members = format!("{}limits: {{timeout: 100ms}}\n", ASSIGNED.replace("count: /count", "lag: 300ms"));
    // Without `find`, only a list tells.
    for (members, finds) in [(members.clone(), true), (members.replace("find:", "vars: {x: 1}\n#"), false)] {
        fake.contents().records.clear();
        fake.contents().hidden = (0..9).map(|n| n.to_string()).collect();
        let client = fake.client(&members);
        assert_eq!(write_pod(&fake.client(ASSIGNED), 1, "web").await, DONE, "the leader before");
        let found = fake.contents().records.keys().next().unwrap().clone();
        assert!(inventory(&client).await.unwrap().is_empty(), "lists do not show it yet");
        fake.requests();
        let early = cause(write_pod(&client, 1, "web-2").await);
        assert!(early.contains("an earlier term may have created it"), "{early}");
        assert_eq!(fake.requests(), [""; 0]);
        let again = client.inventory_again_after().unwrap();
        assert!(again > Duration::ZERO && again <= Duration::from_millis(400));
        tokio::time::sleep(again + Duration::from_millis(20)).await;
        fake.contents().hidden.clear();
        if finds {
            assert_eq!(write_pod(&client, 2, "api").await, DONE);
            assert_eq!(fake.requests(), [format!("GET systems?uid={}", uid(2)), "POST systems".to_owned()]);
        } else {
            assert!(cause(write_pod(&client, 2, "api").await).contains("waiting for the next list"));
        }
        inventory(&client).await.unwrap();
        assert_eq!(client.inventory_again_after(), None);
        fake.requests();
        assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
        assert_eq!(write_pod(&client, 3, "db").await, DONE);
        assert_eq!(fake.requests(), [format!("PATCH systems/{found}"), "POST systems".to_owned()]);
        // In the next term, listed records are updated at once.
        client.prepare(7).await.unwrap();
        assert_eq!(write_pod(&client, 1, "web-3").await, DONE);
        assert!(cause(write_pod(&client, 4, "late").await).contains("an earlier term"));
    }
}

#[tokio::test]
async fn lasting_conflict_parks_with_its_reason() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(ASSIGNED);
    let conflict = Fault::Refuse(409, r#"{"results": [], "detail": "type does not match"}"#);
    for start in ["retry", "retry", "rejected"] {
        fake.fail([conflict.clone()]);
        let cause = cause(write_pod(&client, 1, "web").await);
        assert!(cause.starts_with(start) && cause.contains("type does not match"), "{cause}");
    }
}

#[tokio::test]
async fn missing_revision_is_looked_up() {
    let fake = Fake::start().await;
    let delete = r#"delete: {path: "systems/{{ id }}", headers: {If-Match: "{{ seen }}"}}"#;
    let members =
        REST.replace(r#"delete: {path: "systems/{{ id }}"}"#, delete).replace("item: {", "item: {seen: /revision, ");
    let client = fake.client(&members);
    assert_eq!(write_pod(&client, 1, "web").await, DONE, "its answer is not read");
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert_eq!(fake.requests(), ["GET", "PUT", "GET", "DELETE"].map(|method| format!("{method} systems/{}", uid(1))));
    // Without `find`, the next list tells, and the deletion is not given up.
    let client = fake.client(&members.replace("find:", "vars: {x: 1}\n#"));
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert!(cause(delete_pod(&client, 1).await).starts_with("rejected: "));
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert_eq!(delete_pod(&client, 1).await, DONE);
    assert_eq!(fake.held(), 0);
}

#[tokio::test]
async fn stale_deletion_is_sent_with_new_revision() {
    let fake = Fake::start().await;
    let delete = r#"delete: {path: "systems/{{ id }}", headers: {If-Match: "{{ seen }}"}}"#;
    let seen = REST
        .replace(r#"delete: {path: "systems/{{ id }}"}"#, delete)
        .replace(r#"put: {path: "systems/{{ id }}"}"#, r#"put: {path: "systems/{{ id }}", seen: /revision}"#)
        .replace("item: {", "item: {seen: /revision, ");
    // Also without a mark that is read.
    for members in [seen.clone(), seen.replace("mark: /owner, ", ""), format!("{seen}exclusive: true\n")] {
        let client = fake.client(&members);
        assert_eq!(write_pod(&client, 1, "web").await, DONE);
        fake.requests();
        fake.contents().records.get_mut(&uid(1)).unwrap()["revision"] = json!(99);
        fake.fail([Fault::Refuse(409, "{}")]);
        assert_eq!(delete_pod(&client, 1).await, DONE);
        let expected = ["DELETE", "GET", "DELETE"].map(|method| format!("{method} systems/{}", uid(1)));
        assert_eq!((fake.requests(), fake.held()), (expected.to_vec(), 0), "{members}");
    }
}

#[tokio::test]
async fn deleted_record_is_created_again() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(ASSIGNED);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    fake.contents().records.clear();
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    let find = format!("GET systems?uid={}", uid(1));
    assert_eq!(fake.requests(), ["POST systems", "PATCH systems/1", &find, "POST systems"]);
    // A proxy says so, and the record exists.
    fake.fail([Fault::Refuse(404, "{}")]);
    assert_eq!(write_pod(&client, 1, "web-3").await, DONE);
    assert_eq!((fake.held(), fake.requests().last().unwrap().as_str()), (1, "PATCH systems/2"));
}

#[tokio::test]
async fn existing_record_is_updated_if_ours() {
    let fake = Fake::start().await;
    let members = REST.replace("put:", "create: {path: systems, body: \"{{ {'id': id} | chain(body) }}\"}\nupdate:");
    let members = members.replace("update: {", "update: {clear: false, ");
    let first = fake.client(&members);
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    // Another process does not know the record.
    let client = fake.client(&members);
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    assert_eq!(fake.contents().records[&uid(1)]["title"], "web-2");
    fake.contents().records.get_mut(&uid(1)).unwrap()["owner"] = json!("another");
    let other = fake.client(&members);
    assert!(cause(write_pod(&other, 1, "web-3").await).starts_with("rejected: a record with this id has another"));
    assert_eq!(fake.contents().records[&uid(1)]["title"], "web-2");
}

#[tokio::test]
async fn stale_revision_is_read_and_sent_once_more() {
    let fake = Fake::start().await;
    fake.contents().compares = true;
    // CouchDB and Elasticsearch say 409.
    for status in [412, 409] {
        fake.contents().records.clear();
        fake.contents().conflict = Some(status);
        sends_stale_put_once_more(&fake).await;
    }
}

async fn sends_stale_put_once_more(fake: &Fake) {
    let members = REST
        .replace(
            r#"put: {path: "systems/{{ id }}"}"#,
            r#"put: {path: "systems/{{ id }}", seen: /revision,
                headers: {If-Match: "{{ seen | default(omit) }}", If-None-Match: "{{ omit if seen is defined else '*' }}"}}"#,
        )
        .replace("item: {", "item: {seen: /revision, ");
    let client = fake.client(&members);
    fake.requests();
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE, "the revision is in the answer");
    assert_eq!(fake.requests().len(), 2);
    fake.contents().records.get_mut(&uid(1)).unwrap()["revision"] = json!(99);
    assert_eq!(write_pod(&client, 1, "web-3").await, DONE);
    assert_eq!(fake.requests().iter().map(|r| &r[..3]).collect::<Vec<_>>(), ["PUT", "GET", "PUT"]);
    fake.fail([Fault::Lose]);
    assert!(write_pod(&client, 1, "web-3a").await.is_err());
    assert_eq!(write_pod(&client, 1, "web-3b").await, DONE, "the lost write was applied");
    fake.contents().records.clear();
    assert_eq!(write_pod(&client, 1, "web-4").await, DONE, "it was removed");
    fake.contents().records.get_mut(&uid(1)).unwrap()["owner"] = json!("another");
    fake.contents().records.get_mut(&uid(1)).unwrap()["revision"] = json!(100);
    assert!(cause(write_pod(&client, 1, "web-5").await).starts_with("rejected: a record with this id has another"));
}

#[tokio::test]
async fn answers_have_the_consequences_of_the_table() {
    let fake = Fake::start().await;
    let client = fake.client(&exclusive());
    for (status, text, start) in [
        (422, "{\"error\": \"bad\"}", "rejected: status 422"),
        (404, "{}", "rejected: status 404"),
        (408, "", "Err(Broken("),
        (500, "oops", "uncertain: status 500"),
        (502, "", "Err(Broken("),
        (301, "", "Err(Broken("),
        (429, "", "Err(Throttled { status: 429"),
        (503, "", "Err(Broken("),
        (401, "", "Err(Unauthorized { status: 401"),
        (200, "<html>sign in</html>", "Err(Broken("),
    ] {
        fake.fail([Fault::Refuse(status, text)]);
        let cause = cause(write_pod(&client, 1, "web").await);
        assert!(cause.starts_with(start), "{status}: {cause}");
    }
    for status in [429, 503] {
        fake.fail([Fault::AskToWait(status)]);
        let after = Some(Duration::from_secs(7));
        assert_eq!(write_pod(&client, 1, "web").await, Err(Failure::Throttled { status, after }));
    }
    assert_eq!(write_pod(&client, 1, "poison").await.map(|v| matches!(v, Verdict::Rejected { .. })), Ok(true));
}

#[tokio::test]
async fn forbidden_record_is_parked_if_others_are_allowed() {
    let fake = Fake::start().await;
    let client = fake.client(&exclusive());
    fake.fail([Fault::Refuse(403, "not this one")]);
    assert!(cause(write_pod(&client, 1, "web").await).starts_with("rejected: status 403"));
    fake.fail([Fault::Refuse(403, ""), Fault::Refuse(403, "")]);
    assert!(matches!(write_pod(&client, 1, "web").await, Err(Failure::Unauthorized { status: 403, named: true, .. })));
}

#[tokio::test]
async fn failed_check_parks_the_third_time() {
    let fake = Fake::start().await;
    let client = fake.client(&exclusive().replace(
        r#"put: {path: "systems/{{ id }}"}"#,
        r#"put: {path: "systems/{{ id }}", check: "{{ answer.ok | default(false) }}"}"#,
    ));
    for start in ["uncertain", "uncertain", "rejected"] {
        let cause = cause(write_pod(&client, 1, "web").await);
        assert!(cause.starts_with(start), "{cause}");
    }
    fake.fail([Fault::Say(r#"{"ok": true}"#.into())]);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert!(cause(write_pod(&client, 1, "web").await).starts_with("uncertain"), "the count begins again");
}

#[tokio::test]
async fn unlisted_registry_is_read_before_the_first_write() {
    let fake = Fake::start().await;
    let members = REST.lines().filter(|line| !line.starts_with("list:")).collect::<Vec<_>>().join("\n");
    let first = fake.client(&members);
    assert_eq!(write_pod(&first, 1, "web").await, DONE);
    fake.requests();
    let client = fake.client(&members);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    assert_eq!(fake.requests(), [format!("GET systems/{}", uid(1))], "equal, so nothing is written");
    assert_eq!(write_pod(&client, 1, "web-2").await, DONE);
    assert_eq!(fake.requests(), [format!("PUT systems/{}", uid(1))], "read once per term");
    client.prepare(8).await.unwrap();
    assert_eq!(write_pod(&client, 1, "web-3").await, DONE);
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn record_of_another_id_is_not_believed() {
    // A registry that ignores a filter returns any record.
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let client = fake.client(ASSIGNED);
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    let other = fake.contents().records["1"].clone();
    let fresh = fake.client(ASSIGNED);
    fake.fail([Fault::Say(json!({"results": [other]}).to_string())]);
    assert!(cause(delete_pod(&fresh, 2).await).contains("another id"));
    assert_eq!(fake.held(), 1);
}

#[tokio::test]
async fn change_id_is_the_same_until_acknowledged() {
    let fake = Fake::start().await;
    let client = fake.client(&exclusive().replace(
        r#"put: {path: "systems/{{ id }}"}"#,
        r#"put: {path: "systems/{{ id }}", headers: {X-Change: "{{ change.id }}", X-Order: "{{ change.sequence }}"}}"#,
    ));
    fake.fail([Fault::Lose]);
    assert!(write_pod(&client, 1, "web").await.is_err());
    assert_eq!(write_pod(&client, 1, "web").await, DONE);
    for name in ["web-2", "web"] {
        assert_eq!(write_pod(&client, 1, name).await, DONE);
    }
    let contents = fake.contents();
    let of = |header: &str| -> Vec<String> {
        contents.headers.iter().filter_map(|h| Some(h.get(header)?.to_str().unwrap().to_owned())).collect()
    };
    let (ids, orders) = (of("x-change"), of("x-order"));
    assert_eq!(ids[0], ids[1], "the same bytes");
    assert!(ids[1] != ids[2] && ids[1] != ids[3], "an earlier state is another change");
    assert!(orders.is_sorted() && orders[3] > orders[0]);
}

#[tokio::test]
async fn steps_are_prepared_before_records() {
    let fake = Fake::start().await;
    fake.contents().assigns = true;
    let members = r#"
prepare:
  - {name: kind, find: {path: systems, query: {title: kind}, at: /results/0}, create: {path: systems, body: {title: kind}}, keep: {id: /id}}
body: {title: "{{ pod.name }}", kind: "{{ prepared.kind.id }}", uid: "{{ id }}", owner: "{{ mark }}", digest: "{{ digest }}"}
create: {path: systems, remote: /id}
update: {path: "systems/{{ remote }}"}
delete: {path: "systems/{{ remote }}"}
list: {path: systems, query: {owner: "{{ mark }}"}, items: /results, next: {url: /next}}
item: {id: /uid, remote: /id, mark: /owner, digest: /digest}
"#;
    let client = fake.client(members);
    assert_eq!(client.project(&pod(1, "web")), Projection::Unreadable, "no record is blamed");
    client.prepare(7).await.unwrap();
    assert_eq!(fake.requests(), ["GET systems?title=kind", "POST systems"]);
    assert_eq!(write(&client, put(&client, &pod(1, "web"))).await, DONE);
    assert_eq!(fake.contents().records["2"]["kind"], 1);
    fake.requests();
    client.prepare(8).await.unwrap();
    assert_eq!(fake.requests(), ["GET systems?title=kind"]);
    fake.fail([Fault::Refuse(500, "")]);
    assert!(matches!(client.prepare(9).await, Err(Failure::Broken(_))));
    let client = fake.client(&members.replace("{id: /id}}\nbody", "{id: \"{{ item.result.id }}\"}}\nbody"));
    let failure = client.prepare(7).await.unwrap_err().to_string();
    let says = "the answer to `find` has no value for `kind.id`: targets.yaml:";
    assert!(failure.contains(says) && failure.contains("`item.result` is undefined"), "{failure}");
}
