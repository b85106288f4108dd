//! How targets that a file describes connect: client certificates, tokens that a token endpoint issues, and batches of
//! lines.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pod_registrar::{
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
    registry::server::tls::TlsFiles,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{
    hostile_registry::Authority,
    hostile_target::{file, pod_of},
    registry_client::install_provider,
};
use crate::support::{RestRegistry, SOON, TlsFront, eventually, registries::TargetWriter};

const DONE: Result<Verdict, Failure> = Ok(Verdict::Done);

/// A registry over TLS that demands client certificates, and the authorities of both sides.
struct Demanding {
    registry: RestRegistry,
    front: TlsFront,
    folder: TempDir,
    server_ca: PathBuf,
    server: TlsFiles,
    clients: (Authority, PathBuf),
}

impl Demanding {
    async fn start() -> Self {
        install_provider();
        let folder = tempfile::tempdir().unwrap();
        let registry = RestRegistry::start().await;
        let (authority, server_ca) = Authority::new(folder.path(), "servers");
        let server = authority.sign(folder.path(), "server", "127.0.0.1", false);
        let clients = Authority::new(folder.path(), "clients");
        let to = registry.url.strip_prefix("http://").unwrap().to_owned();
        let front = TlsFront::start(to, &server, Some(&clients.1)).await;
        Self { registry, front, folder, server_ca, server, clients }
    }

    fn writer(&self, ca: &Path, certificate: Option<(&Path, &Path)>) -> TargetWriter {
        let certificate = certificate.map(|(certificate, key)| {
            format!(", certFile: \"{}\", keyFile: \"{}\"", certificate.display(), key.display())
        });
        let tls = format!("    tls: {{caFile: \"{}\"{}}}\n", ca.display(), certificate.unwrap_or_default());
        TargetWriter::new(&file(&format!("https://{}/", self.front.address), &tls), "c")
    }

    fn writer_with(&self, files: &TlsFiles) -> TargetWriter {
        self.writer(&self.server_ca, Some((&files.cert, &files.key)))
    }
}

#[tokio::test]
async fn registry_that_demands_certificates_gets_one() {
    let world = Demanding::start().await;
    let folder = world.folder.path();
    let valid = world.clients.0.sign(folder, "valid", "registrar", false);
    let (unknown, _) = Authority::new(folder, "unknown");
    // Nothing reaches the registry without a valid certificate, or if its own is not trusted.
    let (other, other_ca) = Authority::new(folder, "other");
    for (writer, why) in [
        (world.writer(&world.server_ca, None), "no certificate"),
        (world.writer_with(&unknown.sign(folder, "stranger", "registrar", false)), "one of another authority"),
        (world.writer_with(&world.clients.0.sign(folder, "old", "registrar", true)), "an expired one"),
        (world.writer(&other_ca, Some((&valid.cert, &valid.key))), "a registry of another authority"),
    ] {
        let result = writer.put(&pod_of(&writer, 1, "a")).await;
        let refused = matches!(result, Err(Failure::Broken(_) | Failure::Unreachable(_)));
        assert!(refused && world.registry.requests().is_empty(), "{why}: {result:?}");
    }
    let writer = world.writer_with(&valid);
    assert_eq!(writer.put(&pod_of(&writer, 1, "a")).await, DONE);
    assert_eq!(world.registry.records().len(), 1);
    // The registry's certificate is for another host, or expired.
    for (name, host, expired) in [("elsewhere", "registry.example", false), ("late", "127.0.0.1", true)] {
        let (authority, ca) = Authority::new(folder, &format!("{name}-ca"));
        world.front.replace(&authority.sign(folder, name, host, expired), Some(&world.clients.1));
        let writer = world.writer(&ca, Some((&valid.cert, &valid.key)));
        let result = writer.put(&pod_of(&writer, 2, "a")).await;
        assert!(matches!(result, Err(Failure::Unreachable(_))), "{name}: {result:?}");
    }
    drop(other);
    assert_eq!(world.registry.records().len(), 1);
}

