//! The preset `nautobot` against Nautobot, with a token that has just the rights of `docs/targets/nautobot.md`.

use std::{collections::BTreeMap, path::Path};

use pod_registrar::{
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::{CLUSTERS, Witness, created, exercise, listed, lose_answers, object, pods, process::live};
use crate::support::{
    Exchange,
    registries::{BuiltRegistries, CLUSTER_NAME, HttpRegistry, READER_TOKEN, TargetWriter, WRITER_TOKEN},
};

const API: &str = "/api/";
const MACHINES: &str = "/api/virtualization/virtual-machines/";

/// The smallest file of the page, for this address. The token is in a file of the folder.
fn file(url: &str, folder: &Path) -> String {
    let path = folder.join("token");
    if !path.exists() {
        set_token(folder, WRITER_TOKEN);
    }
    let page = include_str!("../../../../docs/targets/nautobot.md");
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let (token, address) = ("/etc/pod-registrar/nautobot-token", "https://nautobot.example/api/");
    assert!(example.contains(token) && example.contains(address), "{example}");
    example.replace(token, path.to_str().unwrap()).replace(address, &format!("{url}{API}"))
}

fn set_token(folder: &Path, token: &str) {
    std::fs::write(folder.join("token"), format!("{token}\n")).unwrap();
}

struct Nautobot(HttpRegistry);

impl Nautobot {
    async fn start(registries: &BuiltRegistries) -> Self {
        Self(registries.nautobot().await)
    }

    async fn patch(&self, id: &str, body: &Value) {
        let changed = self.0.patch(&format!("{MACHINES}{id}/"), body).await;
        assert_eq!(changed.status, 200, "{changed:?}");
    }

    async fn machine(&self, id: &str) -> Value {
        let machine = self.0.get(&format!("{MACHINES}{id}/?depth=1")).await;
        assert_eq!(machine.status, 200, "{machine:?}");
        machine.body
    }

    /// Makes a machine like those of the preset, with the first cluster and status that there are.
    async fn add(&self, id: &str, mark: &str) {
        let cluster = self.0.get("/api/virtualization/clusters/").await.text("/results/0/id");
        let status = self.0.get("/api/extras/statuses/?name=Active").await.text("/results/0/id");
        let machine = json!({
            "id": id, "name": "theirs", "cluster": {"id": cluster}, "status": {"id": status},
            "custom_fields": {"registrar_owner": mark},
        });
        let made = self.0.post(MACHINES, &machine).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
}

impl Witness for Nautobot {
    async fn records(&self) -> BTreeMap<String, Value> {
        let (mut all, mut next) = (BTreeMap::new(), Some(format!("{MACHINES}?sort=id")));
        while let Some(path) = next {
            let page = self.0.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            let items = page.body["results"].as_array().unwrap();
            all.extend(items.iter().map(|item| (item["id"].as_str().unwrap().to_owned(), item.clone())));
            next = page.body["next"].as_str().map(|url| url.strip_prefix(&self.0.url).unwrap().to_owned());
        }
        all
    }

    async fn edit(&self, id: &str) {
        self.patch(id, &json!({"custom_fields": {"pod_node": "edited"}})).await;
    }

    async fn remove(&self, id: &str) {
        assert_eq!(self.0.delete(&format!("{MACHINES}{id}/")).await.status, 204);
    }

    async fn add_foreign(&self, mark: &str) -> String {
        let id = super::uid(999);
        self.add(&id, mark).await;
        id
    }

    fn id(&self, pod: &Pod) -> String {
        pod.uid.to_string()
    }

    fn server(&mut self) -> Option<&mut HttpRegistry> {
        Some(&mut self.0)
    }
}

#[tokio::test]
async fn nautobot_preset_keeps_its_promises() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (nautobot, folder) = (Nautobot::start(&registries).await, tempfile::tempdir().unwrap());
    let url = nautobot.0.url.clone();
    // The lost answers leave no machine behind, and so the same server can go on.
    lose_answers(&url, |url| file(url, folder.path()), &nautobot).await;
    exercise(&url, |url| file(url, folder.path()), &nautobot).await;
}

/// 40 pods and more are five pages, because a page of the tests' server has ten machines.
#[tokio::test]
async fn nautobot_equals_the_cluster() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (nautobot, folder) = (Nautobot::start(&registries).await, tempfile::tempdir().unwrap());
    let writes = |exchange: &Exchange| exchange.method != "GET" && exchange.path.contains("/virtual-machines/");
    live(&nautobot.0.url.clone(), |url| file(url, folder.path()), nautobot, writes).await;
}

