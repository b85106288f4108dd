//! The demo's inventory over HTTP: its API, its page, and the client of the target that the example describes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these helpers are part of tests")]

use std::time::Duration;

use pod_registrar::{
    demo::{
        cmdb::{Cmdb, CmdbOptions},
        pod::pod,
    },
    listen::{self, server::Limits},
    mapping::{load::load, target::Target},
    model::{
        ids::{RecordOwner, Version},
        pod::{
            Pod,
            to_record::{AllowList, Rule, desired},
        },
        uid::Uid,
    },
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::Verdict,
    },
    registry::{Projection, RecordChange, Registry as _, inventory::InventoryItem, mapped::TargetClient},
};
use reqwest::{Client, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::project;

const LIMITS: Limits = Limits {
    connections: 64,
    head_timeout: Duration::from_secs(10),
    head_bytes: 32 << 10,
    write_timeout: Duration::from_secs(10),
    drain: Duration::ZERO,
};

/// The inventory of one test. It ends with the test.
struct Inventory {
    base: String,
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Inventory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The status and the code of an error.
    fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap().to_owned())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Inventory {
    async fn start() -> Self {
        Self::with(CmdbOptions::default()).await
    }

    async fn with(options: CmdbOptions) -> Self {
        // Another test may have installed one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Cmdb::new(options).router();
        let task = tokio::spawn(listen::server::serve(listener, router, None, LIMITS, std::future::pending()));
        Self { base, client: Client::builder().no_proxy().tls_certs_only([]).build().unwrap(), task }
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("{}{path}", self.base))
    }

    async fn get(&self, path: &str) -> Reply {
        reply(self.request("GET", path)).await
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        reply(self.request(method, path).header("content-type", "application/json").body(body.to_string())).await
    }

    async fn delete(&self, path: &str) -> u16 {
        reply(self.request("DELETE", path)).await.status
    }
}

async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Reply { status, headers, text: response.text().await.unwrap() }
}

fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn systems_are_created_changed_and_deleted() {
    let inventory = Inventory::start().await;
    let created = inventory.send("PUT", "/api/systems/shop%2Fweb", &json!({"name": "web", "node": "n1"})).await;
    assert_eq!((created.status, created.header("location")), (201, "/api/systems/shop%2Fweb"));
    assert_eq!(created.json(), json!({"id": "shop/web", "name": "web", "node": "n1", "revision": 1}));
    assert_eq!(inventory.send("PUT", "/api/systems/shop%2Fweb", &json!({"name": "web"})).await.status, 200);
    let patched = inventory.send("PATCH", "/api/systems/shop%2Fweb", &json!({"state": "active"})).await;
    assert_eq!((patched.status, patched.header("etag")), (200, "\"3\""));
    let read = inventory.get("/api/systems/shop%2Fweb").await;
    assert_eq!(read.json(), json!({"id": "shop/web", "name": "web", "state": "active", "revision": 3}));
    assert_eq!(inventory.delete("/api/systems/shop%2Fweb").await, 204);
    assert_eq!(inventory.delete("/api/systems/shop%2Fweb").await, 404);
    assert_eq!(inventory.get("/api/systems/shop%2Fweb").await.error(), error(404, "not-found"));
}

#[tokio::test]
async fn post_assigns_ids_and_refuses_known_ones() {
    let inventory = Inventory::start().await;
    let created = inventory.send("POST", "/api/systems", &json!({"name": "web"})).await;
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((created.status, created.header("location")), (201, &*format!("/api/systems/{id}")));
    assert_eq!(inventory.send("POST", "/api/systems", &json!({"id": id})).await.error(), error(409, "exists"));
    assert_eq!(inventory.send("POST", "/api/systems", &json!({"id": "mine"})).await.status, 201);
}

