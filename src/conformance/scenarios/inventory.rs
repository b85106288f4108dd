//! The inventory: pages that stay stable while records change, and the parameters.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    conformance::{
        probe::{Probe, expect},
        rule::ProtocolRule,
        rules::inventory as rules,
        sample,
        suite::{Halt, PagesRead, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// Their order by bytes is another one than that of a language.
const IDS: [&str; 6] = ["inventory-B", "inventory-C", "inventory-a", "inventory-b", "inventory-b.1", "inventory-b~1"];
/// Records at the beginning of the first page: the first one is deleted while the inventory is read.
const EARLY: [&str; 2] = ["0-first", "0-second"];
/// A record that is created before the place that a reading has reached.
const CREATED: &str = "0-created";

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let epoch = suite.session(OWNER).await?;
    let mut known = BTreeMap::new();
    for id in IDS.into_iter().chain(EARLY) {
        let seq = suite.seqs(1) + 1;
        known.insert(id, suite.place(OWNER, id, (epoch, seq)).await?);
    }
    changing(suite, epoch).await?;
    quiet(suite, &known).await?;
    parameters(suite).await?;
    full(suite, &known).await?;
    lifecycle(suite, epoch).await
}

/// Reads pages of two items while a record before them disappears and another one appears.
async fn changing(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let mut reading = PagesRead::default();
    let mut more = suite.read_on(OWNER, "limit=2", &mut reading).await?;
    let seq = suite.seqs(2);
    let deleted = suite.delete(OWNER, EARLY[0], (epoch, seq + 1)).await?;
    suite.need("a deletion", &deleted, &[200, 204])?;
    if more {
        more = suite.read_on(OWNER, "limit=2", &mut reading).await?;
    }
    suite.place(OWNER, CREATED, (epoch, seq + 2)).await?;
    while more {
        more = suite.read_on(OWNER, "limit=2", &mut reading).await?;
    }
    judge_reading(suite, &reading);
    Ok(())
}

fn judge_reading(suite: &mut Suite, reading: &PagesRead) {
    let Some(last) = reading.pages.last() else { return };
    let ids = reading.ids();
    let expected = IDS.iter().chain(&EARLY[1..]);
    let missing: Vec<&&str> = expected.filter(|id| !ids.contains(id)).collect();
    let outcome = expect(missing.is_empty(), || format!("expected {missing:?} on one of the pages"));
    suite.judge(&rules::INVENTORY_COMPLETE, last, outcome);
    let twice: Vec<&&str> = ids.iter().filter(|id| ids.iter().filter(|other| other == id).count() > 1).collect();
    let outcome = expect(twice.is_empty(), || format!("expected each record once, got {:?} again", twice.first()));
    suite.judge(&rules::INVENTORY_ONCE, last, outcome);
    let outcome = expect(reading.is_finished, || "expected other pages with another `next`".to_owned());
    suite.judge(&rules::INVENTORY_ONCE, last, outcome);
    let outcome = expect(ids.is_sorted(), || format!("expected ids in the order of their bytes, got {ids:?}"));
    suite.judge(&rules::INVENTORY_ORDER, last, outcome);
    let mut as_of = 0;
    for page in &reading.pages {
        let (count, next) = (page.list("/items").len(), page.json().get("next"));
        suite.judge(
            &rules::INVENTORY_LIMIT,
            page,
            expect(count <= 2, || format!("expected at most 2 items, got {count}")),
        );
        let fits = next.is_none_or(|next| next.as_str().is_some_and(|token| (1..=1_024).contains(&token.len())));
        let outcome = expect(fits, || "expected a `next` of 1 to 1,024 bytes, or none".to_owned());
        suite.judge(&rules::INVENTORY_NEXT, page, outcome);
        let found = page.number("/asOf");
        let outcome =
            expect(found.is_some_and(|n| n >= as_of), || format!("expected `asOf` from {as_of}, got {found:?}"));
        suite.judge(&rules::INVENTORY_AS_OF, page, outcome);
        as_of = found.unwrap_or(as_of);
    }
}

/// Reads again while nothing changes.
async fn quiet(suite: &mut Suite, known: &BTreeMap<&str, Value>) -> Result<(), Halt> {
    let reading = suite.read(OWNER, "limit=3&view=digest").await?;
    for page in &reading.pages {
        let (count, found) = (reading.items.len() as u64, page.number("/count"));
        let outcome = expect(found == Some(count), || format!("expected `count` {count}, got {found:?}"));
        suite.judge(&rules::INVENTORY_COUNT, page, outcome);
    }
    let Some(last) = reading.pages.last() else { return Ok(()) };
    for id in IDS {
        let (record, item) = (&known[id], reading.item(id).cloned().unwrap_or_default());
        let is_right = item["digest"] == record["digest"] && item["version"] == record["version"];
        let outcome = expect(is_right, || format!("expected digest and version of {id}, got {item}"));
        suite.judge(&rules::INVENTORY_ITEMS, last, outcome);
    }
    Ok(())
}

async fn parameters(suite: &mut Suite) -> Result<(), Halt> {
    for query in ["limit=0", "limit=two", "view=conformance", "limit=1&limit=2"] {
        let probe = suite.page(OWNER, query).await?;
        suite.judge(&rules::INVENTORY_PARAMETERS, &probe, probe.refuses(422, "schema"));
    }
    let probe = suite.page(OWNER, "page=conformance").await?;
    suite.judge(&rules::INVENTORY_PAGE_UNREADABLE, &probe, probe.refuses(410, "gone"));
    let probe = suite.page(OWNER, "page=").await?;
    suite.judge(&rules::INVENTORY_PAGE_UNREADABLE, &probe, probe.is(&[200]));
    Ok(())
}

async fn full(suite: &mut Suite, known: &BTreeMap<&str, Value>) -> Result<(), Halt> {
    let probe = suite.page(OWNER, "view=full&limit=500").await?;
    if probe.status() != Some(200) {
        suite.skip(&rules::INVENTORY_FULL, "the registry has no view=full, which is allowed");
        return Ok(());
    }
    let found = probe.list("/items").iter().find(|record| record["pod"]["uid"] == IDS[0]);
    let is_whole = found.is_some_and(|record| {
        record["digest"] == known[IDS[0]]["digest"] && record["digest"] == json!(sample::digest(record))
    });
    suite.judge(&rules::INVENTORY_FULL, &probe, expect(is_whole, || format!("expected the record of {}", IDS[0])));
    Ok(())
}

async fn lifecycle(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "inventory-finished";
    let seq = suite.seqs(1) + 1;
    let mut record = suite.record(OWNER, ID, (epoch, seq), "finished");
    record["state"]["lifecycle"] = json!("finished");
    let put = suite.put(OWNER, ID, &sample::with_digest(record)).await?;
    suite.need("a put", &put, &[200, 201])?;
    let probe = suite.page(OWNER, "lifecycle=finished").await?;
    judge_filter(suite, &probe, &rules::INVENTORY_LIFECYCLE, ID);
    Ok(())
}

/// A registry that does not know the filter lists all records.
fn judge_filter(suite: &mut Suite, probe: &Probe, rule: &'static ProtocolRule, id: &str) {
    let ids: Vec<&str> = probe.list("/items").iter().filter_map(|item| item["id"].as_str()).collect();
    if probe.status() != Some(200) || ids.contains(&IDS[0]) {
        return suite.skip(rule, "the registry does not filter by `lifecycle`, which is allowed");
    }
    let outcome = expect(ids == [id], || format!("expected {id} alone, got {ids:?}"));
    suite.judge(rule, probe, outcome.and_then(|()| probe.has("/count", &json!(1))));
}
