//! Registries that return ids in another form.

use super::fake::{Fake, cause, delete_pod, exclusive, inventory, pod, put, uid, write, write_pod};
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
