//! Bucket digests, compared with those of the inventory.

use serde_json::Value;

use crate::{
    conformance::{
        probe::{Probe, as_json, expect},
        rules::buckets as rules,
        suite::{Halt, PagesRead, Suite},
    },
    model::{
        digest::{Buckets, Digest},
        ids::DEFAULT_OWNER as OWNER,
    },
};

pub(super) async fn run(suite: &mut Suite) -> Result<(), Halt> {
    let epoch = suite.session(OWNER).await?;
    for n in 0..5 {
        let seq = suite.seqs(1) + 1;
        suite.place(OWNER, &format!("bucket-{n}"), (epoch, seq)).await?;
    }
    change(suite, epoch).await?;
    let reading = suite.read(OWNER, "limit=5000").await?;
    for buckets in [Buckets::One, Buckets::By8Bits, Buckets::By16Bits] {
        let query = format!("buckets={}", buckets.count());
        let probe = suite.get(suite.at(OWNER, "/pods:digest", &query)).await?;
        judge(suite, &probe, buckets, &reading);
    }
    let probe = suite.get(suite.at(OWNER, "/pods:digest", "")).await?;
    let number = probe.list("/buckets").len();
    suite.judge(
        &rules::BUCKETS_NUMBER,
        &probe,
        expect(number == 256, || format!("expected 256 entries, got {number}")),
    );
    let probe = suite.get(suite.at(OWNER, "/pods:digest", "buckets=2")).await?;
    suite.judge(&rules::BUCKETS_REFUSED, &probe, probe.refuses(422, "schema"));
    one_bucket(suite, &reading).await
}

/// Writes that a registry has to add to digests that it keeps: a put with another digest, one with an equal digest, and
/// a deletion.
async fn change(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    let seq = suite.seqs(3);
    for (id, at, name) in [("bucket-1", 1, "replaced"), ("bucket-2", 2, "placed")] {
        let record = suite.record(OWNER, id, (epoch, seq + at), name);
        let probe = suite.put(OWNER, id, &record).await?;
        suite.need("a put", &probe, &[200, 201])?;
    }
    let probe = suite.delete(OWNER, "bucket-3", (epoch, seq + 3)).await?;
    suite.need("a deletion", &probe, &[200, 204])
}

/// The records and the xor of their digests, by bucket.
fn expected(buckets: Buckets, reading: &PagesRead) -> Vec<(u64, Digest)> {
    let mut all = vec![(0, Digest::default()); buckets.count()];
    for item in &reading.items {
        let digest = item["digest"].as_str().and_then(|digest| digest.parse::<Digest>().ok());
        if let (Some(id), Some(digest)) = (item["id"].as_str(), digest) {
            let bucket = &mut all[buckets.of(id)];
            bucket.0 += 1;
            bucket.1.xor(&digest);
        }
    }
    all
}

fn judge(suite: &mut Suite, probe: &Probe, buckets: Buckets, reading: &PagesRead) {
    let (found, number) = (probe.list("/buckets"), buckets.count());
    let outcome = probe
        .is(&[200])
        .and_then(|()| expect(found.len() == number, || format!("expected {number} entries, got {}", found.len())));
    let is_right = outcome.is_ok();
    suite.judge(&rules::BUCKETS_NUMBER, probe, outcome);
    if !is_right {
        return;
    }
    let expected = expected(buckets, reading);
    let of = |bucket: &Value| bucket["count"].as_u64().unwrap_or_default();
    let wrong = found.iter().zip(&expected).position(|(found, (count, _))| of(found) != *count);
    let outcome = expect(wrong.is_none(), || format!("bucket {} has another count", wrong.unwrap_or_default()));
    suite.judge(&rules::BUCKETS_COUNT, probe, outcome);
    let wrong = found.iter().zip(&expected).position(|(found, (_, digest))| found["digest"] != digest.hex());
    let outcome = expect(wrong.is_none(), || {
        let at = wrong.unwrap_or_default();
        format!("expected {} in bucket {at}, got {}", expected[at].1.hex(), found[at]["digest"])
    });
    suite.judge(&rules::BUCKETS_DIGEST, probe, outcome);
    let (sum, count) = (found.iter().map(of).sum::<u64>(), probe.number("/count"));
    let is_consistent = count == Some(sum) && probe.number("/asOf").is_some();
    let outcome = expect(is_consistent, || format!("expected `asOf`, and `count` {sum}, got {}", as_json(&count)));
    suite.judge(&rules::BUCKETS_CONSISTENT, probe, outcome);
}

async fn one_bucket(suite: &mut Suite, all: &PagesRead) -> Result<(), Halt> {
    let bucket = Buckets::By8Bits.of("bucket-0");
    let reading = suite.read(OWNER, &format!("limit=5000&buckets=256&bucket={bucket}")).await?;
    let (found, ids) = (reading.ids(), all.ids());
    let expected: Vec<&str> = ids.iter().copied().filter(|id| Buckets::By8Bits.of(id) == bucket).collect();
    if let Some(last) = reading.pages.last() {
        let count = last.number("/count");
        let is_counted = [expected.len(), ids.len()].iter().any(|number| count == Some(*number as u64));
        let outcome = expect(found == expected, || format!("expected {}, got {}", as_json(&expected), as_json(&found)))
            .and_then(|()| {
                expect(is_counted, || format!("expected `count` {}, got {}", expected.len(), as_json(&count)))
            });
        suite.judge(&rules::INVENTORY_OF_BUCKET, last, outcome);
    }
    for query in ["buckets=2&bucket=0", "buckets=256&bucket=256", "buckets=1&bucket=1", "bucket=conformance"] {
        let probe = suite.page(OWNER, query).await?;
        suite.judge(&rules::BUCKET_PARAMETERS, &probe, probe.refuses(422, "schema"));
    }
    Ok(())
}
