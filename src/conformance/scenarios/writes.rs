//! What is kept of a record, what is refused, and the limit of its size.

use serde_json::{Value, json};

use super::{contents, vectors};
use crate::{
    conformance::{
        probe::{Expectation, Probe, expect},
        rules::{access::VALID_REQUEST, sessions::EPOCH_LIMIT, writes as rules},
        sample,
        suite::{Halt, OTHER_OWNER, Suite},
    },
    model::ids::{DEFAULT_OWNER as OWNER, INTEGER_LIMIT},
};

/// A record of this size is still sent; larger limits are not tried.
const LARGEST: usize = 8 << 20;
/// Above 32 bits, and far enough below the limit for the sessions that follow.
const HIGH_EPOCH: u64 = INTEGER_LIMIT / 2;
/// A reason of 64 characters.
pub(super) const LONG_REASON: &str = "conformance-reason-0123456789-0123456789-0123456789-0123456789-0";

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let epoch = suite.session(OWNER).await?;
    kept(suite, epoch).await?;
    complete(suite, epoch).await?;
    contents::run(suite, epoch).await?;
    deletions(suite, epoch).await?;
    later_schema(suite, epoch).await?;
    sizes(suite, epoch).await?;
    vectors::run(suite, epoch).await?;
    no_json(suite).await?;
    numbers(suite).await
}

async fn kept(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "unknown-members";
    let seq = suite.seqs(1);
    let record = suite.rich_record(OWNER, ID, (epoch, seq + 1));
    let put = suite.put(OWNER, ID, &record).await?;
    suite.need("a put", &put, &[200, 201])?;
    let found = suite.find(OWNER, ID).await?;
    let outcome = found.is(&[200]).and_then(|()| known_members(&found, &record));
    suite.judge(&rules::RECORD_READ, &found, outcome);
    let unknown = ["/conformanceFuture", "/pod/conformanceFuture"];
    let outcome = unknown
        .iter()
        .filter_map(|pointer| record.pointer(pointer).map(|value| (pointer, value)))
        .try_for_each(|(pointer, value)| found.has(pointer, value));
    if record.get("conformanceFuture").is_some() {
        suite.judge(&rules::UNKNOWN_MEMBERS, &found, outcome);
    } else {
        suite.skip(&rules::UNKNOWN_MEMBERS, "a record with unknown members is above `maxRecordBytes`");
    }
    let digest = json!(sample::digest(found.json()));
    let outcome = found.has("/digest", &digest).and_then(|()| put.has("/digest", &digest));
    suite.judge(&rules::DIGEST_OF_CONTENT, &found, outcome);
    let probe = suite.find(OWNER, "never-written").await?;
    suite.judge(&rules::RECORD_UNKNOWN, &probe, probe.is(&[404]));
    Ok(())
}

/// Records with every member of the page, in each state.
async fn complete(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "complete-record";
    for lifecycle in sample::LIFECYCLES {
        let seq = suite.seqs(1) + 1;
        let record = sample::complete_record(&suite.cluster, OWNER, ID, (epoch, seq), lifecycle);
        if record.to_string().len() > suite.claims.max_record_bytes {
            return Ok(());
        }
        let probe = suite.put(OWNER, ID, &record).await?;
        let what = format!("{}-a-complete-record", VALID_REQUEST.id());
        suite.judge_as(what, &VALID_REQUEST, &probe, probe.is(&[200, 201]));
        if probe.is(&[200, 201]).is_ok() {
            suite.judge(&rules::DIGEST_OF_CONTENT, &probe, probe.has("/digest", &record["digest"]));
            let found = suite.find(OWNER, ID).await?;
            suite.judge(&rules::RECORD_READ, &found, found.is(&[200]).and_then(|()| known_members(&found, &record)));
        }
    }
    Ok(())
}

/// Expects all members except those that no version of the protocol knows.
fn known_members(found: &Probe, record: &Value) -> Expectation {
    let known = sample::without(record.clone(), &["conformanceFuture", "pod"]);
    for (name, value) in known.as_object().into_iter().flatten() {
        found.has(&format!("/{name}"), value)?;
    }
    for (name, value) in
        record["pod"].as_object().into_iter().flatten().filter(|(name, _)| *name != "conformanceFuture")
    {
        found.has(&format!("/pod/{name}"), value)?;
    }
    Ok(())
}

