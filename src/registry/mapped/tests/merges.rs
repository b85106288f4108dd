//! Updates by PATCH of a registry that keeps what a body leaves out.

use serde_json::json;

use super::fake::{Fake, inventory, pod, uid, write, write_pod};
use crate::{
    model::pod::Pod,
    reconcile::outcome::Verdict,
    registry::{Projection, RecordChange, Registry as _, mapped::TargetClient},
};

/// Its pods have a node or not, and labels that come and go.
const MERGED: &str = r#"
body: {title: "{{ pod.name }}", meta: {node: "{{ placement.node | default(omit) }}"}, labels: "{{ pod.labels }}", owner: "{{ mark }}"}
create: {path: systems, body: "{{ {'id': id} | chain(body) }}"}
update: {path: "systems/{{ id }}", clear: true}
delete: {path: "systems/{{ id }}"}
find: {path: "systems/{{ id }}", at: ""}
list: {path: systems, query: {owner: "{{ mark }}"}, items: /results, next: {url: /next}}
item: {id: /id, mark: /owner, body: ""}
"#;

fn changed(node: Option<&str>, labels: &[&str]) -> Pod {
    let mut pod = pod(1, "web");
    let content = pod.content.as_mut().unwrap();
    content.record.placement.node = node.map(str::to_owned);
    content.record.pod.labels = labels.iter().map(|label| ((*label).to_owned(), "x".to_owned())).collect();
    // What it identifies is another record now.
    content.digest = crate::model::digest::Digest::of_canonical(format!("{node:?} {labels:?}").as_bytes());
    pod
}

async fn put(client: &TargetClient, pod: &Pod) {
    let Projection::Record { key, .. } = client.project(pod) else { panic!() };
    let version = crate::model::ids::Version { epoch: 1, seq: 1 };
    let change = RecordChange::Put(pod, pod.content.as_ref().unwrap());
    assert_eq!(write(client, client.encode(&key, version, change).unwrap()).await, Ok(Verdict::Done));
}

fn fingerprint(client: &TargetClient, pod: &Pod) -> crate::model::digest::Fingerprint {
    let Projection::Record { fingerprint, .. } = client.project(pod) else { panic!() };
    fingerprint
}

#[tokio::test]
async fn patch_clears_what_the_body_lacks() {
    let wrapped = MERGED.replace(", clear: true", ", clear: true, body: {meta: {v: 1}, data: \"{{ body }}\"}");
    for members in [MERGED, &wrapped] {
        let fake = Fake::start().await;
        fake.contents().merges = true;
        let client = fake.client(members);
        put(&client, &changed(Some("node-1"), &["a", "b"])).await;
        fake.contents().records.get_mut(&uid(1)).unwrap()["theirs"] = json!({"kept": true});
        fake.requests();
        put(&client, &changed(None, &["b"])).await;
        // Only the registry tells the names of labels.
        assert_eq!(fake.requests(), ["GET", "PATCH"].map(|method| format!("{method} systems/{}", uid(1))));
        let sent: serde_json::Value = serde_json::from_str(fake.contents().bodies.last().unwrap()).unwrap();
        let sent = if members == MERGED { sent } else { sent["data"].clone() };
        assert_eq!((&sent["meta"], &sent["labels"]), (&json!({"node": null}), &json!({"a": null, "b": "x"})));
        if members == MERGED {
            let record = fake.contents().records[&uid(1)].clone();
            assert_eq!((&record["meta"], &record["labels"]), (&json!({}), &json!({"b": "x"})));
            assert_eq!(record["theirs"], json!({"kept": true}), "what is not in our body stays");
            let shown = inventory(&client).await.unwrap()[0].fingerprint;
            assert_eq!(shown, Some(fingerprint(&client, &changed(None, &["b"]))));
        }
    }
}

#[tokio::test]
async fn fixed_names_are_cleared_without_a_lookup() {
    let members = MERGED.replace("labels: \"{{ pod.labels }}\", ", "");
    let fake = Fake::start().await;
    fake.contents().merges = true;
    let client = fake.client(&members);
    put(&client, &changed(Some("node-1"), &[])).await;
    fake.requests();
    put(&client, &changed(None, &[])).await;
    assert_eq!(fake.requests(), [format!("PATCH systems/{}", uid(1))]);
    assert_eq!(fake.contents().records[&uid(1)]["meta"], json!({}));
}

#[tokio::test]
async fn member_that_stays_is_counted_as_left() {
    // Without `clear`, the list shows it, and no write changes that.
    let members = MERGED.replace(", clear: true", "");
    let fake = Fake::start().await;
    fake.contents().merges = true;
    let client = fake.client(&members);
    put(&client, &changed(Some("node-1"), &[])).await;
    inventory(&client).await.unwrap();
    for _ in 0..2 {
        put(&client, &changed(None, &[])).await;
        inventory(&client).await.unwrap();
    }
    assert_eq!(client.left_differing(), 1);
    put(&client, &changed(Some("node-2"), &[])).await;
    inventory(&client).await.unwrap();
    assert_eq!(client.left_differing(), 0, "it has all members again");
    assert_eq!(write_pod(&client, 2, "web").await, Ok(Verdict::Done));
}
