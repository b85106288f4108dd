//! Connections to a registry: the errors of failed ones, the trusted certificates, and the maximum age. Also single
//! operations, and the meaning of each answer to them.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pod_registrar::{
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Encoded, Registry,
        client::{Client, Config},
        server::tls::TlsFiles,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::contract::{
    hostile_registry::{Authority, Tls},
    registry_client::{Script, Server, answer, client, client_of, install_provider, operations},
};

fn client_at(url: &str, ca_file: Option<PathBuf>) -> Client {
    install_provider();
    let request_timeout = Duration::from_secs(5);
    client_of(Config { url: url.parse().unwrap(), token_file: None, ca_file, request_timeout })
}

/// The text of the failure.
async fn failure_at(url: &str, ca_file: Option<PathBuf>) -> String {
    client_at(url, ca_file).capabilities().await.unwrap_err().to_string()
}

#[tokio::test]
async fn failed_connection_names_cause_and_setting() {
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (own, ca) = Authority::new(folder, "own");
    let (_, other) = Authority::new(folder, "other");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let good = Tls::start(own.sign(folder, "good", "127.0.0.1", false), "127.0.0.1:0", None);
    let elsewhere = Tls::start(own.sign(folder, "elsewhere", "registry.example", false), "127.0.0.1:0", None);
    let expired = Tls::start(own.sign(folder, "expired", "127.0.0.1", true), "127.0.0.1:0", None);
    let (plain, _, _tasks) = keeping("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    for (url, ca, parts) in [
        (format!("http://{closed}"), None, ["nothing listens", "--registry-url", "Connection refused"]),
        (format!("https://{}", good.address), Some(&other), ["not trusted", "--registry-ca-file", "UnknownIssuer"]),
        (format!("https://{}", elsewhere.address), Some(&ca), ["another name", "--registry-url", "registry.example"]),
        (format!("https://{}", expired.address), Some(&ca), ["has expired", "renew it", "expired: verification time"]),
        (format!("https://{plain}"), Some(&ca), ["does not speak TLS", "use http://", "InvalidContentType"]),
        (format!("http://{}", good.address), None, ["speak", "--registry-url", "https://"]),
    ] {
        let text = failure_at(&url, ca.cloned()).await;
        assert!(parts.iter().all(|part| text.contains(part)), "{url}: {text}");
    }
    let text = failure_at("http://no-such-host.invalid", None).await;
    assert!(text.contains("no such host") || text.contains("name server does not answer"), "{text}");
    assert!(text.contains("failed to lookup address information"), "{text}");
    let silent = Server::start(Script::Hang).await;
    let text = client(silent.address, None).capabilities().await.unwrap_err().to_string();
    assert!(text.contains("no answer in time") && text.contains("--request-timeout"), "{text}");
    let hint = "Client sent an HTTP request to an HTTPS server.\n";
    let https = Server::start(answer("400 Bad Request", "", hint)).await;
    let text = failure_at(&format!("http://{}", https.address), None).await;
    assert!(text.contains("https:// in --registry-url"), "{text}");
}

#[tokio::test]
async fn self_signed_certificate_is_trusted() {
    // The settings name the certificate itself as the authority.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let file = |ending| folder.path().join(format!("{name}.{ending}"));
        let files = TlsFiles { cert: file("crt"), key: file("key") };
        std::fs::write(&files.cert, made.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    };
    let (own, other) = (make("own"), make("other"));
    let server = Tls::start(own.clone(), "127.0.0.1:0", None);
    let url = format!("https://{}", server.address);
    assert!(client_at(&url, Some(own.cert)).capabilities().await.is_ok());
    let refused = client_at(&url, Some(other.cert)).capabilities().await;
    assert!(matches!(refused, Err(Failure::Unreachable(_))), "{refused:?}");
}