/// A record of a later version of the protocol.
async fn later_schema(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "schema-later";
    let seq = suite.seqs(1);
    let mut record = suite.record(OWNER, ID, (epoch, seq + 1), "later");
    record["schema"] = json!(1_000);
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::SCHEMA_LATER, &probe, probe.is(&[201]));
    let found = suite.find(OWNER, ID).await?;
    suite.judge(&rules::SCHEMA_LATER, &found, found.has("/schema", &json!(1_000)));
    Ok(())
}

/// The greatest numbers that the protocol has, in a session and a record of the other owner.
async fn numbers(suite: &mut Suite) -> Result<(), Halt> {
    const ID: &str = "numbers";
    if suite.is_broken(&EPOCH_LIMIT) {
        suite.skip(&rules::NUMBERS, "the registry has given out the last epoch of the other owner");
        return Ok(());
    }
    let body = json!({"instance": "conformance", "ttlSeconds": 90, "minEpoch": HIGH_EPOCH});
    let opened = suite.open(OTHER_OWNER, &body).await?;
    let epoch = opened.number("/epoch").unwrap_or_default();
    let is_above = expect((HIGH_EPOCH + 1..INTEGER_LIMIT).contains(&epoch), || {
        format!("expected an epoch above {HIGH_EPOCH}, got {epoch}")
    });
    suite.judge(&rules::NUMBERS, &opened, opened.is(&[201]).and(is_above));
    suite.need("opening a session with a high epoch", &opened, &[200, 201])?;
    let mut record = suite.record(OTHER_OWNER, ID, (epoch, INTEGER_LIMIT - 1), "numbers");
    record["version"]["generation"] = json!(INTEGER_LIMIT - 1);
    record["conformanceFuture"] = json!(1 - INTEGER_LIMIT.cast_signed());
    let record = sample::with_digest(record);
    let put = suite.put(OTHER_OWNER, ID, &record).await?;
    let version = json!({"epoch": epoch, "seq": INTEGER_LIMIT - 1});
    let is_stored = put.is(&[201]).and_then(|()| put.has("/version/epoch", &version["epoch"]));
    suite.judge(&rules::NUMBERS, &put, is_stored.and_then(|()| put.has("/version/seq", &version["seq"])));
    let found = suite.find(OTHER_OWNER, ID).await?;
    let outcome = ["/version", "/conformanceFuture", "/digest"]
        .iter()
        .try_for_each(|pointer| found.has(pointer, record.pointer(pointer).unwrap_or(&Value::Null)));
    suite.judge(&rules::NUMBERS, &found, outcome);
    let reading = suite.read(OTHER_OWNER, "limit=500").await?;
    let listed = reading.item(ID).map(|item| item["version"].clone()).unwrap_or_default();
    if let Some(page) = reading.pages.last() {
        let is_listed = ["epoch", "seq"].iter().all(|name| listed[name] == version[name]);
        suite.judge(
            &rules::NUMBERS,
            page,
            expect(is_listed, || format!("expected the version {version}, got {listed}")),
        );
    }
    Ok(())
}

/// Bodies that are no JSON, at the other addresses that take one.
async fn no_json(suite: &mut Suite) -> Result<(), Halt> {
    let session = suite.at(OWNER, "/session", "");
    let mut addresses = vec![("POST", session.clone()), ("PUT", session)];
    if suite.claims.has("batch") {
        addresses.push(("POST", suite.at(OWNER, "/pods:batch", "")));
    }
    for (method, path) in addresses {
        let probe = suite.send(method, path, Some("{\"epoch\":1,".to_owned())).await?;
        suite.judge(&rules::REFUSED_JSON, &probe, probe.refuses(422, "schema"));
    }
    Ok(())
}

async fn deletions(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "reason";
    let seq = suite.seqs(3);
    suite.place(OWNER, ID, (epoch, seq + 1)).await?;
    let query = format!("epoch={epoch}&seq={}&reason={LONG_REASON}&observed={LONG_REASON}", seq + 2);
    let probe = suite.send("DELETE", suite.at(OWNER, "/pods/reason", &query), None).await?;
    suite.judge(&rules::UNKNOWN_REASON, &probe, probe.is(&[204]));
    for query in [format!("epoch={epoch}"), format!("epoch={epoch}&seq=0")] {
        let probe = suite.send("DELETE", suite.at(OWNER, "/pods/reason", &query), None).await?;
        suite.judge(&rules::DELETE_PARAMETERS, &probe, probe.refuses(422, "schema"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reason_has_64_characters() {
        assert_eq!(LONG_REASON.len(), 64);
    }
}
