//! Targets that a file describes: a registry that answers anything, answers of any size, and pods whose records cannot
//! be made.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use pod_registrar::{demo::pod::pod, model::ids::DEFAULT_OWNER};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    targets::statuses,
    world::{CLUSTER, Kube, name},
};
use crate::support::{Controller, RestRegistry, SOON, eventually, http_client, seed, until};

const TOKEN: &str = "very-s3cret-token";
/// Lies that the registry has to tell in each of some rounds.
const LIES: usize = 3;
/// Bytes of an answer that is too long, and of memory for all of the controller.
const LONG: usize = 100 << 20;
const MEMORY: u64 = 120 << 20;

/// A server in front of a registry that lies. It stops when this is dropped.
struct Liar {
    url: String,
    state: Arc<Mutex<Lies>>,
    task: JoinHandle<()>,
}

struct Lies {
    upstream: String,
    random: fastrand::Rng,
    lies: bool,
    told: usize,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    async fn start(upstream: &str, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let state = Arc::new(Mutex::new(Lies { upstream: upstream.to_owned(), random, lies: true, told: 0 }));
        let (url, task) = serve(Router::new().fallback(answer).with_state(state.clone())).await;
        Self { url, state, task }
    }

    fn told(&self) -> usize {
        self.state.lock().unwrap().told
    }

    fn tell_the_truth(&self) {
        self.state.lock().unwrap().lies = false;
    }
}

async fn serve(router: Router) -> (String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

async fn answer(
    State(state): State<Arc<Mutex<Lies>>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let url = {
        let mut state = state.lock().unwrap();
        if state.lies && state.random.u8(..3) == 0 {
            state.told += 1;
            return lie(&mut state.random, &given.unwrap_or_default());
        }
        format!("{}{uri}", state.upstream)
    };
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let answer = http_client().request(method, url).headers(headers).body(body).send().await.unwrap();
    let (status, content_type) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let content_type = content_type.unwrap_or_else(|| "text/plain".parse().unwrap());
    (status, [(header::CONTENT_TYPE, content_type)], answer.bytes().await.unwrap()).into_response()
}

/// An answer that has nothing to do with the request, and that shows the credentials if it can.
fn lie(random: &mut fastrand::Rng, given: &str) -> Response {
    let mark = format!("pod-registrar:{CLUSTER}:{DEFAULT_OWNER}");
    let made_up = json!({"id": format!("../{}", random.u8(..4)), "owner": mark, "digest": given});
    let json = |status: u16, body: Value| (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
    match random.u8(..16) {
        0 => (StatusCode::OK, [(header::CONTENT_TYPE, "text/html")], format!("<html>{given}</html>")).into_response(),
        1 => json(422, json!({"error": given, "title": "no"})),
        2 => json(500, json!({"error": given})),
        3 => (StatusCode::FOUND, [(header::LOCATION, format!("http://127.0.0.1:9/{given}"))]).into_response(),
        4 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], given.to_owned()).into_response(),
        5 => json(404, json!({"error": given})),
        6 => json(409, json!({"error": given})),
        7 => json(412, json!({"error": given})),
        8 => (StatusCode::OK, [("x-echo", given)], "[".repeat(200_000)).into_response(),
        9 => (StatusCode::OK, b"{\"results\":[\"\xff\"]}".to_vec()).into_response(),
        10 => json(200, json!({"results": [made_up, made_up], "next": null})),
        11 => json(200, json!({"results": [made_up], "next": null})),
        12 => json(200, json!({"results": [], "next": null})),
        13 => json(200, json!({"results": [], "next": format!("http://127.0.0.1:9/{given}")})),
        14 => json(200, made_up),
        _ => json(200, json!(null)),
    }
}

fn write_file(kube: &Kube, text: &str) -> std::path::PathBuf {
    let path = kube.folder.path().join("targets.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Whether the records of ours are those of the pods.
fn compare(kube: &Kube, registry: &RestRegistry) -> Result<(), String> {
    let app = |uid: &str, name: &str| {
        (uid.to_owned(), kube.api.pod("default", name).unwrap()["metadata"]["labels"]["app"].clone())
    };
    let wanted: BTreeMap<String, Value> =
        kube.api.uids().into_iter().map(|(name, uid)| app(&uid, name.strip_prefix("default/").unwrap())).collect();
    let ours = registry.records().into_iter().filter(|(_, record)| record["owner"] != "another");
    let held: BTreeMap<String, Value> = ours.map(|(id, record)| (id, record["app"].clone())).collect();
    if wanted == held { Ok(()) } else { Err(format!("{wanted:?}\n{held:?}")) }
}

#[tokio::test]
async fn lying_registry_breaks_nothing_and_shows_nothing() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    registry.needs(TOKEN);
    let foreign = json!({"id": "theirs", "owner": "another", "name": "web"});
    registry.insert("theirs", foreign.clone());
    let liar = Liar::start(&registry.url, seed()).await;
    let token = kube.folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let file = write_file(
        &kube,
        &format!(
            "targets:\n  - name: t\n    preset: rest\n    url: {}\n    auth: {{bearer: {{tokenFile: {}}}}}\n    \
             headers: {{X-Owner: \"{{{{ mark }}}}\"}}\n    body: {{app: \"{{{{ pod.labels.app }}}}\"}}\n",
            liar.url,
            token.display()
        ),
    );
    kube.create(0..20);
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &["--resync-interval", "2s"]);
    for round in 0..6 {
        let told = liar.told();
        (0..5).for_each(|number| kube.label(&name(number), &format!("changed-{round}")));
        kube.delete(10 + round..11 + round);
        kube.create(20 + round..21 + round);
        until("the registry lies", || liar.told() >= told + LIES).await;
        assert_eq!(controller.page("/livez").await.0, 200);
    }
    liar.tell_the_truth();
    eventually("the registry equals the cluster", SOON * 2, async || compare(&kube, &registry)).await;
    assert_eq!(registry.records()["theirs"], foreign);
    assert_eq!(registry.trespasses(), Vec::<String>::new());
    // The credentials came back in bodies, headers and addresses.
    let events = format!("{}/apis/events.k8s.io/v1/namespaces/default/events", kube.api.url());
    let events = http_client().get(events).send().await.unwrap().text().await.unwrap();
    let shown = [controller.page("/status").await.1, controller.page("/metrics").await.1, events];
    assert!(shown.iter().all(|text| !text.contains(TOKEN)), "{shown:#?}");
    assert!(controller.is_running() && !controller.logged(TOKEN), "no token is logged");
}

