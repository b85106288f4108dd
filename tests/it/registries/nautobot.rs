//! Facts about Nautobot that the preset `nautobot` relies on.
//!
//! A server takes ten seconds to start, so that one test asks it everything.

use serde_json::{Value, json};

use crate::support::registries::{Answer, BuiltRegistries, HttpRegistry, READER_TOKEN, WRITER_TOKEN};

const MACHINES: &str = "/api/virtualization/virtual-machines/";
const FIELDS: &str = "/api/extras/custom-fields/";
const MACHINE: &str = "virtualization.virtualmachine";
/// The size of a page, which the tests' server limits.
const PAGE: usize = 10;

fn id(number: usize) -> String {
    format!("8c1f0f52-3d5f-4f6c-9a9e-{number:012}")
}

fn path(number: usize) -> String {
    format!("{MACHINES}{}/", id(number))
}

/// The ids of what machines refer to.
struct Scene {
    nautobot: HttpRegistry,
    cluster: String,
    active: String,
    tag: String,
}

impl Scene {
    async fn new(nautobot: HttpRegistry) -> Self {
        let kind = created(&nautobot, "/api/virtualization/cluster-types/", &json!({"name": "Kubernetes"})).await;
        let cluster = json!({"name": "prod", "cluster_type": {"id": kind}});
        let cluster = created(&nautobot, "/api/virtualization/clusters/", &cluster).await;
        let tag = created(&nautobot, "/api/extras/tags/", &json!({"name": "ours", "content_types": [MACHINE]})).await;
        let active = nautobot.get(&format!("/api/extras/statuses/?name=Active&content_types={MACHINE}")).await;
        let active = active.text("/results/0/id");
        for (key, logic) in [("exact", "exact"), ("loose", "loose"), ("other", "exact")] {
            let field =
                json!({"key": key, "label": key, "type": "text", "filter_logic": logic, "content_types": [MACHINE]});
            created(&nautobot, FIELDS, &field).await;
        }
        Self { nautobot, cluster, active, tag }
    }

    fn machine(&self, number: usize, mark: &str) -> Value {
        json!({
            "id": id(number), "name": format!("shop/web-{number}"), "cluster": {"id": self.cluster},
            "status": {"id": self.active}, "tags": [{"id": self.tag}],
            "custom_fields": {"exact": mark, "loose": mark, "other": "kept"},
        })
    }

    async fn list(&self, query: &str) -> Answer {
        let list = self.nautobot.get(&format!("{MACHINES}?{query}")).await;
        assert_eq!(list.status, 200, "{list:?}");
        list
    }
}

