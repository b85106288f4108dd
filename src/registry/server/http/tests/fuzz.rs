//! Fuzz tests of the server. It answers every request by the protocol, stores only well-formed records, and goes on.

use axum::{Router, body::Body, http::Request};
use fastrand::Rng;
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::registry::server::http::{App, batch, pods, router};
use crate::{
    fuzz::{self, Found, ensure},
    model::{
        digest::Digest,
        ids::{RecordOwner, Version},
        pod::{
            object::PodObject,
            to_record::{self, AllowList, Rule},
        },
    },
    registry::{
        EncodedBody, RecordChange, Registry as _,
        client::{Client, Config},
        server::{
            clock::ServerClock,
            record::{self, Address},
            store::{RecordStore, prune::Retention},
            tokens::Tokens,
        },
    },
};

/// Bytes of an answer, at most. A page of whole records ends at 8 MiB, plus at most 64 KiB for the last record.
const ANSWER_BYTES: usize = 10 << 20;

fn address() -> Address {
    Address { cluster: "c".into(), owner: "pod-registrar".into() }
}

/// A server without sockets. Its clock does not move, so that page tokens stay valid.
struct Server {
    runtime: Runtime,
    router: Router,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = RecordStore::open(None, Retention::default(), ServerClock::manual(1_795_428_000_000)).unwrap();
        let app = App::new(store, Tokens::default(), false, CancellationToken::new());
        let server = Self { runtime, router: router(app) };
        let session = br#"{"instance":"i","ttlSeconds":90}"#;
        assert_eq!(server.send("POST", "/v1/clusters/c/session", session).unwrap().unwrap().0, 201);
        server
    }

    /// Sends a request. Returns `None` for a request that is not valid HTTP.
    fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Option<(u16, Value)>, String> {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let Ok(request) = request.body(Body::from(body.to_vec())) else { return Ok(None) };
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.map_err(|never| format!("{never}"))?;
            let (head, body) = answer.into_parts();
            let kind = head.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap_or("?")).to_owned();
            let status = head.status.as_u16();
            if kind == "text/event-stream" {
                return Ok(Some((status, Value::Null)));
            }
            let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            ensure(bytes.len() <= ANSWER_BYTES, || format!("an answer of {} bytes", bytes.len()))?;
            ensure(status < 500, || format!("{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes)))?;
            // Parsing large answers would take most of the test's time.
            let read = bytes.len() < 1 << 20;
            let value: Value = if read { serde_json::from_slice(&bytes).unwrap_or_default() } else { Value::Null };
            if status >= 400 {
                let named = value["type"].as_str().is_some_and(|kind| kind.starts_with("urn:pod-registrar:problem:"));
                ensure(kind == "application/problem+json" && named && value["status"] == status, || {
                    format!("{method} {path}: {status} with {kind}: {value}")
                })?;
                ensure(bytes.len() < 16_000, || format!("a problem of {} bytes", bytes.len()))?;
            }
            Ok(Some((status, value)))
        })
    }

    /// All stored records are well-formed, and the digests match them.
    fn is_sound(&self) -> Found {
        let read = |path: &str| Ok::<_, String>(self.send("GET", path, &[])?.ok_or("not sent")?.1);
        let (mut ids, mut page, mut whole) = (0_u64, String::new(), Digest::default());
        loop {
            let answer = read(&format!("/v1/clusters/c/pods?view=full&limit=500{page}"))?;
            for record in answer["items"].as_array().ok_or("no items")? {
                ids += 1;
                let id = record["pod"]["uid"].as_str().ok_or("no uid")?;
                let valid = record::check(&record.to_string(), &address(), id);
                let valid = valid.map_err(|problem| format!("{id} is stored and malformed: {problem:?}"))?;
                whole.xor(&valid.digest);
                ensure(record["digest"] == valid.digest.to_string(), || format!("{id} has another digest"))?;
            }
            let Some(next) = answer["next"].as_str() else { break };
            page = format!("&page={next}");
        }
        let digests = read("/v1/clusters/c/pods:digest?buckets=1")?;
        ensure(digests["buckets"][0] == json!({"count": ids, "digest": whole.hex()}), || format!("{digests}"))
    }
}

