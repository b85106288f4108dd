//! Whether a record comes back as it was received: texts, lists and members that storage likes to change, alone, as an
//! update, and in batches. And whether a batch judges an operation like a request of its own.

use serde_json::{Value, json};

use super::batches::{deletion, fits, refused};
use crate::{
    conformance::{
        probe::{Expectation, Probe, expect},
        rules::{batches::BATCH_AS_REQUEST, writes as rules},
        sample,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// A change of a record, and its name in the report.
type Content = (&'static str, fn(&mut Value));

/// A registry may refuse these, but not change them.
const REFUSABLE: [&str; 1] = ["nul"];
const CONTENTS: [Content; 12] = [
    ("long", |record| record["pod"]["annotations"] = json!({"note": "x".repeat(300)})),
    ("spaces", |record| record["pod"]["annotations"] = json!({"note": "  two  spaces  "})),
    ("case", |record| record["pod"]["annotations"] = json!({"Team": "A", "team": "a"})),
    ("decomposed", |record| record["pod"]["annotations"] = json!({"note": "e\u{301}"})),
    ("control", |record| record["pod"]["annotations"] = json!({"note": "a\u{1}b\tc\u{7f}"})),
    ("nul", |record| record["pod"]["annotations"] = json!({"note": "a\u{0}b"})),
    ("lines", |record| record["pod"]["annotations"] = json!({"note": "a\r\nb\rc\n"})),
    ("markup", |record| record["pod"]["annotations"] = json!({"note": "<b>&amp; \"'</b>"})),
    ("empty-text", |record| record["pod"]["annotations"] = json!({"note": ""})),
    ("order", |record| record["placement"] = json!({"podIPs": ["192.0.2.2", "192.0.2.1", "192.0.2.2"]})),
    ("zero", |record| {
        record["containers"] = json!([{"name": "b", "role": "app", "image": "i:1", "ready": false, "restarts": 0}]);
    }),
    ("unknown", |record| {
        record["containers"] =
            json!([{"name": "b", "role": "app", "image": "i:1", "restarts": 1, "conformanceFuture": 7}]);
        record["conformanceFuture"] = json!({"list": [3, 1, 1], "none": [], "object": {}, "text": "", "no": false});
    }),
];

fn content(suite: &Suite, id: &str, version: (u64, u64), change: fn(&mut Value)) -> Value {
    let mut record = suite.record(OWNER, id, version, "contents");
    change(&mut record);
    sample::with_digest(record)
}

pub(super) async fn run(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    for (name, change) in CONTENTS {
        let (id, seq) = (format!("contents-{name}"), suite.seqs(1));
        let record = content(suite, &id, (epoch, seq + 1), change);
        let put = suite.put(OWNER, &id, &record).await?;
        let is_refused = REFUSABLE.contains(&name) && put.status() == Some(422);
        let found = if is_refused { put } else { suite.find(OWNER, &id).await? };
        let outcome = if is_refused { Ok(()) } else { is_as_received(&found, &record) };
        suite.judge_as(format!("record-read-{name}"), &rules::RECORD_READ, &found, outcome);
    }
    update(suite, epoch).await
}

/// A later record without most members of the one before.
async fn update(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "contents-update";
    let seq = suite.seqs(2);
    let rich = suite.rich_record(OWNER, ID, (epoch, seq + 1));
    let put = suite.put(OWNER, ID, &rich).await?;
    suite.need("a put", &put, &[200, 201])?;
    let record = suite.record(OWNER, ID, (epoch, seq + 2), "less");
    let put = suite.put(OWNER, ID, &record).await?;
    suite.need("a put", &put, &[200, 201])?;
    let found = suite.find(OWNER, ID).await?;
    suite.judge_as("record-read-update".to_owned(), &rules::RECORD_READ, &found, is_as_received(&found, &record));
    Ok(())
}

/// The same contents, and what is refused of a single record, each in a batch of its own.
pub(super) async fn in_batches(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    for (name, change) in CONTENTS {
        let (id, seq) = (format!("contents-batch-{name}"), suite.seqs(1));
        let record = content(suite, &id, (epoch, seq + 1), change);
        let operation = json!({"op": "put", "id": id, "record": record});
        if !fits(suite, &operation) {
            continue;
        }
        let put = suite.batch(epoch, &[operation]).await?;
        let is_refused = REFUSABLE.contains(&name) && put.number("/results/0/status") == Some(422);
        let found = if is_refused { put } else { suite.find(OWNER, &id).await? };
        let outcome = if is_refused { Ok(()) } else { is_as_received(&found, &record) };
        suite.judge_as(format!("batch-as-request-{name}"), &BATCH_AS_REQUEST, &found, outcome);
    }
    refusals(suite, epoch).await
}

/// Records that the registry refuses alone are refused in a batch, with the same name.
async fn refusals(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let cases: [Content; 4] = [
        ("digest", |record| record["digest"] = json!(format!("sha256:{}", "0".repeat(64)))),
        ("owner", |record| record["owner"] = json!("another")),
        ("cluster", |record| record["cluster"]["id"] = json!("another")),
        ("name", |record| record["pod"]["name"] = json!(7)),
    ];
    for (name, change) in cases {
        let (alone, batched, seq) = (format!("alone-{name}"), format!("batched-{name}"), suite.seqs(4));
        let record = |suite: &Suite, id: &str, seq: u64| {
            let mut record = suite.record(OWNER, id, (epoch, seq), "refused");
            change(&mut record);
            // Only one thing is wrong.
            if name == "digest" { record } else { sample::with_digest(record) }
        };
        let first = record(suite, &alone, seq + 1);
        let put = suite.put(OWNER, &alone, &first).await?;
        let problem = put.text("/type").and_then(|kind| kind.rsplit(':').next()).map(str::to_owned);
        let operation = json!({"op": "put", "id": batched, "record": record(suite, &batched, seq + 2)});
        let probe = suite.batch(epoch, &[operation]).await?;
        if let (Some(409 | 422), Some(problem)) = (put.status(), problem) {
            let outcome = refused(&probe, 0, &problem);
            suite.judge_as(format!("batch-as-request-{name}"), &BATCH_AS_REQUEST, &probe, outcome);
        }
        let removal = [deletion(&alone, (epoch, seq + 3)), deletion(&batched, (epoch, seq + 4))];
        for operation in removal {
            suite.batch(epoch, &[operation]).await?;
        }
    }
    Ok(())
}

/// Expects exactly the members of the record. The digest is judged alone.
fn is_as_received(found: &Probe, record: &Value) -> Expectation {
    found.is(&[200])?;
    for (name, value) in record.as_object().into_iter().flatten() {
        found.has(&format!("/{name}"), value)?;
    }
    let more = found.json().as_object().into_iter().flatten().find(|(name, _)| record.get(name.as_str()).is_none());
    expect(more.is_none(), || {
        let name = more.map_or("", |(name, _)| name.as_str());
        format!("expected no member `{name}`, as the record was put without it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::probe::ProbeAnswer;

    fn found(json: Value) -> Probe {
        let answer = ProbeAnswer { status: 200, json, ..ProbeAnswer::default() };
        Probe { method: "GET", path: "v1".to_owned(), body: None, answer: Ok(answer) }
    }

    #[test]
    fn contents_differ_if_members_are_more_or_less() {
        let mut record = sample::record("c", "o", "u", (1, 2), "p");
        CONTENTS.iter().for_each(|(_, change)| change(&mut record));
        let record = sample::with_digest(record);
        assert_eq!(is_as_received(&found(record.clone()), &record), Ok(()));
        let mut more = record.clone();
        more["serviceAccount"] = json!("old");
        let why = is_as_received(&found(more), &record).unwrap_err();
        assert_eq!(why, "expected no member `serviceAccount`, as the record was put without it");
        let mut other = record.clone();
        other["placement"]["podIPs"] = json!(["192.0.2.1", "192.0.2.2"]);
        let why = is_as_received(&found(other), &record).unwrap_err();
        assert!(why.starts_with("expected `placement` "), "{why}");
    }
}
