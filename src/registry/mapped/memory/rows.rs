//! Reads and writes the rows of a memory.

use rusqlite::{Connection, Row, params};

use super::{ChangeContent, RoundNote, RowChange, StoredAttempt, StoredRow};
use crate::{
    model::{digest::Fingerprint, ids::Version, uid::Uid},
    reconcile::deletion::{Deletion, Removal},
    registry::client::encode::removal as removal_words,
};

const COLUMNS: &str = "key, id, remote, seen, held, fingerprint, epoch, seq, began, kind, parent, removal";
const REMOVALS: [Removal; 4] = [
    Removal::Observed(Deletion::Deleted),
    Removal::Observed(Deletion::DeletedOrLeftSelection),
    Removal::Inferred,
    Removal::LeftSelection,
];

/// All rows.
pub(super) fn all(conn: &Connection) -> rusqlite::Result<Vec<(Uid, StoredRow)>> {
    let mut statement = conn.prepare(&format!("SELECT {COLUMNS} FROM records"))?;
    statement.query_map([], row)?.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<(Uid, StoredRow)> {
    let fingerprint = |column: usize| -> rusqlite::Result<Option<Fingerprint>> {
        Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(Fingerprint::of_bytes))
    };
    let version = row.get::<_, Option<u64>>(6)?.zip(row.get::<_, Option<u64>>(7)?);
    let began = row.get::<_, Option<i64>>(8)?.unwrap_or_default();
    let reason = row.get::<_, Option<String>>(11)?;
    let removal = REMOVALS.into_iter().find(|removal| reason.as_deref() == Some(removal_words(*removal).0));
    let content = fingerprint(5)?.map_or(ChangeContent::Delete(removal), ChangeContent::Put);
    let attempt = version.map(|(epoch, seq)| StoredAttempt { content, version: Version { epoch, seq }, began });
    let stored = StoredRow {
        kind: row.get(9)?,
        parent: row.get::<_, Option<String>>(10)?.map(Uid::from),
        id: row.get(1)?,
        remote: row.get(2)?,
        seen: row.get(3)?,
        held: fingerprint(4)?,
        attempt,
    };
    Ok((Uid::from(row.get::<_, String>(0)?), stored))
}

/// When the last round ended.
pub(super) fn last_round(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.query_row("SELECT round FROM memory", [], |row| row.get(0))
}

/// Changes rows, and notes what became of a round, within the caller's transaction.
pub(super) fn write(conn: &Connection, rows: &[RowChange], round: Option<RoundNote>) -> rusqlite::Result<()> {
    if let Some(note) = round {
        let ended = if let RoundNote::Ended(at) = note { Some(at) } else { None };
        conn.execute("UPDATE memory SET round = ?1", [ended])?;
    }
    let mut put = conn.prepare_cached(&format!(
        "INSERT OR REPLACE INTO records ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))?;
    let mut delete = conn.prepare_cached("DELETE FROM records WHERE key = ?1")?;
    for (key, row) in rows {
        let key = key.text();
        let Some(StoredRow { kind, parent, id, remote, seen, held, attempt }) = row else {
            delete.execute([&*key])?;
            continue;
        };
        let held = held.as_ref().map(Fingerprint::bytes);
        let (change, removal) = match attempt.map(|attempt| attempt.content) {
            Some(ChangeContent::Put(fingerprint)) => (Some(fingerprint.bytes()), None),
            Some(ChangeContent::Delete(removal)) => (None, removal.map(|removal| removal_words(removal).0)),
            None => (None, None),
        };
        let version = attempt.map(|attempt| attempt.version);
        let (epoch, seq) = (version.map(|version| version.epoch), version.map(|version| version.seq));
        let began = attempt.map(|attempt| attempt.began);
        let parent = parent.as_ref().map(Uid::text);
        let parent = parent.as_deref();
        put.execute(params![&*key, id, remote, seen, held, change, epoch, seq, began, kind, parent, removal])?;
    }
    Ok(())
}
