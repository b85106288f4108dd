//! What is kept of a record, what is refused, and the limit of its size.

use serde_json::{Value, json};

use super::vectors;
use crate::{
    conformance::{
        probe::{Expectation, Probe, expect},
        rules::writes as rules,
        sample,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// A record of this size is still sent; larger limits are not tried.
const LARGEST: usize = 8 << 20;

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let epoch = suite.session(OWNER).await?;
    kept(suite, epoch).await?;
    deletions(suite, epoch).await?;
    sizes(suite, epoch).await?;
    vectors::run(suite, epoch).await
}

async fn kept(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "unknown-members";
    let seq = suite.seqs(1);
    let mut record = suite.record(OWNER, ID, (epoch, seq + 1), "ä \"quoted\" 🚀");
    record["conformanceFuture"] = json!({"b": [2, 1], "a": {"größe": "10 €", "emoji": "🚀"}});
    record["pod"]["conformanceFuture"] = json!(7);
    let record = sample::with_digest(record);
    let put = suite.put(OWNER, ID, &record).await?;
    suite.need("a put", &put, &[200, 201])?;
    let found = suite.find(OWNER, ID).await?;
    let outcome = found.is(&[200]).and_then(|()| known_members(&found, &record));
    suite.judge(&rules::RECORD_READ, &found, outcome);
    let unknown = ["/conformanceFuture", "/pod/conformanceFuture"];
    let outcome =
        unknown.iter().try_for_each(|pointer| found.has(pointer, record.pointer(pointer).unwrap_or(&Value::Null)));
    suite.judge(&rules::UNKNOWN_MEMBERS, &found, outcome);
    let digest = json!(sample::digest(found.json()));
    let outcome = found.has("/digest", &digest).and_then(|()| put.has("/digest", &digest));
    suite.judge(&rules::DIGEST_OF_CONTENT, &found, outcome);
    let probe = suite.find(OWNER, "never-written").await?;
    suite.judge(&rules::RECORD_UNKNOWN, &probe, probe.is(&[404]));
    Ok(())
}

fn known_members(found: &Probe, record: &Value) -> Expectation {
    let pointers = ["/schema", "/owner", "/cluster/id", "/pod/uid", "/pod/name", "/state", "/times", "/version"];
    pointers.iter().try_for_each(|pointer| found.has(pointer, record.pointer(pointer).unwrap_or(&Value::Null)))?;
    expect(found.text("/digest").is_some(), || "expected `digest`".to_owned())
}

async fn deletions(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "reason";
    let seq = suite.seqs(3);
    suite.place(OWNER, ID, (epoch, seq + 1)).await?;
    let query = format!("epoch={epoch}&seq={}&reason=conformance-reason&observed=conformance", seq + 2);
    let probe = suite.send("DELETE", suite.at(OWNER, "/pods/reason", &query), None).await?;
    suite.judge(&rules::UNKNOWN_REASON, &probe, probe.is(&[204]));
    let query = format!("epoch={epoch}");
    let probe = suite.send("DELETE", suite.at(OWNER, "/pods/reason", &query), None).await?;
    suite.judge(&rules::DELETE_PARAMETERS, &probe, probe.refuses(422, "schema"));
    Ok(())
}

async fn sizes(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let limit = suite.claims.max_record_bytes;
    if !(1_000..=LARGEST).contains(&limit) {
        let why = format!("the limit of {limit} bytes per record is not tried");
        let rules = [&rules::RECORD_WITHIN_LIMIT, &rules::RECORD_TOO_LARGE];
        rules.into_iter().for_each(|rule| suite.skip(rule, &why));
        return Ok(());
    }
    let seq = suite.seqs(2);
    let record = sized(suite, "large", (epoch, seq + 1), limit);
    let probe = suite.put(OWNER, "large", &record).await?;
    suite.judge(&rules::RECORD_WITHIN_LIMIT, &probe, probe.is(&[200, 201]));
    vectors::remove_if_stored(suite, &probe, "large", epoch).await?;
    let record = sized(suite, "too-large", (epoch, seq + 2), limit + 1_000);
    let probe = suite.put(OWNER, "too-large", &record).await?;
    match probe.answer {
        // A registry may close the connection while it still receives.
        Err(_) => suite.skip(&rules::RECORD_TOO_LARGE, "the connection ended while the body was sent"),
        Ok(_) => suite.judge(&rules::RECORD_TOO_LARGE, &probe, probe.refuses(413, "too-large")),
    }
    vectors::remove_if_stored(suite, &probe, "too-large", epoch).await
}

/// A record of exactly this many bytes without white space.
pub(super) fn sized(suite: &Suite, id: &str, version: (u64, u64), bytes: usize) -> Value {
    let mut record = suite.record(OWNER, id, version, "large");
    record["pod"]["annotations"] = json!({"padding": ""});
    let missing = bytes.saturating_sub(sample::with_digest(record.clone()).to_string().len());
    record["pod"]["annotations"]["padding"] = json!("x".repeat(missing));
    sample::with_digest(record)
}
