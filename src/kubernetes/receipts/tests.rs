//! The writer under a paused clock, with an API server that is a function.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::StatusCode;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{
    board::ReceiptBoard,
    writer::{ReceiptParts, ReceiptWriter},
};
use crate::{
    clock::Clock,
    kubernetes::tests::logs::Log,
    model::{
        ids::RecordOwner,
        pod::{
            receipt::{ANNOTATION, AnnotationMark, GATE, ReceiptMarks},
            to_record::{self, AllowList, Rule},
        },
        uid::Uid,
    },
    reconcile::{
        election::Leadership,
        receipts::{Acknowledgement, ReceiptKinds, Registration, TargetRecords},
    },
    store::{StoreWriter, View},
    telemetry::{health::Health, metrics::Metrics},
};

const ALL: ReceiptKinds = ReceiptKinds { event: true, gate: true, annotation: true };
const SECOND: Duration = Duration::from_secs(1);

/// A request that arrived: method, path with its query, and body.
type Arrived = (String, String, Value);

/// The answer to a request with this path: a status, or none at all.
type Answers = fn(&str) -> Option<u16>;

struct World {
    board: ReceiptBoard,
    writer: StoreWriter,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    answers: Arc<Mutex<Answers>>,
    /// What each target says about a pod. Otherwise the pod is registered under its UID.
    says: Arc<Mutex<BTreeMap<String, Vec<TargetRecords>>>>,
    acknowledge: mpsc::Sender<Acknowledgement>,
    leadership: watch::Sender<Leadership>,
    metrics: Metrics,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn registered(id: &str) -> TargetRecords {
    TargetRecords { registration: Registration::Registered, ids: vec![id.to_owned()] }
}

fn answering(arrived: Arc<Mutex<Vec<Arrived>>>, answers: Arc<Mutex<Answers>>) -> kube::Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (arrived, answers) = (arrived.clone(), answers.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body: Value = serde_json::from_slice(&body.collect_bytes().await?)?;
            let path = parts.uri.to_string();
            let answer = (*answers.lock())(&path);
            arrived.lock().push((parts.method.to_string(), path, body));
            let Some(code) = answer else { std::future::pending().await };
            let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": "as the test wants"});
            let answer = http::Response::builder().status(StatusCode::from_u16(code)?);
            Ok::<_, tower::BoxError>(answer.body(Body::from(status.to_string().into_bytes()))?)
        }
    });
    kube::Client::new(service, "default")
}

impl World {
    fn start(kinds: ReceiptKinds, leadership: Leadership) -> Self {
        Self::with_targets(kinds, leadership, vec!["default"])
    }

    fn with_targets(kinds: ReceiptKinds, leadership: Leadership, targets: Vec<&'static str>) -> Self {
        let arrived = Arc::<Mutex<Vec<Arrived>>>::default();
        let says = Arc::<Mutex<BTreeMap<String, Vec<TargetRecords>>>>::default();
        let answers = Arc::new(Mutex::new((|_| Some(200)) as Answers));
        let (board, writer) = (ReceiptBoard::new(kinds), StoreWriter::default());
        let (leadership, leads) = watch::channel(leadership);
        let (acknowledge, acknowledged) = mpsc::channel(1_000);
        let metrics = Metrics::new(Health::new(1));
        let (asked, count) = (says.clone(), targets.len());
        let parts = ReceiptParts {
            client: answering(arrived.clone(), answers.clone()),
            kinds,
            targets,
            instance: "me:1".into(),
            rights_by_namespace: false,
            board: board.clone(),
            view: View::new([writer.store()]),
            leadership: leads,
            clock: Clock::start(),
            metrics: metrics.clone(),
            ask: Box::new(move |pods: Vec<Uid>| {
                let says = asked.lock();
                let of = |target: usize, pod: &Uid| match says.get(&pod.to_string()) {
                    Some(said) => said[target].clone(),
                    None => registered(&pod.to_string()),
                };
                let all = (0..count).map(|target| pods.iter().map(|pod| of(target, pod)).collect()).collect();
                Box::pin(std::future::ready(all))
            }),
            rng: fastrand::Rng::with_seed(1),
        };
        let task = tokio::spawn(ReceiptWriter::new(parts).run(acknowledged));
        Self { board, writer, arrived, answers, says, acknowledge, leadership, metrics, task }
    }

