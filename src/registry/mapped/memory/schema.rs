//! Opens the file of a memory, creates its schema, and refuses what is damaged, newer or of something else.
//!
//! The file has a rollback journal and an exclusive lock, which also hold on network file systems with locks. A
//! write-ahead log needs memory that all processes share, which these have not.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::Path,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};

use super::{Error, MemoryOwner, StoredRow, rows};
use crate::{connect::failures::one_line, model::uid::Uid};

/// Step `i` migrates from schema version `i` to `i + 1`. Never change a released step; add one.
const MIGRATIONS: [&str; 3] = [include_str!("schema.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];
/// Marks a file as a memory: "pRem".
const APPLICATION_ID: i32 = 0x7052_656D;
/// Where SQLite keeps that number, and what its files begin with.
const APPLICATION_ID_AT: usize = 68;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Characters of what SQLite finds in a damaged file.
const FOUND_MAX: usize = 300;
/// How long to wait for the lock of a process that is about to end.
const BUSY: std::time::Duration = std::time::Duration::from_secs(1);

/// Opens the file for this process alone. Returns also the last term that used it. None if the file is new: then `fill`
/// writes its first rows.
pub(super) fn open(
    path: &Path,
    owner: &MemoryOwner,
    term: u64,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(Connection, Option<u64>), Error> {
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let explain = |error| explain(path, error);
    let last_term = {
        let tx = begin(&mut conn, path)?;
        let last_term = check_owner(&tx, path, owner, term)?;
        if last_term.is_none() {
            fill(&tx).map_err(explain)?;
        }
        tx.commit().map_err(explain)?;
        last_term
    };
    Ok((conn, last_term))
}

/// Reads all rows of a file that no process uses, and changes nothing.
pub(super) fn read(path: &Path, owner: &MemoryOwner) -> Result<Vec<(Uid, StoredRow)>, Error> {
    if let Ok(false) = path.try_exists() {
        return Err(Error::Missing { path: path.to_owned() });
    }
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // It is rolled back.
    let tx = begin(&mut conn, path)?;
    check_owner(&tx, path, owner, 0)?;
    rows::all(&tx).map_err(|error| explain(path, error))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    check_header(path)?;
    let explain = |error| explain(path, error);
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(explain)?;
    conn.busy_timeout(BUSY).map_err(explain)?;
    conn.pragma_update(None, "locking_mode", "exclusive").map_err(explain)?;
    // The journal is emptied and synchronized at each commit, so that a commit that was reported is not undone.
    conn.pragma_update_and_check(None, "journal_mode", "truncate", |_| Ok(())).map_err(explain)?;
    conn.pragma_update(None, "synchronous", "full").map_err(explain)?;
    Ok(conn)
}

/// Begins a transaction for this process alone, in which the file has the schema of this release.
fn begin<'c>(conn: &'c mut Connection, path: &Path) -> Result<Transaction<'c>, Error> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(|error| explain(path, error))?;
    migrate(&tx, path)?;
    check_pages(&tx, path)?;
    Ok(tx)
}

/// A file of another program is not even opened as a database, which might change it.
fn check_header(path: &Path) -> Result<(), Error> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(100).read_to_end(&mut header));
    match read {
        Ok(0) => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    }
    let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
    let is_ours = header.starts_with(MAGIC) && id == Some(&APPLICATION_ID.to_be_bytes());
    if is_ours { Ok(()) } else { Err(Error::NotOurs { path: path.to_owned() }) }
}

fn migrate(tx: &Transaction<'_>, path: &Path) -> Result<(), Error> {
    let explain = |error| explain(path, error);
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(explain)?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(steps) = MIGRATIONS.get(done..) else {
        return Err(Error::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
    };
    if steps.is_empty() {
        return Ok(());
    }
    for sql in steps {
        tx.execute_batch(sql).map_err(explain)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(explain)?;
    tx.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)).map_err(explain)
}

fn check_pages(tx: &Transaction<'_>, path: &Path) -> Result<(), Error> {
    let found: String =
        tx.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| explain(path, error))?;
    // It has several lines.
    let what = || one_line(&found, FOUND_MAX);
    if found == "ok" { Ok(()) } else { Err(Error::Damaged { path: path.to_owned(), what: what() }) }
}

/// Notes whom a new file is for, and compares that of another one.
fn check_owner(tx: &Transaction<'_>, path: &Path, owner: &MemoryOwner, term: u64) -> Result<Option<u64>, Error> {
    let explain = |error| explain(path, error);
    let MemoryOwner { target, cluster, mark, url } = owner;
    let added = tx
        .execute(
            "INSERT OR IGNORE INTO memory (one, target, cluster, mark, url, term) VALUES (1, ?1, ?2, ?3, ?4, NULL)",
            params![target, cluster, mark, url],
        )
        .map_err(explain)?;
    let (found, last_term) = tx
        .query_row("SELECT target, cluster, mark, url, term FROM memory", [], |row| {
            let found: [String; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
            Ok((found, row.get::<_, Option<u64>>(4)?))
        })
        .map_err(explain)?;
    let expected = [("target", target), ("cluster", cluster), ("owner mark", mark), ("address", url)];
    if let Some(((what, ours), found)) = expected.into_iter().zip(found).find(|((_, ours), found)| *ours != found) {
        return Err(Error::Other { path: path.to_owned(), what, found, ours: ours.clone() });
    }
    tx.execute("UPDATE memory SET term = ?1", [term]).map_err(explain)?;
    Ok(last_term.filter(|_| added == 0))
}

/// What an error of SQLite means for the file.
pub(super) fn explain(path: &Path, error: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::InUse { path },
        // Without a code: a value of another type. Unknown: a table or a column that is missing.
        None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
            Error::Damaged { path, what: one_line(&error.to_string(), FOUND_MAX) }
        }
        Some(ErrorCode::NotADatabase) => Error::NotOurs { path },
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly) => {
            Error::Write { path, cause: error.to_string(), fix: fix(&error) }
        }
        Some(_) => Error::Open { path, source: error },
    }
}

/// How to make the file writable again.
pub(super) fn fix(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free space on its disk",
        Some(ErrorCode::ReadOnly) => {
            "mount its disk for writing, and give this process the right to write the file and its folder"
        }
        Some(ErrorCode::CannotOpen) => "give this process the right to write its folder",
        _ => "check its disk and the quota; the kernel's log may say more",
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn each_cause_has_its_own_fix() {
        let fixes = [
            (ffi::SQLITE_FULL, "free space on its disk"),
            (ffi::SQLITE_READONLY, "mount its disk for writing, and give"),
            (ffi::SQLITE_IOERR, "check its disk and the quota"),
            (ffi::SQLITE_CANTOPEN, "right to write its folder"),
        ];
        for (code, expected) in fixes {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert!(fix(&error).contains(expected), "{code}: {}", fix(&error));
            let explained = explain(Path::new("m.db"), error).to_string();
            assert!(code == ffi::SQLITE_CANTOPEN || explained.contains(expected), "{explained}");
        }
    }
}
