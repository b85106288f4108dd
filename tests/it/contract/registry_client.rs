//! The client of protocol v1 against a server that answers byte by byte from a script: the meaning of each answer, the
//! limits of every wait and body, and that credentials stay with the origin.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use pod_registrar::{
    model::{
        digest::Digest,
        ids::{RecordOwner, Version},
        uid::Uid,
    },
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::{Failure, Verdict},
    },
    registry::{
        Encoded, EncodedBody, Registry,
        client::{Client, Config},
        server::{
            serve::{RegistryServer, ServerOptions},
            tls::TlsFiles,
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// The scripted answer to each request, sent after the request is read.
#[derive(Clone)]
pub(crate) enum Script {
    /// This text; then the connection is closed.
    Say(String),
    /// A head, and then bytes without end.
    Endless,
    /// Nothing.
    Hang,
    /// This text; then the connection is reset.
    Reset(String),
    /// These bytes; then the connection is closed.
    Bytes(Vec<u8>),
    /// The text of the request's method; then the connection is closed.
    Methods(Vec<(&'static str, String)>),
    /// The first text, and then the second one again and again, with a pause before each.
    Drip(String, String, Duration),
}

/// A server with one answer to everything, and the requests that it received.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, script.clone(), &sender).await;
            }
        });
        Self { address, requests, task }
    }
}

