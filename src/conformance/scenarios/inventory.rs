//! The inventory: pages that stay stable while records change, and the parameters.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    conformance::{
        probe::{as_json, expect},
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
    full(suite, epoch).await?;
    filters(suite, epoch).await
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
    let outcome = expect(missing.is_empty(), || format!("expected {} on one of the pages", as_json(&missing)));
    suite.judge(&rules::INVENTORY_COMPLETE, last, outcome);
    let twice: Vec<&&str> = ids.iter().filter(|id| ids.iter().filter(|other| other == id).count() > 1).collect();
    let outcome =
        expect(twice.is_empty(), || format!("expected each record once, got {} again", as_json(&twice.first())));
    suite.judge(&rules::INVENTORY_ONCE, last, outcome);
    let outcome = expect(reading.is_finished, || "expected other pages with another `next`".to_owned());
    suite.judge(&rules::INVENTORY_ONCE, last, outcome);
    let outcome =
        expect(ids.is_sorted(), || format!("expected ids in the order of their bytes, got {}", as_json(&ids)));
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
        let is_filled = count > 0 || next.is_none();
        let outcome = expect(is_filled, || "expected items on a page that is not the last one".to_owned());
        suite.judge(&rules::INVENTORY_PAGES_FILLED, page, outcome);
        let found = page.number("/asOf");
        let outcome = expect(found.is_some_and(|n| n >= as_of), || {
            format!("expected `asOf` from {as_of}, got {}", as_json(&found))
        });
        suite.judge(&rules::INVENTORY_AS_OF, page, outcome);
        as_of = found.unwrap_or(as_of);
    }
}

/// Reads again while nothing changes.
async fn quiet(suite: &mut Suite, known: &BTreeMap<&str, Value>) -> Result<(), Halt> {
    let reading = suite.read(OWNER, "limit=3&view=digest").await?;
    for page in &reading.pages {
        let (count, found) = (reading.items.len() as u64, page.number("/count"));
        let outcome = expect(found == Some(count), || format!("expected `count` {count}, got {}", as_json(&found)));
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
    for limit in [5_001, 1_000_000] {
        let probe = suite.page(OWNER, &format!("limit={limit}")).await?;
        suite.judge(&rules::INVENTORY_LIMIT_REDUCED, &probe, probe.is(&[200]));
    }
    let probe = suite.page(OWNER, "page=conformance").await?;
    suite.judge(&rules::INVENTORY_PAGE_UNREADABLE, &probe, probe.refuses(410, "gone"));
    let probe = suite.page(OWNER, "page=").await?;
    suite.judge(&rules::INVENTORY_PAGE_UNREADABLE, &probe, probe.is(&[200]));
    Ok(())
}

/// Reads whole records, of which one has every kind of member.
async fn full(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "inventory-whole";
    let seq = suite.seqs(1) + 1;
    let record = suite.rich_record(OWNER, ID, (epoch, seq));
    let put = suite.put(OWNER, ID, &record).await?;
    suite.need("a put", &put, &[200, 201])?;
    let first = suite.page(OWNER, "view=full&limit=500").await?;
    if first.status() != Some(200) {
        suite.skip(&rules::INVENTORY_FULL, "the registry has no view=full, which is allowed");
        return Ok(());
    }
    let reading = suite.read(OWNER, "view=full&limit=500").await?;
    let Some(last) = reading.pages.last() else { return Ok(()) };
    let found = reading.items.iter().find(|found| found["pod"]["uid"] == ID).cloned().unwrap_or_default();
    let members = record.as_object().into_iter().flatten();
    let missing: Vec<&String> =
        members.filter(|(name, value)| found.get(name.as_str()) != Some(*value)).map(|(name, _)| name).collect();
    let outcome =
        expect(missing.is_empty(), || format!("expected the record of {ID} with its members {}", as_json(&missing)));
    suite.judge(&rules::INVENTORY_FULL, last, outcome);
    let wrong = reading.items.iter().find(|found| found["digest"] != json!(sample::digest(found)));
    let outcome = wrong.map_or(Ok(()), |found| {
        let (id, computed) = (as_json(&found["pod"]["uid"]), as_json(&sample::digest(found)));
        Err(format!("expected {computed} as the digest of the content of {id}, got {}", as_json(&found["digest"])))
    });
    suite.judge(&rules::INVENTORY_FULL, last, outcome);
    Ok(())
}

/// Filters by state and by text: only one record matches.
async fn filters(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "inventory-finished";
    let seq = suite.seqs(1) + 1;
    let mut record = suite.record(OWNER, ID, (epoch, seq), "finished");
    record["state"]["lifecycle"] = json!("finished");
    let put = suite.put(OWNER, ID, &sample::with_digest(record)).await?;
    suite.need("a put", &put, &[200, 201])?;
    filter(suite, &rules::INVENTORY_LIFECYCLE, "lifecycle=finished", ID).await?;
    if suite.is_passed(&rules::INVENTORY_LIFECYCLE) {
        let probe = suite.page(OWNER, "lifecycle=conformance").await?;
        suite.judge(&rules::INVENTORY_PARAMETERS, &probe, probe.refuses(422, "schema"));
    }
    for text in ["CONFORMANCE%2FFIN", "Inventory-FIN"] {
        filter(suite, &rules::INVENTORY_TEXT, &format!("q={text}"), ID).await?;
    }
    Ok(())
}

/// A registry that does not know the filter lists all records.
async fn filter(suite: &mut Suite, rule: &'static ProtocolRule, query: &str, id: &str) -> Result<(), Halt> {
    let name = query.split('=').next().unwrap_or_default();
    let why = format!("the registry does not filter by `{name}`, which is allowed");
    let first = suite.page(OWNER, query).await?;
    if first.status() != Some(200) {
        suite.skip(rule, &why);
        return Ok(());
    }
    let reading = suite.read(OWNER, query).await?;
    let (ids, Some(last)) = (reading.ids(), reading.pages.last()) else { return Ok(()) };
    if ids.contains(&IDS[0]) {
        suite.skip(rule, &why);
        return Ok(());
    }
    let outcome = expect(ids == [id], || format!("expected {id} alone, got {}", as_json(&ids)));
    suite.judge(rule, last, outcome.and_then(|()| last.has("/count", &json!(1))));
    Ok(())
}
