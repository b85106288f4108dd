//! A registry that is hostile, faulty or another service. Every answer is bounded in time and memory, credentials go
//! only to the configured origin, and one invalid result affects no other.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pod_registrar::{
    model::uid::Uid,
    reconcile::outcome::{Failure, Verdict},
    registry::{
        Features, RecordName, Registry,
        client::{Client, Config},
        server::{
            serve::{RegistryServer, ServerOptions},
            tls::TlsFiles,
        },
    },
};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use tokio_util::sync::CancellationToken;

use crate::{
    contract::registry_client::{Script, Server, answer, client, client_of, install_provider, operations, write},
    support::{SOON, eventually},
};

/// The longest time of a request: the client's timeout in these tests, with a margin for a busy machine.
const BOUNDED: Duration = Duration::from_secs(5);

/// Checks that the answer is invalid, so that everything is uncertain, and that this is known in time.
async fn assert_uncertain_in_time(script: Script, why: &str) {
    let begun = Instant::now();
    let result = write(script).await;
    assert!(matches!(result, Err(Failure::Broken(_))), "{why}: {result:?}");
    assert!(begun.elapsed() < BOUNDED, "{why}: {:?}", begun.elapsed());
    let text = result.unwrap_err().to_string();
    assert!(text.len() < 2_000, "{why}: an error of {} bytes", text.len());
}

