//! How many requests the event loop needs for a registry that a file describes. Its client is the real one, and the
//! registry is in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use pod_registrar::{
    clock::Clock,
    controller::{
        event_loop::EventLoop,
        options::{Inputs, Outputs},
    },
    mapping::{answer::Answer, load::load, request::RenderedRequest, target::Target},
    model::{ids::RecordOwner, pod::Pod},
    reconcile::{
        election::Leadership,
        outcome::Failure,
        pod_event::{PodEvent, WatchList},
        status::ControllerStatus,
    },
    registry::mapped::{
        TargetClient,
        carrier::{Exchanged, LocalRegistry},
    },
    store::{StoreWriter, View},
    telemetry::{health::Health, metrics::Metrics},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::world::{SECOND, options, pod};
use crate::support::Log;

const PODS: usize = 500;
const BATCH: usize = 25;
/// How long a page of a list takes.
const PAGE_TIME: Duration = Duration::from_millis(20);

/// Its templates are few, because a debug build is slow at them.
const TARGET: &str = r#"
targets:
  - name: default
    url: http://registry/
    body: {name: "{{ pod.name }}", owner: "{{ mark }}"}
    put: {path: "systems/{{ id }}"}
    delete: {path: "systems/{{ id }}"}
    find: {path: "systems/{{ id }}", at: ""}
    list: {path: systems, items: /results}
    item: {id: /id, mark: /owner, body: ""}
    batch:
      - path: bulk
        body: {operations: "{{ operations }}"}
        put: [{id: "{{ id }}", record: "{{ body }}"}]
        max: {records: 25, bytes: 64MiB}
        atomic: true
"#;

#[derive(Clone, Default)]
struct Bulk {
    ids: Arc<Mutex<BTreeSet<String>>>,
    lookups: Arc<Mutex<usize>>,
    batches: Arc<Mutex<usize>>,
}

impl LocalRegistry for Bulk {
    fn exchange(&self, request: RenderedRequest) -> BoxFuture<'static, Result<Exchanged, Failure>> {
        let registry = self.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (status, body) = registry.answer(&request);
            Ok(Exchanged { answer: Answer::new(status, [], body.to_string().as_bytes()), retry_after: None })
        })
    }
}

