//! Reading everything else: clusters, single records, and the log of changes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{StoreFault, read::raw, session};
use crate::{
    model::{digest::Digest, ids::Version},
    registry::{
        protocol::{ClusterInfo, OwnerInfo},
        server::{clock::rfc3339, problem::ProblemKind, record::Address, tokens::ClusterAccess},
    },
};

/// A stored record, for those who look into the store.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Its version.
    pub version: Version,
    /// Its digest.
    pub digest: Digest,
    /// The record as JSON.
    pub body: Box<RawValue>,
}

/// One entry of the log of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedChange {
    /// Its number, from 1, over all clusters.
    pub n: u64,
    /// When, RFC 3339.
    pub at: String,
    /// The cluster's id.
    pub cluster: String,
    /// The installation's name.
    pub owner: String,
    /// `put` or `delete`.
    pub op: String,
    /// The record's id.
    pub id: String,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The epoch of the operation.
    pub epoch: u64,
    /// The counter of the operation.
    pub seq: u64,
    /// Why, of a delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it was seen, of a delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LoggedChanges {
    /// The changes after the number that was asked for.
    pub(crate) items: Vec<LoggedChange>,
    /// Where to go on: the last number that this answer has looked at.
    pub(crate) next: u64,
}

/// The number of the last change ever, 0 before the first.
pub(super) fn last_change(conn: &Connection) -> rusqlite::Result<u64> {
    let last = conn
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

const COLUMNS: &str = "n, at_ms, cluster, owner, op, id, namespace, name, epoch, seq, reason, observed";

fn change(row: &Row<'_>) -> rusqlite::Result<LoggedChange> {
    Ok(LoggedChange {
        n: row.get(0)?,
        at: rfc3339(row.get(1)?),
        cluster: row.get(2)?,
        owner: row.get(3)?,
        op: row.get(4)?,
        id: row.get(5)?,
        namespace: row.get(6)?,
        name: row.get(7)?,
        epoch: row.get(8)?,
        seq: row.get(9)?,
        reason: row.get(10)?,
        observed: row.get(11)?,
    })
}

/// The changes after `since`, of one cluster or of all; without `since` from the oldest that is kept.
///
/// # Errors
/// `gone` where changes after `since` are no longer kept, or `since` was never reached here.
pub(crate) fn changes(
    conn: &Connection,
    cluster: Option<&str>,
    since: Option<u64>,
    limit: usize,
) -> Result<LoggedChanges, StoreFault> {
    let last = last_change(conn)?;
    let oldest: Option<u64> = conn.prepare_cached("SELECT min(n) FROM changes")?.query_row([], |row| row.get(0))?;
    let oldest = oldest.unwrap_or(last + 1);
    if let Some(since) = since {
        if since.saturating_add(1) < oldest {
            let detail = format!("the oldest change that is kept is {oldest}; read the inventory, then its asOf");
            return Err(ProblemKind::Gone.with(detail).into());
        }
        if since > last {
            let detail = format!("the last change is {last}: `since` is of another database; read the inventory anew");
            return Err(ProblemKind::Gone.with(detail).into());
        }
    }
    let since = since.unwrap_or(oldest.saturating_sub(1));
    let items = match cluster {
        Some(cluster) => {
            let sql = format!("SELECT {COLUMNS} FROM changes WHERE cluster = ?1 AND n > ?2 ORDER BY n LIMIT ?3");
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map(params![cluster, since, limit], change)?.collect::<rusqlite::Result<Vec<_>>>()?
        }
        None => {
            let sql = format!("SELECT {COLUMNS} FROM changes WHERE n > ?1 ORDER BY n LIMIT ?2");
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map(params![since, limit], change)?.collect::<rusqlite::Result<Vec<_>>>()?
        }
    };
    // A short answer has looked at everything, also at what other clusters did.
    let next = if items.len() < limit { last } else { items.last().map_or(last, |item| item.n) };
    Ok(LoggedChanges { items, next })
}

/// The whole log that is kept.
pub(super) fn all_changes(conn: &Connection, since: u64) -> Result<Vec<LoggedChange>, StoreFault> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM changes WHERE n > ?1 ORDER BY n"))?;
    let items = statement.query_map([since], change)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(items)
}

/// Every record of a writer.
pub(super) fn all_records(
    conn: &Connection,
    cluster: &str,
    owner: &str,
) -> Result<BTreeMap<String, StoredRecord>, StoreFault> {
    let mut statement = conn.prepare_cached(
        "SELECT r.id, r.epoch, r.seq, r.digest, b.body FROM writers AS w JOIN records AS r ON r.writer = w.writer \
         JOIN bodies AS b ON b.writer = r.writer AND b.id = r.id WHERE w.cluster = ?1 AND w.owner = ?2",
    )?;
    let rows = statement.query_map(params![cluster, owner], |row| {
        let version = session::version(row, 1, 2)?;
        Ok((row.get(0)?, StoredRecord { version, digest: Digest(row.get(3)?), body: raw(row.get(4)?)? }))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One record as it was received, with its digest.
pub(crate) fn record(conn: &Connection, at: &Address, id: &str) -> Result<Option<Box<RawValue>>, StoreFault> {
    let body = conn
        .prepare_cached(
            "SELECT b.body FROM writers AS w JOIN bodies AS b ON b.writer = w.writer \
             WHERE w.cluster = ?1 AND w.owner = ?2 AND b.id = ?3",
        )?
        .query_row(params![at.cluster, at.owner, id], |row| raw(row.get(0)?))
        .optional()?;
    Ok(body)
}

/// The clusters that a caller may see, by id; only one where `id` is given.
pub(crate) fn clusters(
    conn: &Connection,
    now: i64,
    access: &ClusterAccess,
    id: Option<&str>,
) -> Result<Vec<ClusterInfo>, StoreFault> {
    let mut statement = conn.prepare_cached(
        "SELECT c.id, c.name, w.owner, w.epoch, w.instance, w.scope, w.closed, w.expires_ms, w.synced, w.pods, \
         w.cluster_uid, w.contender_epoch, w.contender_instance, w.contender_ms \
         FROM writers AS w JOIN clusters AS c ON c.id = w.cluster \
         WHERE (?1 IS NULL OR c.id = ?1) AND (?2 IS NULL OR c.id = ?2) ORDER BY c.id, w.owner",
    )?;
    let mut rows = statement.query(params![id, access.only()])?;
    let mut list: Vec<ClusterInfo> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        if list.last().is_none_or(|cluster| cluster.id != id) {
            list.push(ClusterInfo { id, name: row.get(1)?, pods: Some(0), owners: Vec::new() });
        }
        let expires_ms = row.get(7)?;
        let owner = OwnerInfo {
            owner: row.get(2)?,
            epoch: row.get(3)?,
            instance: row.get(4)?,
            scope: row.get(5)?,
            cluster_uid: row.get(10)?,
            contender: session::contender(now, row.get(11)?, row.get(12)?, row.get(13)?),
            state: session::state(row.get(6)?, expires_ms, now),
            expires_at: Some(rfc3339(expires_ms)),
            synced: row.get(8)?,
            pods: row.get(9)?,
        };
        if let Some(cluster) = list.last_mut() {
            cluster.pods = Some(cluster.pods.unwrap_or(0) + owner.pods);
            cluster.owners.push(owner);
        }
    }
    Ok(list)
}
