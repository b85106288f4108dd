//! Batches: their results, and what is refused of them. No batch is above the limits that the registry claims, except
//! those of `batch_limits`.

use serde_json::{Value, json};

use super::{batch_limits, contents, vectors::remove_if_stored};
use crate::{
    conformance::{
        probe::{Expectation, Probe, as_json, expect},
        rule::ProtocolRule,
        rules::batches as rules,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// Bytes of a batch around its operations.
const AROUND: usize = 64;

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let epoch = suite.session(OWNER).await?;
    results(suite, epoch).await?;
    mixed(suite, epoch).await?;
    without_id(suite, epoch).await?;
    whole(suite, epoch).await?;
    contents::in_batches(suite, epoch).await?;
    batch_limits::run(suite, epoch).await
}

/// Operations that were sent in as many batches as the limits of the registry need.
struct SentOperations {
    /// Each batch with the place of its first operation.
    batches: Vec<(usize, Probe)>,
}

impl SentOperations {
    /// The batch of an operation, and the operation's place in it.
    fn batch_of(&self, at: usize) -> Option<(&Probe, usize)> {
        self.batches.iter().rev().find(|(first, _)| *first <= at).map(|(first, probe)| (probe, at - first))
    }

    /// Judges a rule by the results of operations: each place with the expected status.
    fn judge(&self, suite: &mut Suite, rule: &'static ProtocolRule, statuses: &[(usize, u16)]) {
        for (at, status) in statuses {
            let Some((probe, place)) = self.batch_of(*at) else { continue };
            suite.judge(rule, probe, probe.has(&format!("/results/{place}/status"), &json!(status)));
        }
    }

    /// Judges a rule by the problem of an operation.
    fn judge_problem(&self, suite: &mut Suite, rule: &'static ProtocolRule, at: usize, name: &str) {
        if let Some((probe, place)) = self.batch_of(at) {
            suite.judge(rule, probe, refused(probe, place, name));
        }
    }
}

/// Sends operations in batches within the limits. Each operation has its expected status. Judges the status of each
/// batch, and the ids of its results.
async fn send(suite: &mut Suite, epoch: u64, operations: &[(Value, u16)]) -> Result<SentOperations, Halt> {
    let mut batches = Vec::new();
    let mut first = 0;
    while first < operations.len() {
        let count = fitting(suite, &operations[first..])?;
        let part = &operations[first..first + count];
        let bodies: Vec<Value> = part.iter().map(|(operation, _)| operation.clone()).collect();
        let probe = suite.batch(epoch, &bodies).await?;
        let succeeds = part.iter().all(|(_, status)| *status < 300);
        suite.judge(&rules::BATCH_SUCCEEDS, &probe, probe.is(&[if succeeds { 200 } else { 207 }]));
        suite.need("a batch", &probe, &[200, 207])?;
        let ids: Vec<&str> = bodies.iter().map(|operation| operation["id"].as_str().unwrap_or_default()).collect();
        suite.judge(&rules::BATCH_RESULTS, &probe, ids_are(&probe, &ids));
        batches.push((first, probe));
        first += count;
    }
    Ok(SentOperations { batches })
}

/// How many of these operations fit into one batch, at least one.
fn fitting(suite: &Suite, operations: &[(Value, u16)]) -> Result<usize, Halt> {
    let (items, bytes) = (suite.claims.max_batch_items.max(1), suite.claims.max_batch_bytes);
    let mut total = AROUND;
    let mut count = 0;
    for (operation, _) in operations.iter().take(items) {
        total += operation.to_string().len() + 1;
        if total > bytes {
            break;
        }
        count += 1;
    }
    if count == 0 {
        return Err(Halt::Scenario(format!("a batch with one operation needs {total} bytes; the limit is {bytes}")));
    }
    Ok(count)
}

/// Whether a batch of this operation alone is within the limit of bytes.
pub(super) fn fits(suite: &Suite, operation: &Value) -> bool {
    AROUND + operation.to_string().len() < suite.claims.max_batch_bytes
}

/// Skips the rule if two operations are more than the registry takes.
fn takes_two(suite: &mut Suite, rule: &'static ProtocolRule) -> bool {
    let takes_two = suite.claims.max_batch_items >= 2;
    if !takes_two {
        suite.skip(rule, "this needs a batch of 2 operations; the limit is 1");
    }
    takes_two
}

pub(super) fn put(suite: &Suite, id: &str, version: (u64, u64), name: &str) -> Value {
    json!({"op": "put", "id": id, "record": suite.record(OWNER, id, version, name)})
}

pub(super) fn deletion(id: &str, (epoch, seq): (u64, u64)) -> Value {
    let version = json!({"epoch": epoch, "seq": seq});
    json!({"op": "delete", "id": id, "version": version, "reason": "deleted", "observed": "watch"})
}

/// Expects one result per operation, with these ids in this order.
fn ids_are(probe: &Probe, ids: &[&str]) -> Expectation {
    let found: Vec<&str> = probe.list("/results").iter().filter_map(|result| result["id"].as_str()).collect();
    expect(found == ids, || format!("expected results for {}, got {}", as_json(&ids), as_json(&found)))
}

pub(super) fn statuses_are(probe: &Probe, statuses: &[u64]) -> Expectation {
    let found: Vec<u64> = probe.list("/results").iter().filter_map(|result| result["status"].as_u64()).collect();
    expect(found == statuses, || format!("expected the statuses {}, got {}", as_json(&statuses), as_json(&found)))
}

/// Expects a problem of this name in the result of one operation.
pub(super) fn refused(probe: &Probe, at: usize, name: &str) -> Expectation {
    probe.has(&format!("/results/{at}/problem/type"), &json!(format!("urn:pod-registrar:problem:{name}")))
}

async fn results(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(4);
    let operations = [
        (put(suite, "batch-b", (epoch, seq + 1), "one"), 201),
        (put(suite, "batch-a", (epoch, seq + 2), "one"), 201),
        (deletion("batch-c", (epoch, seq + 3)), 204),
    ];
    let sent = send(suite, epoch, &operations).await?;
    sent.judge(suite, &rules::BATCH_VERSIONS, &[(0, 201), (1, 201), (2, 204)]);
    if let Some((probe, place)) = sent.batch_of(0) {
        let digest = &operations[0].0["record"]["digest"];
        suite.judge(&rules::BATCH_DIGEST, probe, probe.has(&format!("/results/{place}/digest"), digest));
    }
    let probe = suite.batch(epoch, &[]).await?;
    let outcome = probe.is(&[200]).and_then(|()| probe.has("/results", &json!([])));
    suite.judge(&rules::BATCH_EMPTY, &probe, outcome);
    Ok(())
}

/// Good operations around bad ones. `batch-a` and the tombstone `batch-c` have the seqs of [`results`].
async fn mixed(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(10);
    let operations = [
        (put(suite, "batch-d", (epoch, seq + 1), "one"), 201),
        (put(suite, "batch-a", (epoch, 1), "late"), 409),
        (put(suite, "batch-c", (epoch, 1), "late"), 409),
        (json!({"op": "move", "id": "batch-e", "version": {"epoch": epoch, "seq": seq + 2}}), 422),
        (put(suite, "batch-f", (epoch - 1, seq + 3), "other epoch"), 422),
        (deletion("-no id", (epoch, seq + 4)), 422),
        (put(suite, "batch-g", (epoch, seq + 5), "one"), 201),
    ];
    let sent = send(suite, epoch, &operations).await?;
    sent.judge(suite, &rules::BATCH_VERSIONS, &[(1, 409), (2, 409)]);
    sent.judge_problem(suite, &rules::BATCH_PROBLEM, 1, "stale-version");
    sent.judge_problem(suite, &rules::BATCH_PROBLEM, 2, "tombstoned");
    sent.judge(suite, &rules::BATCH_UNKNOWN_OPERATION, &[(3, 422)]);
    sent.judge(suite, &rules::BATCH_OPERATION_EPOCH, &[(4, 422)]);
    if !takes_two(suite, &rules::BATCH_MIXED) {
        return Ok(());
    }
    sent.judge(suite, &rules::BATCH_MIXED, &[(0, 201), (6, 201)]);
    for id in ["batch-d", "batch-g"] {
        let found = suite.find(OWNER, id).await?;
        suite.judge(&rules::BATCH_MIXED, &found, found.is(&[200]));
    }
    Ok(())
}

/// Operations without an id that is a text.
async fn without_id(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(2);
    let mut number = deletion("", (epoch, seq + 1));
    number["id"] = json!(7);
    let missing = json!({"op": "delete", "version": {"epoch": epoch, "seq": seq + 2}});
    for operation in [number, missing] {
        let probe = suite.batch(epoch, &[operation]).await?;
        let outcome =
            probe.is(&[207]).and_then(|()| ids_are(&probe, &[""])).and_then(|()| statuses_are(&probe, &[422]));
        suite.judge(&rules::BATCH_NO_ID, &probe, outcome);
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
        if operations.len() > 1 && !takes_two(suite, rule) {
            continue;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(firsts: &[usize]) -> SentOperations {
        let probe = |first: &usize| Probe {
            method: "POST",
            path: first.to_string(),
            body: None,
            answer: Err("it was closed".to_owned()),
        };
        SentOperations { batches: firsts.iter().map(|first| (*first, probe(first))).collect() }
    }

    #[test]
    fn operation_is_found_in_its_batch() {
        let place = |sent: &SentOperations, at| sent.batch_of(at).map(|(probe, place)| (probe.path.clone(), place));
        assert_eq!(place(&sent(&[0]), 6), Some(("0".to_owned(), 6)));
        assert_eq!(place(&sent(&[0, 2, 4]), 3), Some(("2".to_owned(), 1)));
        assert_eq!(place(&sent(&[0, 2, 4]), 4), Some(("4".to_owned(), 0)));
        assert_eq!(place(&sent(&[]), 0), None);
    }
}