impl Bulk {
    fn answer(&self, request: &RenderedRequest) -> (u16, Value) {
        match (request.method.as_str(), request.url.trim_start_matches("http://registry/")) {
            ("GET", "systems") => (200, json!({"results": []})),
            ("GET", _) => {
                *self.lookups.lock() += 1;
                (404, json!({}))
            }
            ("POST", "bulk") => {
                *self.batches.lock() += 1;
                let body: Value = serde_json::from_slice(request.body.as_deref().unwrap()).unwrap();
                let operations = body["operations"].as_array().unwrap();
                self.ids.lock().extend(operations.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
                (200, json!({}))
            }
            _ => (405, json!({})),
        }
    }
}

fn client(members: &str, registry: Bulk) -> TargetClient {
    client_of(TARGET, members, registry)
}

fn client_of(target: &str, members: &str, registry: impl LocalRegistry) -> TargetClient {
    let loaded = load("targets.yaml", &format!("{target}{members}")).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
    let target = Target::compile(&loaded.targets[0].spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let options = options();
    TargetClient::local(Box::leak(Box::new(target)), Box::new(registry), options.request_timeout)
        .with_lookups(options.max_in_flight)
}

/// Runs the loop until it is in sync with these pods, which are listed in pages. Returns how long that took.
async fn register(client: TargetClient, pods: &[Pod], page: usize) -> Duration {
    register_for(client, pods, page, Duration::ZERO).await
}

/// The same, and goes on for some time.
async fn register_for(client: TargetClient, pods: &[Pod], page: usize, more: Duration) -> Duration {
    let (clock, mut writer) = (Clock::start(), StoreWriter::default());
    let view = View::new([writer.store()]);
    let (pod_events, pod_events_in) = mpsc::channel(4);
    let (_leadership, leads) = watch::channel(Leadership::Alone);
    let (checks, _asked) = mpsc::channel(4);
    let (_answers, check_results) = mpsc::channel(4);
    let (controller_status, mut status) = watch::channel(ControllerStatus::default());
    let (_approvals, approvals) = mpsc::channel(4);
    let health = Health::new(1);
    let outputs = Outputs {
        checks,
        relist: watch::channel(0).0,
        controller_status,
        activity: watch::Sender::default(),
        receipts: None,
        traces: None,
        metrics: Metrics::new(health.clone()).target("default"),
        health: health.add_loop(),
    };
    let event_loop = EventLoop::new(client, view, options(), clock, outputs);
    let (_questions, questions) = mpsc::channel(1);
    let inputs = Inputs { pod_events: pod_events_in, check_results, leadership: leads, approvals, questions };
    let begun = clock.now();
    let in_sync = async {
        writer.begin_list(None);
        for page in pods.chunks(page) {
            let uids = page.iter().filter(|pod| writer.list_item(pod)).map(|pod| pod.uid.clone()).collect();
            pod_events.send(PodEvent::Page { watch: 0, uids, at: begun }).await.unwrap();
            tokio::time::sleep(PAGE_TIME).await;
        }
        writer.end_list();
        let list = WatchList { begun, pods: pods.len(), trusted: true, identified: true };
        pod_events.send(PodEvent::Listed { watch: 0, list }).await.unwrap();
        status.wait_for(|status| status.in_sync).await.unwrap();
        tokio::time::sleep(more).await;
    };
    event_loop.run(inputs, in_sync).await.unwrap();
    clock.now().since_start()
}

fn pods(count: usize) -> Vec<Pod> {
    (0..count).map(|n| pod(&format!("00000000-0000-4000-8000-{n:012}"), "a")).collect()
}

#[tokio::test(start_paused = true)]
async fn first_registration_fills_batches() {
    let pods = pods(PODS);
    for (members, lookups) in [("    exclusive: true\n", 0), ("", PODS)] {
        let registry = Bulk::default();
        let took = register(client(members, registry.clone()), &pods, PODS).await;
        assert_eq!((registry.ids.lock().len(), *registry.lookups.lock()), (PODS, lookups), "{members}");
        assert_eq!(*registry.batches.lock(), PODS.div_ceil(BATCH), "{members}");
        // A request takes 1 ms, and four are in flight.
        assert!(took < 2 * SECOND, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_registered_in_full_batches() {
    // Four requests may be in flight, and the limit of writes lets 5,000 records through at first and per second.
    // Neither that nor a page that is smaller than a batch makes a batch smaller.
    let (pods, registry) = (pods(20_000), Bulk::default());
    let target = TARGET.replace("records: 25", "records: 500");
    let took = register(client_of(&target, "    exclusive: true\n", registry.clone()), &pods, 300).await;
    assert_eq!((registry.ids.lock().len(), *registry.batches.lock()), (20_000, 40));
    // The list takes 1.3 s, and the limit of writes 3 s.
    assert!(took < 5 * SECOND, "{took:?}");
}

/// Acknowledges puts and stores none.
#[derive(Clone, Default)]
struct Careless(Arc<Mutex<usize>>);

impl LocalRegistry for Careless {
    fn exchange(&self, request: RenderedRequest) -> BoxFuture<'static, Result<Exchanged, Failure>> {
        let body = match request.method.as_str() {
            "PUT" => {
                *self.0.lock() += 1;
                json!({})
            }
            _ => json!({"results": []}),
        };
        let answer = Answer::new(200, [], body.to_string().as_bytes());
        Box::pin(async { Ok(Exchanged { answer, retry_after: None }) })
    }
}

#[tokio::test(start_paused = true)]
async fn puts_without_effect_are_reported_once() {
    let (log, _logged) = Log::start();
    let (target, _) = TARGET.split_once("    batch:").unwrap();
    let target = target.replace("    find: {path: \"systems/{{ id }}\", at: \"\"}\n", "");
    let (pods, registry) = (pods(5), Careless::default());
    let client = client_of(&target, "    exclusive: true\n", registry.clone());
    register_for(client, &pods, 5, 6 * options().resync_interval).await;
    assert!(*registry.0.lock() >= 5 * 5, "{}", registry.0.lock());
    let lines = log.lines();
    assert_eq!(log.count("writes that have no effect"), 1, "{lines:?}");
    assert_eq!(log.count("records=5 id=\"00000000-0000-4000-8000-000000000000\" change=\"put\""), 1, "{lines:?}");
}

/// Records refer to a type, which something removes and creates again after the controller has found it a few times.
#[derive(Clone, Default)]
struct Typed {
    found: Arc<Mutex<usize>>,
    records: Arc<Mutex<BTreeMap<String, Value>>>,
    writes: Arc<Mutex<usize>>,
}

impl LocalRegistry for Typed {
    fn exchange(&self, request: RenderedRequest) -> BoxFuture<'static, Result<Exchanged, Failure>> {
        let mut records = self.records.lock();
        let body = match (request.method.as_str(), request.url.trim_start_matches("http://registry/systems/")) {
            ("GET", "http://registry/types") => {
                let mut found = self.found.lock();
                *found += 1;
                json!([{"id": if *found < 4 { 1 } else { 2 }}])
            }
            ("GET", _) => json!({"results": records.values().collect::<Vec<_>>()}),
            (_, id) => {
                *self.writes.lock() += 1;
                let mut record: Value = serde_json::from_slice(request.body.as_deref().unwrap()).unwrap();
                record["id"] = json!(id);
                records.insert(id.to_owned(), record);
                json!({})
            }
        };
        let answer = Answer::new(200, [], body.to_string().as_bytes());
        Box::pin(async { Ok(Exchanged { answer, retry_after: None }) })
    }
}

#[tokio::test(start_paused = true)]
async fn records_follow_what_is_prepared() {
    let (target, _) = TARGET.split_once("    batch:").unwrap();
    let target = target.replace("body: {name", "body: {type: \"{{ prepared.type.id }}\", name").replace(
        "    find:",
        "    prepare: [{name: type, find: {path: types, at: /0}, keep: {id: /id}}]\n    exclusive: true\n    find:",
    );
    let (pods, registry) = (pods(5), Typed::default());
    register_for(client_of(&target, "", registry.clone()), &pods, 5, 6 * options().resync_interval).await;
    assert!(*registry.found.lock() > 4 && registry.records.lock().len() == 5);
    assert!(registry.records.lock().values().all(|record| record["type"] == 2), "{:?}", registry.records.lock());
    assert_eq!(*registry.writes.lock(), 2 * 5, "once with each type");
}
