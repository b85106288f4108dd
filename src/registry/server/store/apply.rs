//! Applies operations by the order of versions, keeps tombstones, and logs changes.
//!
//! "The order of versions" in `docs/protocol-v1.md` has the table that `put` and `delete` implement. An operation
//! counts as a change if it creates a record, changes its digest, or removes it.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreFault, session};
use crate::{
    model::{digest::Digest, ids::Version},
    registry::{
        protocol::{ItemResult, Problem},
        server::{
            problem::ProblemKind,
            record::{Address, ValidRecord},
        },
    },
};

/// An operation as the request has it; malformed operations have a problem.
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) op: Result<Op, Box<Problem>>,
}

pub(crate) enum Op {
    Put(Box<ValidRecord>),
    /// The reason, and where it was observed, are texts for people. A later release may send other values.
    Delete {
        version: Version,
        reason: Option<String>,
        observed: Option<String>,
    },
}

enum Stored {
    Nothing,
    Record { version: Version, digest: Digest, namespace: String, name: String },
    Tombstone(Version),
}

struct Context<'a> {
    conn: &'a Connection,
    at: &'a Address,
    writer: i64,
    now: i64,
}

/// Applies the operations of one request, unless the epoch is not current. Returns one result per item.
pub(crate) fn apply(
    conn: &Connection,
    now: i64,
    at: &Address,
    epoch: u64,
    items: &[Item],
) -> Result<Vec<ItemResult>, StoreFault> {
    let writer = session::fence(conn, now, at, epoch)?.writer;
    let context = Context { conn, at, writer, now };
    items.iter().map(|item| context.item(item)).collect()
}

impl Context<'_> {
    fn item(&self, item: &Item) -> Result<ItemResult, StoreFault> {
        let outcome = match &item.op {
            Ok(Op::Put(record)) => self.put(&item.id, record)?.map(|status| (status, Some(record.digest))),
            Ok(Op::Delete { version, reason, observed }) => {
                self.delete(&item.id, *version, reason.as_deref(), observed.as_deref())?.map(|()| (204, None))
            }
            Err(problem) => Err(problem.clone()),
        };
        let (status, digest, problem) = match outcome {
            Ok((status, digest)) => (status, digest, None),
            Err(problem) => (problem.status.unwrap_or(500), None, Some(*problem)),
        };
        Ok(ItemResult { id: item.id.clone(), status, digest, problem, retry_after_seconds: None })
    }

    fn put(&self, id: &str, record: &ValidRecord) -> rusqlite::Result<Result<u16, Box<Problem>>> {
        let (status, changed) = match self.stored(id)? {
            Stored::Nothing => (201, true),
            Stored::Tombstone(deleted) if record.version <= deleted => {
                let detail = "the pod was deleted at this version or a higher one; if it lives, take a higher version";
                return Ok(Err(ProblemKind::Tombstoned.with_current(detail, deleted, None)));
            }
            Stored::Tombstone(_) => {
                self.remove_from("tombstones", id)?;
                (201, true)
            }
            Stored::Record { version, digest, .. } if version == record.version && digest == record.digest => {
                return Ok(Ok(200));
            }
            Stored::Record { version, digest, .. } if record.version <= version => {
                return Ok(Err(ProblemKind::StaleVersion.with_current(STALE, version, Some(digest))));
            }
            Stored::Record { digest, .. } => (200, digest != record.digest),
        };
        self.store(id, record)?;
        if changed {
            self.log("put", id, record.version, &record.namespace, &record.name, None, None)?;
        }
        Ok(Ok(status))
    }

    fn delete(
        &self,
        id: &str,
        version: Version,
        reason: Option<&str>,
        observed: Option<&str>,
    ) -> rusqlite::Result<Result<(), Box<Problem>>> {
        match self.stored(id)? {
            // A repeated request.
            Stored::Tombstone(deleted) if deleted == version => return Ok(Ok(())),
            Stored::Tombstone(deleted) if version < deleted => {
                return Ok(Err(ProblemKind::StaleVersion.with_current(STALE, deleted, None)));
            }
            Stored::Nothing | Stored::Tombstone(_) => {}
            Stored::Record { version: stored, digest, .. } if version <= stored => {
                return Ok(Err(ProblemKind::StaleVersion.with_current(STALE, stored, Some(digest))));
            }
            Stored::Record { namespace, name, .. } => {
                self.remove_from("records", id)?;
                self.remove_from("bodies", id)?;
                self.log("delete", id, version, &namespace, &name, reason, observed)?;
            }
        }
        // Not `INSERT OR REPLACE`, which does not run the trigger that counts deleted rows.
        self.conn
            .prepare_cached(
                "INSERT INTO tombstones (writer, id, epoch, seq, at_ms) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (writer, id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, \
                 at_ms = excluded.at_ms",
            )?
            .execute(params![self.writer, id, version.epoch, version.seq, self.now])?;
        Ok(Ok(()))
    }

    fn stored(&self, id: &str) -> rusqlite::Result<Stored> {
        let record = self
            .conn
            .prepare_cached("SELECT epoch, seq, digest, namespace, name FROM records WHERE writer = ?1 AND id = ?2")?
            .query_row(params![self.writer, id], |row| {
                Ok(Stored::Record {
                    version: session::version(row, 0, 1)?,
                    digest: Digest(row.get(2)?),
                    namespace: row.get(3)?,
                    name: row.get(4)?,
                })
            })
            .optional()?;
        if let Some(record) = record {
            return Ok(record);
        }
        let tombstone = self
            .conn
            .prepare_cached("SELECT epoch, seq FROM tombstones WHERE writer = ?1 AND id = ?2")?
            .query_row(params![self.writer, id], |row| session::version(row, 0, 1))
            .optional()?;
        Ok(tombstone.map_or(Stored::Nothing, Stored::Tombstone))
    }

    fn store(&self, id: &str, record: &ValidRecord) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO records (writer, id, epoch, seq, digest, lifecycle, namespace, name, search, bucket) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
                 ON CONFLICT (writer, id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, \
                 digest = excluded.digest, lifecycle = excluded.lifecycle, namespace = excluded.namespace, \
                 name = excluded.name, search = excluded.search",
            )?
            .execute(params![
                self.writer,
                id,
                record.version.epoch,
                record.version.seq,
                record.digest.0,
                record.lifecycle,
                record.namespace,
                record.name,
                record.search,
                record.bucket,
            ])?;
        self.conn
            .prepare_cached(
                "INSERT INTO bodies (writer, id, body) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (writer, id) DO UPDATE SET body = excluded.body",
            )?
            .execute(params![self.writer, id, record.body])?;
        Ok(())
    }

    fn remove_from(&self, table: &'static str, id: &str) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(&format!("DELETE FROM {table} WHERE writer = ?1 AND id = ?2"))?
            .execute(params![self.writer, id])?;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    fn log(
        &self,
        op: &str,
        id: &str,
        version: Version,
        namespace: &str,
        name: &str,
        reason: Option<&str>,
        observed: Option<&str>,
    ) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO changes (at_ms, cluster, owner, op, id, namespace, name, epoch, seq, reason, observed) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                self.now,
                self.at.cluster,
                self.at.owner,
                op,
                id,
                namespace,
                name,
                version.epoch,
                version.seq,
                reason,
                observed,
            ])?;
        Ok(())
    }
}

const STALE: &str = "`current` is the stored version; if your record is newer, take a version above it";
