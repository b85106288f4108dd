//! Registries that return ids in another form.

use super::fake::{Fake, REST, cause, delete_pod, exclusive, inventory, pod, put, uid, write, write_pod};
use crate::{
    model::{ids::Version, uid::Uid},
    reconcile::{
        deletion::Removal,
        outcome::{Failure, Verdict},
    },
    registry::{RecordChange, Registry as _, mapped::TargetClient},
};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);
const SAYS: &str = "make `item.id` read ids as they are written";
const WAITS: &str = "which a pod has; waiting for a list that shows both";

async fn delete_absent(client: &TargetClient, key: &str) -> Result<Verdict, Failure> {
    let change = RecordChange::Delete(Removal::Inferred);
    write(client, client.encode(&Uid::from(key), Version { epoch: 1, seq: 1 }, change).unwrap()).await
}

#[tokio::test]
async fn other_form_of_an_id_discards_the_list() {
    type Edit = fn(&mut serde_json::Value);
    let forms: [(Edit, String); 2] = [
        (|record| record["id"] = record["id"].as_str().unwrap().to_uppercase().into(), uid(10).to_uppercase()),
        (|record| record["id"] = format!("{{{}}}", record["id"].as_str().unwrap()).into(), format!("{{{}}}", uid(10))),
    ];
    for (edit, shown) in forms {
        let fake = Fake::start().await;
        (fake.contents().edit, fake.contents().page_size) = (Some(edit), 1);
        let client = fake.client(&exclusive());
        for n in 10..13 {
            assert_eq!(write_pod(&client, n, "web").await, DONE);
        }
        let failure = inventory(&client).await.unwrap_err();
        let named = [format!("{shown:?}"), format!("{:?}", uid(10))];
        let cause_of = |failure: &Failure| failure.to_string();
        assert!(matches!(&failure, Failure::Inventory(cause) if cause.contains(SAYS)), "{failure:?}");
        assert!(named.iter().all(|id| cause_of(&failure).contains(id)), "{failure}");
        // A new process reads the list before it writes, and takes the records for those of absent pods.
        let client = fake.client(&exclusive());
        assert_eq!(inventory(&client).await.unwrap().len(), 3);
        assert_eq!(write_pod(&client, 10, "web").await, DONE);
        fake.requests();
        assert!(cause(delete_absent(&client, &shown).await).contains(SAYS));
        assert_eq!(fake.requests(), [""; 0]);
        assert!(inventory(&client).await.is_err());
        assert_eq!((delete_pod(&client, 10).await, fake.held()), (DONE, 2), "a deletion that a watch has shown");
    }
}

#[tokio::test]
async fn two_forms_of_an_id_are_two_records() {
    // The file made ids in upper case before.
    let fake = Fake::start().await;
    fake.contents().page_size = 1;
    let client = fake.client(&exclusive());
    let old = uid(10).to_uppercase();
    assert_eq!(write_pod(&client, 10, "web").await, DONE);
    let mut record = fake.contents().records[&uid(10)].clone();
    record["id"] = old.clone().into();
    fake.contents().records.insert(old.clone(), record);
    assert_eq!(inventory(&client).await.unwrap().len(), 2);
    assert_eq!(delete_absent(&client, &old).await, DONE);
    assert_eq!((fake.held(), put(&client, &pod(10, "web")).uid), (1, Uid::from(uid(10))));
}

