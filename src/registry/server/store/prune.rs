//! Deletes old tombstones and changes, a bounded number per commit.

use std::time::Duration;

use rusqlite::{Connection, params};

/// Rows of each kind that one commit deletes, at most. More would delay the writes of that commit.
const STEP: i64 = 1_000;
/// A tombstone must outlive every request in flight.
const MIN_TOMBSTONE_AGE: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many tombstones and changes are kept, and how long.
#[derive(Clone, Debug)]
pub struct Retention {
    /// At least one hour.
    pub tombstone_age: Duration,
    /// Above this number, the oldest tombstones are deleted, whatever their age.
    pub max_tombstones: u64,
    pub change_age: Duration,
    pub max_changes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { tombstone_age: DAY, max_tombstones: 1_000_000, change_age: DAY, max_changes: 1_000_000 }
    }
}

/// Deletes the oldest rows that exceed the retention, at most [`STEP`] of each kind.
pub(super) fn prune(conn: &Connection, retention: &Retention, now: i64) -> rusqlite::Result<()> {
    let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let limit = |most: u64| i64::try_from(most).unwrap_or(i64::MAX);

    let total: i64 = conn.prepare_cached("SELECT tombstones FROM totals")?.query_row([], |row| row.get(0))?;
    let surplus = total.saturating_sub(limit(retention.max_tombstones)).clamp(0, STEP);
    let drop_tombstones = "DELETE FROM tombstones WHERE (writer, id) IN \
        (SELECT writer, id FROM tombstones WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)";
    if surplus > 0 {
        conn.prepare_cached(drop_tombstones)?.execute(params![i64::MAX, surplus])?;
    }
    let oldest = before(retention.tombstone_age.max(MIN_TOMBSTONE_AGE));
    conn.prepare_cached(drop_tombstones)?.execute(params![oldest, STEP])?;

    // Only the changes before the first one that stays, also if the clock went back. Then the oldest number alone tells
    // a reader whether it missed a change.
    let (oldest, most) = (before(retention.change_age), limit(retention.max_changes));
    conn.prepare_cached(
        "WITH front AS (SELECT n, at_ms FROM changes ORDER BY n LIMIT ?3), last AS (SELECT max(n) AS n FROM changes) \
         DELETE FROM changes WHERE n < coalesce(\
           (SELECT min(n) FROM front WHERE at_ms >= ?1 AND n > (SELECT n FROM last) - ?2), \
           (SELECT max(n) + 1 FROM front))",
    )?
    .execute(params![oldest, most, STEP])?;
    Ok(())
}
