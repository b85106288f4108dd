//! The vectors of `docs/protocol-v1-vectors.json`, under the ids of the run.

use serde_json::json;

use crate::{
    conformance::{
        probe::Probe,
        rule::ProtocolRule,
        rules::writes as rules,
        sample::{self, RecordVector, RefusedVector, Vectors},
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

/// What vectors are about whose JSON can be read in several ways.
const FORMS: [&str; 8] = ["null", "duplicate", "fraction", "exponent", "zero", "2^53", "surrogate", "before"];

pub(super) async fn run(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let vectors = Vectors::embedded().map_err(|error| Halt::Scenario(format!("the vectors: {error}")))?;
    for vector in vectors.records {
        record(suite, epoch, vector).await?;
    }
    for vector in vectors.refused {
        refused(suite, epoch, vector).await?;
    }
    Ok(())
}

/// Puts the record without a digest. The registry has to compute it.
async fn record(suite: &mut Suite, epoch: u64, RecordVector { name, mut record }: RecordVector) -> Result<(), Halt> {
    let (id, seq) = (format!("record-{}", slug(&name)), suite.seqs(2));
    record["cluster"]["id"] = json!(suite.cluster);
    record["pod"]["uid"] = json!(id);
    record["version"] = json!({"epoch": epoch, "seq": seq + 1});
    let digest = sample::digest(&record);
    let probe = suite.put(OWNER, &id, &sample::without(record, &["digest"])).await?;
    let outcome = probe.is(&[200, 201]).and_then(|()| probe.has("/digest", &json!(digest)));
    suite.judge_as(format!("digest-{}", slug(&name)), &rules::DIGEST, &probe, outcome);
    // A registry that stored no digest may fail to list the record.
    suite.delete(OWNER, &id, (epoch, seq + 2)).await?;
    Ok(())
}

async fn refused(suite: &mut Suite, epoch: u64, vector: RefusedVector) -> Result<(), Halt> {
    let RefusedVector { name, problem, body } = vector;
    let id = format!("refused-{}", slug(&name));
    let body = sample::adapted(&body, &suite.cluster, &id, epoch);
    let probe = suite.put_text(OWNER, &id, body).await?;
    let status = if problem == "schema" { 422 } else { 409 };
    let outcome = probe.refuses(status, &problem);
    suite.judge_as(id.clone(), rule(&name, &problem), &probe, outcome);
    remove_if_stored(suite, &probe, &id, epoch).await
}

/// Removes a record that should have been refused.
pub(super) async fn remove_if_stored(suite: &mut Suite, put: &Probe, id: &str, epoch: u64) -> Result<(), Halt> {
    if put.status().is_none_or(|status| status < 300) {
        let seq = suite.seqs(1) + 1;
        suite.delete(OWNER, id, (epoch, seq)).await?;
    }
    Ok(())
}

/// The rule that a vector shows.
fn rule(name: &str, problem: &str) -> &'static ProtocolRule {
    match name {
        _ if problem == "foreign-owner" => &rules::REFUSED_OWNER,
        "wrong digest" => &rules::REFUSED_DIGEST,
        "truncated JSON" => &rules::REFUSED_JSON,
        "seq with a fraction" => &rules::REFUSED_VALUE,
        name if FORMS.iter().any(|form| name.contains(form)) => &rules::REFUSED_VALUE,
        _ => &rules::REFUSED_RECORD,
    }
}

/// A name as a part of an id: `number of 2^53` becomes `number-of-2-53`.
fn slug(name: &str) -> String {
    let words: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' }).collect();
    // `-2^53` and `2^53` are two vectors.
    let sign = if name.contains(" -") { " minus" } else { "" };
    format!("{words}{sign}").split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn vectors_have_ids_of_their_own() {
        let vectors = Vectors::embedded().unwrap();
        let ids: BTreeSet<String> = vectors.refused.iter().map(|vector| slug(&vector.name)).collect();
        assert_eq!(ids.len(), vectors.refused.len(), "{ids:?}");
        assert!(ids.iter().all(|id| crate::model::ids::is_valid_id(id)), "{ids:?}");
        assert_eq!(rule("duplicate name", "schema").id(), "refused-value");
        assert_eq!(rule("empty name", "schema").id(), "refused-record");
        assert_eq!(rule("another owner", "foreign-owner").id(), "refused-owner");
    }
}