#[tokio::test]
async fn form_of_an_id_deletes_no_living_record() {
    let edits: [fn(&mut serde_json::Value); 5] = [
        |record| record["id"] = record["id"].as_str().unwrap().to_uppercase().into(),
        |record| record["id"] = record["id"].as_str().unwrap().replace('-', "").into(),
        |record| record["id"] = format!("urn_{}", record["id"].as_str().unwrap()).replace('-', ":").into(),
        |record| record["id"] = record["id"].as_str().unwrap().rsplit_once('.').unwrap().0.into(),
        // What a registry makes of ids is not known. The content shows it.
        |record| record["id"] = record["id"].as_str().unwrap().chars().rev().collect::<String>().into(),
    ];
    for (at, edit) in edits.into_iter().enumerate() {
        for members in [exclusive(), REST.to_owned()] {
            let members = format!("{members}id: \"urn-{{{{ pod.uid }}}}.ab\"\n");
            let fake = Fake::start().await;
            (fake.contents().edit, fake.contents().page_size) = (Some(edit), 1);
            let client = fake.client(&members);
            for n in 10..13 {
                assert_eq!(write_pod(&client, n, "web").await, DONE);
            }
            let failure = inventory(&client).await.unwrap_err().to_string();
            assert!(failure.contains(SAYS) && failure.contains(&format!("urn-{}.ab", uid(10))), "{at}: {failure}");
            // A new process knows the pods, and what the list shows.
            let client = fake.client(&members);
            (10..13).for_each(|n| _ = put(&client, &pod(n, "web")));
            let listed = inventory(&client).await.unwrap();
            fake.requests();
            // `find` refuses a record with another id than it was asked for.
            let is_looked_up = !members.contains("exclusive");
            for says in [WAITS, if is_looked_up { WAITS } else { SAYS }] {
                for item in &listed {
                    let cause = cause(delete_absent(&client, &item.uid.text()).await);
                    assert!(cause.starts_with("retry: ") && cause.contains(says), "{at}: {cause}");
                    let pods: Vec<Uid> = (10..13).map(|n| put(&client, &pod(n, "web")).uid).collect();
                    assert!(pods.contains(&client.may_be_that_of(&item.uid).unwrap()), "{at}: the pod is named");
                }
                assert_eq!(fake.requests(), [""; 0]);
                for n in 10..13 {
                    assert_eq!(write_pod(&client, n, "web").await == DONE, !is_looked_up, "{at}");
                }
                assert_eq!(inventory(&client).await.is_ok(), is_looked_up, "{at}");
                fake.requests();
            }
            assert_eq!(fake.held(), 3);
        }
    }
}

#[tokio::test]
async fn record_unlike_those_of_pods_is_deleted() {
    let fake = Fake::start().await;
    let client = fake.client(&exclusive());
    for n in 10..13 {
        assert_eq!(write_pod(&client, n, "web").await, DONE);
    }
    let client = fake.client(&exclusive());
    put(&client, &pod(10, "web"));
    put(&client, &pod(20, "db"));
    assert_eq!(inventory(&client).await.unwrap().len(), 3);
    assert_eq!(delete_absent(&client, &uid(11)).await, DONE);
    // Its content is that of a record which a pod has. The list shows another one under its id.
    put(&client, &pod(21, "web"));
    assert_eq!((delete_absent(&client, &uid(12)).await, fake.held()), (DONE, 1));
}

#[tokio::test]
async fn former_id_is_deleted_once_both_are_listed() {
    let fake = Fake::start().await;
    let before = fake.client(&format!("{}id: \"{{{{ pod.uid | upper }}}}\"\n", exclusive()));
    assert_eq!(write_pod(&before, 10, "web").await, DONE);
    let (client, old) = (fake.client(&exclusive()), uid(10).to_uppercase());
    put(&client, &pod(10, "web"));
    assert_eq!(inventory(&client).await.unwrap().len(), 1);
    assert!(cause(delete_absent(&client, &old).await).contains(WAITS));
    assert_eq!(write_pod(&client, 10, "web").await, DONE);
    assert!(cause(delete_absent(&client, &old).await).contains(SAYS));
    assert_eq!(inventory(&client).await.unwrap().len(), 2);
    assert_eq!((delete_absent(&client, &old).await, fake.held()), (DONE, 1));
}

#[tokio::test]
async fn departed_pod_does_not_keep_other_forms() {
    let fake = Fake::start().await;
    let client = fake.client(&exclusive());
    assert_eq!(write_pod(&client, 10, "web").await, DONE);
    let client = fake.client(&format!("{}id: \"{{{{ pod.uid | upper }}}}\"\n", exclusive()));
    let awaited = put(&client, &pod(10, "web")).uid;
    let old = inventory(&client).await.unwrap().remove(0).uid;
    assert!(cause(delete_absent(&client, &old.text()).await).contains(WAITS));
    client.not_desired(&awaited);
    assert_eq!((delete_absent(&client, &old.text()).await, fake.held()), (DONE, 0));
}
