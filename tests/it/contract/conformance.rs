//! The rules that `conformance` checks, against the reference registry, and against servers that break one rule each.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use pod_registrar::conformance::{
    http::Access,
    report::{ConformanceReport, Standing},
    rule::Level,
    run::{self, Conformance, Ending},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    contract::registry_client::install_provider,
    support::{BrokenRegistry, Defect, RegistryTask},
};

async fn report(url: &str) -> ConformanceReport {
    install_provider();
    let access = Access {
        url: format!("{}/", url.trim_end_matches('/')).parse().unwrap(),
        token_file: None,
        ca_files: Vec::new(),
        request_timeout: Duration::from_secs(30),
    };
    let stop = CancellationToken::new();
    let Conformance { report, ending } = run::run(access, "conformance-test".to_owned(), &stop).await.unwrap();
    assert_eq!((ending, &report.incomplete), (Ending::Complete, &None));
    report
}

fn broken(report: &ConformanceReport) -> BTreeSet<String> {
    let levels = [Level::Must, Level::Should, Level::May];
    levels.into_iter().flat_map(|level| report.broken(level)).map(|(result, _)| result.id.clone()).collect()
}

#[tokio::test]
async fn reference_registry_breaks_no_rule() {
    let registry = RegistryTask::start();
    let report = report(&registry.url).await;
    assert_eq!(broken(&report), BTreeSet::new(), "{:#?}", report.lines(false));
    // Every other rule is observed.
    let skipped: Vec<String> = report.skipped().map(|(result, _)| result.id.clone()).collect();
    assert_eq!(skipped, ["token-missing", "token-unknown", "token-first"], "{:#?}", report.lines(false));
    // Nothing is left but closed sessions.
    assert_eq!(report.leftovers, None);
    let reader = registry.reader();
    for owner in ["pod-registrar", "conformance-other"] {
        assert!(reader.ids("conformance-test", owner).await.unwrap().is_empty());
        assert_eq!(reader.writer("conformance-test", owner).await.unwrap()["state"], "closed");
    }
}

/// Each defect with the check that has to find it.
const DEFECTS: [(&str, Defect); 18] = [
    (
        "epoch-grows",
        Defect::Answer(|request, answer| {
            if request.is("POST", "/session") && answer.status == 201 {
                answer.json["epoch"] = json!(1);
            }
        }),
    ),
    (
        "late-put",
        Defect::Answer(|request, answer| {
            if request.method == "PUT" && answer.refuses("stale-version") {
                (answer.status, answer.json) = (200, stored(&request.body));
            }
        }),
    ),
    (
        "put-after-deletion",
        Defect::Answer(|request, answer| {
            if request.method == "PUT" && answer.refuses("tombstoned") {
                (answer.status, answer.json) = (201, stored(&request.body));
            }
        }),
    ),
    (
        "unknown-members",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods/") && answer.status == 200 {
                answer.json.as_object_mut().unwrap().remove("conformanceFuture");
            }
        }),
    ),
    (
        "refused-wrong-digest",
        Defect::Answer(|request, answer| {
            let is_echoed = String::from_utf8_lossy(&request.body).contains("sha256:0000");
            if is_echoed && answer.status == 422 {
                (answer.status, answer.json) = (201, stored(&request.body));
            }
        }),
    ),
    (
        "refused-duplicate-name",
        Defect::Request(|request| {
            // The parser keeps the last of two members.
            if let Ok(body) = serde_json::from_slice::<Value>(&request.body) {
                request.body = body.to_string().into();
            }
        }),
    ),
    (
        "batch-stale-epoch",
        Defect::Answer(|request, answer| {
            if request.is("POST", "pods:batch") && answer.refuses("stale-epoch") {
                (answer.status, answer.json) = (200, json!({"results": []}));
            }
        }),
    ),
    (
        "inventory-complete",
        Defect::Answer(|request, answer| {
            if request.is("GET", "page=") && answer.status == 200 {
                answer.json["items"].as_array_mut().unwrap().clear();
            }
        }),
    ),
    (
        "inventory-once",
        Defect::Request(|request| {
            if let Some((path, _)) = request.path.split_once("&page=") {
                request.path = path.to_owned();
            }
        }),
    ),
    (
        "owners-apart-records",
        Defect::Request(|request| {
            if request.is("GET", "/pods?owner=") {
                request.path = request.path.replace("owner=conformance-other", "");
            }
        }),
    ),
    (
        "fenced-write",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/pods/") && answer.refuses("stale-epoch") {
                (answer.status, answer.json) = (200, stored(&request.body));
            }
        }),
    ),
    (
        "problem-type",
        Defect::Answer(|_, answer| {
            if answer.status >= 400 && answer.json.is_object() {
                answer.json.as_object_mut().unwrap().remove("type");
            }
        }),
    ),
    ("closed-session-refused", Defect::Instead(|request| request.is("DELETE", "/session").then_some(204))),
    (
        "problem-media-type",
        Defect::Answer(|_, answer| {
            if answer.status >= 400 {
                answer.media_type = "application/json".to_owned();
            }
        }),
    ),
    (
        "inventory-count",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/pods?") && answer.status == 200 {
                answer.json["count"] = json!(answer.json["items"].as_array().unwrap().len());
            }
        }),
    ),
    (
        "buckets-digest",
        Defect::Answer(|request, answer| {
            if request.is("GET", "pods:digest") && answer.status == 200 {
                let zeros = "0".repeat(64);
                answer.json["buckets"]
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .for_each(|bucket| bucket["digest"] = json!(zeros));
            }
        }),
    ),
    (
        "expires-at-changes",
        Defect::Answer(|request, answer| {
            if request.is("PUT", "/session") && answer.status == 200 {
                answer.json["expiresAt"] = json!("2026-11-23T10:00:00.000Z");
            }
        }),
    ),
    (
        "changes-reason",
        Defect::Answer(|request, answer| {
            if request.is("GET", "/changes") && answer.status == 200 {
                for change in answer.json["items"].as_array_mut().unwrap() {
                    change.as_object_mut().unwrap().remove("reason");
                }
            }
        }),
    ),
];

/// The answer of a server that has stored a record.
fn stored(body: &[u8]) -> Value {
    let record: Value = serde_json::from_slice(body).unwrap_or_default();
    json!({"id": record["pod"]["uid"], "digest": record["digest"], "version": record["version"]})
}

#[tokio::test]
async fn each_defect_is_found_by_its_check() {
    let runs = DEFECTS.map(|(check, defect)| async move {
        let server = BrokenRegistry::start(defect).await;
        let found = broken(&report(&server.url).await);
        (!found.contains(check)).then(|| format!("{check}: {found:?}"))
    });
    let missed: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[tokio::test]
async fn finding_quotes_request_answer_and_rule() {
    let (_, defect) = DEFECTS.into_iter().find(|(check, _)| *check == "late-put").unwrap();
    let server = BrokenRegistry::start(defect).await;
    let report = report(&server.url).await;
    let result = report.results.iter().find(|result| result.id == "late-put").unwrap();
    let Standing::Broken(breach) = &result.standing else { panic!("{result:?}") };
    assert_eq!(breach.why, "expected 409 `stale-version`, got 200");
    assert!(breach.probe.path.starts_with("v1/clusters/conformance-test/pods/order-record"), "{breach:?}");
    assert!(breach.probe.body.as_ref().is_some_and(|body| body.contains("\"late\"")), "{breach:?}");
    let text = report.lines(false).join("\n");
    assert!(text.contains("a record, higher version | put or delete | 409 `stale-version`"), "{text}");
}
