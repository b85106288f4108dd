//! Batches: their results, what is refused of them, and their limits.

use serde_json::{Value, json};

use super::{vectors::remove_if_stored, writes::sized};
use crate::{
    conformance::{
        probe::{Expectation, Probe, expect},
        rules::batches as rules,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// The most operations and bytes that are tried.
const MOST_ITEMS: usize = 5_000;
const MOST_BYTES: usize = 16 << 20;

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let epoch = suite.session(OWNER).await?;
    results(suite, epoch).await?;
    mixed(suite, epoch).await?;
    whole(suite, epoch).await?;
    items_limit(suite, epoch).await?;
    bytes_limit(suite, epoch).await
}

fn put(suite: &Suite, id: &str, version: (u64, u64), name: &str) -> Value {
    json!({"op": "put", "id": id, "record": suite.record(OWNER, id, version, name)})
}

fn deletion(id: &str, (epoch, seq): (u64, u64)) -> Value {
    let version = json!({"epoch": epoch, "seq": seq});
    json!({"op": "delete", "id": id, "version": version, "reason": "deleted", "observed": "watch"})
}

/// Expects one result per operation, with these ids in this order.
fn ids_are(probe: &Probe, ids: &[&str]) -> Expectation {
    let found: Vec<&str> = probe.list("/results").iter().filter_map(|result| result["id"].as_str()).collect();
    expect(found == ids, || format!("expected results for {ids:?}, got {found:?}"))
}

fn statuses_are(probe: &Probe, statuses: &[u64]) -> Expectation {
    let found: Vec<u64> = probe.list("/results").iter().filter_map(|result| result["status"].as_u64()).collect();
    expect(found == statuses, || format!("expected the statuses {statuses:?}, got {found:?}"))
}

/// Expects a problem of this name in the result of one operation.
fn refused(probe: &Probe, at: usize, name: &str) -> Expectation {
    probe.has(&format!("/results/{at}/problem/type"), &json!(format!("urn:pod-registrar:problem:{name}")))
}

async fn results(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(4);
    let operations = [
        put(suite, "batch-b", (epoch, seq + 1), "one"),
        put(suite, "batch-a", (epoch, seq + 2), "one"),
        deletion("batch-c", (epoch, seq + 3)),
    ];
    let probe = suite.batch(epoch, &operations).await?;
    suite.judge(&rules::BATCH_SUCCEEDS, &probe, probe.is(&[200]));
    suite.need("a batch", &probe, &[200, 207])?;
    suite.judge(&rules::BATCH_RESULTS, &probe, ids_are(&probe, &["batch-b", "batch-a", "batch-c"]));
    suite.judge(&rules::BATCH_VERSIONS, &probe, statuses_are(&probe, &[201, 201, 204]));
    suite.judge(&rules::BATCH_DIGEST, &probe, probe.has("/results/0/digest", &operations[0]["record"]["digest"]));
    let probe = suite.batch(epoch, &[]).await?;
    let outcome = probe.is(&[200]).and_then(|()| probe.has("/results", &json!([])));
    suite.judge(&rules::BATCH_EMPTY, &probe, outcome);
    Ok(())
}

/// Good operations around bad ones. `batch-a` and the tombstone `batch-c` have the seqs of [`results`].
async fn mixed(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(10);
    let operations = [
        put(suite, "batch-d", (epoch, seq + 1), "one"),
        put(suite, "batch-a", (epoch, 1), "late"),
        put(suite, "batch-c", (epoch, 1), "late"),
        json!({"op": "move", "id": "batch-e", "version": {"epoch": epoch, "seq": seq + 2}}),
        put(suite, "batch-f", (epoch - 1, seq + 3), "other epoch"),
        deletion("-no id", (epoch, seq + 4)),
        put(suite, "batch-g", (epoch, seq + 5), "one"),
    ];
    let probe = suite.batch(epoch, &operations).await?;
    let ids = ["batch-d", "batch-a", "batch-c", "batch-e", "batch-f", "-no id", "batch-g"];
    suite.judge(&rules::BATCH_RESULTS, &probe, ids_are(&probe, &ids));
    suite.judge(&rules::BATCH_SUCCEEDS, &probe, probe.is(&[207]));
    let outcome =
        probe.has("/results/0/status", &json!(201)).and_then(|()| probe.has("/results/6/status", &json!(201)));
    suite.judge(&rules::BATCH_MIXED, &probe, outcome);
    let outcome =
        probe.has("/results/1/status", &json!(409)).and_then(|()| probe.has("/results/2/status", &json!(409)));
    suite.judge(&rules::BATCH_VERSIONS, &probe, outcome);
    let outcome = refused(&probe, 1, "stale-version").and_then(|()| refused(&probe, 2, "tombstoned"));
    suite.judge(&rules::BATCH_PROBLEM, &probe, outcome);
    suite.judge(&rules::BATCH_UNKNOWN_OPERATION, &probe, probe.has("/results/3/status", &json!(422)));
    suite.judge(&rules::BATCH_OPERATION_EPOCH, &probe, probe.has("/results/4/status", &json!(422)));
    for id in ["batch-d", "batch-g"] {
        let found = suite.find(OWNER, id).await?;
        suite.judge(&rules::BATCH_MIXED, &found, found.is(&[200]));
    }
    Ok(())
}

/// Batches that are refused as a whole, so that nothing is applied.
async fn whole(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "batch-refused";
    let seq = suite.seqs(4);
    let twice = [put(suite, ID, (epoch, seq + 1), "one"), put(suite, ID, (epoch, seq + 2), "two")];
    let old = [put(suite, ID, (epoch - 1, seq + 3), "old epoch")];
    let new = [put(suite, ID, (epoch + 1, seq + 4), "new epoch")];
    let cases: [(_, u64, &[Value], u16, &str); 3] = [
        (&rules::BATCH_DUPLICATE, epoch, &twice, 422, "schema"),
        (&rules::BATCH_STALE_EPOCH, epoch - 1, &old, 409, "stale-epoch"),
        (&rules::BATCH_UNKNOWN_SESSION, epoch + 1, &new, 409, "unknown-session"),
    ];
    for (rule, batch_epoch, operations, status, name) in cases {
        let probe = suite.batch(batch_epoch, operations).await?;
        suite.judge(rule, &probe, probe.refuses(status, name));
        let found = suite.find(OWNER, ID).await?;
        suite.judge(rule, &found, found.is(&[404]));
        if found.status() == Some(200) {
            remove_if_stored(suite, &found, ID, epoch).await?;
        }
    }
    Ok(())
}

async fn items_limit(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let limit = suite.claims.max_batch_items;
    if limit > MOST_ITEMS {
        suite.skip(&rules::BATCH_TOO_MANY, &format!("the limit of {limit} operations per batch is not tried"));
        return Ok(());
    }
    let seq = suite.seqs(1) + 1;
    let operations: Vec<Value> = (0..=limit).map(|n| deletion(&format!("many-{n}"), (epoch, seq))).collect();
    let body = json!({"epoch": epoch, "operations": operations}).to_string();
    let probe = suite.send("POST", suite.at(OWNER, "/pods:batch", ""), Some(body)).await?;
    suite.judge(&rules::BATCH_TOO_MANY, &probe, probe.refuses(413, "too-large"));
    Ok(())
}

async fn bytes_limit(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let (batch, record) = (suite.claims.max_batch_bytes, suite.claims.max_record_bytes);
    if batch > MOST_BYTES {
        suite.skip(&rules::BATCH_TOO_LARGE, &format!("the limit of {batch} bytes per batch is not tried"));
    } else {
        let body = json!({"epoch": epoch, "operations": [], "padding": "x".repeat(batch)}).to_string();
        let probe = suite.send("POST", suite.at(OWNER, "/pods:batch", ""), Some(body)).await?;
        match probe.answer {
            // A registry may close the connection while it still receives.
            Err(_) => suite.skip(&rules::BATCH_TOO_LARGE, "the connection ended while the body was sent"),
            Ok(_) => suite.judge(&rules::BATCH_TOO_LARGE, &probe, probe.refuses(413, "too-large")),
        }
    }
    if record + 4_000 > batch.min(MOST_BYTES) {
        suite.skip(&rules::BATCH_RECORD_TOO_LARGE, "a record above its limit does not fit into a batch");
        return Ok(());
    }
    let seq = suite.seqs(2);
    let large = json!({"op": "put", "id": "batch-large", "record": sized(suite, "batch-large", (epoch, seq + 1), record + 1_000)});
    let operations = [large, put(suite, "batch-small", (epoch, seq + 2), "one")];
    let probe = suite.batch(epoch, &operations).await?;
    let outcome = statuses_are(&probe, &[413, 201]).and_then(|()| refused(&probe, 0, "too-large"));
    suite.judge(&rules::BATCH_RECORD_TOO_LARGE, &probe, outcome);
    Ok(())
}
