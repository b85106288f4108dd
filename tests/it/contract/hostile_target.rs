//! Targets that a file describes, against the hostile registries of [`hostile_registry`](super::hostile_registry).
//!
//! | case | proved in |
//! | --- | --- |
//! | slow, endless, huge, nested, compressed, cut and reset answers; wrong lengths; no UTF-8; HTML | here |
//! | redirects; `Retry-After`; cursors; results of batches | here |
//! | certificates, client certificates, tokens that expire | [`target_connections`](super::target_connections) |
//! | memory, an echoed token, hostile pods and mappings, a registry that answers anything | `process::hostile_targets` |
//! | `next` elsewhere or in circles, wrong counts, lists that may be cut | `src/mapping/paging/tests.rs` |
//! | items without an id, ids twice, marks of others, values that the registry changes | `src/registry/mapped/tests/lists.rs` |
//! | ids and labels with slashes, dots, quotes, line breaks and emoji; a path that would leave `url` | `src/mapping/target/tests.rs`, `src/mapping/url.rs` |
//! | a mapping that renders nothing or too much | `src/mapping/template/tests.rs` |
//!
//! Templates have no clock and no randomness, so that a mapping cannot render differently each time. Names of pods,
//! capabilities and versions of the protocol do not exist for these targets.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use pod_registrar::{
    demo::pod::pod,
    model::pod::Pod,
    reconcile::outcome::{Failure, Verdict},
};
use serde_json::{Value, json};

use super::registry_client::{Script, Server, answer, install_provider};
use crate::support::registries::TargetWriter;

/// The longest time of a request: the timeout of the target, with a margin for a busy machine.
const BOUNDED: Duration = Duration::from_secs(5);
const CLUSTER: &str = "c";

/// A target whose records need no lookup. `members` are further lines of it, and replace the list if they have one.
pub(super) fn file(url: &str, members: &str) -> String {
    let list = if members.contains("    list:") { "" } else { LIST };
    format!(
        r#"
targets:
  - name: t
    url: {url}
    exclusive: true
    body: {{name: "{{{{ pod.name }}}}", app: "{{{{ pod.labels.app | default('') }}}}", digest: "{{{{ digest }}}}"}}
    put: {{path: "systems/{{{{ id }}}}"}}
    delete: {{path: "systems/{{{{ id }}}}"}}
    item: {{id: /id, digest: /digest}}
{list}{members}"#
    )
}

const LIST: &str = "    list: {path: systems, items: /results, next: {url: /next}}\n";
const LIMITS: &str = "    limits: {timeout: 700ms, answerBytes: 1MiB}\n";

fn writer(address: SocketAddr, more: &str) -> TargetWriter {
    TargetWriter::new(&file(&format!("http://{address}/base/"), &format!("{LIMITS}{more}")), CLUSTER)
}

/// The desired pod with this number.
pub(super) fn pod_of(writer: &TargetWriter, number: usize, app: &str) -> Pod {
    let uid = format!("8c1f0f52-3d5f-4f6c-9a9e-{number:012}");
    let mut object = pod(format!("web-{number}")).uid(uid).label("app", app).running().build();
    object["metadata"]["creationTimestamp"] = "2026-11-23T10:00:00Z".into();
    object["metadata"]["resourceVersion"] = "7".into();
    writer.pod(object)
}

/// A failure that can be shown: short, and without control characters.
fn assert_shown(failure: &Failure, why: &str) {
    let text = failure.to_string();
    assert!(text.len() < 2_000 && !text.contains(|c: char| c.is_control()), "{why}: {} bytes: {text:?}", text.len());
}

fn say(head: &str, body: &str) -> Script {
    Script::Say(format!("HTTP/1.1 {head}\r\n\r\n{body}"))
}