/// Lists nothing, finds nothing, and answers every write with 100 MiB.
async fn say_much(State(answers): State<Arc<Mutex<usize>>>, method: Method, uri: Uri) -> Response {
    match method {
        Method::GET if uri.path() == "/systems" => return axum::Json(json!({"results": []})).into_response(),
        Method::GET => return StatusCode::NOT_FOUND.into_response(),
        _ => {}
    }
    *answers.lock().unwrap() += 1;
    let part = Bytes::from(vec![b' '; 1 << 20]);
    let parts = std::iter::repeat_n(part, LONG >> 20).map(Ok::<_, std::io::Error>);
    Body::from_stream(futures::stream::iter(parts)).into_response()
}

#[tokio::test]
async fn long_answers_take_little_memory() {
    let (kube, answers) = (Kube::start().await, Arc::new(Mutex::new(0)));
    let (url, server) = serve(Router::new().fallback(say_much).with_state(answers.clone())).await;
    kube.create(0..50);
    let limits = "limits: {answerBytes: 1MiB}";
    let file = write_file(&kube, &format!("targets:\n  - name: t\n    preset: rest\n    url: {url}\n    {limits}\n"));
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    until("long answers are read", || *answers.lock().unwrap() > 1).await;
    controller.log_line("more than 1048576 bytes").await;
    let peak = controller.peak_memory();
    assert!(controller.is_running() && peak < MEMORY, "{peak} bytes");
    server.abort();
}

/// The pods of this test have these labels. Some of them give no record.
const LABELS: [(&str, &str); 10] = [
    ("plain", "good"),
    ("quotes", "a\"b'c\\d"),
    ("breaks", "a\r\nX-Evil: 1\n"),
    ("emoji", "😀"),
    ("long", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("parents", "../../admin"),
    ("query", "a?b=c#d%2e%2e"),
    ("template", "{{ mark }}"),
    ("dots", ".."),
    ("huge", "huge"),
];

#[tokio::test]
async fn pods_without_possible_record_harm_no_other() {
    let (kube, registry) = (Kube::start().await, RestRegistry::start().await);
    for (name, key) in LABELS {
        let size = if key == "huge" { "200000" } else { "1" };
        kube.api.create(pod(name).label("key", key).label("size", size).running()).unwrap();
    }
    kube.api.create(pod("nothing").label("size", "1").running()).unwrap();
    let file = write_file(
        &kube,
        &format!(
            r#"
targets:
  - name: t
    url: {}/
    headers: {{X-Owner: "{{{{ mark }}}}"}}
    id: "{{{{ pod.labels.key }}}}"
    body:
      key: "{{{{ pod.labels.key }}}}"
      owner: "{{{{ mark }}}}"
      digest: "{{{{ digest }}}}"
      parts: {{$each: "{{{{ range(pod.labels.size | int) | list }}}}", $value: "{{{{ it }}}}"}}
    put: {{path: "systems/{{{{ id }}}}"}}
    delete: {{path: "systems/{{{{ id }}}}"}}
    find: {{path: "systems/{{{{ id }}}}", at: ""}}
    list: {{path: systems, items: /results, next: {{url: /next}}}}
    item: {{id: /id, mark: /owner, digest: /digest}}
"#,
            registry.url
        ),
    );
    let mut controller = Controller::start_with_targets(&kube.kubeconfig, &file, &[]);
    let possible: BTreeMap<&str, &str> =
        LABELS.into_iter().filter(|(name, _)| !["dots", "huge"].contains(name)).collect();
    let held = || registry.records().into_iter().map(|(id, record)| (id, record["key"].clone()));
    eventually("all possible records exist", SOON, async || {
        let wanted: BTreeMap<String, Value> = possible.values().map(|key| ((*key).to_owned(), json!(key))).collect();
        let held: BTreeMap<String, Value> = held().collect();
        if wanted == held { Ok(()) } else { Err(format!("{held:#?}")) }
    })
    .await;
    // Each error names the file and the line of what is at fault.
    let failed = eventually("the failed pods are shown", SOON, async || {
        let failed = statuses(&mut controller).await["t"]["failedRenders"].clone();
        if failed["count"] == 2 { Ok(failed.to_string()) } else { Err(failed.to_string()) }
    })
    .await;
    for place in ["targets.yaml:6:", "targets.yaml:11:"] {
        assert!(failed.contains(place), "{place}: {failed}");
    }
    until("the path with dots is refused", || controller.logged("targets.yaml:12:")).await;
    let requests = registry.requests();
    let ours = |request: &String| request.contains(" /systems/") || request.ends_with(" /systems");
    assert!(requests.iter().all(ours), "{requests:#?}");
    assert!(controller.is_running());
}
