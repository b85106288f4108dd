//! Reads inventories: pages of records, and the digests of buckets.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::value::RawValue;

use super::{
    StoreFault,
    query::{last_change, raw},
    session,
};
use crate::{
    model::{
        digest::{Buckets, Digest},
        record::Lifecycle,
    },
    registry::{
        inventory::{BucketDigest, BucketDigests},
        protocol::ListedRecord,
        server::record::Address,
    },
};

/// A page ends once its records have this number of bytes.
const MAX_PAGE_BYTES: usize = 8 << 20;

/// The records that a reading includes: those that match every given condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) bucket: Option<(Buckets, usize)>,
    /// Text in namespace/name, id or node. In lower case.
    pub(crate) search: Option<String>,
    pub(crate) lifecycle: Option<Lifecycle>,
}

pub(crate) struct RecordPage {
    pub(crate) items: Items,
    /// Whether another page follows.
    pub(crate) more: bool,
    /// Matching records of all pages.
    pub(crate) count: u64,
    /// The number of the last change that this page includes.
    pub(crate) as_of: u64,
}

/// Records ordered by id, with their bodies if requested.
type Items = Vec<(ListedRecord, Option<Box<RawValue>>)>;

/// A condition in SQL with its values. Values are always bound, never part of the text.
struct Clause {
    from: &'static str,
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Filter {
    fn clause(&self, writer: i64) -> Clause {
        let mut clause =
            Clause { from: "records AS r", sql: "r.writer = ?".to_owned(), values: vec![Box::new(writer)] };
        if let Some((buckets, bucket)) = self.bucket
            && buckets != Buckets::One
        {
            // The index has buckets of 16 bits, and a coarser bucket is a range of them. Without the hint, SQLite would
            // scan the primary key and read every record.
            let width = Buckets::By16Bits.count() / buckets.count();
            clause.from = "records AS r INDEXED BY records_by_bucket";
            clause.sql.push_str(" AND r.bucket >= ? AND r.bucket < ?");
            clause.values.push(Box::new(bucket * width));
            clause.values.push(Box::new((bucket + 1) * width));
        }
        if let Some(search) = &self.search {
            clause.sql.push_str(" AND instr(r.search, ?) > 0");
            clause.values.push(Box::new(search.clone()));
        }
        if let Some(lifecycle) = self.lifecycle {
            clause.sql.push_str(" AND r.lifecycle = ?");
            clause.values.push(Box::new(<&str>::from(lifecycle)));
        }
        clause
    }

    fn is_all(&self) -> bool {
        self.search.is_none()
            && self.lifecycle.is_none()
            && self.bucket.is_none_or(|(buckets, _)| buckets == Buckets::One)
    }
}

fn writer(conn: &Connection, at: &Address) -> rusqlite::Result<Option<(i64, u64)>> {
    conn.prepare_cached("SELECT writer, pods FROM writers WHERE cluster = ?1 AND owner = ?2")?
        .query_row(params![at.cluster, at.owner], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Reads the page after an id. An empty id reads the first page.
pub(crate) fn inventory(
    conn: &Connection,
    at: &Address,
    filter: &Filter,
    after: &str,
    limit: usize,
    full: bool,
) -> Result<RecordPage, StoreFault> {
    let as_of = last_change(conn)?;
    let Some((writer, pods)) = writer(conn, at)? else {
        return Ok(RecordPage { items: Vec::new(), more: false, count: 0, as_of });
    };
    let count = if filter.is_all() { pods } else { count(conn, filter.clause(writer))? };
    let (items, more) = items(conn, filter.clause(writer), after, limit, full)?;
    Ok(RecordPage { items, more, count, as_of })
}

fn count(conn: &Connection, clause: Clause) -> rusqlite::Result<u64> {
    conn.prepare_cached(&format!("SELECT count(*) FROM {} WHERE {}", clause.from, clause.sql))?
        .query_row(rusqlite::params_from_iter(clause.values), |row| row.get(0))
}

fn items(
    conn: &Connection,
    mut clause: Clause,
    after: &str,
    limit: usize,
    full: bool,
) -> Result<(Items, bool), StoreFault> {
    let (column, join) =
        if full { (", b.body", " JOIN bodies AS b ON b.writer = r.writer AND b.id = r.id") } else { ("", "") };
    let sql = format!(
        "SELECT r.id, r.epoch, r.seq, r.digest{column} FROM {}{join} WHERE {} AND r.id > ? ORDER BY r.id LIMIT ?",
        clause.from, clause.sql,
    );
    clause.values.push(Box::new(after.to_owned()));
    // One more than requested shows whether another page follows.
    clause.values.push(Box::new(limit + 1));
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(clause.values))?;
    let (mut items, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if items.len() == limit || bytes >= MAX_PAGE_BYTES {
            return Ok((items, true));
        }
        let item = ListedRecord { id: row.get(0)?, digest: Digest(row.get(3)?), version: session::version(row, 1, 2)? };
        let body = if full { Some(raw(row.get(4)?)?) } else { None };
        bytes += body.as_ref().map_or(0, |body| body.get().len());
        items.push((item, body));
    }
    Ok((items, false))
}

/// The digests of all buckets, from one consistent read.
pub(crate) fn bucket_digests(conn: &Connection, at: &Address, buckets: Buckets) -> Result<BucketDigests, StoreFault> {
    let mut list = vec![BucketDigest { count: 0, digest: Digest::default() }; buckets.count()];
    let width = Buckets::By16Bits.count() / buckets.count();
    let mut count = 0;
    if let Some((writer, _)) = writer(conn, at)? {
        let mut statement = conn.prepare_cached("SELECT bucket, digest FROM records WHERE writer = ?1")?;
        let mut rows = statement.query([writer])?;
        while let Some(row) = rows.next()? {
            let bucket: usize = row.get(0)?;
            if let Some(entry) = list.get_mut(bucket / width) {
                entry.count += 1;
                entry.digest.xor(&Digest(row.get(1)?));
                count += 1;
            }
        }
    }
    Ok(BucketDigests { buckets: list, count, as_of: last_change(conn)? })
}
