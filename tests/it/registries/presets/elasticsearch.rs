//! The preset `elasticsearch` against a stand-in from its documentation.

use std::collections::BTreeMap;

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, all_done, created, exercise, listed, lose_answers, object, pods, process::live};
use crate::support::{
    Exchange,
    registries::{ElasticsearchFake, TargetWriter},
};

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: search, preset: elasticsearch, url: {url}/}}\n")
}

impl Witness for ElasticsearchFake {
    async fn records(&self) -> BTreeMap<String, Value> {
        self.documents()
    }

    async fn edit(&self, id: &str) {
        let mut source = self.documents().remove(id).unwrap();
        source["name"] = "edited".into();
        self.by_hand(id, Some(source));
    }

    async fn remove(&self, id: &str) {
        self.by_hand(id, None);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        self.by_hand("theirs", Some(json!({"uid": "theirs", "name": "web", "owner": mark})));
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }
}

#[tokio::test]
async fn elasticsearch_preset_keeps_its_promises() {
    let fake = ElasticsearchFake::start().await;
    exercise(&fake.url, file, &fake).await;
}

#[tokio::test]
async fn elasticsearch_preset_survives_lost_answers() {
    let fake = ElasticsearchFake::start().await;
    lose_answers(&fake.url, file, &fake).await;
}

#[tokio::test]
async fn elasticsearch_equals_the_cluster() {
    let fake = ElasticsearchFake::start().await;
    let writes = |exchange: &Exchange| {
        let is_write = exchange.path.contains("/_doc/") || exchange.path.starts_with("/_bulk");
        exchange.method != "GET" && is_write
    };
    live(&fake.url.clone(), file, fake, writes).await;
}

#[tokio::test]
async fn elasticsearch_refuses_older_writes() {
    let fake = ElasticsearchFake::start().await;
    let writer = TargetWriter::new(&file(&fake.url), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let mut all = pods(&writer, 1..20);
    // The registry rejects one document of a bulk request, and no other.
    all[7] = writer.pod(created(object(8).ip("unusable")));
    let verdicts = writer.apply(&all, &[]).await.unwrap();
    let rejected = verdicts.iter().enumerate().filter(|(_, verdict)| **verdict != Verdict::Done);
    assert_eq!(rejected.map(|(place, _)| place).collect::<Vec<_>>(), [7], "{verdicts:?}");
    assert!(matches!(&verdicts[7], Verdict::Rejected { cause } if cause.contains("failed to parse")), "{verdicts:?}");
    all.remove(7);
    // A leader whose clock is ahead wrote: ours is sent again until its order is higher.
    let id = all[0].uid.to_string();
    let newer = fake.documents().remove(&id).unwrap();
    fake.by_hand(&id, Some(newer));
    all[0] = writer.pod(created(object(1).image("web:2")));
    all_done(writer.apply(&all[..2], &[]).await);
    listed(&writer, &all).await;
}

#[tokio::test]
async fn search_with_failed_shards_deletes_nothing() {
    let fake = ElasticsearchFake::start().await;
    let writer = TargetWriter::new(&file(&fake.url), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let all = pods(&writer, 1..4);
    all_done(writer.apply(&all, &[]).await);
    fake.fail_searches(1);
    assert!(writer.inventory().await.is_err());
    listed(&writer, &all).await;
}
