//! The preset `postgrest` against a stand-in from its documentation.

use std::collections::BTreeMap;

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, created, exercise, listed, lose_answers, object, pods, process::live};
use crate::support::{
    Exchange,
    registries::{PostgrestFake, TargetWriter},
};

fn file(url: &str) -> String {
    format!("targets:\n  - {{name: table, preset: postgrest, url: {url}/}}\n")
}

impl Witness for PostgrestFake {
    async fn records(&self) -> BTreeMap<String, Value> {
        self.rows()
    }

    async fn edit(&self, id: &str) {
        self.by_hand(|rows| rows.get_mut(id).unwrap()["name"] = "edited".into());
    }

    async fn remove(&self, id: &str) {
        self.by_hand(|rows| _ = rows.remove(id));
    }

    async fn add_foreign(&self, mark: &str) -> String {
        self.by_hand(|rows| _ = rows.insert("theirs".into(), json!({"id": "theirs", "name": "web", "owner": mark})));
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }
}

#[tokio::test]
async fn postgrest_preset_keeps_its_promises() {
    let fake = PostgrestFake::start().await;
    exercise(&fake.url, file, &fake).await;
}

#[tokio::test]
async fn postgrest_preset_survives_lost_answers() {
    let fake = PostgrestFake::start().await;
    lose_answers(&fake.url, file, &fake).await;
}

#[tokio::test]
async fn postgrest_equals_the_cluster() {
    let fake = PostgrestFake::start().await;
    let writes = |exchange: &Exchange| exchange.method != "GET";
    live(&fake.url.clone(), file, fake, writes).await;
}

#[tokio::test]
async fn postgrest_refuses_only_the_faulty_row() {
    let fake = PostgrestFake::start().await;
    let writer = TargetWriter::new(&file(&fake.url), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let mut all = pods(&writer, 1..4);
    all[1] = writer.pod(created(object(2).image("unusable")));
    let verdict = writer.put(&all[1]).await;
    assert!(matches!(&verdict, Ok(Verdict::Rejected { cause }) if cause.contains("Unicode")), "{verdict:?}");
    // A batch that is refused wrote nothing, and is divided.
    let verdicts = writer.apply(&all, &[]).await.unwrap();
    assert!(matches!(&verdicts[..], [Verdict::Done, Verdict::Rejected { .. }, Verdict::Done]), "{verdicts:?}");
    all.remove(1);
    listed(&writer, &all).await;
}
