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
    tombstones::run(suite, epoch).await
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
    Ok(())
}

fn stored(probe: &Probe, record: &Value) -> Expectation {
    probe.has("/id", &json!(ID))?;
    probe.has("/digest", &record["digest"])?;
    probe.has("/version/epoch", &record["version"]["epoch"])?;
    probe.has("/version/seq", &record["version"]["seq"])
}

/// Writes that come too late: seq 6 is stored.
async fn late(suite: &mut Suite, epoch: u64, seq: u64) -> Result<(), Halt> {
    let record = suite.record(OWNER, ID, (epoch, seq + 2), "late");
    let put = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::LATE_PUT, &put, put.refuses(409, "stale-version"));
    let found = suite.find(OWNER, ID).await?;
    suite.judge(&rules::LATE_PUT, &found, found.has("/pod/name", &json!("two")));
    let digest = suite.record(OWNER, ID, (epoch, seq + 6), "two")["digest"].clone();
    let outcome = current(&put, epoch, seq + 6).and_then(|()| put.has("/current/digest", &digest));
    if put.status() == Some(409) {
        suite.judge(&rules::CURRENT, &put, outcome);
    }
    let probe = suite.delete(OWNER, ID, (epoch, seq + 3)).await?;
    suite.judge(&rules::LATE_DELETE, &probe, probe.refuses(409, "stale-version"));
    let probe = suite.delete(OWNER, ID, (epoch, seq + 6)).await?;
    suite.judge(&rules::SAME_VERSION_DELETE, &probe, probe.refuses(409, "stale-version"));
    let found = suite.find(OWNER, ID).await?;
    suite.judge(&rules::LATE_DELETE, &found, found.is(&[200]));
    Ok(())
}

pub(super) fn current(probe: &Probe, epoch: u64, seq: u64) -> Expectation {
    probe.has("/current/epoch", &json!(epoch)).and_then(|()| probe.has("/current/seq", &json!(seq)))
}

async fn order_of_checks(suite: &mut Suite, epoch: u64, seq: u64) -> Result<(), Halt> {
    // Its epoch is not the newest, and its version is below the stored one: only the order of checks decides.
    let old = suite.record(OWNER, ID, (epoch - 1, seq + 7), "old epoch");
    let probe = suite.put(OWNER, ID, &old).await?;
    suite.judge(&rules::EPOCH_BEFORE_VERSION, &probe, probe.refuses(409, "stale-epoch"));
    let mut wrong = old;
    wrong["state"]["lifecycle"] = json!("paused");
    let probe = suite.put(OWNER, ID, &sample::with_digest(wrong)).await?;
    suite.judge(&rules::SCHEMA_BEFORE_EPOCH, &probe, probe.refuses(422, "schema"));
    let found = suite.find(OWNER, ID).await?;
    let kept = expect(found.json()["pod"]["name"] == "two", || "expected that nothing was stored".to_owned());
    suite.judge(&rules::EPOCH_BEFORE_VERSION, &found, kept);
    Ok(())
}
