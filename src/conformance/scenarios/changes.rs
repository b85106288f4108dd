//! The feed of changes, filtered by the run's cluster.

use serde_json::{Value, json};

use crate::{
    conformance::{
        probe::{Probe, expect},
        rules::changes as rules,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

const ID: &str = "change";
/// The most pages that are read to find the end of the feed.
const PAGES_MAX: usize = 200;
/// Far above each number of a change.
const BEYOND: u64 = 1 << 40;

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let last = end(suite).await?;
    write(suite).await?;
    let changes = read(suite, &format!("&since={last}&limit=100")).await?;
    suite.need("reading the changes", &changes, &[200])?;
    judge(suite, &changes, last);
    resume(suite, &changes, last).await?;
    let other = suite.get(format!("v1/changes?cluster={}-none&since={last}", suite.cluster)).await?;
    let count = other.list("/items").len();
    let outcome = expect(count == 0, || format!("expected no change of a cluster without records, got {count}"));
    suite.judge(&rules::CHANGES_FILTER, &other, outcome);
    let probe = read(suite, &format!("&since={}", last + BEYOND)).await?;
    suite.judge(&rules::CHANGES_GONE, &probe, probe.refuses(410, "gone"));
    let newest = changes.list("/items").last().and_then(|change| change["n"].as_u64()).unwrap_or_default();
    let page = suite.page(OWNER, "limit=1").await?;
    let as_of = page.number("/asOf").unwrap_or_default();
    let outcome = expect(as_of >= newest, || format!("expected `asOf` from {newest}, got {as_of}"));
    suite.judge(&rules::CHANGES_AS_OF, &page, outcome);
    Ok(())
}

async fn read(suite: &mut Suite, query: &str) -> Result<Probe, Halt> {
    suite.get(format!("v1/changes?cluster={}{query}", suite.cluster)).await
}

/// Reads the feed to its end, and returns the last number.
async fn end(suite: &mut Suite) -> Result<u64, Halt> {
    let mut since = String::new();
    for _ in 0..PAGES_MAX {
        let page = read(suite, &format!("&limit=5000{since}")).await?;
        suite.need("reading the changes", &page, &[200])?;
        let next = page.number("/next").ok_or_else(|| Halt::Scenario("the changes have no `next`".to_owned()))?;
        if page.list("/items").is_empty() {
            return Ok(next);
        }
        since = format!("&since={next}");
    }
    Err(Halt::Scenario("the end of the changes was not reached".to_owned()))
}

/// Three changes, and four operations that are none.
async fn write(suite: &mut Suite) -> Result<(), Halt> {
    let (epoch, seq) = (suite.session(OWNER).await?, suite.seqs(10));
    for (at, name) in [(1, "one"), (1, "one"), (2, "one"), (3, "two")] {
        let record = suite.record(OWNER, ID, (epoch, seq + at), name);
        let probe = suite.put(OWNER, ID, &record).await?;
        suite.need("a put", &probe, &[200, 201])?;
    }
    for (id, at) in [("change-unknown", 4), (ID, 5), (ID, 5)] {
        let probe = suite.delete(OWNER, id, (epoch, seq + at)).await?;
        suite.need("a deletion", &probe, &[200, 204])?;
    }
    Ok(())
}

fn judge(suite: &mut Suite, changes: &Probe, last: u64) {
    let items = changes.list("/items");
    let of = |item: &Value| (item["op"].as_str().unwrap_or_default().to_owned(), item["id"].clone());
    let found: Vec<_> = items.iter().map(of).collect();
    let expected: Vec<_> = ["put", "put", "delete"].map(|op| (op.to_owned(), json!(ID))).into();
    let mut rest = found.iter();
    let has_all = expected.iter().all(|change| rest.any(|found| found == change));
    let is_named = items.iter().all(|item| item["cluster"] == suite.cluster.as_str() && item["owner"] == OWNER);
    let outcome = expect(has_all && is_named, || format!("expected put, put and delete of {ID}, got {found:?}"));
    suite.judge(&rules::CHANGES_LISTED, changes, outcome);
    let outcome = expect(found.len() <= expected.len(), || format!("expected three changes, got {found:?}"));
    suite.judge(&rules::CHANGES_ONLY_REAL, changes, outcome);
    let numbers: Vec<u64> = items.iter().filter_map(|item| item["n"].as_u64()).collect();
    let is_growing = numbers.iter().all(|n| *n > last) && numbers.is_sorted_by(|a, b| a < b);
    let outcome =
        expect(is_growing && numbers.len() == items.len(), || format!("expected growing numbers, got {numbers:?}"));
    suite.judge(&rules::CHANGES_ORDER, changes, outcome);
    let deletion = items.iter().find(|item| item["op"] == "delete").cloned().unwrap_or_default();
    let has_reason = deletion["reason"] == "deleted" && deletion["observed"] == "watch";
    let outcome = expect(has_reason, || "expected `reason` deleted and `observed` watch".to_owned());
    suite.judge(&rules::CHANGES_REASON, changes, outcome);
}

/// Reads the first change, then the others from its `next`, then nothing.
async fn resume(suite: &mut Suite, all: &Probe, last: u64) -> Result<(), Halt> {
    let mut found = Vec::new();
    let mut next = last;
    for limit in [1, 100, 100] {
        let page = read(suite, &format!("&since={next}&limit={limit}")).await?;
        let items = page.list("/items");
        let outcome = page.is(&[200]).and_then(|()| expect(items.len() <= limit, || format!("expected {limit} items")));
        suite.judge(&rules::CHANGES_RESUME, &page, outcome);
        found.extend_from_slice(items);
        next = page.number("/next").unwrap_or(next);
    }
    let outcome = expect(found == all.list("/items"), || "expected the same changes, each once".to_owned());
    suite.judge(&rules::CHANGES_RESUME, all, outcome);
    Ok(())
}