async fn serve(mut stream: TcpStream, script: Script, requests: &mpsc::UnboundedSender<String>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(n) => request.extend_from_slice(&chunk[..n]),
        }
    }
    let request = String::from_utf8(request).unwrap();
    let method = request.split(' ').next().unwrap_or_default().to_owned();
    requests.send(request).unwrap();
    match script {
        Script::Methods(answers) => {
            let (_, text) = answers.iter().find(|(asked, _)| *asked == method).unwrap();
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Script::Say(text) => _ = stream.write_all(text.as_bytes()).await,
        Script::Bytes(bytes) => _ = stream.write_all(&bytes).await,
        Script::Drip(head, drop, pause) => {
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                tokio::time::sleep(pause).await;
                sent = stream.write_all(drop.as_bytes()).await;
            }
        }
        Script::Hang => _ = stream.read(&mut [0; 1]).await,
        Script::Endless => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(chunk.as_bytes()).await;
            }
        }
        Script::Reset(text) => {
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Script {
    Script::Say(format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

fn problem(status: &str, name: &str) -> Script {
    let body = format!(r#"{{"type":"urn:pod-registrar:problem:{name}","title":"no","detail":"because"}}"#);
    answer(status, "content-type: application/problem+json\r\n", &body)
}

pub(crate) fn client(address: SocketAddr, token_file: Option<PathBuf>) -> Client {
    client_of(Config {
        url: format!("http://{address}/base/").parse().unwrap(),
        token_file,
        ca_file: None,
        request_timeout: Duration::from_millis(700),
    })
}

pub(crate) fn client_of(config: Config) -> Client {
    let writer = RecordOwner { cluster_id: "c".into(), cluster_name: "c".into(), owner: "pod-registrar".into() };
    Client::new(config, writer).unwrap()
}

pub(crate) fn operations() -> Vec<Encoded> {
    let digest = Digest::of_canonical(b"{}");
    let version = Version { epoch: 7, seq: 1 };
    let put = EncodedBody::Put { record: b"{}".to_vec(), digest };
    let delete = EncodedBody::Delete(Removal::Observed(Deletion::Deleted));
    vec![Encoded::new(Uid::from("a"), version, put), Encoded::new(Uid::from("b"), version, delete)]
}

pub(crate) async fn write(script: Script) -> Result<Vec<Verdict>, Failure> {
    install_provider();
    let server = Server::start(script).await;
    client(server.address, None).write(7, operations(), true).await
}

pub(crate) fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Checks the result of a batch with one put and one delete that gets this answer.
async fn check(script: Script, expected: impl Fn(&Result<Vec<Verdict>, Failure>) -> bool, why: &str) {
    let result = write(script).await;
    assert!(expected(&result), "{why}: {result:?}");
}

fn results(first: &str, second: &str) -> Script {
    answer("207 Multi-Status", "", &format!(r#"{{"results":[{first},{second}]}}"#))
}

#[tokio::test]
async fn a_whole_answer_is_judged_item_by_item() {
    let digest = Digest::of_canonical(b"{}");
    let done = format!(r#"{{"id":"a","status":201,"digest":"{digest}"}}"#);
    let gone = r#"{"id":"b","status":204}"#;
    check(results(&done, gone), |r| *r == Ok(vec![Verdict::Done, Verdict::Done]), "both done").await;
    let busy = r#"{"id":"b","status":429,"retryAfterSeconds":5}"#;
    let waits = |r: &Result<Vec<Verdict>, Failure>| matches!(r.as_deref(), Ok([Verdict::Done, Verdict::Retry { after: Some(d), .. }]) if d.as_secs() == 5);
    check(results(&done, busy), waits, "one has to wait").await;
    let other = format!(r#"{{"id":"a","status":200,"digest":"{}"}}"#, Digest::of_canonical(b"other"));
    let uncertain =
        |r: &Result<Vec<Verdict>, Failure>| matches!(r.as_deref(), Ok([Verdict::Uncertain { .. }, Verdict::Done]));
    check(results(&other, gone), uncertain, "another digest than the sent one acknowledges nothing").await;
}

#[tokio::test]
async fn invalid_answer_leaves_everything_uncertain() {
    let broken = |r: &Result<Vec<Verdict>, Failure>| matches!(r, Err(Failure::Broken(_)));
    let (a, b) = (r#"{"id":"a","status":200}"#, r#"{"id":"b","status":204}"#);
    check(results(b, a), broken, "results in another order").await;
    check(answer("200 OK", "", &format!(r#"{{"results":[{a}]}}"#)), broken, "too few results").await;
    check(answer("200 OK", "content-type: text/html\r\n", "<html>Welcome</html>"), broken, "a proxy's page").await;
    check(answer("200 OK", "", ""), broken, "nothing").await;
    check(answer("500 Internal Server Error", "", "oops"), broken, "500").await;
    check(answer("502 Bad Gateway", "", ""), broken, "502").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"results\":[";
    check(Script::Reset(head.into()), broken, "reset in the middle of the body").await;
    check(Script::Say(head.into()), broken, "cut in the middle of the body").await;
    check(Script::Reset(String::new()), broken, "reset before the head").await;
}

#[tokio::test]
async fn waits_and_bodies_are_bounded() {
    let broken = |r: &Result<Vec<Verdict>, Failure>| matches!(r, Err(Failure::Broken(_)));
    check(Script::Hang, broken, "no answer").await;
    check(Script::Endless, broken, "an answer without end").await;
}

#[tokio::test]
async fn refusals_map_to_distinct_failures() {
    check(problem("409 Conflict", "stale-epoch"), |r| *r == Err(Failure::StaleEpoch), "fenced").await;
    check(problem("409 Conflict", "unknown-session"), |r| *r == Err(Failure::UnknownSession), "forgotten").await;
    check(problem("413 Content Too Large", "too-large"), |r| *r == Err(Failure::TooLarge), "too large").await;
    let refused = |r: &Result<Vec<Verdict>, Failure>| matches!(r, Err(Failure::Refused { status: 422, .. }));
    check(problem("422 Unprocessable Content", "schema"), refused, "refused").await;
    for (status, code) in [("401 Unauthorized", 401), ("403 Forbidden", 403)] {
        let expected = |r: &Result<Vec<Verdict>, Failure>| matches!(r, Err(Failure::Unauthorized { status, .. }) if *status == code);
        check(problem(status, "forbidden"), expected, status).await;
    }
}

#[tokio::test]
async fn retry_after_is_read_in_either_form() {
    // The value is in seconds or a date.
    let seconds = |r: &Result<Vec<Verdict>, Failure>| {
        *r == Err(Failure::Throttled { status: 429, after: Some(Duration::from_secs(7)) })
    };
    check(answer("429 Too Many Requests", "retry-after: 7\r\n", ""), seconds, "seconds").await;
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(40));
    let near = |r: &Result<Vec<Verdict>, Failure>| matches!(r, Err(Failure::Throttled { status: 503, after: Some(d) }) if (30..=40).contains(&d.as_secs()));
    check(answer("503 Service Unavailable", &format!("retry-after: {date}\r\n"), ""), near, "a date").await;
    let none = |r: &Result<Vec<Verdict>, Failure>| *r == Err(Failure::Throttled { status: 503, after: None });
    check(answer("503 Service Unavailable", "retry-after: -3\r\n", ""), none, "nonsense").await;
}

#[tokio::test]
async fn redirect_is_not_followed() {
    // The token stays with the origin.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "very-secret\n").unwrap();
    let mut elsewhere = Server::start(answer("200 OK", "", "{}")).await;
    let location = format!("location: http://{}/\r\n", elsewhere.address);
    let mut server = Server::start(answer("307 Temporary Redirect", &location, "")).await;
    let client = client(server.address, Some(token.clone()));
    let error = client.write(7, operations(), true).await.unwrap_err();
    assert!(matches!(&error, Failure::Broken(_)) && !error.to_string().contains("very-secret"), "{error}");
    let request = server.requests.recv().await.unwrap();
    assert!(request.starts_with("POST /base/v1/clusters/c/pods:batch HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer very-secret"), "{request}");
    assert!(elsewhere.requests.try_recv().is_err(), "the redirect is not followed");
    std::fs::write(&token, "another").unwrap();
    client.refresh_credential();
    let _ = client.write(7, operations(), true).await;
    assert!(server.requests.recv().await.unwrap().to_lowercase().contains("authorization: bearer another"));
    std::fs::write(&token, "").unwrap();
    client.refresh_credential();
    let _ = client.write(7, operations(), true).await;
    let request = server.requests.recv().await.unwrap().to_lowercase();
    assert!(request.contains("authorization: bearer another"), "an empty file keeps the old token");
}

#[tokio::test]
async fn unreachable_registry_counts_as_nothing_sent() {
    install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let result = client(address, None).write(7, operations(), true).await;
    assert!(matches!(result, Err(Failure::Unreachable(_))), "{result:?}");
}

/// A certificate for this host and its key, as PEM files.
fn certificate(folder: &std::path::Path, name: &str) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[tokio::test]
async fn only_the_given_tls_authority_is_trusted() {
    // Nothing is sent to a server of another authority.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (certificate(folder.path(), "own"), certificate(folder.path(), "other"));
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "secret c\n").unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let options = ServerOptions { tls: Some(own.clone()), tokens_file: Some(tokens), ..ServerOptions::default() };
    let stop = tokio_util::sync::CancellationToken::new();
    let served = tokio::spawn(RegistryServer::open(options).unwrap().serve(listener, stop.clone().cancelled_owned()));
    let trusting = |ca_file: Option<PathBuf>| {
        client_of(Config {
            url: format!("https://{address}/").parse().unwrap(),
            token_file: Some(token.clone()),
            ca_file,
            request_timeout: Duration::from_secs(10),
        })
    };
    assert!(trusting(Some(own.cert)).capabilities().await.is_ok());
    let refused = trusting(Some(other.cert)).capabilities().await;
    assert!(matches!(refused, Err(Failure::Unreachable(_))), "{refused:?}");
    stop.cancel();
    served.await.unwrap().unwrap();
}
