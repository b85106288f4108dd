//! Applies operations: the order of versions, tombstones, and what counts as a change.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreFault, session};
use crate::{
    model::{digest::Digest, ids::Version},
    registry::{
        protocol::{ItemResult, ObservedBy, Problem, Reason},
        server::{
            problem::ProblemKind,
            record::{Address, ValidRecord},
        },
    },
};

/// One operation on one id, or why it is none.
pub(crate) struct Item {
    /// The id, as the request has it.
    pub(crate) id: String,
    /// What to do.
    pub(crate) op: Result<Op, Box<Problem>>,
}

/// What to do with an id.
pub(crate) enum Op {
    /// Create or replace its record.
    Put(Box<ValidRecord>),
    /// Remove its record.
    Delete {
        /// Orders this against other operations.
        version: Version,
        /// Why, if the writer said so.
        reason: Option<Reason>,
        /// How it is known, if the writer said so.
        observed: Option<ObservedBy>,
    },
}

/// What is stored under an id.
enum Stored {
    Nothing,
    Record { version: Version, digest: Digest, namespace: String, name: String },
    Tombstone(Version),
}

/// The transaction's constants.
struct Context<'a> {
    conn: &'a Connection,
    at: &'a Address,
    writer: i64,
    now: i64,
}

/// Applies the operations of one request, one result an item. Nothing is applied where the epoch is not current.
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
                self.delete(&item.id, *version, *reason, *observed)?.map(|()| (204, None))
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
        let status = match self.stored(id)? {
            Stored::Nothing => 201,
            Stored::Tombstone(deleted) if record.version <= deleted => {
                let detail = "the pod was deleted at this version or later; if it lives, take a higher version";
                return Ok(Err(ProblemKind::Tombstoned.with_current(detail, deleted, None)));
            }
            Stored::Tombstone(_) => {
                self.conn
                    .prepare_cached("DELETE FROM tombstones WHERE writer = ?1 AND id = ?2")?
                    .execute(params![self.writer, id])?;
                201
            }
            Stored::Record { version, digest, .. } if version == record.version && digest == record.digest => {
                return Ok(Ok(200));
            }
            Stored::Record { version, digest, .. } if record.version <= version => {
                return Ok(Err(ProblemKind::StaleVersion.with_current(STALE, version, Some(digest))));
            }
            Stored::Record { digest, .. } => {
                self.update(id, record)?;
                if digest != record.digest {
                    self.log("put", id, record.version, &record.namespace, &record.name, None, None)?;
                }
                return Ok(Ok(200));
            }
        };
        self.insert(id, record)?;
        self.log("put", id, record.version, &record.namespace, &record.name, None, None)?;
        Ok(Ok(status))
    }

    fn delete(
        &self,
        id: &str,
        version: Version,
        reason: Option<Reason>,
        observed: Option<ObservedBy>,
    ) -> rusqlite::Result<Result<(), Box<Problem>>> {
        match self.stored(id)? {
            Stored::Nothing => {}
            // The same delete again.
            Stored::Tombstone(deleted) if deleted == version => return Ok(Ok(())),
            Stored::Tombstone(deleted) if version < deleted => {
                return Ok(Err(ProblemKind::StaleVersion.with_current(STALE, deleted, None)));
            }
            Stored::Tombstone(_) => {}
            Stored::Record { version: stored, digest, .. } if version <= stored => {
                return Ok(Err(ProblemKind::StaleVersion.with_current(STALE, stored, Some(digest))));
            }
            Stored::Record { namespace, name, .. } => {
                for table in ["DELETE FROM records", "DELETE FROM bodies"] {
                    self.conn
                        .prepare_cached(&format!("{table} WHERE writer = ?1 AND id = ?2"))?
                        .execute(params![self.writer, id])?;
                }
                self.log("delete", id, version, &namespace, &name, reason, observed)?;
            }
        }
        // An upsert and not a replacement: the latter would not run the trigger that counts.
        self.conn
            .prepare_cached(
                "INSERT INTO tombstones (writer, id, epoch, seq, at_ms) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT (writer, id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, at_ms = excluded.at_ms",
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

    fn insert(&self, id: &str, record: &ValidRecord) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO records (writer, id, epoch, seq, digest, lifecycle, namespace, name, search, bucket) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
        self.conn.prepare_cached("INSERT INTO bodies (writer, id, body) VALUES (?1, ?2, ?3)")?.execute(params![
            self.writer,
            id,
            record.body
        ])?;
        Ok(())
    }

    fn update(&self, id: &str, record: &ValidRecord) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE records SET epoch = ?3, seq = ?4, digest = ?5, lifecycle = ?6, namespace = ?7, name = ?8, \
                 search = ?9 WHERE writer = ?1 AND id = ?2",
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
            ])?;
        self.conn.prepare_cached("UPDATE bodies SET body = ?3 WHERE writer = ?1 AND id = ?2")?.execute(params![
            self.writer,
            id,
            record.body
        ])?;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row, named at the only two places that write it")]
    fn log(
        &self,
        op: &str,
        id: &str,
        version: Version,
        namespace: &str,
        name: &str,
        reason: Option<Reason>,
        observed: Option<ObservedBy>,
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
                reason.map(Reason::as_str),
                observed.map(ObservedBy::as_str),
            ])?;
        Ok(())
    }
}

const STALE: &str = "`current` is stored; if it is not newer than what you know, take a version above it";