#[tokio::test]
async fn every_request_ends_in_time() {
    let pause = Duration::from_millis(20);
    let drip = |head: &str, drop: &str| Script::Drip(head.into(), drop.into(), pause);
    let header = format!("x-{}: {}\r\n", "a".repeat(100), "b".repeat(60_000));
    let scripts = [
        (drip("HTTP/1.1 200 OK\r\n", "x: y\r\n"), "a head that trickles"),
        (drip("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"), "100 forever"),
        (drip("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{", " "), "a body that trickles"),
        (drip("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\n \r\n"), "chunks that trickle"),
        (Script::Drip("HTTP/1.1 200 OK\r\n".into(), header, Duration::ZERO), "a head without end"),
        (Script::Endless, "a body without end"),
        (say("200 OK\r\ncontent-length: 104857600", &" ".repeat(2 << 20)), "100 MiB"),
        (say("200 OK\r\ncontent-length: 9000000000000000000", "{"), "nine exabytes"),
        (say("200 OK\r\ncontent-length: 500", "{\"results\":["), "a body that is cut"),
        (say("200 OK\r\ncontent-length: -1", "{}"), "a length that is no number"),
        (Script::Reset("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{".into()), "a reset in the body"),
        (Script::Reset(String::new()), "a reset before the head"),
        (Script::Bytes(b"\x00\xff\x16\x03\x01".to_vec()), "another protocol"),
        (Script::Hang, "no answer"),
    ];
    for (script, why) in scripts {
        let mut server = Server::start(script).await;
        let writer = writer(server.address, "");
        let ours = pod_of(&writer, 1, "a");
        let begun = Instant::now();
        let results = [
            writer.put(&ours).await.map(drop),
            writer.delete(&writer.record(&ours).0).await.map(drop),
            writer.inventory().await.map(drop),
        ];
        assert!(begun.elapsed() < BOUNDED * 3, "{why}: {:?}", begun.elapsed());
        for result in results {
            let Err(failure @ Failure::Broken(_)) = &result else { panic!("{why}: {result:?}") };
            assert_shown(failure, why);
        }
        // The client does not send anything twice by itself.
        let sent = std::iter::from_fn(|| server.requests.try_recv().ok()).count();
        assert!(sent <= 3, "{why}: {sent} requests");
    }
}

