//! Light and dark, narrow and wide, with 0, 1 and 20 registries; with and without JavaScript.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Path, response::Html, routing::get};
use pod_registrar::{
    admin::{
        self, JsonPage, Pages,
        page::render,
        status::{
            ShownBacklog, ShownChange, ShownCluster, ShownHold, ShownLeader, ShownRecord, ShownRefusedRecord,
            ShownTarget, ShownWork, StatusDocument,
        },
    },
    telemetry::{health::Health, metrics::Metrics},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::chromium::{document, is_missing};
use crate::support::http_client;

fn record(pod: String) -> ShownRecord {
    ShownRecord { id: format!("id of {pod}"), kind: None, uid: None, pod: Some(pod) }
}

/// The targets are equal to the cluster, but for every third, which has everything that can be wrong.
fn target(number: usize) -> ShownTarget {
    let mut target =
        ShownTarget { name: format!("registry-{number}"), kind: "rest".to_owned(), ..ShownTarget::default() };
    target.compared_seconds_ago = Some(300.0);
    target.state.session.state = "open".to_owned();
    target.state.records = [("registered".to_owned(), 150_000)].into();
    let pod = |n| record(format!("payments-and-billing/ledger-db-{n}-7c6f5d9b88-x2x9k-{}", "long".repeat(20)));
    let change = |n| ShownChange { change: "put".to_owned(), record: pod(n), seconds_ago: 5.0 };
    target.changes = (0..20).map(change).collect();
    if !number.is_multiple_of(3) {
        target.state.in_sync = true;
        return target;
    }
    target.outage = Some(format!("status 503 {}", "x".repeat(200)));
    target.backlog =
        ShownBacklog { in_flight: 500, retrying: 12, deletions: 3, changed: 4, missing: 88_000, differing: 9 };
    let cause = Some("status 422: {\"detail\": \"no such site\"}".to_owned());
    target.parked =
        (0..10).map(|n| ShownRefusedRecord { record: pod(n), cause: cause.clone(), seconds_ago: Some(60.0) }).collect();
    target.state.records.insert("parked".to_owned(), 1_000);
    let approve = "pod-registrar approve 0123456789ab --approval-lease pod-registrar/pod-registrar";
    target.state.holds = vec![ShownHold {
        id: "0123456789ab".to_owned(),
        deletions: 840,
        because: "840 of 851 records have no pod here".to_owned(),
        records: (0..5).map(pod).collect(),
        approve: Some(approve.to_owned()),
        ..ShownHold::default()
    }];
    let work = |what: &str, total| ShownWork { what: what.to_owned(), done: 61_500, total, ..ShownWork::default() };
    target.work = vec![work("writes", Some(150_000)), work("resync", None)];
    target
}

/// The numbers of the targets begin with the first that is equal.
fn status(targets: usize) -> StatusDocument {
    StatusDocument {
        version: "0.1.0".to_owned(),
        time: "2026-11-30T12:00:00Z".to_owned(),
        instance: "pod-registrar-6c9d7f5b8-x2x9k:6849a5b3-1-6cd741c2".to_owned(),
        cluster: Some(ShownCluster {
            id: "3eb7722a-add0-4ac4-b0d4-43a98cab3cca".to_owned(),
            name: "prod-eu".to_owned(),
        }),
        leader: Some(ShownLeader { lease: "pod-registrar/pod-registrar".to_owned(), holder: "other:1-2".to_owned() }),
        watch_silence_seconds: vec![0.3],
        targets: (1..=targets).map(target).collect(),
        ..StatusDocument::default()
    }
}

/// Serves the admin pages with this status. Returns their address.
async fn serve(status: impl Fn() -> StatusDocument + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (health, metrics) = (Health::new(1), Metrics::new(Health::new(1)));
    let pod = |_, _| -> futures::future::BoxFuture<'static, JsonPage> {
        Box::pin(async { JsonPage { status: 404, body: json!({}) } })
    };
    let pages = Pages { health, metrics, status: Box::new(status), pod: Box::new(pod) };
    tokio::spawn(admin::serve(listener, pages, std::future::pending()));
    url
}

/// Serves a page that measures the status page in frames.
async fn serve_measuring(style: String) -> String {
    let of = async |Path(targets): Path<usize>| Html(render(&status(targets)).unwrap());
    let style = move || std::future::ready(([("content-type", "text/css")], style.clone()));
    let routes = Router::new()
        .route("/", get(async || Html(include_str!("measure.html"))))
        .route("/of/{targets}", get(of))
        .route("/page/style.css", get(style));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// The text between two marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).map_or("", |(found, _)| found)
}

#[tokio::test]
async fn page_fits_every_screen_and_is_readable() {
    if is_missing().await {
        return;
    }
    let admin = serve(|| status(1)).await;
    let style = http_client().get(format!("{admin}/page/style.css")).send().await.unwrap().text().await.unwrap();
    let url = serve_measuring(style).await;
    let mut backgrounds = Vec::new();
    for is_dark in [false, true] {
        let measured = document(&url, is_dark, Duration::from_secs(10)).await;
        let results = between(&measured, "<pre id=\"result\">", "</pre>").replace("&lt;", "<").replace("&gt;", ">");
        let results: Vec<Value> = serde_json::from_str(&results).expect(&results);
        assert_eq!(results.len(), 6, "{results:#?}");
        for result in &results {
            assert!(result["over"] == 0 && result["wide"] == json!([]), "it scrolls sideways: {result:#}");
            assert_eq!(result["reload"], true, "without scripts, a person reloads: {result:#}");
            assert!(result["contrast"].as_f64().unwrap() >= 4.5, "hard to read: {result:#}");
            assert!(
                result["headline"].as_f64().unwrap() > 20.0 && result["top"].as_f64().unwrap() < 150.0,
                "{result:#}"
            );
        }
        let rows: Vec<_> = results.iter().map(|result| result["rows"].as_u64().unwrap()).collect();
        assert_eq!(rows, [0, 0, 1 + 20, 1 + 20, 20 + 6 * 11 + 20, 20 + 6 * 11 + 20], "{results:#?}");
        backgrounds.push(results[0]["background"].clone());
    }
    assert_ne!(backgrounds[0], backgrounds[1], "dark is another look than light");
}

#[tokio::test]
async fn page_takes_over_what_changed() {
    if is_missing().await {
        return;
    }
    let served = Arc::new(AtomicUsize::new(0));
    let counted = served.clone();
    let url = serve(move || status(counted.fetch_add(1, Ordering::Relaxed).min(1) + 1)).await;
    let shown = document(&url, false, Duration::from_secs(7)).await;
    assert!(served.load(Ordering::Relaxed) >= 2, "{shown}");
    let headline = between(&shown, "id=\"headline\" class=\"good\" role=\"status\">", "<");
    assert_eq!(headline, "All 2 registries are equal to the cluster.", "{shown}");
    assert!(shown.contains("<span id=\"live\" role=\"status\" class=\"on\">live</span>"), "{shown}");
    assert!(shown.contains("registry-2"), "{shown}");
    assert_eq!(shown.matches("<main").count(), 1, "{shown}");
}
