//! Tokens, the cookie of the page, and slow clients.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Reply, Server, record, refused};

const TOKENS: &str = "# token  cluster\nroot-token *\nc-token c # the one\nd-token d\n";

async fn with(server: &Server, token: &str, method: &str, path: &str, body: Option<&Value>) -> Reply {
    let request = server.request(method, path).bearer_auth(token);
    server.send(body.map_or(request.try_clone().unwrap(), |body| request.body(body.to_string()))).await
}

#[tokio::test]
async fn requests_without_a_known_token_are_refused() {
    let server = Server::with_tokens(TOKENS).await;
    for path in ["/v1/capabilities", "/v1/clusters", "/v1/clusters/c/pods", "/v1/changes"] {
        let reply = server.get(path).await;
        assert_eq!(reply.problem(), refused(401, "unauthorized"));
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        assert_eq!(with(&server, "wrong", "GET", path, None).await.problem(), refused(401, "unauthorized"));
    }
    let put = server.call("PUT", "/v1/clusters/c/pods/a", Some(&json!({}))).await;
    assert_eq!(put.problem(), refused(401, "unauthorized"));
    for path in ["/", "/openapi.json", "/healthz"] {
        assert_eq!(server.get(path).await.status, 200);
    }
    server.stop().await;
}

#[tokio::test]
async fn token_grants_only_its_cluster() {
    let server = Server::with_tokens(TOKENS).await;
    let session = json!({"instance": "i", "ttlSeconds": 90});
    for (token, cluster) in [("c-token", "c"), ("d-token", "d")] {
        let path = format!("/v1/clusters/{cluster}/session");
        assert_eq!(with(&server, token, "POST", &path, Some(&session)).await.status, 201);
        let mut record = record("a", 1, 1, "web");
        record["cluster"]["id"] = json!(cluster);
        let path = format!("/v1/clusters/{cluster}/pods/a");
        assert_eq!(with(&server, token, "PUT", &path, Some(&record)).await.status, 201);
    }
    let forbidden = refused(403, "forbidden");
    for path in ["/v1/clusters/d", "/v1/clusters/d/pods", "/v1/clusters/d/pods/a", "/v1/changes?cluster=d"] {
        assert_eq!(with(&server, "c-token", "GET", path, None).await.problem(), forbidden, "{path}");
    }
    // Access is checked before the request.
    for path in [
        "/v1/clusters/-/pods",
        "/v1/clusters/d/pods?limit=0",
        "/v1/clusters/d/pods?owner=a&owner=b",
        "/v1/clusters/d/pods/-",
        "/v1/changes?cluster=-",
        "/v1/changes?cluster=d&since=x",
    ] {
        assert_eq!(with(&server, "c-token", "GET", path, None).await.problem(), forbidden, "{path}");
        assert_eq!(with(&server, "root-token", "GET", path, None).await.problem(), refused(422, "schema"), "{path}");
    }
    let batch = json!({"epoch": 1, "operations": []});
    let reply = with(&server, "c-token", "POST", "/v1/clusters/d/pods:batch", Some(&batch)).await;
    assert_eq!(reply.problem(), forbidden);

    let count = |reply: Reply| reply.json()["items"].as_array().unwrap().len();
    assert_eq!(count(with(&server, "c-token", "GET", "/v1/clusters", None).await), 1);
    assert_eq!(count(with(&server, "root-token", "GET", "/v1/clusters", None).await), 2);
    let changes = with(&server, "c-token", "GET", "/v1/changes", None).await;
    assert!(changes.json()["items"].as_array().unwrap().iter().all(|item| item["cluster"] == "c"));
    assert_eq!(count(changes), 1);
    server.stop().await;
}

#[tokio::test]
async fn page_cookie_reads_and_never_writes() {
    let server = Server::with_tokens(TOKENS).await;
    let wrong = server.call("POST", "/page/login", Some(&json!({"token": "wrong"}))).await;
    assert_eq!(wrong.problem(), refused(401, "unauthorized"));
    let login = server.call("POST", "/page/login", Some(&json!({"token": "c-token"}))).await;
    assert_eq!(login.status, 204);
    let cookie = login.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );
    assert!(!cookie.contains("c-token"));
    let pair = cookie.split(';').next().unwrap().to_owned();
    let send =
        |method: &'static str, path: &'static str| server.send(server.request(method, path).header("cookie", &pair));
    let seen = send("GET", "/v1/clusters").await;
    assert_eq!((seen.status, &seen.headers["pod-registrar-signed-in"]), (200, &"cookie".parse().unwrap()));
    assert_eq!(send("GET", "/v1/clusters/d/pods").await.problem(), refused(403, "forbidden"));
    assert_eq!(send("DELETE", "/v1/clusters/c/pods/a?epoch=1&seq=1").await.problem(), refused(403, "forbidden"));
    assert_eq!(send("POST", "/page/logout").await.status, 204);
    assert_eq!(send("GET", "/v1/clusters").await.problem(), refused(401, "unauthorized"));
    server.stop().await;
}

#[tokio::test]
async fn another_sites_page_cannot_write_through_a_browser() {
    let server = Server::start().await;
    let open = |site: &'static str| {
        let request = server.request("POST", "/v1/clusters/c/session").header("sec-fetch-site", site);
        server.send(request.body(r#"{"instance":"i","ttlSeconds":9}"#))
    };
    assert_eq!(open("cross-site").await.problem(), refused(403, "forbidden"));
    assert_eq!(open("same-site").await.problem(), refused(403, "forbidden"));
    assert_eq!(open("same-origin").await.status, 201);
    server.stop().await;
}

#[tokio::test]
async fn a_sign_in_ends_after_twelve_hours() {
    let server = Server::with_tokens(TOKENS).await;
    let login = server.call("POST", "/page/login", Some(&json!({"token": "root-token"}))).await;
    let pair = login.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let status = || async { server.send(server.request("GET", "/v1/clusters").header("cookie", &pair)).await.status };
    assert_eq!(status().await, 200);
    server.clock.advance_ms(12 * 60 * 60 * 1_000);
    assert_eq!(status().await, 401);
    server.stop().await;
}

/// Sends a part of a request and nothing more. Returns how the connection ended.
async fn half(server: &Server, text: &str) -> String {
    let mut stream = TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut answer)).await;
    read.expect("the server waited on").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// More than the 512 connections that the registry allows.
#[tokio::test]
async fn idle_connections_hinder_no_others() {
    let server = Server::start().await;
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap());
    }
    let answered = async {
        assert_eq!(server.get("/healthz").await.status, 200);
        assert_eq!(server.get("/v1/clusters").await.status, 200);
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("new connections are served at once");
    let first = tokio::time::timeout(Duration::from_secs(10), idle[0].read(&mut [0; 1])).await;
    assert_eq!(first.expect("the oldest one is closed").unwrap(), 0);
    server.stop().await;
}

#[tokio::test]
async fn slow_clients_are_dropped_and_hinder_no_others() {
    let server = Server::start().await;
    let body = "POST /v1/clusters/c/session HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let others = async {
        for _ in 0..20 {
            assert_eq!(server.get("/v1/clusters").await.status, 200);
        }
    };
    let (head, body, ()) = tokio::join!(half(&server, "GET / HTTP/1.1\r\nhost:"), half(&server, body), others);
    assert!(!head.contains(" 200 "), "{head}");
    assert!(body.starts_with("HTTP/1.1 503 "), "{body}");
    server.stop().await;
}