#[tokio::test]
async fn entity_tags_guard_reads_and_writes() {
    let inventory = Inventory::start().await;
    inventory.send("PUT", "/api/systems/a", &json!({"name": "web"})).await;
    let unchanged = reply(inventory.request("GET", "/api/systems/a").header("if-none-match", "\"1\"")).await;
    assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""));
    let put = |name: &str, tag: &str| {
        let request = inventory.request("PUT", "/api/systems/a").header("content-type", "application/json");
        reply(request.header(name, tag).body("{}"))
    };
    assert_eq!(put("if-match", "\"9\"").await.error(), error(412, "precondition-failed"));
    assert_eq!(put("if-none-match", "*").await.status, 412);
    assert_eq!(put("if-match", "\"1\"").await.status, 200);
    assert_eq!(reply(inventory.request("DELETE", "/api/systems/a").header("if-match", "\"1\"")).await.status, 412);
}

#[tokio::test]
async fn collection_shows_one_owner_in_pages() {
    let inventory = Inventory::start().await;
    for (id, owner) in [("a", "us"), ("b", "them"), ("c", "us"), ("d", "us")] {
        inventory.send("PUT", &format!("/api/systems/{id}"), &json!({"owner": owner})).await;
    }
    let (mut path, mut ids) = ("/api/systems?owner=us&limit=2".to_owned(), Vec::new());
    loop {
        let page = inventory.get(&path).await.json();
        assert_eq!(page["total"], 3);
        ids.extend(page["results"].as_array().unwrap().iter().map(|system| system["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut path);
    }
    assert_eq!(ids, ["a", "c", "d"]);
    assert_eq!(inventory.get("/api/systems?ower=us").await.error(), error(400, "invalid"));
}

#[tokio::test]
async fn wrong_requests_have_json_errors() {
    let inventory = Inventory::start().await;
    let long = json!({"text": "x".repeat(70_000)});
    assert_eq!(inventory.send("PUT", "/api/systems/a", &long).await.error(), error(413, "too-large"));
    assert_eq!(inventory.send("PUT", "/api/systems/a", &json!([])).await.error(), error(400, "invalid"));
    assert_eq!(inventory.send("PUT", "/api/systems/a", &json!({"id": "b"})).await.status, 400);
    assert_eq!(inventory.send("PUT", "/api/systems/%FF", &json!({})).await.error(), error(400, "invalid"));
    assert_eq!(inventory.send("DELETE", "/api/systems", &json!({})).await.error(), error(405, "method-not-allowed"));
    assert_eq!(inventory.get("/api/pods").await.error(), error(404, "not-found"));
    // Browsers send this type to other sites without asking them.
    let form = inventory.request("POST", "/api/systems").header("content-type", "text/plain").body("{}");
    assert_eq!(reply(form).await.error(), error(415, "unsupported-media-type"));
    assert_eq!(inventory.get("/api/systems").await.json()["total"], 0, "nothing was stored");
}

#[tokio::test]
async fn token_is_required_if_set() {
    let inventory = Inventory::with(CmdbOptions { token: Some("secret".into()), ..CmdbOptions::default() }).await;
    for path in ["/", "/api/systems", "/page/app.js", "/other"] {
        let refused = inventory.get(path).await;
        assert_eq!(refused.error(), error(401, "unauthorized"), "{path}");
        let schemes: Vec<_> = refused.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(schemes.len(), 2, "browsers ask for a password");
    }
    assert_eq!(reply(inventory.request("GET", "/api/systems").bearer_auth("secret")).await.status, 200);
    assert_eq!(reply(inventory.request("GET", "/").basic_auth("me", Some("secret"))).await.status, 200);
}

#[tokio::test]
async fn page_shows_systems_and_loads_nothing_else() {
    let inventory = Inventory::start().await;
    inventory.send("PUT", "/api/systems/a", &json!({"name": "<b>web</b>", "rack": "r7"})).await;
    let page = inventory.get("/?q=web").await;
    assert!(page.text.contains("<th>rack</th>") && page.text.contains("&lt;b&gt;web&lt;&#x2f;b&gt;"), "{}", page.text);
    assert!(inventory.get("/?q=none").await.text.contains("No systems match."));
    for path in ["/", "/?page=x&q=%FF", "/page/app.js", "/page/style.css", "/page/icon.svg"] {
        let file = inventory.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        let policy = file.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let text = file.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{path} names another origin");
        for risky in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "localStorage"]
        {
            assert!(!text.contains(risky), "{path} uses {risky}");
        }
    }
}

/// The client of the first target of the example, with the address of `inventory`.
fn example(inventory: &Inventory) -> TargetClient {
    let file = project::text("docs/examples/demo-targets.yaml").replace("http://127.0.0.1:7071", &inventory.base);
    let loaded = load("demo-targets.yaml", &file).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let spec = &loaded.targets[0].spec;
    let target = Target::compile(spec, &owner()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    TargetClient::new(target, &spec.connection, None, Duration::from_secs(5), None).unwrap()
}

fn owner() -> RecordOwner {
    RecordOwner { cluster_id: "c1".into(), cluster_name: "demo".into(), owner: "o".into() }
}

fn desired_pod(number: u64) -> Pod {
    let mut document = Value::from(pod(format!("web-{number}")).namespace("shop").running());
    document["metadata"]["uid"] = format!("00000000-0000-4000-8000-{number:012x}").into();
    document["metadata"]["resourceVersion"] = "7".into();
    document["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z".into();
    let rule = Rule { owner: owner(), labels: AllowList::default(), annotations: AllowList::default() };
    desired(serde_json::from_value(document).unwrap(), &rule).unwrap()
}

async fn write(client: &TargetClient, key: &Uid, seq: u64, change: RecordChange<'_>) -> Verdict {
    let operation = client.encode(key, Version { epoch: 1, seq }, change).unwrap();
    client.write(1, vec![operation], false).await.unwrap().remove(0)
}

async fn registered(client: &TargetClient) -> Vec<InventoryItem> {
    let (mut items, mut token) = (Vec::new(), None);
    loop {
        let page = client.inventory(None, token, 100).await.unwrap();
        items.extend(page.items);
        token = page.next;
        if token.is_none() {
            return items;
        }
    }
}

#[tokio::test]
async fn example_target_registers_pods() {
    let inventory = Inventory::start().await;
    inventory.send("PUT", "/api/systems/other", &json!({"name": "not a pod"})).await;
    let client = example(&inventory);
    client.prepare(1).await.unwrap();
    client.capabilities().await.unwrap();
    let pod = desired_pod(1);
    let Projection::Record { key, fingerprint } = client.project(&pod) else { panic!("{:?}", client.project(&pod)) };
    let put = RecordChange::Put(&pod, pod.content.as_ref().unwrap());
    assert_eq!(write(&client, &key, 1, put).await, Verdict::Done);
    let system = inventory.get(&format!("/api/systems/{key}")).await.json();
    assert_eq!((&system["name"], &system["owner"]), (&json!("shop/web-1"), &json!("pod-registrar:c1:o")));
    let items = registered(&client).await;
    assert_eq!(items.len(), 1, "the system of others is left aside: {items:?}");
    assert_eq!((&items[0].uid, items[0].fingerprint), (&key, Some(fingerprint)));
    let removal = RecordChange::Delete(Removal::Observed(Deletion::Deleted));
    assert_eq!(write(&client, &key, 2, removal).await, Verdict::Done);
    assert_eq!(registered(&client).await, []);
    assert_eq!(inventory.get("/api/systems").await.json()["total"], 1, "the system of others stays");
}

/// More systems than a page of the list holds.
#[tokio::test]
async fn example_target_lists_all_pages() {
    let inventory = Inventory::start().await;
    let client = example(&inventory);
    client.prepare(1).await.unwrap();
    for number in 1..=501 {
        let pod = desired_pod(number);
        let Projection::Record { key, .. } = client.project(&pod) else { panic!() };
        let put = RecordChange::Put(&pod, pod.content.as_ref().unwrap());
        assert_eq!(write(&client, &key, number, put).await, Verdict::Done);
    }
    assert_eq!(registered(&client).await.len(), 501);
}