    /// A watch shows a pod.
    fn show(&mut self, name: &str, marks: ReceiptMarks) {
        let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "o".into() };
        let rule = Rule { owner, labels: AllowList::default(), annotations: AllowList::default() };
        let metadata = serde_json::json!({
            "name": name, "namespace": "shop", "uid": name,
            "resourceVersion": "1", "creationTimestamp": "2026-11-23T10:00:00Z",
        });
        let object = serde_json::json!({"metadata": metadata, "spec": {"containers": []}, "status": {}});
        let pod = to_record::desired(serde_json::from_value(object).unwrap(), &rule).unwrap();
        self.writer.apply(&pod);
        self.board.show(&pod.uid, marks);
    }

    fn acknowledge(&self, pod: &str, is_new: bool) {
        self.acknowledge.try_send(Acknowledgement { target: "default", pod: pod.into(), is_new }).unwrap();
    }

    fn says(&self, pod: &str, said: Vec<TargetRecords>) {
        self.says.lock().insert(pod.to_owned(), said);
    }

    fn answer(&self, answers: Answers) {
        *self.answers.lock() = answers;
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The requests since the last call.
    fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.arrived.lock())
    }

    fn count(&self, kind: &str, outcome: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let start = format!("pod_registrar_receipts_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }
}

const WAITS: ReceiptMarks = ReceiptMarks { waits: true, annotations: AnnotationMark::NONE };
const BARE: ReceiptMarks = ReceiptMarks { waits: false, annotations: AnnotationMark::NONE };

#[tokio::test(start_paused = true)]
async fn each_receipt_is_one_request() {
    let mut world = World::start(ALL, Leadership::Alone);
    world.show("web", WAITS);
    world.acknowledge("web", true);
    world.pass(SECOND).await;
    let mut requests = world.take();
    // The Event is written beside the others.
    requests.sort_by_key(|(method, path, _)| (method.clone(), !path.contains("/status")));
    let [gate, annotation, event] = &requests[..] else { panic!("{requests:#?}") };
    let path = "/api/v1/namespaces/shop/pods/web";
    assert_eq!((&*gate.0, &*gate.1), ("PATCH", &*format!("{path}/status?fieldManager=pod-registrar&force=true")));
    let condition = &gate.2["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!(GATE), &json!("True")));
    assert_eq!(annotation.1, format!("{path}?fieldManager=pod-registrar&force=true"));
    let expected = json!({"name": "web", "namespace": "shop", "uid": "web", "annotations": {ANNOTATION: "web"}});
    assert_eq!((&annotation.2["metadata"], annotation.2.get("spec")), (&expected, None));
    assert_eq!((&*event.0, &*event.1), ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events"));
    assert_eq!(
        event.2["regarding"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": "web"})
    );
    // Neither the passes nor the acknowledgement of a change write them again.
    world.acknowledge("web", false);
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.take(), []);
    let counts = ["event", "gate", "annotation"].map(|kind| world.count(kind, "written"));
    assert_eq!(counts, [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn gate_waits_for_every_target() {
    let kinds = ReceiptKinds { gate: true, ..ReceiptKinds::default() };
    let mut world = World::with_targets(kinds, Leadership::Alone, vec!["a", "b"]);
    let waiting = TargetRecords { registration: Registration::Waiting, ids: Vec::new() };
    world.says("web", vec![registered("1"), waiting]);
    world.show("web", WAITS);
    world.acknowledge("web", true);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.take(), []);
    world.says("web", vec![registered("1"), registered("2")]);
    // No acknowledgement arrives: it may have been dropped.
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(world.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes() {
    let mut world = World::start(ALL, Leadership::Follower);
    world.show("web", WAITS);
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.take(), []);
    assert!(world.board.take_fresh().is_empty(), "nothing gathers while others lead");
    world.leadership.send_replace(Leadership::Alone);
    world.pass(SECOND).await;
    assert_eq!(world.take().len(), 2, "the condition and the annotation, but no Event");
    world.leadership.send_replace(Leadership::Follower);
    world.pass(SECOND).await;
    world.show("next", WAITS);
    world.acknowledge("next", true);
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.take(), []);
}

#[tokio::test(start_paused = true)]
async fn restart_writes_no_receipt_again() {
    // The pods show what the process before has written.
    let mut world = World::start(ALL, Leadership::Alone);
    let annotations = BTreeMap::from([(ANNOTATION.to_owned(), "web".to_owned())]);
    world.show("web", ReceiptMarks { waits: false, annotations: AnnotationMark::of(&annotations) });
    let unknown = ReceiptMarks { waits: false, annotations: AnnotationMark::of([(&"a".to_owned(), &"b".to_owned())]) };
    world.show("other", unknown);
    world.says("other", vec![TargetRecords::default()]);
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.take(), []);
    // The registry is read, and has another id.
    world.says("other", vec![registered("7")]);
    world.pass(Duration::from_secs(60)).await;
    let requests = world.take();
    assert_eq!(requests[0].2["metadata"]["annotations"], json!({ANNOTATION: "7"}), "{requests:#?}");
}

#[tokio::test(start_paused = true)]
async fn first_pass_is_limited_in_rate() {
    // No acknowledgement arrives, as after a restart, or if the queue was full.
    let mut world = World::start(ALL, Leadership::Follower);
    for number in 0..1_000 {
        world.show(&format!("web-{number}"), BARE);
    }
    world.leadership.send_replace(Leadership::Alone);
    world.pass(10 * SECOND).await;
    let after_ten = world.take().len();
    assert!((400..=560).contains(&after_ten), "{after_ten}");
    world.pass(20 * SECOND).await;
    assert_eq!((after_ten + world.take().len(), world.count("annotation", "written")), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn waiting_pods_overtake_annotations() {
    let mut world = World::start(ALL, Leadership::Follower);
    for number in 0..1_000 {
        world.show(&format!("web-{number}"), BARE);
    }
    world.leadership.send_replace(Leadership::Alone);
    world.pass(3 * SECOND).await;
    world.take();
    world.show("urgent", WAITS);
    world.pass(SECOND).await;
    let requests = world.take();
    assert!(requests.iter().any(|(_, path, _)| path.contains("/urgent/status")), "{} requests", requests.len());
}

#[tokio::test(start_paused = true)]
async fn gone_pods_are_not_retried() {
    for code in [404, 409] {
        let mut world = World::start(ALL, Leadership::Alone);
        world.answer(if code == 404 { |_| Some(404) } else { |_| Some(409) });
        world.show("web", BARE);
        world.pass(Duration::from_secs(300)).await;
        assert_eq!((world.take().len(), world.count("annotation", "gone")), (1, 1), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_right_is_one_warning() {
    let (log, _guard) = Log::start();
    let mut world = World::start(ALL, Leadership::Alone);
    world.answer(|path| Some(if path.contains("/status") { 200 } else { 403 }));
    for number in 0..500 {
        let name = format!("web-{number}");
        world.show(&name, if number == 0 { WAITS } else { BARE });
        world.acknowledge(&name, false);
    }
    world.pass(50 * SECOND).await;
    let requests = world.take().len();
    assert!(requests <= 9, "{requests}: those that were under way together");
    assert_eq!((world.count("gate", "written"), log.count(" WARN ", "receipt not written")), (1, 1), "{}", log.text());
    assert_eq!(log.count("resources: [pods], verbs: [patch]", "a ClusterRole of the service account"), 1);
    world.pass(Duration::from_secs(3_600)).await;
    let more = world.take().len();
    assert!((1..=80).contains(&more), "{more}: a few per pause, which grows");
    // The right is granted: everything is written at the next passes.
    world.answer(|_| Some(200));
    world.pass(Duration::from_secs(2 * 3_600)).await;
    assert_eq!(world.count("annotation", "written"), 500);
    assert_eq!(log.count(" INFO ", "receipts can be written again"), 1);
}

#[tokio::test(start_paused = true)]
async fn lasting_failures_pause_all_receipts() {
    let (log, _guard) = Log::start();
    let mut world = World::start(ALL, Leadership::Alone);
    world.answer(|_| Some(503));
    for number in 0..100 {
        world.show(&format!("web-{number}"), WAITS);
    }
    world.pass(Duration::from_secs(600)).await;
    let requests = world.take().len();
    assert!((10..600).contains(&requests), "{requests} in ten minutes");
    assert!(world.count("gate", "failed") > 0 && log.count("ERROR", "") == 0, "{}", log.text());
    world.answer(|_| Some(200));
    world.pass(Duration::from_secs(900)).await;
    assert_eq!((world.count("gate", "written"), world.count("annotation", "written")), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn hanging_server_holds_eight_pods() {
    let mut world = World::start(ALL, Leadership::Alone);
    world.answer(|_| None);
    for number in 0..100 {
        world.show(&format!("web-{number}"), WAITS);
    }
    world.pass(5 * SECOND).await;
    assert_eq!(world.take().len(), 8);
    world.pass(Duration::from_secs(120)).await;
    let requests = world.take().len();
    assert!(requests < 150 && world.count("gate", "failed") >= 8, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn event_exists_after_a_lost_answer() {
    let mut world = World::start(ReceiptKinds { event: true, ..ReceiptKinds::default() }, Leadership::Alone);
    world.answer(|_| Some(500));
    world.show("web", BARE);
    world.acknowledge("web", true);
    world.pass(SECOND / 10).await;
    world.answer(|_| Some(409));
    world.pass(60 * SECOND).await;
    let requests = world.take();
    assert_eq!((requests.len(), world.count("event", "written")), (2, 1));
    assert_eq!(requests[0].2["metadata"]["name"], requests[1].2["metadata"]["name"]);
}