/// Valid bodies for the addresses.
fn bodies() -> Vec<Vec<u8>> {
    let put = |id: &str, seq| json!({"op": "put", "id": id, "record": fuzz::corpus::record(id, 1, seq)});
    let version = json!({"epoch": 1, "seq": 90});
    let delete = json!({"op": "delete", "id": "b", "version": version, "reason": "deleted", "observed": "watch"});
    let bodies = [
        fuzz::corpus::record("a", 1, 1),
        fuzz::corpus::record("a", 1, 50),
        json!({"epoch": 1, "operations": [put("a", 7), delete, put("c", 9)]}),
        json!({"epoch": 1, "operations": []}),
        json!({"clusterName": "prod-eu", "instance": "i", "ttlSeconds": 90, "scope": "s", "minEpoch": 1}),
        json!({"epoch": 1, "ttlSeconds": 90, "synced": true, "counts": {"pods": 1200, "pending": 3}}),
        json!({"token": "secret"}),
    ];
    bodies.iter().map(|body| body.to_string().into_bytes()).collect()
}

const REQUESTS: [(&str, &str); 17] = [
    ("PUT", "/v1/clusters/c/pods/a"),
    ("PUT", "/v1/clusters/c/pods/a"),
    ("POST", "/v1/clusters/c/pods:batch"),
    ("POST", "/v1/clusters/c/pods:batch"),
    ("POST", "/v1/clusters/d/session"),
    ("PUT", "/v1/clusters/c/session"),
    ("DELETE", "/v1/clusters/d/session?epoch=1"),
    ("DELETE", "/v1/clusters/c/pods/a?epoch=1&seq=13&reason=deleted&observed=watch"),
    ("GET", "/v1/clusters/c"),
    ("GET", "/v1/clusters"),
    ("GET", "/v1/clusters/c/pods?view=digest&limit=500&page=19f0&bucket=17&buckets=256&q=web&lifecycle=active"),
    ("GET", "/v1/clusters/c/pods?view=full&limit=1"),
    ("GET", "/v1/clusters/c/pods:digest?buckets=256"),
    ("GET", "/v1/clusters/c/pods/a?owner=pod-registrar"),
    ("GET", "/v1/changes?cluster=c&since=0&limit=1000"),
    ("POST", "/page/login"),
    ("POST", "/page/logout"),
];

#[test]
fn fuzzed_request_gets_a_protocol_answer() {
    // The store stays sound.
    let server = Server::start();
    let (bodies, rounds) = (bodies(), std::cell::Cell::new(0_u32));
    fuzz::check_slow(2, &bodies, |body, rng| {
        let (method, path) = REQUESTS[rng.usize(..REQUESTS.len())];
        let changed = fuzz::input(&[path.as_bytes().to_vec()], rng);
        let path = if rng.u8(..3) == 0 { String::from_utf8_lossy(&changed).into_owned() } else { path.to_owned() };
        // A session of this writer would make every later body stale.
        if !(method == "POST" && path.contains("/c/")) || path.contains("batch") {
            server.send(method, &path, body)?;
        }
        rounds.set(rounds.get() + 1);
        if rounds.get() % 100 == 0 { server.is_sound() } else { Ok(()) }
    });
    server.is_sound().unwrap();
    let again = server.send("GET", "/v1/clusters/c", &[]).unwrap().unwrap();
    assert_eq!((again.0, &again.1["owners"][0]["epoch"]), (200, &json!(1)), "{again:?}");
}

#[test]
fn fuzzed_batch_splits_into_the_sent_operations() {
    fuzz::check(&bodies(), |body, _| {
        let Ok(text) = std::str::from_utf8(body) else { return Ok(()) };
        let Ok((epoch, items)) = batch::parse(text, &address()) else { return Ok(()) };
        let sent: Value = serde_json::from_str(text).unwrap_or_default();
        let many = sent["operations"].as_array().map_or(0, Vec::len);
        // An item may have JSON that `serde_json::Value` refuses. Then only that item is refused.
        ensure(sent.is_null() || items.len() == many, || format!("{} items of {many}", items.len()))?;
        ensure(sent.is_null() || sent["epoch"] == epoch, || format!("epoch {epoch}"))
    });
}