#[tokio::test]
async fn slow_loris_gets_only_the_request_timeout() {
    // It sends the head or the body of its answer byte by byte.
    let pause = Duration::from_millis(20);
    let drip = |head: &str, drop: &str| Script::Drip(head.into(), drop.into(), pause);
    assert_uncertain_in_time(drip("HTTP/1.1 200 OK\r\n", "x: y\r\n"), "a head that never ends").await;
    assert_uncertain_in_time(drip("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"), "100 forever")
        .await;
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{";
    assert_uncertain_in_time(drip(head, " "), "a body that trickles").await;
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_uncertain_in_time(drip(head, "1\r\n \r\n"), "chunks that trickle").await;
}

#[tokio::test]
async fn heads_and_bodies_have_a_size_limit() {
    let header = format!("x-{}: {}\r\n", "a".repeat(100), "b".repeat(60_000));
    let endless = Script::Drip("HTTP/1.1 200 OK\r\n".into(), header, Duration::ZERO);
    assert_uncertain_in_time(endless, "a head without end").await;
    assert_uncertain_in_time(Script::Endless, "a body without end").await;
    // Announced, and never sent.
    let huge = "HTTP/1.1 200 OK\r\ncontent-length: 9000000000000000000\r\n\r\n{";
    assert_uncertain_in_time(Script::Say(huge.into()), "a body of nine exabytes").await;
    let nested = "[".repeat(500_000);
    assert_uncertain_in_time(answer("200 OK", "", &format!(r#"{{"results":{nested}"#)), "a nesting without end").await;
    let quoting = format!(r#"{{"results":"{}"}}"#, "x".repeat(900_000));
    assert_uncertain_in_time(answer("200 OK", "", &quoting), "an error that would quote the body").await;
}

/// Stored as gzip without compression.
fn gzipped(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(crc32(text.as_bytes()).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[tokio::test]
async fn compressed_answers_are_never_unpacked() {
    // The client requests no compression, so a decompression bomb has no effect.
    install_provider();
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    // Unpacked, this would be an acknowledgement.
    let packed = gzipped(r#"{"results":[{"id":"a","status":200},{"id":"b","status":204}]}"#);
    let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: application/json\r\n";
    let mut bytes = format!("{head}content-length: {}\r\n\r\n", packed.len()).into_bytes();
    bytes.extend(packed);
    let mut server = Server::start(Script::Bytes(bytes)).await;
    let result = client(server.address, None).write(7, operations(), true).await;
    assert!(matches!(result, Err(Failure::Broken(_))), "{result:?}");
    let asked = server.requests.recv().await.unwrap().to_lowercase();
    assert!(!asked.contains("accept-encoding"), "{asked}");
}

#[tokio::test]
async fn renewed_token_is_used_before_a_refusal() {
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first-secret").unwrap();
    let mut server = Server::start(answer("200 OK", "", "{}")).await;
    let client = client(server.address, Some(token.clone()));
    let mut sent = async || {
        let _ = client.capabilities().await;
        server.requests.recv().await.unwrap().to_lowercase()
    };
    std::fs::write(&token, "second-secret").unwrap();
    assert!(sent().await.contains("bearer first-secret"), "the file is not read with every request");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert!(sent().await.contains("bearer second-secret"));
}

#[tokio::test]
async fn miscounted_or_duplicate_results_void_the_answer() {
    let (a, b) = (r#"{"id":"a","status":200}"#, r#"{"id":"b","status":204}"#);
    for (results, why) in [
        (format!("{a},{b},{b}"), "one result too many"),
        (format!("{a},{a}"), "the first result twice"),
        (format!("{b},{b}"), "the last result twice"),
        (String::new(), "none"),
        (format!("{a},{}", r#"{"id":"c","status":204}"#), "a result of another pod"),
        (format!("{a},null"), "no result for one operation"),
        (vec![a; 100_000].join(","), "a hundred thousand"),
    ] {
        assert_uncertain_in_time(answer("200 OK", "", &format!(r#"{{"results":[{results}]}}"#)), why).await;
    }
    for (page, why) in
        [("<html>Sign in</html>", "a page"), ("{}", "another object"), ("null", "null"), ("[]", "a list")]
    {
        assert_uncertain_in_time(answer("200 OK", "content-type: text/html\r\n", page), why).await;
    }
}

#[tokio::test]
async fn invalid_item_retry_after_harms_no_other() {
    for (asked, understood) in [
        ("-5", None),
        ("1.5", None),
        ("\"soon\"", None),
        ("null", None),
        ("0", Some(0)),
        ("7", Some(7)),
        ("31536000", Some(300)),
        ("18446744073709551615", Some(300)),
    ] {
        let busy = format!(r#"{{"id":"a","status":429,"retryAfterSeconds":{asked}}}"#);
        let results = format!(r#"{{"results":[{busy},{{"id":"b","status":204}}]}}"#);
        let verdicts = write(answer("207 Multi-Status", "", &results)).await.unwrap();
        let [Verdict::Retry { after, .. }, Verdict::Done] = verdicts.as_slice() else {
            panic!("{asked}: {verdicts:?}")
        };
        assert_eq!(after.map(|after| after.as_secs()), understood, "{asked}");
    }
}

#[tokio::test]
async fn request_retry_after_is_capped_or_ignored() {
    // An invalid value is ignored.
    for (asked, understood) in [
        ("31536000", Some(300)),
        ("99999999999999999999999999", None),
        ("0", Some(0)),
        ("-1", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300)),
        ("in a while", None),
        ("", None),
    ] {
        for (status, code) in [("429 Too Many Requests", 429), ("503 Service Unavailable", 503)] {
            let result = write(answer(status, &format!("retry-after: {asked}\r\n"), "")).await;
            let after = understood.map(Duration::from_secs);
            assert_eq!(result, Err(Failure::Throttled { status: code, after }), "{asked:?}");
        }
    }
}

#[tokio::test]
async fn redirects_are_never_followed() {
    // No token is sent to the target of a redirect.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "very-secret\n").unwrap();
    let mut elsewhere = Server::start(answer("200 OK", "", "{}")).await;
    let places = [
        format!("http://{}/", elsewhere.address),
        format!("//{}/v1", elsewhere.address),
        format!("https://{}/", elsewhere.address),
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/v1/elsewhere".to_owned(),
    ];
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        for place in &places {
            let mut server = Server::start(answer(status, &format!("location: {place}\r\n"), "")).await;
            let client = client(server.address, Some(token.clone()));
            let begun = Instant::now();
            let error = client.write(7, operations(), true).await.unwrap_err();
            assert!(matches!(&error, Failure::Broken(_)), "{status} {place}: {error}");
            assert!(!error.to_string().contains("very-secret") && begun.elapsed() < BOUNDED);
            assert!(server.requests.recv().await.is_some());
            assert!(server.requests.try_recv().is_err(), "{status} {place}: one request is sent");
        }
    }
    assert!(elsewhere.requests.try_recv().is_err(), "the redirect is not followed");
}

#[tokio::test]
async fn registry_capabilities_are_bounded() {
    install_provider();
    let features = vec![format!("\"{}\"", "f".repeat(1_000)); 100].join(",");
    let body = format!(
        r#"{{"protocol":"v1","maxBatchItems":18446744073709551615,"maxBatchBytes":18446744073709551615,
            "maxRecordBytes":65536,"features":["batch",{features},"digest-inventory"]}}"#
    );
    let server = Server::start(answer("200 OK", "", &body)).await;
    let capabilities = client(server.address, None).capabilities().await.unwrap();
    assert!(capabilities.max_batch_items <= 5_000 && capabilities.max_batch_bytes <= 16 << 20);
    assert_eq!(capabilities.features, Features { digests: false, ..Features::ALL }, "unknown features are ignored");
}

#[tokio::test]
async fn registry_of_another_protocol_is_refused() {
    install_provider();
    let body = format!(r#"{{"protocol":"{}"}}"#, "v".repeat(100_000));
    let server = Server::start(answer("200 OK", "", &body)).await;
    let error = client(server.address, None).capabilities().await.unwrap_err().to_string();
    assert!(
        error.contains("the registry speaks protocol \"vvv") && error.contains("this controller \"v1\""),
        "{error}"
    );
    assert!(error.len() < 1_000, "the error is short enough for a log");
}

/// The registry's answer about the name of the pod `a`.
async fn named(namespace: &str, name: &str) -> Result<Option<RecordName>, Failure> {
    let record = serde_json::json!({"pod": {"uid": "a", "namespace": namespace, "name": name}}).to_string();
    let server = Server::start(answer("200 OK", "", &record)).await;
    client(server.address, None).record_name(Uid::from("a")).await
}

#[tokio::test]
async fn impossible_pod_names_in_records_are_ignored() {
    install_provider();
    let good = RecordName { namespace: "kube-system".into(), name: "web-0.example".into() };
    assert_eq!(named("kube-system", "web-0.example").await, Ok(Some(good)));
    let long = "a".repeat(254);
    for bad in [
        "",
        "..",
        "../../secrets",
        "a/b",
        "a?limit=0",
        "a#b",
        "a%2f..",
        "A",
        "a b",
        "a
b",
        "-a",
        long.as_str(),
    ] {
        assert_eq!(named("kube-system", bad).await, Ok(None), "{bad}");
        assert_eq!(named(bad, "web-0").await, Ok(None), "{bad}");
    }
}

#[tokio::test]
async fn large_or_foreign_record_answers_are_refused() {
    install_provider();
    let filler = "x".repeat(200_000);
    let record = format!(r#"{{"pod":{{"uid":"a","namespace":"n","name":"p"}},"filler":"{filler}"}}"#);
    let server = Server::start(answer("200 OK", "", &record)).await;
    let large = client(server.address, None).record_name(Uid::from("a")).await;
    assert!(matches!(large, Err(Failure::Broken(_))), "{large:?}");
    let other = format!(r#"{{"pod":{{"uid":"{}","namespace":"n","name":"p"}}}}"#, "b".repeat(50_000));
    let server = Server::start(answer("200 OK", "", &other)).await;
    let error = client(server.address, None).record_name(Uid::from("a")).await.unwrap_err().to_string();
    assert!(error.len() < 1_000 && error.contains("the record of a was requested"), "{error}");
}

#[tokio::test]
async fn page_token_is_bounded_and_stays_in_query() {
    install_provider();
    let page = |token: &str| serde_json::json!({"items": [], "next": token, "count": 0, "asOf": 1}).to_string();
    let server = Server::start(answer("200 OK", "", &page(&"t".repeat(2_000)))).await;
    let refused = client(server.address, None).inventory(None, None, 5_000).await;
    assert!(matches!(refused, Err(Failure::Broken(_))), "{refused:?}");
    let token = "a&bucket=1#x/../?y=z";
    let mut server = Server::start(answer("200 OK", "", &page(token))).await;
    let client = client(server.address, None);
    let next = client.inventory(None, None, 5_000).await.unwrap().next;
    assert_eq!(next.as_deref(), Some(token));
    let _ = client.inventory(None, next, 5_000).await;
    let _ = server.requests.recv().await;
    let asked = server.requests.recv().await.unwrap();
    let address = asked.lines().next().unwrap();
    assert!(address.ends_with("&page=a%26bucket%3D1%23x%2F..%2F%3Fy%3Dz HTTP/1.1"), "{address}");
}

/// An authority that signs certificates for this host.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> (Self, PathBuf) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let path = folder.join(format!("{name}.crt"));
        std::fs::write(&path, issuer.pem()).unwrap();
        (Self(issuer), path)
    }

    pub(crate) fn sign(&self, folder: &Path, name: &str, host: &str, expired: bool) -> TlsFiles {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        let files = TlsFiles { cert: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&files.cert, signed.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

/// The reference registry over TLS. It stops when this is dropped.
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
}

impl Tls {
    pub(crate) fn start(files: TlsFiles, address: &str, tokens: Option<PathBuf>) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let options = ServerOptions { tls: Some(files), tokens_file: tokens, ..ServerOptions::default() };
        tokio::spawn(RegistryServer::open(options).unwrap().serve(listener, stop.clone().cancelled_owned()));
        Self { address, stop }
    }

    fn client(&self, ca: &Path, token: Option<PathBuf>) -> Client {
        client_of(Config {
            url: format!("https://{}/", self.address).parse().unwrap(),
            token_file: token,
            ca_file: Some(ca.to_owned()),
            request_timeout: Duration::from_secs(10),
        })
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn invalid_registry_certificates_are_refused() {
    // They are expired, for another name, or from an unknown authority.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (own, ca) = Authority::new(folder, "own");
    let (other, _) = Authority::new(folder, "other");
    let good = Tls::start(own.sign(folder, "good", "127.0.0.1", false), "127.0.0.1:0", None);
    assert!(good.client(&ca, None).capabilities().await.is_ok());
    for (files, why) in [
        (own.sign(folder, "expired", "127.0.0.1", true), "expired"),
        (own.sign(folder, "elsewhere", "registry.example", false), "another name"),
        (other.sign(folder, "unknown", "127.0.0.1", false), "an unknown authority"),
    ] {
        let server = Tls::start(files, "127.0.0.1:0", None);
        let begun = Instant::now();
        let refused = server.client(&ca, None).write(7, operations(), true).await;
        assert!(matches!(refused, Err(Failure::Unreachable(_))), "{why}: nothing is sent: {refused:?}");
        assert!(begun.elapsed() < BOUNDED, "{why}");
    }
}

#[tokio::test]
async fn replaced_authority_and_token_need_no_restart() {
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, first_ca) = Authority::new(folder, "first");
    let (second, second_ca) = Authority::new(folder, "second");
    let (ca, token, tokens) = (folder.join("ca"), folder.join("token"), folder.join("tokens"));
    std::fs::copy(&first_ca, &ca).unwrap();
    std::fs::write(&token, "first-secret").unwrap();
    std::fs::write(&tokens, "first-secret c\n").unwrap();
    let server = Tls::start(first.sign(folder, "a", "127.0.0.1", false), "127.0.0.1:0", Some(tokens.clone()));
    let (address, client) = (server.address.to_string(), server.client(&ca, Some(token.clone())));
    assert!(client.capabilities().await.is_ok());
    drop(server);
    // The registry's certificate changes before the file does.
    std::fs::write(&tokens, "second-secret c\n").unwrap();
    let files = second.sign(folder, "b", "127.0.0.1", false);
    let server = eventually("the port is free", SOON, async || {
        let free = std::net::TcpListener::bind(&address).map(drop).map_err(|error| error.to_string());
        free.map(|()| Tls::start(files.clone(), &address, Some(tokens.clone())))
    })
    .await;
    let refused = eventually("the old connection is gone", SOON, async || match client.capabilities().await {
        Err(Failure::Unreachable(cause)) if cause.contains("certificate") => Ok(cause),
        other => Err(format!("{other:?}")),
    });
    refused.await;
    // Half a file neither removes trust nor breaks the client for good.
    std::fs::write(&ca, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    assert!(client.capabilities().await.is_err());
    std::fs::copy(&second_ca, &ca).unwrap();
    let loaded = eventually("the file is read again", SOON, async || match client.capabilities().await {
        Err(Failure::Unauthorized { .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    loaded.await;
    std::fs::write(&token, "second-secret").unwrap();
    client.refresh_credential();
    assert!(client.capabilities().await.is_ok());
    drop(server);
}

#[tokio::test]
async fn closed_connection_is_opened_again() {
    // The registry closes it between two requests or during one.
    install_provider();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
    let body = r#"{"results":[{"id":"a","status":200},{"id":"b","status":204}]}"#;
    let server = Server::start(Script::Say(format!("{head}content-length: {}\r\n\r\n{body}", body.len()))).await;
    let closing = client(server.address, None);
    for _ in 0..5 {
        assert_eq!(closing.write(7, operations(), true).await, Ok(vec![Verdict::Done, Verdict::Done]));
    }
    let mut server = Server::start(Script::Reset("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{".into())).await;
    let reset = client(server.address, None);
    for _ in 0..5 {
        let result = reset.write(7, operations(), true).await;
        assert!(matches!(result, Err(Failure::Broken(_))), "{result:?}");
        assert!(server.requests.recv().await.is_some());
        assert!(server.requests.try_recv().is_err(), "the client does not retry");
    }
}