#[tokio::test]
async fn unreadable_list_fails_as_a_whole() {
    let results = |items: &str| answer("200 OK", "", &format!(r#"{{"results":{items},"next":null}}"#));
    let length = "HTTP/1.1 200 OK\r\ncontent-length: ";
    let bytes = |body: &[u8]| {
        let head = format!("{length}{}\r\n\r\n", body.len());
        Script::Bytes([head.as_bytes(), body].concat())
    };
    let items = r#"[{"id":"a","digest":""}]"#;
    for (script, why) in [
        (results(&"[".repeat(500_000)), "a nesting without end"),
        (results(&format!("\"{}\"", "x".repeat(900_000))), "a long text instead of a list"),
        (results("[null]"), "an item that is null"),
        (results("[[]]"), "an item that is a list"),
        (results(r#"[{"id":{},"digest":""}]"#), "an id that is a map"),
        (results(r#"[{"id":"a"},{"id":"a"}]"#), "an id twice"),
        (results(&format!("[{}]", vec!["{}"; 100_000].join(","))), "a hundred thousand items without ids"),
        (bytes(b"{\"results\":[{\"id\":\"\xff\xfe\"}],\"next\":null}"), "no UTF-8"),
        // A shorter length than the body: what is read ends early.
        (say("200 OK\r\ncontent-length: 20", &format!(r#"{{"results":{items},"next":null}}"#)), "a shorter length"),
        (bytes(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), "a compressed body"),
        (answer("200 OK", "content-type: text/html\r\n", "<html>Sign in</html>"), "a page"),
        (answer("200 OK", "", ""), "nothing"),
        (answer("204 No Content", "", ""), "no content"),
        (answer("200 OK", "", "null"), "null"),
        (answer("202 Accepted", "", "{}"), "another map"),
    ] {
        let server = Server::start(script).await;
        let listed = writer(server.address, "").inventory().await;
        let Err(failure @ (Failure::Broken(_) | Failure::Inventory(_))) = &listed else { panic!("{why}: {listed:?}") };
        assert_shown(failure, why);
    }
    let server = Server::start(results(items)).await;
    assert_eq!(writer(server.address, "").inventory().await.unwrap().len(), 1, "the same list without a fault");
}

#[tokio::test]
async fn redirect_of_described_target_is_not_followed() {
    // No token is sent to the target of a redirect.
    install_provider();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "very-secret\n").unwrap();
    let auth = format!("    auth: {{bearer: {{tokenFile: {}}}}}\n", token.display());
    let mut elsewhere = Server::start(answer("200 OK", "", "{}")).await;
    let places = [
        format!("http://{}/", elsewhere.address),
        format!("//{}/base/", elsewhere.address),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/base/systems/elsewhere".to_owned(),
    ];
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        for place in &places {
            let mut server = Server::start(answer(status, &format!("location: {place}\r\n"), "")).await;
            let writer = writer(server.address, &auth);
            let put = writer.put(&pod_of(&writer, 1, "a")).await;
            let listed = writer.inventory().await;
            for result in [put.map(drop), listed.map(drop)] {
                let Err(failure @ Failure::Broken(_)) = &result else { panic!("{status} {place}: {result:?}") };
                assert!(!failure.to_string().contains("very-secret"), "{failure}");
            }
            let sent = std::iter::from_fn(|| server.requests.try_recv().ok()).count();
            assert_eq!(sent, 2, "{status} {place}: one request each");
        }
    }
    assert!(elsewhere.requests.try_recv().is_err(), "the redirect is not followed");
}

#[tokio::test]
async fn retry_after_of_described_target_is_bounded() {
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
            let server = Server::start(answer(status, &format!("retry-after: {asked}\r\n"), "")).await;
            let writer = writer(server.address, "");
            let put = writer.put(&pod_of(&writer, 1, "a")).await;
            let expected = match understood {
                // A proxy may answer like this after the registry received the request.
                None if code == 503 => Failure::Broken("status 503".to_owned()),
                after => Failure::Throttled { status: code, after: after.map(Duration::from_secs) },
            };
            assert_eq!(put, Err(expected), "{asked:?}");
        }
    }
}

#[tokio::test]
async fn cursor_stays_in_its_query() {
    let cursor = "a&owner=b#x/../?y=z\r\nX-Evil: 1";
    let page = |next: &Value| answer("200 OK", "", &json!({"results": [], "cursor": next}).to_string());
    let list = r#"    list: {path: systems, query: {after: "{{ page | default(omit) }}"}, items: /results, next: {then: /cursor}}
"#;
    let target = |address: SocketAddr| {
        TargetWriter::new(&file(&format!("http://{address}/base/"), &format!("{list}{LIMITS}")), CLUSTER)
    };
    let mut server = Server::start(page(&cursor.into())).await;
    let listed = target(server.address).inventory().await;
    assert!(matches!(listed, Err(Failure::Inventory(_))), "the same cursor again: {listed:?}");
    let _ = server.requests.recv().await;
    let asked = server.requests.recv().await.unwrap();
    let lines: Vec<&str> = asked.lines().collect();
    let encoded = "a%26owner%3Db%23x%2F..%2F%3Fy%3Dz%0D%0AX-Evil%3A%201";
    assert_eq!(lines[0], format!("GET /base/systems?after={encoded} HTTP/1.1"), "{asked}");
    assert!(!lines.iter().any(|line| line.starts_with("X-Evil")), "{asked}");
    // A cursor without end ends the list instead.
    let server = Server::start(page(&"x".repeat(500_000).into())).await;
    let listed = target(server.address).inventory().await;
    assert!(listed.is_err(), "{listed:?}");
    assert_shown(&listed.unwrap_err(), "a long cursor");
}

/// What becomes of two records in one batch with these results.
async fn results_of(results: &str) -> Vec<Verdict> {
    let batch = r#"    batch:
      - path: bulk
        body: {operations: "{{ operations }}"}
        put: [{put: "{{ body }}", id: "{{ id }}"}]
        max: {records: 10}
        results: {items: /results, id: /id, status: /status}
"#;
    let whole = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answers = [("GET", whole(r#"{"results":[]}"#)), ("POST", whole(&format!(r#"{{"results":{results}}}"#)))];
    let server = Server::start(Script::Methods(answers.into())).await;
    let writer = writer(server.address, batch);
    let pods = [pod_of(&writer, 1, "a"), pod_of(&writer, 2, "a")];
    let begun = Instant::now();
    let verdicts = writer.apply(&pods, &[]).await.unwrap();
    assert!(begun.elapsed() < BOUNDED, "{results:.100}: {:?}", begun.elapsed());
    verdicts
}

#[tokio::test]
async fn record_without_clear_result_is_uncertain() {
    let id = |number: usize| format!("8c1f0f52-3d5f-4f6c-9a9e-{number:012}");
    let of = |number: usize, status: &str| format!(r#"{{"id":"{}","status":{status}}}"#, id(number));
    let (a, b) = (of(1, "200"), of(2, "200"));
    let many = vec![of(1, "200"); 5_000].join(",");
    // Whether each of the two records is done.
    for (results, done, why) in [
        (format!("[{a},{b}]"), [true, true], "both"),
        (format!("[{a}]"), [true, false], "none for the second"),
        (format!("[{many}]"), [true, false], "thousands for the first"),
        (format!("[{a},{}]", of(3, "200")), [true, false], "a result of another record"),
        (format!("[{a},{b},{}]", of(2, "422")), [true, false], "two results that contradict each other"),
        (format!("[{},{b},{a}]", of(1, "500")), [false, true], "the same in the other order"),
        (format!("[{a},null,1,\"\",[]]"), [true, false], "results of other types"),
        (format!("[{a},{}]", of(2, "\"failed\"")), [true, false], "a status that is no number"),
        (format!("[{a},{}]", of(2, "99999")), [true, false], "a status that does not exist"),
        (format!("[{a},{}]", of(2, "{}")), [true, false], "a status that is a map"),
        ("[]".to_owned(), [false, false], "none"),
        ("{}".to_owned(), [false, false], "a map"),
        ("null".to_owned(), [false, false], "null"),
    ] {
        let verdicts = results_of(&results).await;
        let are: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Done).collect();
        assert_eq!(are, done, "{why}: {verdicts:?}");
    }
}
