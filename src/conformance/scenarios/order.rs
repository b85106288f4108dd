//! The order of versions of a stored record.

use serde_json::{Value, json};

use super::tombstones;
use crate::{
    conformance::{
        probe::{Expectation, Probe, expect},
        rules::order as rules,
        sample,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

const ID: &str = "order-record";

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let (epoch, seq) = (suite.session(OWNER).await?, suite.seqs(20));
    newer(suite, epoch, seq).await?;
    late(suite, epoch, seq).await?;
    order_of_checks(suite, epoch, seq).await?;
    tombstones::run(suite, epoch).await?;
    pair(suite, epoch).await
}

/// Puts that are applied: seq 1, 5 and 6.
async fn newer(suite: &mut Suite, epoch: u64, seq: u64) -> Result<(), Halt> {
    let record = suite.record(OWNER, ID, (epoch, seq + 1), "one");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::PUT_CREATES, &probe, probe.is(&[201]));
    suite.need("a put", &probe, &[200, 201])?;
    suite.judge(&rules::STORED_ANSWER, &probe, stored(&probe, &record));
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::PUT_REPEATED, &probe, probe.is(&[200]));
    let other = suite.record(OWNER, ID, (epoch, seq + 1), "other");
    let probe = suite.put(OWNER, ID, &other).await?;
    suite.judge(&rules::SAME_VERSION_OTHER_PUT, &probe, probe.refuses(409, "stale-version"));
    let record = suite.record(OWNER, ID, (epoch, seq + 5), "two");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::PUT_REPLACES, &probe, probe.is(&[200]).and_then(|()| stored(&probe, &record)));
    let record = suite.record(OWNER, ID, (epoch, seq + 6), "two");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::PUT_MOVES_VERSION, &probe, probe.is(&[200]).and_then(|()| stored(&probe, &record)));
    let reading = suite.read(OWNER, "limit=500").await?;
    let found = reading.item(ID).map(|item| item["version"].clone()).unwrap_or_default();
    if let Some(page) = reading.pages.last() {
        let outcome = expect(found == record["version"], || {
            format!("expected the version {} of {ID} in the inventory, got {found}", record["version"])
        });
        suite.judge(&rules::PUT_MOVES_VERSION, page, outcome);
    }
    Ok(())
}

fn stored(probe: &Probe, record: &Value) -> Expectation {
    probe.has("/id", &json!(ID))?;
    probe.has("/digest", &record["digest"])?;
    probe.has("/version/epoch", &record["version"]["epoch"])?;
    probe.has("/version/seq", &record["version"]["seq"])
}

/// Writes that come too late: seq 6 is stored. Each has a record of its own.
async fn late(suite: &mut Suite, epoch: u64, seq: u64) -> Result<(), Halt> {
    const PUT: &str = "order-late-put";
    const DELETE: &str = "order-late-delete";
    const SAME: &str = "order-same-version";
    let stored = suite.place(OWNER, PUT, (epoch, seq + 6)).await?;
    let record = suite.record(OWNER, PUT, (epoch, seq + 2), "late");
    let put = suite.put(OWNER, PUT, &record).await?;
    suite.judge(&rules::LATE_PUT, &put, put.refuses(409, "stale-version"));
    let found = suite.find(OWNER, PUT).await?;
    suite.judge(&rules::LATE_PUT, &found, found.has("/pod/name", &json!("placed")));
    let outcome = current(&put, epoch, seq + 6).and_then(|()| put.has("/current/digest", &stored["digest"]));
    if put.status() == Some(409) {
        suite.judge(&rules::CURRENT, &put, outcome);
    }
    let cases = [(&rules::LATE_DELETE, DELETE, seq + 3), (&rules::SAME_VERSION_DELETE, SAME, seq + 6)];
    for (rule, id, late) in cases {
        suite.place(OWNER, id, (epoch, seq + 6)).await?;
        let probe = suite.delete(OWNER, id, (epoch, late)).await?;
        suite.judge(rule, &probe, probe.refuses(409, "stale-version"));
        let found = suite.find(OWNER, id).await?;
        suite.judge(rule, &found, found.is(&[200]));
    }
    Ok(())
}

pub(super) fn current(probe: &Probe, epoch: u64, seq: u64) -> Expectation {
    probe.has("/current/epoch", &json!(epoch)).and_then(|()| probe.has("/current/seq", &json!(seq)))
}

async fn order_of_checks(suite: &mut Suite, epoch: u64, seq: u64) -> Result<(), Halt> {
    const CHECKED: &str = "order-of-checks";
    suite.place(OWNER, CHECKED, (epoch, seq + 6)).await?;
    // Its epoch is not the newest, and its version is below the stored one: only the order of checks decides.
    let old = suite.record(OWNER, CHECKED, (epoch - 1, seq + 7), "old epoch");
    let probe = suite.put(OWNER, CHECKED, &old).await?;
    suite.judge(&rules::EPOCH_BEFORE_VERSION, &probe, probe.refuses(409, "stale-epoch"));
    let mut wrong = old;
    wrong["state"]["lifecycle"] = json!("paused");
    let probe = suite.put(OWNER, CHECKED, &sample::with_digest(wrong)).await?;
    suite.judge(&rules::SCHEMA_BEFORE_EPOCH, &probe, probe.refuses(422, "schema"));
    let found = suite.find(OWNER, CHECKED).await?;
    let kept = expect(found.json()["pod"]["name"] == "placed", || "expected that nothing was stored".to_owned());
    suite.judge(&rules::EPOCH_BEFORE_VERSION, &found, kept);
    Ok(())
}

/// Writes of a newer session with lower seqs than those that are stored.
async fn pair(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const RECORD: &str = "order-pair";
    const DELETED: &str = "order-pair-deleted";
    let seq = suite.seqs(20);
    suite.place(OWNER, RECORD, (epoch, seq + 11)).await?;
    let deleted = suite.delete(OWNER, DELETED, (epoch, seq + 12)).await?;
    suite.need("a deletion", &deleted, &[200, 204])?;
    let newer = suite.session(OWNER).await?;
    for (id, at, status) in [(RECORD, 1, 200), (DELETED, 2, 201)] {
        let record = suite.record(OWNER, id, (newer, seq + at), "newer session");
        let probe = suite.put(OWNER, id, &record).await?;
        suite.judge(&rules::VERSION_PAIR, &probe, probe.is(&[status]));
        let found = suite.find(OWNER, id).await?;
        suite.judge(&rules::VERSION_PAIR, &found, found.has("/pod/name", &json!("newer session")));
    }
    Ok(())
}
