//! The order of versions after a deletion. Each tombstone has an id of its own.

use super::order::current;
use crate::{
    conformance::{
        probe::expect,
        rules::order as rules,
        suite::{Halt, Suite},
    },
    model::ids::DEFAULT_OWNER as OWNER,
};

pub(super) async fn run(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    late_puts(suite, epoch).await?;
    deletions(suite, epoch).await?;
    unknown(suite, epoch).await
}

/// Seq 10 is the tombstone's.
async fn late_puts(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "order-deleted";
    let seq = suite.seqs(20);
    suite.place(OWNER, ID, (epoch, seq + 1)).await?;
    let probe = suite.delete(OWNER, ID, (epoch, seq + 10)).await?;
    suite.judge(&rules::DELETE, &probe, probe.is(&[204]));
    let probe = suite.find(OWNER, ID).await?;
    suite.judge(&rules::DELETED_IS_GONE, &probe, probe.is(&[404]));
    let reading = suite.read(OWNER, "limit=500").await?;
    let is_listed = reading.item(ID).is_some();
    if let Some(page) = reading.pages.last() {
        let outcome = expect(!is_listed, || format!("expected an inventory without {ID}"));
        suite.judge(&rules::DELETED_IS_GONE, page, outcome);
    }
    for late in [10, 7] {
        let record = suite.record(OWNER, ID, (epoch, seq + late), "late");
        let probe = suite.put(OWNER, ID, &record).await?;
        suite.judge(&rules::PUT_AFTER_DELETION, &probe, probe.refuses(409, "tombstoned"));
        if probe.status() == Some(409) {
            let without = expect(probe.json().pointer("/current/digest").is_none(), || {
                "expected `current` of a tombstone without `digest`".to_owned()
            });
            suite.judge(&rules::CURRENT, &probe, current(&probe, epoch, seq + 10).and(without));
        }
    }
    Ok(())
}

/// Deletions with seq 10, 10 again, 8 and 12, then puts with 11 and 13.
async fn deletions(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "order-tombstone";
    let seq = suite.seqs(20);
    suite.place(OWNER, ID, (epoch, seq + 1)).await?;
    let probe = suite.delete(OWNER, ID, (epoch, seq + 10)).await?;
    suite.need("a deletion", &probe, &[200, 204])?;
    let probe = suite.delete(OWNER, ID, (epoch, seq + 10)).await?;
    suite.judge(&rules::DELETE_REPEATED, &probe, probe.is(&[204]));
    let probe = suite.delete(OWNER, ID, (epoch, seq + 8)).await?;
    suite.judge(&rules::LATE_DELETE_OF_TOMBSTONE, &probe, probe.refuses(409, "stale-version"));
    let probe = suite.delete(OWNER, ID, (epoch, seq + 12)).await?;
    suite.judge(&rules::DELETE_MOVES_TOMBSTONE, &probe, probe.is(&[204]));
    let record = suite.record(OWNER, ID, (epoch, seq + 11), "late");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::DELETE_MOVES_TOMBSTONE, &probe, probe.refuses(409, "tombstoned"));
    let record = suite.record(OWNER, ID, (epoch, seq + 13), "back");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::PUT_COMES_BACK, &probe, probe.is(&[201]));
    Ok(())
}

/// A deletion of an id without a record, and a put that is older.
async fn unknown(suite: &mut Suite, epoch: u64) -> Result<(), Halt> {
    const ID: &str = "order-unknown";
    let seq = suite.seqs(2);
    let probe = suite.delete(OWNER, ID, (epoch, seq + 2)).await?;
    suite.judge(&rules::DELETE_UNKNOWN, &probe, probe.is(&[204]));
    let record = suite.record(OWNER, ID, (epoch, seq + 1), "late");
    let probe = suite.put(OWNER, ID, &record).await?;
    suite.judge(&rules::DELETE_UNKNOWN, &probe, probe.refuses(409, "tombstoned"));
    Ok(())
}
