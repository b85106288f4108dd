//! The preset `servicenow` against a stand-in from ServiceNow's documentation.

use std::{collections::BTreeMap, path::Path};

use pod_registrar::{model::pod::Pod, reconcile::outcome::Verdict};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, created, exercise, listed, lose_answers, object, pods, process::live};
use crate::support::{
    Exchange,
    registries::{ServiceNowFake, TargetWriter},
};

/// A file for this address, with the client's secret in a file of a folder.
fn file(url: &str, folder: &Path) -> String {
    let secret = folder.join("secret");
    std::fs::write(&secret, "secret-of-the-client").unwrap();
    format!(
        r#"targets:
  - name: cmdb
    preset: servicenow
    url: {url}/
    auth: {{oauth2: {{tokenUrl: "{url}/oauth_token.do", clientId: registrar, clientSecretFile: {}}}}}
    limits: {{requestsPerSecond: 1000}}
"#,
        secret.display()
    )
}

impl Witness for ServiceNowFake {
    async fn records(&self) -> BTreeMap<String, Value> {
        self.items()
    }

    /// The digest is the only value that is compared.
    async fn edit(&self, id: &str) {
        self.by_hand(id, &json!({"u_registrar_digest": ""}));
    }

    async fn remove(&self, id: &str) {
        ServiceNowFake::remove(self, id);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        self.by_hand("theirs", &json!({"name": "web", "install_status": "1", "u_registrar_owner": mark}));
        "theirs".into()
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }
}

#[tokio::test]
async fn servicenow_preset_keeps_its_promises() {
    let (fake, folder) = (ServiceNowFake::start().await, tempfile::tempdir().unwrap());
    exercise(&fake.url, |url| file(url, folder.path()), &fake).await;
    assert_eq!(fake.incomplete(), 0);
    assert!(fake.rows() > fake.items().len(), "items are retired, not removed");
}

#[tokio::test]
async fn servicenow_preset_survives_lost_answers() {
    let (fake, folder) = (ServiceNowFake::start().await, tempfile::tempdir().unwrap());
    lose_answers(&fake.url, |url| file(url, folder.path()), &fake).await;
}

#[tokio::test]
async fn servicenow_equals_the_cluster() {
    let (fake, folder) = (ServiceNowFake::start().await, tempfile::tempdir().unwrap());
    let writes = |exchange: &Exchange| exchange.path.contains("/identifyreconcile");
    live(&fake.url.clone(), |url| file(url, folder.path()), fake, writes).await;
}

#[tokio::test]
async fn servicenow_refuses_only_the_faulty_item() {
    let (fake, folder) = (ServiceNowFake::start().await, tempfile::tempdir().unwrap());
    let writer = TargetWriter::new(&file(&fake.url, folder.path()), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    let mut all = pods(&writer, 1..130);
    all[7] = writer.pod(created(object(8).ip("unusable")));
    let verdicts = writer.apply(&all, &[]).await.unwrap();
    let rejected = verdicts.iter().enumerate().filter(|(_, verdict)| **verdict != Verdict::Done);
    assert_eq!(rejected.map(|(place, _)| place).collect::<Vec<_>>(), [7], "{verdicts:?}");
    let Verdict::Rejected { cause } = &verdicts[7] else { panic!("{:?}", verdicts[7]) };
    assert!(cause.contains("ip_address is not an address"), "{cause}");
    all.remove(7);
    listed(&writer, &all).await;
}