#[tokio::test]
async fn nautobot_machines_show_their_pods() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let (nautobot, folder) = (Nautobot::start(&registries).await, tempfile::tempdir().unwrap());
    let writer = TargetWriter::new(&file(&nautobot.0.url, folder.path()), CLUSTERS[0]);
    writer.begin(1).await.unwrap();
    shows_the_pod(&nautobot, &writer).await;
    leaves_what_people_add(&nautobot, &writer).await;
    leaves_foreign_machines(&nautobot, &writer).await;
    waits_without_a_valid_token(&nautobot, &writer, folder.path()).await;
}

async fn shows_the_pod(nautobot: &Nautobot, writer: &TargetWriter) {
    let mut pod = writer.pod(created(object(1).image("web:1")));
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    let machine = nautobot.machine(&super::uid(1)).await;
    assert_eq!(machine["name"], "shop/web-1 8c1f0f52");
    assert_eq!((&machine["status"]["name"], &machine["cluster"]["name"]), (&json!("Active"), &json!(CLUSTER_NAME)));
    assert_eq!(machine["tags"][0]["name"], "pod-registrar");
    let fields = &machine["custom_fields"];
    assert_eq!((&fields["pod_namespace"], &fields["pod_addresses"]), (&json!("shop"), &json!("10.0.0.1")));
    assert_eq!((&fields["pod_images"], &fields["registrar_owner"]), (&json!("web:1"), &json!(writer.mark())));
    let mut finished = created(object(1).image("web:1"));
    finished["status"]["phase"] = "Succeeded".into();
    pod = writer.pod(finished);
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    assert_eq!(nautobot.machine(&super::uid(1)).await["status"]["name"], "Offline");
    listed(writer, &[pod]).await;
}

/// Edits of what the preset writes are repaired. All else belongs to people.
async fn leaves_what_people_add(nautobot: &Nautobot, writer: &TargetWriter) {
    let pod = writer.pod(created(object(1).image("web:2")));
    let tag = json!({"name": "theirs", "content_types": ["virtualization.virtualmachine"]});
    let tag = nautobot.0.post("/api/extras/tags/", &tag).await.text("/id");
    let edit = json!({"name": "edited", "tags": [{"id": tag}], "comments": "theirs", "vcpus": 4});
    nautobot.patch(&super::uid(1), &edit).await;
    assert_eq!(writer.put(&pod).await, Ok(Verdict::Done));
    let machine = nautobot.machine(&super::uid(1)).await;
    assert_eq!((&machine["name"], &machine["comments"]), (&json!("shop/web-1 8c1f0f52"), &json!("theirs")));
    assert_eq!((&machine["tags"][0]["name"], &machine["vcpus"]), (&json!("theirs"), &json!(4)));
    listed(writer, &[pod]).await;
}

async fn leaves_foreign_machines(nautobot: &Nautobot, writer: &TargetWriter) {
    for (number, mark) in [(2, "pod-registrar:other:default"), (3, "")] {
        nautobot.add(&super::uid(number), mark).await;
        let theirs = nautobot.machine(&super::uid(number)).await;
        let verdict = writer.put(&writer.pod(created(object(number)))).await.unwrap();
        let Verdict::Rejected { cause } = &verdict else { panic!("{verdict:?}") };
        assert!(cause.contains("another owner mark"), "{cause}");
        assert_eq!(nautobot.machine(&super::uid(number)).await, theirs);
        nautobot.remove(&super::uid(number)).await;
    }
}

/// Nautobot answers 403, as for a record that may not be changed.
async fn waits_without_a_valid_token(nautobot: &Nautobot, writer: &TargetWriter, folder: &Path) {
    let ours = pods(writer, 1..5);
    set_token(folder, "4444444444444444444444444444444444444444");
    writer.refused();
    for pod in &ours {
        let verdict = writer.put(pod).await;
        assert!(matches!(verdict, Err(Failure::Unauthorized { .. })), "{verdict:?}");
    }
    // A token that may only read is no reason to pause.
    set_token(folder, READER_TOKEN);
    writer.refused();
    let verdict = writer.put(&ours[3]).await;
    assert!(matches!(verdict, Ok(Verdict::Rejected { .. })), "{verdict:?}");
    set_token(folder, WRITER_TOKEN);
    writer.refused();
    for pod in &ours {
        assert_eq!(writer.put(pod).await, Ok(Verdict::Done));
    }
    listed(writer, &ours).await;
    assert_eq!(nautobot.records().await.len(), ours.len());
}