/// A server that keeps connections open and counts them.
async fn keeping(answer: &'static str) -> (std::net::SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections, mut tasks) = (listener.local_addr().unwrap(), Arc::default(), JoinSet::new());
    let counter = Arc::clone(&connections);
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            AtomicUsize::fetch_add(&counter, 1, Ordering::SeqCst);
            open.spawn(async move {
                let mut bytes = [0; 4096];
                while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    (address, connections, tasks)
}

#[tokio::test]
async fn connection_is_replaced_at_its_maximum_age() {
    install_provider();
    let (address, connections, _tasks) = keeping("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let client = client(address, None);
    let ask = async || {
        let _ = client.capabilities().await;
        connections.load(Ordering::SeqCst)
    };
    assert_eq!((ask().await, ask().await), (1, 1), "a connection is used again");
    for expected in [2, 3] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
        assert_eq!((ask().await, ask().await), (expected, expected));
    }
}

#[tokio::test]
async fn proxy_variables_do_not_affect_the_registry() {
    let server = Server::start(answer("200 OK", "", r#"{"protocol":"v1"}"#)).await;
    // The variables of this process must not change under other tests, so the executable is run.
    let output = Command::new(env!("CARGO_BIN_EXE_pod-registrar"))
        .args(["run", "--registry-url", &format!("http://{}", server.address), "--kubeconfig", "/nowhere"])
        .env("HTTP_PROXY", "http://u:p@ss word@proxy:3128")
        .env("http_proxy", "::")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("/nowhere") && !errors.to_lowercase().contains("proxy"), "{errors}");
}

/// The verdict of one operation in a request of its own, or the failure of the request.
async fn alone(script: Script, operation: &Encoded) -> Result<Verdict, Failure> {
    install_provider();
    let server = Server::start(script).await;
    client(server.address, None).write(7, vec![operation.clone()], false).await.map(|mut verdicts| verdicts.remove(0))
}

fn say(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn single_deletion_accepts_what_a_batch_accepts() {
    let delete = &operations()[1];
    for status in ["200 OK", "204 No Content", "404 Not Found", "410 Gone"] {
        for body in ["", "{}", "gone"] {
            assert_eq!(alone(answer(status, "", body), delete).await, Ok(Verdict::Done), "{status} {body}");
        }
    }
    let page = "\n<html>gone</html>";
    for (record, is_gone) in [("404 Not Found", true), ("200 OK", false)] {
        let methods = vec![("DELETE", say("404 Not Found", page)), ("GET", say(record, page))];
        let verdict = alone(Script::Methods(methods), delete).await.unwrap();
        assert_eq!(verdict == Verdict::Done, is_gone, "a read of the record answers {record}: {verdict:?}");
    }
    let sign_in = alone(answer("200 OK", "", page), delete).await;
    assert!(matches!(sign_in, Err(Failure::Broken(_))), "a proxy's page acknowledges nothing: {sign_in:?}");
}

#[tokio::test]
async fn accepted_deletion_is_verified_by_a_read() {
    let delete = &operations()[1];
    let accepted = |then: &str| Script::Methods(vec![("DELETE", say("202 Accepted", "")), ("GET", say(then, "{}"))]);
    assert_eq!(alone(accepted("404 Not Found"), delete).await, Ok(Verdict::Done));
    for then in ["200 OK", "500 Internal Server Error"] {
        let verdict = alone(accepted(then), delete).await;
        assert!(matches!(verdict, Ok(Verdict::Uncertain { .. })), "{then}: {verdict:?}");
    }
}

#[tokio::test]
async fn unknown_status_concerns_only_its_record() {
    // Statuses of proxies concern the whole request.
    for operation in &operations() {
        for status in ["500 Internal Server Error", "418 I'm a teapot", "599 Else"] {
            let verdict = alone(answer(status, "", "oops"), operation).await;
            assert!(matches!(verdict, Ok(Verdict::Uncertain { .. })), "{status}: {verdict:?}");
        }
        for status in ["408 Request Timeout", "425 Too Early", "499 Client Closed", "502 Bad Gateway", "524 Else"] {
            let result = alone(answer(status, "", "oops"), operation).await;
            assert!(matches!(result, Err(Failure::Broken(_))), "{status}: {result:?}");
        }
    }
}

#[tokio::test]
async fn proxy_statuses_do_not_mean_not_applied() {
    install_provider();
    for status in ["408 Request Timeout", "425 Too Early", "499 Client Closed Request", "460 Else", "520 Else"] {
        let server = Server::start(answer(status, "content-type: text/html\r\n", "<html></html>")).await;
        let result = client(server.address, None).write(7, operations(), true).await;
        assert!(matches!(result, Err(Failure::Broken(_))), "{status}: {result:?}");
    }
}