#[tokio::test]
async fn replaced_client_certificate_needs_no_restart() {
    let world = Demanding::start().await;
    let folder = world.folder.path();
    let files = world.clients.0.sign(folder, "client", "registrar", false);
    let writer = world.writer_with(&files);
    assert_eq!(writer.put(&pod_of(&writer, 1, "a")).await, DONE);
    // The registry accepts another authority from now on, before the files change.
    let (renewed, renewed_ca) = Authority::new(folder, "renewed");
    world.front.replace(&world.server, Some(&renewed_ca));
    let refused = async || match writer.put(&pod_of(&writer, 2, "a")).await {
        DONE => Err("it is accepted".to_owned()),
        _ => Ok(()),
    };
    eventually("the old certificate is refused", SOON, refused).await;
    let new = renewed.sign(folder, "new", "registrar", false);
    // A key without its certificate breaks nothing for good.
    std::fs::copy(&new.key, &files.key).unwrap();
    assert!(refused().await.is_ok());
    std::fs::copy(&new.cert, &files.cert).unwrap();
    later(31).await;
    eventually("the new certificate is used", SOON, async || match writer.put(&pod_of(&writer, 2, "a")).await {
        DONE => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Moves the clock that ages of files and tokens use.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// What a token endpoint accepts, and what it did.
#[derive(Default)]
struct Issuing {
    secret: String,
    /// Whether the secret has to be in the body, and not in a header.
    in_body: bool,
    refuses: bool,
    issued: usize,
    forms: Vec<String>,
}

/// A token endpoint for the client `me`. It stops when this is dropped.
struct TokenEndpoint {
    url: String,
    state: Arc<Mutex<Issuing>>,
    task: JoinHandle<()>,
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TokenEndpoint {
    async fn start(secret: &str) -> Self {
        let state = Arc::new(Mutex::new(Issuing { secret: secret.to_owned(), ..Issuing::default() }));
        let router = Router::new().route("/token", post(issue)).with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, task }
    }

    fn set(&self, change: impl FnOnce(&mut Issuing)) {
        change(&mut self.state.lock().unwrap());
    }

    fn issued(&self) -> usize {
        self.state.lock().unwrap().issued
    }
}

/// Issues `token-1`, `token-2` and so on, each for 100 seconds.
async fn issue(State(state): State<Arc<Mutex<Issuing>>>, headers: HeaderMap, form: String) -> Response {
    let mut state = state.lock().unwrap();
    let basic = format!("Basic {}", STANDARD.encode(format!("me:{}", state.secret)));
    let in_header = headers.get(AUTHORIZATION).is_some_and(|given| *given == *basic);
    let in_body = form.contains(&format!("client_id=me&client_secret={}", state.secret));
    state.forms.push(form);
    if state.refuses || !(if state.in_body { in_body } else { in_header }) {
        // Some servers quote what they refuse.
        return (StatusCode::UNAUTHORIZED, format!("{} is wrong", state.secret)).into_response();
    }
    state.issued += 1;
    Json(json!({"access_token": format!("token-{}", state.issued), "expires_in": 100})).into_response()
}

/// A registry that accepts tokens of an endpoint, and a client with its secret in a file.
struct WithTokens {
    endpoint: TokenEndpoint,
    registry: RestRegistry,
    secret: tempfile::TempPath,
    writer: TargetWriter,
}

impl WithTokens {
    async fn start() -> Self {
        install_provider();
        let (endpoint, registry) = (TokenEndpoint::start("s3cret-1").await, RestRegistry::start().await);
        let secret = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&secret, "s3cret-1\n").unwrap();
        let auth = format!(
            "    auth: {{oauth2: {{tokenUrl: \"{}\", clientId: me, clientSecretFile: \"{}\", scopes: [write]}}}}\n",
            endpoint.url,
            secret.display()
        );
        registry.needs("token-1");
        let writer = TargetWriter::new(&file(&format!("{}/", registry.url), &auth), "c");
        Self { endpoint, registry, secret, writer }
    }

    async fn put(&self, app: &str) -> Result<Verdict, Failure> {
        self.writer.put(&pod_of(&self.writer, 1, app)).await
    }
}

#[tokio::test]
async fn issued_token_is_renewed_before_it_expires() {
    let world = WithTokens::start().await;
    for app in ["a", "b"] {
        assert_eq!(world.put(app).await, DONE);
    }
    assert_eq!(world.endpoint.issued(), 1, "one token for both");
    // It lasts 100 s. The registry accepts only the next one, and gets it after 80 s without a refusal.
    world.registry.needs("token-2");
    later(81).await;
    world.registry.requests();
    assert_eq!(world.put("c").await, DONE);
    assert_eq!((world.endpoint.issued(), world.registry.requests().len()), (2, 1));
    assert!(world.endpoint.state.lock().unwrap().forms.iter().all(|form| form.contains("scope=write")));
}

#[tokio::test]
async fn rotated_client_secret_is_read_again() {
    let world = WithTokens::start().await;
    assert_eq!(world.put("a").await, DONE);
    // The registry revokes the token, and the endpoint wants another secret, in the body.
    world.registry.needs("token-2");
    world.endpoint.set(|state| (state.secret, state.in_body) = ("s3cret-2".to_owned(), true));
    let refused = world.put("b").await;
    let Err(Failure::Unauthorized { status: 401, .. }) = &refused else { panic!("{refused:?}") };
    later(6).await;
    let refused = world.put("b").await;
    let Err(failure @ Failure::Unauthorized { status: 401, .. }) = &refused else { panic!("{refused:?}") };
    assert!(!failure.to_string().contains("s3cret") && failure.to_string().contains("oauth2"), "{failure}");
    std::fs::write(&world.secret, "s3cret-2\n").unwrap();
    world.writer.refused();
    assert_eq!(world.put("b").await, DONE);
    assert_eq!(world.endpoint.issued(), 2);
}

#[tokio::test]
async fn refusing_token_endpoint_stops_only_requests() {
    let world = WithTokens::start().await;
    world.endpoint.set(|state| state.refuses = true);
    for _ in 0..2 {
        let refused = world.put("a").await;
        assert!(matches!(refused, Err(Failure::Unauthorized { status: 401, .. })), "{refused:?}");
        assert!(!refused.unwrap_err().to_string().contains("s3cret"));
    }
    assert!(world.registry.requests().is_empty(), "nothing is sent without a token");
    let shown = format!("{:?}", world.writer.exchanges());
    assert!(!shown.contains("s3cret"), "{shown}");
    world.endpoint.set(|state| state.refuses = false);
    assert_eq!(world.put("a").await, DONE);
}

/// Records and deletions in batches of one operation per line.
const LINES: &str = r#"    limits: {timeout: 10s}
    list: {path: systems, items: /results, next: {url: /next}}
    batch:
      - path: bulk
        headers: {Content-Type: application/x-ndjson}
        lines: true
        put: [{put: "{{ body }}", id: "{{ id }}"}]
        delete: [{delete: true, id: "{{ id }}"}]
        max: {records: 4}
        results: {items: /results, id: /id, status: /status}
"#;

#[tokio::test]
async fn batch_of_lines_is_written_and_judged() {
    install_provider();
    let registry = RestRegistry::start().await;
    let writer = TargetWriter::new(&file(&format!("{}/", registry.url), LINES), "c");
    // Line breaks in values do not end a line.
    let apps = ["a\nb", "\u{2028}\r\n{\"id\":\"x\"}", "refused", "😀", "d", "e"];
    let pods: Vec<Pod> = (1..).zip(apps).map(|(number, app)| pod_of(&writer, number, app)).collect();
    let verdicts = writer.apply(&pods, &[]).await.unwrap();
    let rejected: Vec<bool> = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Rejected { .. })).collect();
    assert_eq!(rejected, apps.map(|app| app == "refused"), "{verdicts:?}");
    let ndjson = |lines| ("application/x-ndjson".to_owned(), lines);
    assert_eq!(registry.bulks(), [ndjson(4), ndjson(2)]);
    let held = registry.records();
    for (pod, app) in pods.iter().zip(apps).filter(|(_, app)| *app != "refused") {
        assert_eq!(held[&writer.record(pod).0.to_string()]["app"], app);
    }
    let gone = [0, 4].map(|index: usize| writer.record(&pods[index]).0);
    let verdicts = writer.apply(&pods[1..2], &gone).await.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Done), "{verdicts:?}");
    assert_eq!(registry.records().len(), 3);
    assert_eq!(writer.inventory().await.unwrap().len(), 3);
}
