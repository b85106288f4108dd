//! Servers that follow the protocol otherwise than the reference registry: none breaks a rule.

use std::collections::BTreeSet;

use pod_registrar::conformance::rule::Level;
use serde_json::{Value, json};

use super::{
    broken,
    defects::{problem, refuse},
    report,
};
use crate::support::{BrokenRegistry, Defect, ProxiedRequest};

/// Takes batches of at most this many operations and bytes.
fn takes<const ITEMS: usize, const BYTES: usize>(request: &ProxiedRequest) -> Option<(u16, Value)> {
    if request.is("GET", "/capabilities") {
        let features = ["batch", "digest-inventory", "sessions", "tombstones", "changes"];
        let limits = json!({"protocol": "v1", "maxBatchItems": ITEMS, "maxBatchBytes": BYTES, "features": features});
        return Some((200, limits));
    }
    let operations = request.json()["operations"].as_array().map_or(0, Vec::len);
    let is_above = operations > ITEMS || request.body.len() > BYTES;
    (request.is("POST", "/pods:batch") && is_above).then(|| problem(413, "too-large"))
}

/// Sends pages of at most three items, whatever the limit.
fn short_pages(request: &mut ProxiedRequest) {
    let is_paged = request.is("GET", "/pods") && !request.path.contains("/pods/") || request.is("GET", "/changes");
    let limit = request.parameter("limit").map(str::to_owned);
    match limit.as_deref().map(str::parse::<u64>) {
        Some(Ok(limit @ 4..)) => request.path = request.path.replace(&format!("limit={limit}"), "limit=3"),
        None if is_paged && !request.path.contains("pods:digest") => {
            let mark = if request.path.contains('?') { '&' } else { '?' };
            request.path.push_str(&format!("{mark}limit=3"));
        }
        _ => {}
    }
}

async fn found(defect: Defect) -> (BTreeSet<String>, Vec<(String, String)>) {
    let server = BrokenRegistry::start(defect).await;
    let report = report(&server.url).await;
    let skipped = report.skipped().map(|(result, why)| (result.id.clone(), why.to_owned()));
    (broken(&report), skipped.filter(|(id, _)| !id.starts_with("token-")).collect())
}

#[tokio::test]
async fn small_batches_break_no_rule() {
    const MANY: usize = 4 << 20;
    for defect in [takes::<2, MANY>, takes::<5, MANY>, takes::<6, MANY>, takes::<500, 2_000>] {
        let (broken, skipped) = found(Defect::Instead(defect)).await;
        assert_eq!(broken, BTreeSet::new());
        let skipped: Vec<&str> = skipped.iter().map(|(id, _)| id.as_str()).collect();
        assert!(skipped.is_empty() || skipped == ["batch-record-too-large"], "{skipped:?}");
    }
    // One operation per batch cannot show everything.
    let (broken, skipped) = found(Defect::Instead(takes::<1, MANY>)).await;
    assert_eq!(broken, BTreeSet::new());
    let why = "this needs a batch of 2 operations; the limit is 1".to_owned();
    let expected = ["batch-mixed", "batch-duplicate"].map(|id| (id.to_owned(), why.clone()));
    assert_eq!(skipped, expected);
    // A batch that takes no operation at all.
    let (broken, skipped) = found(Defect::Instead(takes::<5, 100>)).await;
    assert_eq!(broken, BTreeSet::new());
    assert!(skipped.iter().any(|(id, why)| id == "batch-results" && why.contains("the limit is 100")), "{skipped:?}");
}

#[tokio::test]
async fn short_pages_break_no_rule() {
    let (broken, skipped) = found(Defect::Request(short_pages)).await;
    assert_eq!((broken, skipped), (BTreeSet::new(), Vec::new()));
}

/// Without what a registry may leave out.
#[tokio::test]
async fn optional_parts_may_be_missing() {
    let defect = Defect::Answer(|request, answer| {
        if request.parameter("view") == Some("full") {
            refuse(answer, 422, "schema");
        }
        if request.path.ends_with("/v1/clusters") && request.method == "GET" {
            refuse(answer, 404, "not-found");
        }
        if let Some(owners) = answer.json.get_mut("owners").and_then(Value::as_array_mut) {
            for owner in owners.iter_mut().filter_map(Value::as_object_mut) {
                owner.retain(|name, _| !["clusterUid", "contender", "synced"].contains(&name.as_str()));
            }
            answer.json.as_object_mut().unwrap().remove("name");
        }
    });
    let server = BrokenRegistry::start(defect).await;
    let report = report(&server.url).await;
    assert_eq!(report.broken(Level::Must).count(), 0, "{:#?}", report.lines(false));
    let skipped: BTreeSet<&str> = report.skipped().map(|(result, _)| result.id.as_str()).collect();
    for id in ["inventory-full", "cluster-list", "cluster-list-pods", "synced", "cluster-name-kept"] {
        assert!(skipped.contains(id), "{id}: {skipped:?}");
    }
}