#[test]
fn accepted_fuzzed_record_is_kept_as_received() {
    fuzz::check(&bodies()[..2], |body, _| {
        let Ok(text) = std::str::from_utf8(body) else { return Ok(()) };
        let Ok(valid) = record::check(text, &address(), "a") else { return Ok(()) };
        let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(|error| error.to_string());
        let (mut sent, mut stored) = (read(text)?, read(&valid.body)?);
        ensure(stored["digest"] == valid.digest.to_string(), || "another digest is stored".to_owned())?;
        drop((sent.remove("digest"), stored.remove("digest")));
        ensure(sent == stored, || "another record is stored".to_owned())?;
        let again = record::check(&valid.body, &address(), "a").map_err(|problem| format!("{problem:?}"))?;
        ensure(again.digest == valid.digest, || "the stored record has another digest".to_owned())
    });
}

#[test]
fn client_makes_valid_records_of_fuzzed_pods() {
    // The client refuses a pod, or makes a record that the server accepts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let owner = RecordOwner { cluster_id: "c".into(), cluster_name: "prod-eu".into(), owner: "pod-registrar".into() };
    let config = Config {
        url: "http://127.0.0.1:1/".parse().unwrap(),
        token_file: None,
        ca_file: None,
        request_timeout: std::time::Duration::from_secs(1),
    };
    let client = Client::new(config, owner.clone()).unwrap();
    let rule = Rule { owner, labels: AllowList::new(["*"]), annotations: AllowList::new(["*"]) };
    fuzz::check(&fuzz::corpus::pods(), |input, _| {
        let Ok(object) = serde_json::from_slice::<PodObject>(input) else { return Ok(()) };
        let Ok(pod) = to_record::desired(object, &rule) else { return Ok(()) };
        let content = pod.content.as_ref().ok_or("no content")?;
        let encoded = client.encode(&pod.uid, Version { epoch: 1, seq: 1 }, RecordChange::Put(&pod, content));
        let encoded = encoded.map_err(|failure| failure.to_string())?;
        let EncodedBody::Put { record, digest } = encoded.body else { return Err("a delete".to_owned()) };
        let text = String::from_utf8(record).map_err(|error| error.to_string())?;
        let valid = record::check(&text, &address(), &pod.uid.text());
        let valid = valid.map_err(|problem| format!("{:?}: {text}", problem.detail))?;
        ensure(valid.digest == digest, || "another digest".to_owned())
    });
}

#[test]
fn fuzzed_page_token_continues_or_is_gone() {
    let corpus = [b"19f09f1a900.0123456789abcdef.a-b.c".to_vec(), b"-1.0123456789abcdef.".to_vec()];
    fuzz::check(&corpus, |input, rng: &mut Rng| {
        let token = String::from_utf8_lossy(input);
        let now = if rng.bool() { rng.i64(..) } else { 1_795_428_000_000 };
        let opened = pods::open_token(&token, "0123456789abcdef", now);
        ensure(opened.is_err() || token.contains(".0123456789abcdef."), || format!("{token:?} is accepted"))
    });
}

#[test]
fn fuzzed_tokens_file_grants_only_what_it_names() {
    // Errors do not quote the file.
    let corpus = [b"# people\nhunter2hunter2 *   # everything\nhunter3hunter3 c-1\r\n".to_vec()];
    fuzz::check(&corpus, |input, _| {
        let text = String::from_utf8_lossy(input).into_owned();
        match Tokens::parse(&SecretString::from(text)) {
            Ok(tokens) => ensure(tokens.access("").is_none() && tokens.access("#").is_none(), || {
                "an empty token is accepted".to_owned()
            }),
            Err(error) => ensure(!error.to_string().contains("hunter"), || format!("{error}")),
        }
    });
}
