//! Opens a database and migrates its schema. Each step is one transaction: a crash leaves the old or the new schema.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::OpenError;

/// Step `i` migrates from schema version `i` to `i + 1`. Never change a released step; add one.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema-2.sql")];
/// Marks a database as this program's: "pReg".
const APPLICATION_ID: i32 = 0x7052_6567;
/// How long a connection waits for a lock.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// Opens the connection that writes, and creates or migrates the database. Without a file, the database is in memory.
pub(super) fn open_writer(file: Option<&Path>) -> Result<Connection, OpenError> {
    let mut conn = match file {
        Some(path) => Connection::open(path),
        None => Connection::open_in_memory(),
    }?;
    prepare(&conn)?;
    check_is_ours(&conn)?;
    if file.is_some() {
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(OpenError::NoWal { mode });
        }
        // With FULL, a commit returns after the log is on the disk, so that acknowledged writes survive a crash.
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    }
    migrate(&mut conn)?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(file: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    prepare(&conn)?;
    Ok(conn)
}

fn prepare(conn: &Connection) -> Result<(), OpenError> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn check_is_ours(conn: &Connection) -> Result<(), OpenError> {
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if application == APPLICATION_ID || (application == 0 && tables == 0) { Ok(()) } else { Err(OpenError::NotOurs) }
}

fn migrate(conn: &mut Connection) -> Result<(), OpenError> {
    loop {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let step = usize::try_from(found).unwrap_or(usize::MAX);
        if step > MIGRATIONS.len() {
            let path = tx.path().unwrap_or_default().into();
            return Err(OpenError::NewerSchema { path, found, known: MIGRATIONS.len() });
        }
        let Some(sql) = MIGRATIONS.get(step) else { return Ok(()) };
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", found + 1)?;
        tx.commit()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_schema_and_foreign_database_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours.db");
        drop(open_writer(Some(&ours)).unwrap());
        drop(open_writer(Some(&ours)).unwrap());
        Connection::open(&ours).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open_writer(Some(&ours)).unwrap_err();
        assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }), "{error}");

        let other = folder.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(open_writer(Some(&other)), Err(OpenError::NotOurs)));
    }

    #[test]
    fn database_uses_a_synchronous_write_ahead_log() {
        let folder = tempfile::tempdir().unwrap();
        let conn = open_writer(Some(&folder.path().join("r.db"))).unwrap();
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let synchronous: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }
}
