//! The feed of changes, filtered by the run's cluster.

use serde_json::{Value, json};

use super::{batches::fits, writes::LONG_REASON};
use crate::{
    conformance::{
        probe::{Expectation, Probe, as_json, expect},
        rules::changes as rules,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

const ID: &str = "change";
const BATCHED: &str = "change-in-batch";
/// The most pages that are read to find the end of the feed.
const PAGES_MAX: usize = 200;
/// Far above each number of a change.
const BEYOND: u64 = 1 << 40;

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let last = end(suite).await?;
    let epoch = write(suite).await?;
    let changes = read_all(suite, &format!("cluster={}&limit=100", suite.cluster), last).await?;
    judge(suite, &changes, last, epoch);
    resume(suite, &changes, last).await?;
    stream(suite, &changes, last).await?;
    limits(suite, last).await?;
    others(suite, &changes, last).await?;
    let probe = read(suite, &format!("&since={}", last + BEYOND)).await?;
    suite.judge(&rules::CHANGES_GONE, &probe, probe.refuses(410, "gone"));
    let page = suite.page(OWNER, "limit=1").await?;
    let (as_of, newest) = (page.number("/asOf").unwrap_or_default(), changes.newest());
    let outcome = expect(as_of >= newest, || format!("expected `asOf` from {newest}, got {as_of}"));
    suite.judge(&rules::CHANGES_AS_OF, &page, outcome);
    Ok(())
}

/// Changes of one or more pages.
struct ChangesRead {
    items: Vec<Value>,
    /// The last page that has a change, or else the first one.
    page: Probe,
}

impl ChangesRead {
    fn newest(&self) -> u64 {
        self.items.last().and_then(|change| change["n"].as_u64()).unwrap_or_default()
    }
}

async fn read(suite: &mut Suite, query: &str) -> Result<Probe, Halt> {
    suite.get(format!("v1/changes?cluster={}{query}", suite.cluster)).await
}

/// Judges the numbers of a page that was asked for with this `since`. Returns `next`, if it leads on.
fn step(suite: &mut Suite, page: &Probe, since: Option<u64>) -> Result<Option<u64>, Halt> {
    if since.is_some() && page.status() == Some(410) {
        let why = "expected the changes after `next` of the page before, got 410";
        suite.judge(&rules::CHANGES_RESUME, page, Err(why.to_owned()));
    }
    suite.need("reading the changes", page, &[200])?;
    let next = page.number("/next").ok_or_else(|| suite.lacks(&rules::CHANGES_RESUME, page, "`next`"))?;
    if let (Some(since), Some(first)) = (since, page.number("/items/0/n")) {
        let outcome = expect(first > since, || format!("expected changes above `since` {since}, got {first}"));
        suite.judge(&rules::CHANGES_SINCE, page, outcome);
    }
    let leads_on = !page.list("/items").is_empty() && since.is_none_or(|since| next > since);
    Ok(leads_on.then_some(next))
}

/// Reads all pages from `since` to the end of the feed. A page may be shorter than its limit.
async fn read_all(suite: &mut Suite, query: &str, since: u64) -> Result<ChangesRead, Halt> {
    let mut since = since;
    let mut read: Option<ChangesRead> = None;
    for _ in 0..PAGES_MAX {
        let page = suite.get(format!("v1/changes?{query}&since={since}")).await?;
        let next = step(suite, &page, Some(since))?;
        let items = page.list("/items").iter().filter(|item| item["n"].as_u64().is_none_or(|n| n > since)).cloned();
        match &mut read {
            None => read = Some(ChangesRead { items: items.collect(), page }),
            Some(read) => {
                read.items.extend(items);
                if next.is_some() {
                    read.page = page;
                }
            }
        }
        match next {
            Some(next) => since = next,
            None => break,
        }
    }
    read.ok_or_else(|| Halt::Scenario("the changes were not read".to_owned()))
}

/// Reads the feed to its end, and returns the last number.
async fn end(suite: &mut Suite) -> Result<u64, Halt> {
    let mut page = read(suite, "&limit=5000").await?;
    let mut since = None;
    for _ in 0..PAGES_MAX {
        match step(suite, &page, since)? {
            // An empty page, or one that does not lead on.
            None => return Ok(page.number("/next").or(since).unwrap_or_default()),
            Some(next) => {
                since = Some(next);
                page = read(suite, &format!("&limit=5000&since={next}")).await?;
            }
        }
    }
    Err(suite.lacks(&rules::CHANGES_RESUME, &page, "the end of the changes"))
}

/// Three changes, and four operations that are none; then two changes, whose deletion is sent in a batch if the
/// registry takes batches; then the first record again. Returns the epoch.
async fn write(suite: &mut Suite) -> Result<u64, Halt> {
    let (epoch, seq) = (suite.session(OWNER).await?, suite.seqs(12));
    for (at, name) in [(1, "one"), (1, "one"), (2, "one"), (3, "two")] {
        let record = suite.record(OWNER, ID, (epoch, seq + at), name);
        let probe = suite.put(OWNER, ID, &record).await?;
        suite.need("a put", &probe, &[200, 201])?;
    }
    for (id, at) in [("change-unknown", 4), (ID, 5), (ID, 5)] {
        let query = format!("epoch={epoch}&seq={}&reason={LONG_REASON}&observed=watch", seq + at);
        let probe = suite.send("DELETE", suite.at(OWNER, &format!("/pods/{id}"), &query), None).await?;
        // A status that another rule judges hides no change.
        suite.need("a deletion", &probe, &[200, 204, 404])?;
    }
    suite.place(OWNER, BATCHED, (epoch, seq + 10)).await?;
    let version = json!({"epoch": epoch, "seq": seq + 11});
    let operation =
        json!({"op": "delete", "id": BATCHED, "version": version, "reason": LONG_REASON, "observed": "watch"});
    if suite.claims.has("batch") && fits(suite, &operation) {
        let probe = suite.batch(epoch, &[operation]).await?;
        suite.need("a batch", &probe, &[200, 207])?;
    } else {
        let query = format!("epoch={epoch}&seq={}&reason={LONG_REASON}&observed=watch", seq + 11);
        suite.send("DELETE", suite.at(OWNER, &format!("/pods/{BATCHED}"), &query), None).await?;
    }
    // Created again above its tombstone.
    suite.place(OWNER, ID, (epoch, seq + 12)).await?;
    Ok(epoch)
}

fn judge(suite: &mut Suite, changes: &ChangesRead, last: u64, epoch: u64) {
    let ChangesRead { items, page } = changes;
    let of = |item: &Value| (item["op"].as_str().unwrap_or_default().to_owned(), item["id"].clone());
    let found: Vec<_> = items.iter().map(of).collect();
    let expected = [("put", ID), ("put", ID), ("delete", ID), ("put", BATCHED), ("delete", BATCHED), ("put", ID)]
        .map(|(op, id)| (op.to_owned(), json!(id)));
    let mut rest = found.iter();
    let has_all = expected.iter().all(|change| rest.any(|found| found == change));
    let is_named = items.iter().all(|item| {
        item["cluster"] == suite.cluster.as_str()
            && item["owner"] == OWNER
            && item["namespace"] == "conformance"
            && item["epoch"] == epoch
            && item["seq"].is_u64()
    });
    let outcome = expect(has_all && is_named, || {
        format!("expected {} with the members of the example, got {}", as_json(&expected), as_json(&found))
    });
    suite.judge(&rules::CHANGES_LISTED, page, outcome);
    suite.judge_time(page, "/items/0/at");
    let outcome = expect(found.len() <= expected.len(), || format!("expected six changes, got {}", as_json(&found)));
    suite.judge(&rules::CHANGES_ONLY_REAL, page, outcome);
    let numbers: Vec<u64> = items.iter().filter_map(|item| item["n"].as_u64()).collect();
    let is_growing = numbers.iter().all(|n| *n > last) && numbers.is_sorted_by(|a, b| a < b);
    let outcome = expect(is_growing && numbers.len() == items.len(), || {
        format!("expected growing numbers, got {}", as_json(&numbers))
    });
    suite.judge(&rules::CHANGES_ORDER, page, outcome);
    let is_of_deletion = |item: &&Value| item["op"] == "delete";
    let says_why = |item: &Value| item["reason"] == LONG_REASON && item["observed"] == "watch";
    let has_reason =
        items.iter().any(|item| item["op"] == "delete") && items.iter().filter(is_of_deletion).all(says_why);
    let outcome = expect(has_reason, || format!("expected `reason` {LONG_REASON} and `observed` watch"));
    suite.judge(&rules::CHANGES_REASON, page, outcome);
}

/// Reads one change after the other, each from the `next` of the one before.
async fn resume(suite: &mut Suite, all: &ChangesRead, last: u64) -> Result<(), Halt> {
    if !suite.is_passed(&rules::CHANGES_SINCE) {
        suite.skip(&rules::CHANGES_RESUME, "`since` is not followed, so that pages of one change lead nowhere");
        return Ok(());
    }
    let found = read_all(suite, &format!("cluster={}&limit=1", suite.cluster), last).await?;
    let outcome = expect(found.items == all.items, || "expected the same changes, each once".to_owned());
    suite.judge(&rules::CHANGES_RESUME, &found.page, outcome);
    Ok(())
}

/// Reads the changes as server-sent events: all, and those after the first one.
async fn stream(suite: &mut Suite, all: &ChangesRead, last: u64) -> Result<(), Halt> {
    if !suite.is_passed(&rules::CHANGES_SINCE) {
        let why = "`since` is not followed, so that it is not known which events to expect";
        [&rules::CHANGES_STREAM, &rules::CHANGES_STREAM_RESUME].into_iter().for_each(|rule| suite.skip(rule, why));
        return Ok(());
    }
    let path = format!("v1/changes?cluster={}&since={last}", suite.cluster);
    let event = |change: &Value| json!({"id": change["n"].to_string(), "data": change});
    let events: Vec<Value> = all.items.iter().map(event).collect();
    let Some(first) = all.items.first().and_then(|change| change["n"].as_u64()) else {
        return Err(Halt::Scenario("there are no changes to follow".to_owned()));
    };
    let probe = suite.follow(path.clone(), None, events.len()).await?;
    if media_type(&probe).starts_with("application/json") && probe.status() == Some(200) {
        let why = "the registry has no server-sent events";
        [&rules::CHANGES_STREAM, &rules::CHANGES_STREAM_RESUME].into_iter().for_each(|rule| suite.skip(rule, why));
        return Ok(());
    }
    suite.judge(&rules::CHANGES_STREAM, &probe, sends(&probe, &events));
    if !suite.is_passed(&rules::CHANGES_STREAM) {
        suite.skip(&rules::CHANGES_STREAM_RESUME, "the events are not those that are expected");
        return Ok(());
    }
    let probe = suite.follow(path, Some(first), events.len() - 1).await?;
    suite.judge(&rules::CHANGES_STREAM_RESUME, &probe, sends(&probe, &events[1..]));
    Ok(())
}

fn media_type(probe: &Probe) -> &str {
    probe.answer.as_ref().map_or("", |answer| answer.media_type.as_str())
}

/// Expects these server-sent events first.
fn sends(probe: &Probe, events: &[Value]) -> Expectation {
    probe.is(&[200])?;
    expect(media_type(probe).starts_with("text/event-stream"), || {
        format!("asked with Accept: text/event-stream, expected that media type, got `{}`", media_type(probe))
    })?;
    let ids = |events: &[Value]| as_json(&events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>());
    expect(probe.list("").starts_with(events), || {
        format!("expected events with the ids {} and their changes, got {}", ids(events), ids(probe.list("")))
    })
}

async fn limits(suite: &mut Suite, last: u64) -> Result<(), Halt> {
    let page = read(suite, &format!("&since={last}&limit=1")).await?;
    let count = page.list("/items").len();
    suite.judge(&rules::CHANGES_LIMIT, &page, expect(count <= 1, || format!("expected 1 change, got {count}")));
    for limit in [5_001, 1_000_000] {
        let page = read(suite, &format!("&since={last}&limit={limit}")).await?;
        suite.judge(&rules::CHANGES_LIMIT, &page, page.is(&[200]));
    }
    Ok(())
}

/// The changes of a cluster without records, and those of all clusters.
async fn others(suite: &mut Suite, changes: &ChangesRead, last: u64) -> Result<(), Halt> {
    let other = suite.get(format!("v1/changes?cluster={}-none&since={last}", suite.cluster)).await?;
    let count = other.list("/items").len();
    let outcome = expect(count == 0, || format!("expected no change of a cluster without records, got {count}"));
    suite.judge(&rules::CHANGES_FILTER, &other, outcome);
    let (next, newest) = (other.number("/next"), changes.newest());
    let outcome =
        expect(count > 0 || next >= Some(newest), || format!("expected `next` from {newest}, got {}", as_json(&next)));
    suite.judge(&rules::CHANGES_LAST, &other, outcome);
    let first = suite.get(format!("v1/changes?limit=5000&since={last}")).await?;
    suite.judge(&rules::CHANGES_OF_ALL, &first, first.is(&[200]));
    if first.status() != Some(200) {
        return Ok(());
    }
    let all = read_all(suite, "limit=5000", last).await?;
    let has_all = changes.items.iter().all(|change| all.items.contains(change));
    let outcome = expect(has_all, || "expected the changes of this run among those of all clusters".to_owned());
    suite.judge(&rules::CHANGES_OF_ALL, &all.page, outcome);
    Ok(())
}
