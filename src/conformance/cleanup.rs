//! Removes the records of a run and closes its sessions.
//!
//! A new session comes first: a request of the run that is still under way is then refused.

use super::suite::{Halt, OWNERS, Suite};

/// Returns what could not be removed, for the report.
pub(super) async fn remove(suite: &mut Suite) -> Option<String> {
    let mut left = Vec::new();
    for owner in OWNERS {
        let ids: Vec<String> = suite.written.iter().filter(|(of, _)| of == owner).map(|(_, id)| id.clone()).collect();
        if ids.is_empty() {
            continue;
        }
        let count = ids.len();
        match remove_of(suite, owner, ids).await {
            Ok(0) => {}
            Ok(failed) => left.push(format!("{failed} records of owner {owner}")),
            Err(Halt::Scenario(why) | Halt::Run(why) | Halt::Unreachable(why)) => {
                left.push(format!("up to {count} records of owner {owner}: {why}"));
            }
        }
    }
    (!left.is_empty()).then(|| left.join("; "))
}

/// Deletes what the inventory lists, or every id that was written if it cannot be read. Returns how many deletions
/// failed.
async fn remove_of(suite: &mut Suite, owner: &'static str, written: Vec<String>) -> Result<usize, Halt> {
    let epoch = suite.session(owner).await?;
    let listed = match suite.read(owner, "limit=5000").await {
        Ok(reading) => reading.is_finished.then(|| reading.ids().into_iter().map(str::to_owned).collect()),
        Err(Halt::Scenario(_)) => None,
        Err(halt) => return Err(halt),
    };
    let mut failed = 0;
    for id in listed.unwrap_or(written) {
        let seq = suite.seqs(1) + 1;
        let deleted = suite.delete(owner, &id, (epoch, seq)).await?;
        failed += usize::from(deleted.is(&[200, 204, 404, 410]).is_err());
    }
    suite.close(owner, epoch).await?;
    Ok(failed)
}
