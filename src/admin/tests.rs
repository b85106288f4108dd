//! The server over real connections on loopback.

use std::net::SocketAddr;

use super::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout},
};

struct Server {
    address: SocketAddr,
    health: Health,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::new(1);
    let metrics = Metrics::new(health.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    let status = Box::new(|| StatusDocument { version: "9".to_owned(), ..StatusDocument::default() });
    let pod: PodPage = Box::new(|namespace, name| {
        let status = if name == "none" { 404 } else { 200 };
        Box::pin(async move { JsonPage { status, body: serde_json::json!({"pod": format!("{namespace}/{name}")}) } })
    });
    let task = tokio::spawn(serve(listener, Pages { health: health.clone(), metrics, status, pod }, shutdown));
    Server { address, health, stop, task }
}

impl Server {
    /// Sends a request, and returns the head and the body of the response.
    async fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(10), read).await.unwrap().unwrap();
        answer
    }
}

#[tokio::test]
async fn probes_answer_with_status_and_reasons() {
    let server = start().await;
    assert!(server.ask("GET /livez").await.starts_with("HTTP/1.1 200 "));
    assert!(server.ask("GET /healthz").await.ends_with("[+]loop ok\n"));
    let waiting = server.ask("GET /readyz").await;
    assert!(waiting.starts_with("HTTP/1.1 503 ") && waiting.contains("[-]watch failed: 0 of 1"), "{waiting}");
    server.health.watch_listed(0);
    assert!(server.ask("GET /readyz").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn metrics_have_their_content_type() {
    let answer = start().await.ask("GET /metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\npod_registrar_pods 0\n") && answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn the_status_page_is_json_and_never_cached() {
    let answer = start().await.ask("GET /status").await;
    assert!(answer.contains("content-type: application/json\r\n") && answer.contains("no-store"), "{answer}");
    assert!(answer.contains("\r\n\r\n{\n  \"version\": \"9\",\n") && answer.ends_with("]\n}\n"), "{answer}");
}

#[tokio::test]
async fn pod_page_has_its_own_status() {
    let server = start().await;
    let found = server.ask("GET /status/pods/shop/web").await;
    assert!(found.starts_with("HTTP/1.1 200 ") && found.contains(r#""pod": "shop/web""#), "{found}");
    assert!(server.ask("GET /status/pods/shop/none").await.starts_with("HTTP/1.1 404 "));
    assert!(server.ask("GET /status/pods/shop").await.contains("the pages are"));
}

#[tokio::test]
async fn unknown_paths_and_other_methods_are_refused() {
    // An unknown path answers 404 with the list of pages, and a POST answers 405.
    let server = start().await;
    let answer = server.ask("GET /none").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/readyz"), "{answer}");
    assert!(server.ask("POST /metrics").await.starts_with("HTTP/1.1 405 "));
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once() {
    let server = start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    server.stop.send(()).unwrap();
    timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), idle.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn stalled_request_is_closed() {
    let server = start().await;
    let mut stalled = TcpStream::connect(server.address).await.unwrap();
    stalled.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    timeout(LIMITS.head_timeout * 2, stalled.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(began.elapsed() <= LIMITS.head_timeout + Duration::from_secs(1), "{:?}", began.elapsed());
}

/// Opens connections, and sends the same bytes on each.
async fn strangers(server: &Server, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // The server may have closed it already in favour of a newer one.
        let _ = stream.write_all(bytes).await;
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn probes_are_answered_when_connections_are_full() {
    // Four times as many as fit: idle connections, incomplete heads, and requests whose responses are not read.
    let server = start().await;
    server.health.watch_listed(0);
    let unread = b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n".repeat(40);
    for bytes in [&b""[..], b"GET /livez HTTP/1.1\r\nhost:", &unread] {
        let _open = strangers(&server, 4 * LIMITS.connections, bytes).await;
        for probe in ["GET /livez", "GET /readyz", "GET /metrics"] {
            let begun = Instant::now();
            assert!(server.ask(probe).await.starts_with("HTTP/1.1 200 "), "{probe}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{probe} took {:?}", begun.elapsed());
        }
    }
}

#[tokio::test]
async fn scraper_keeps_its_connection_among_idle_ones() {
    // The server closes the connections that have been idle for longest.
    let server = start().await;
    let mut scraper = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..10 {
        scraper.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"loop ok\n") {
            let read = timeout(Duration::from_secs(10), scraper.read_buf(&mut answer)).await.unwrap().unwrap();
            assert!(read > 0, "the scraper's connection was closed");
        }
        drop(strangers(&server, LIMITS.connections / 2, b"").await);
    }
}
