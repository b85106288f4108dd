//! Batches at the limits that the registry claims, and above them.

use serde_json::{Value, json};

use super::{
    batches::{deletion, put, refused, statuses_are},
    writes::sized,
};
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

pub(super) async fn run(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    items(suite, epoch).await?;
    bytes(suite, epoch).await?;
    record(suite, epoch).await
}

/// A batch of deletions of unknown ids.
fn deletions(ids: &str, count: usize, epoch: u64, seq: u64) -> String {
    let operations: Vec<Value> = (0..count).map(|n| deletion(&format!("{ids}-{n}"), (epoch, seq))).collect();
    json!({"epoch": epoch, "operations": operations}).to_string()
}

async fn send(suite: &mut Suite, body: String) -> Result<Probe, Halt> {
    suite.send("POST", suite.at(OWNER, "/pods:batch", ""), Some(body)).await
}

async fn items(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let limit = suite.claims.max_batch_items;
    if limit > MOST_ITEMS {
        let why = format!("the limit of {limit} operations per batch is not tried");
        [&rules::BATCH_WITHIN_LIMIT, &rules::BATCH_TOO_MANY, &rules::BATCH_REFUSED_WHOLE]
            .into_iter()
            .for_each(|rule| suite.skip(rule, &why));
        return Ok(());
    }
    let seq = suite.seqs(2);
    let body = deletions("within", limit, epoch, seq + 1);
    if body.len() <= suite.claims.max_batch_bytes {
        let probe = send(suite, body).await?;
        suite.judge(&rules::BATCH_WITHIN_LIMIT, &probe, probe.is(&[200]).and_then(|()| results_are(&probe, limit)));
    }
    let probe = send(suite, deletions("many", limit + 1, epoch, seq + 2)).await?;
    suite.judge(&rules::BATCH_TOO_MANY, &probe, probe.refuses(413, "too-large"));
    nothing_applied(suite, limit, epoch).await
}

/// A batch with one operation too many, whose first one puts a record.
async fn nothing_applied(suite: &mut Suite, limit: usize, epoch: u64) -> Result<(), Halt> {
    const FIRST: &str = "many-first";
    let seq = suite.seqs(2);
    let mut operations = vec![put(suite, FIRST, (epoch, seq + 1), "one")];
    operations.extend((0..limit).map(|n| deletion(&format!("many-{n}"), (epoch, seq + 2))));
    suite.written.insert((OWNER.to_owned(), FIRST.to_owned()));
    let probe = send(suite, json!({"epoch": epoch, "operations": operations}).to_string()).await?;
    if probe.status().is_some_and(|status| status < 400) {
        suite.skip(&rules::BATCH_REFUSED_WHOLE, "the batch was not refused");
        return Ok(());
    }
    let found = suite.find(OWNER, FIRST).await?;
    suite.judge(&rules::BATCH_REFUSED_WHOLE, &found, found.is(&[404]));
    Ok(())
}

fn results_are(probe: &Probe, count: usize) -> Expectation {
    let found = probe.list("/results").len();
    expect(found == count, || format!("expected {count} results, got {found}"))
}

async fn bytes(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let limit = suite.claims.max_batch_bytes;
    if limit > MOST_BYTES {
        suite.skip(&rules::BATCH_TOO_LARGE, &format!("the limit of {limit} bytes per batch is not tried"));
        return Ok(());
    }
    let padded = |padding| json!({"epoch": epoch, "operations": [], "padding": "x".repeat(padding)}).to_string();
    let probe = send(suite, padded(limit.saturating_sub(padded(0).len()))).await?;
    suite.judge(&rules::BATCH_WITHIN_LIMIT, &probe, probe.is(&[200]));
    let probe = send(suite, padded(limit)).await?;
    match probe.answer {
        // A registry may close the connection while it still receives.
        Err(_) => suite.skip(&rules::BATCH_TOO_LARGE, "the connection ended while the body was sent"),
        Ok(_) => suite.judge(&rules::BATCH_TOO_LARGE, &probe, probe.refuses(413, "too-large")),
    }
    Ok(())
}

/// A record above its limit, and a small one in the same batch if it takes two.
async fn record(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let (batch, record) = (suite.claims.max_batch_bytes, suite.claims.max_record_bytes);
    if record.saturating_add(4_000) > batch.min(MOST_BYTES) {
        suite.skip(&rules::BATCH_RECORD_TOO_LARGE, "a record above its limit does not fit into a batch");
        return Ok(());
    }
    let seq = suite.seqs(2);
    let large = sized(suite, "batch-large", (epoch, seq + 1), record + 1_000);
    let large = json!({"op": "put", "id": "batch-large", "record": large});
    let operations = [large, put(suite, "batch-small", (epoch, seq + 2), "one")];
    let count = suite.claims.max_batch_items.clamp(1, operations.len());
    let probe = suite.batch(epoch, &operations[..count]).await?;
    let outcome = statuses_are(&probe, &[413, 201][..count]).and_then(|()| refused(&probe, 0, "too-large"));
    suite.judge(&rules::BATCH_RECORD_TOO_LARGE, &probe, outcome);
    Ok(())
}
