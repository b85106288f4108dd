//! The rules that `conformance` checks, against the reference registry, and against servers that break one rule each.

mod defects;
mod reading;
mod restarts;
mod sessions;
mod tokens;
mod variants;
mod writes;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use futures::StreamExt as _;
use pod_registrar::conformance::{
    http::Access,
    report::{ConformanceReport, RuleStatus},
    rule::Level,
    run::{self, Conformance, Ending},
};
use tokio_util::sync::CancellationToken;

use crate::{
    contract::registry_client::install_provider,
    support::{BrokenRegistry, Defect, RegistryTask},
};

/// How many servers are asked at a time.
const AT_A_TIME: usize = 8;

async fn report(url: &str) -> ConformanceReport {
    report_with(url, [None, None]).await
}

/// Nothing is restarted, and the rules about that are judged. `tokens` are the files with the token of the run and with
/// that of another cluster.
async fn report_with(url: &str, tokens: [Option<PathBuf>; 2]) -> ConformanceReport {
    install_provider();
    let [token_file, other_token_file] = tokens;
    let access = Access {
        url: format!("{}/", url.trim_end_matches('/')).parse().unwrap(),
        token_file,
        other_token_file,
        ca_files: Vec::new(),
        request_timeout: Duration::from_secs(30),
    };
    let stop = CancellationToken::new();
    let Conformance { report, ending } =
        run::run(access, "conformance-test".to_owned(), Some("true"), &stop).await.unwrap();
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
    assert_eq!(
        skipped,
        ["token-missing", "token-everywhere", "token-unknown", "token-first", "token-other"],
        "{:#?}",
        report.lines(false)
    );
    // Nothing is left but closed sessions.
    assert_eq!(report.leftovers, None);
    let reader = registry.reader();
    for owner in ["pod-registrar", "conformance-other"] {
        assert!(reader.ids("conformance-test", owner).await.unwrap().is_empty());
        assert_eq!(reader.writer("conformance-test", owner).await.unwrap()["state"], "closed");
    }
}

/// Fails unless each server is found by its check.
async fn are_found(defects: &[(&'static str, Defect)]) {
    let runs = defects.iter().map(|(check, defect)| async move {
        let server = BrokenRegistry::start(*defect).await;
        let found = broken(&report(&server.url).await);
        (!found.contains(*check)).then(|| format!("{check}: {found:?}"))
    });
    let found = futures::stream::iter(runs).buffer_unordered(AT_A_TIME);
    let missed: Vec<String> = found.filter_map(std::future::ready).collect().await;
    assert!(missed.is_empty(), "{missed:#?}");
}

#[tokio::test]
async fn each_defect_is_found_by_its_check() {
    are_found(defects::DEFECTS).await;
}

#[tokio::test]
async fn defects_of_sessions_are_found() {
    are_found(sessions::DEFECTS).await;
}

#[tokio::test]
async fn defects_of_writes_are_found() {
    are_found(writes::DEFECTS).await;
}

#[tokio::test]
async fn defects_of_reading_are_found() {
    are_found(reading::DEFECTS).await;
}

#[tokio::test]
async fn defects_of_restarts_are_found() {
    are_found(restarts::DEFECTS).await;
}

/// Refusals of requests that only prepare checks.
#[tokio::test]
async fn refused_preparation_breaks_a_must() {
    are_found(defects::REFUSALS).await;
}

/// A defect that other rules would show too, with misleading fixes.
#[tokio::test]
async fn defect_is_found_by_its_check_alone() {
    for alone in ["put-moves-version", "late-delete", "changes-since", "closing-keeps-records"] {
        let all = [writes::DEFECTS, reading::DEFECTS, sessions::DEFECTS].concat();
        let (_, defect) = all.into_iter().find(|(check, _)| *check == alone).unwrap();
        let server = BrokenRegistry::start(defect).await;
        assert_eq!(broken(&report(&server.url).await), BTreeSet::from([alone.to_owned()]));
    }
}

#[tokio::test]
async fn finding_quotes_request_answer_and_rule() {
    let (_, defect) = defects::DEFECTS.iter().find(|(check, _)| *check == "late-put").unwrap();
    let server = BrokenRegistry::start(*defect).await;
    let report = report(&server.url).await;
    let result = report.results.iter().find(|result| result.id == "late-put").unwrap();
    let RuleStatus::Broken(breach) = &result.status else { panic!("{result:?}") };
    assert_eq!(breach.why, "expected 409 `stale-version`, got 200");
    assert!(breach.probe.path.starts_with("v1/clusters/conformance-test/pods/order-late-put"), "{breach:?}");
    assert!(breach.probe.body.as_ref().is_some_and(|body| body.contains("\"late\"")), "{breach:?}");
    let text = report.lines(false).join("\n");
    assert!(text.contains("a record, higher version | put or delete | 409 `stale-version`"), "{text}");
}