async fn created(nautobot: &HttpRegistry, path: &str, body: &Value) -> String {
    let answer = nautobot.post(path, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text("/id")
}

fn ids(list: &Answer) -> Vec<String> {
    let items = list.body["results"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn nautobot_answers_as_the_preset_expects() {
    let Some(registries) = BuiltRegistries::find() else { return };
    let mut scene = Scene::new(registries.nautobot().await).await;
    primary_keys_are_ours(&scene).await;
    updates_change_what_they_name(&scene).await;
    filters_and_pages(&scene).await;
    deletions(&scene).await;
    rights(&mut scene).await;
}

async fn primary_keys_are_ours(scene: &Scene) {
    let machine = scene.machine(1, "m");
    let created = scene.nautobot.post(MACHINES, &machine).await;
    assert_eq!((created.status, created.text("/id")), (201, id(1)), "{created:?}");
    let again = scene.nautobot.post(MACHINES, &machine).await;
    assert_eq!(again.status, 400, "{again:?}");
    assert!(again.text("/id/0").contains("already exists"), "{again:?}");
    // Another machine cannot have the name, and that is another error.
    let mut namesake = machine;
    namesake["id"] = id(2).into();
    let refused = scene.nautobot.post(MACHINES, &namesake).await;
    assert_eq!((refused.status, refused.body.get("id")), (400, None), "{refused:?}");
    assert!(refused.text("/name/0").contains("already exists"), "{refused:?}");
    let status = json!({"name": "Active", "content_types": [MACHINE]});
    let taken = scene.nautobot.post("/api/extras/statuses/", &status).await;
    assert_eq!(taken.status, 400, "{taken:?}");
    assert!(taken.text("/name/0").contains("already exists"), "{taken:?}");
}

async fn updates_change_what_they_name(scene: &Scene) {
    let body = json!({"custom_fields": {"exact": "m2", "unknown": "x"}, "name": "shop/web"});
    let changed = scene.nautobot.patch(&path(1), &body).await;
    assert_eq!((changed.status, changed.text("/name")), (200, "shop/web".to_owned()), "{changed:?}");
    assert_eq!(changed.body["custom_fields"], json!({"exact": "m2", "loose": "m", "other": "kept"}));
    assert_eq!(changed.text("/tags/0/id"), scene.tag);
    assert_eq!(changed.text("/status/id"), scene.active);
    let cleared = scene.nautobot.patch(&path(1), &json!({"custom_fields": {"other": ""}})).await;
    assert_eq!((cleared.status, &cleared.body["custom_fields"]["other"]), (200, &json!("")), "{cleared:?}");
    let short = scene.nautobot.get(&format!("{}?exclude_m2m=true", path(1))).await;
    assert_eq!((short.status, short.body.get("tags")), (200, None), "{short:?}");
    assert_eq!(scene.nautobot.patch(&path(2), &json!({"name": "db"})).await.status, 404);
    assert_eq!(scene.nautobot.get(&path(2)).await.status, 404);
    // No edit can be told from another by a revision.
    assert_eq!((short.header("etag"), short.body.get("version")), ("", None));
}

async fn filters_and_pages(scene: &Scene) {
    // The second mark contains the first one.
    for number in 10..22 {
        assert_eq!(scene.nautobot.post(MACHINES, &scene.machine(number, "a:b")).await.status, 201);
    }
    let mut longer = scene.machine(5, "a:b:c");
    longer["name"] = "a-first-name".into();
    assert_eq!(scene.nautobot.post(MACHINES, &longer).await.status, 201);
    let exact = scene.list("cf_exact=a%3Ab&limit=1000&sort=created,id&exclude_m2m=true").await;
    assert_eq!((&exact.body["count"], ids(&exact).len()), (&json!(12), PAGE));
    assert_eq!(ids(&exact)[0], id(10), "the oldest comes first");
    let next = exact.text("/next");
    assert!(next.starts_with(&format!("{}{MACHINES}?", scene.nautobot.url)), "{next}");
    let last = scene.nautobot.get(next.strip_prefix(&scene.nautobot.url).unwrap()).await;
    assert_eq!((ids(&last), &last.body["next"]), (vec![id(20), id(21)], &Value::Null));
    assert_eq!(scene.list("cf_exact=A%3AB").await.body["count"], 0);
    // Fields that others made may filter by a part.
    assert_eq!(scene.list("cf_loose=A%3AB").await.body["count"], 13);
    let newest = scene.list("cf_loose=a%3Ab&sort=created,id&offset=10").await;
    assert_eq!(ids(&newest).last(), Some(&id(5)), "a new machine comes last, whatever its name");
    assert_eq!(ids(&scene.list("cf_loose=a%3Ab").await)[0], id(5));
    let unknown = scene.nautobot.get(&format!("{MACHINES}?cf_absent=a")).await;
    assert_eq!(unknown.status, 400, "an unknown filter is not ignored: {unknown:?}");
}

async fn deletions(scene: &Scene) {
    assert_eq!(scene.nautobot.delete(&path(10)).await.status, 204);
    assert_eq!(scene.nautobot.delete(&path(10)).await.status, 404);
}

async fn rights(scene: &mut Scene) {
    let machine = scene.machine(30, "m");
    scene.nautobot.authorize_nautobot("3333333333333333333333333333333333333333");
    for answer in [scene.nautobot.get(MACHINES).await, scene.nautobot.post(MACHINES, &machine).await] {
        assert_eq!((answer.status, answer.text("/detail")), (403, "Invalid token".to_owned()));
    }
    scene.nautobot.authorize_nautobot(READER_TOKEN);
    assert_eq!(scene.nautobot.get(MACHINES).await.status, 200);
    assert_eq!(scene.nautobot.post(MACHINES, &machine).await.status, 403);
    scene.nautobot.authorize_nautobot(WRITER_TOKEN);
    assert_eq!(scene.nautobot.post(MACHINES, &machine).await.status, 201);
    let status = json!({"name": "Retired", "content_types": [MACHINE]});
    assert_eq!(scene.nautobot.post("/api/extras/statuses/", &status).await.status, 403);
}
