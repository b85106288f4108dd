//! Reads clusters, single records, and the change log.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{StoreFault, session::CurrentSession};
use crate::registry::{
    protocol::{ClusterInfo, OwnerInfo},
    server::{clock::rfc3339, problem::ProblemKind, record::Address, tokens::ClusterAccess},
};

/// One entry of the change log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedChange {
    /// The number, counted from 1 over all clusters.
    pub n: u64,
    /// RFC 3339.
    pub at: String,
    pub cluster: String,
    pub owner: String,
    /// `put` or `delete`.
    pub op: String,
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub epoch: u64,
    pub seq: u64,
    /// The reason of a deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

/// A part of the change log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LoggedChanges {
    pub(crate) items: Vec<LoggedChange>,
    /// The number to continue after. It can be above the last item's, since other clusters' changes are left out.
    pub(crate) next: u64,
}

/// The number of the last change, 0 before the first. It stays when old changes are pruned.
pub(super) fn last_change(conn: &Connection) -> rusqlite::Result<u64> {
    let last = conn
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

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

/// The changes after `since`, of one cluster or of all. Without `since`, it begins with the oldest change that is kept.
///
/// # Errors
/// `gone` if changes after `since` are no longer kept, or if `since` is above the last change.
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
            let detail = format!("the oldest change that is kept is {oldest}; {READ_INVENTORY}");
            return Err(ProblemKind::Gone.with(detail).into());
        }
        if since > last {
            let detail = format!("the last change is {last}, so `since` is from another database; {READ_INVENTORY}");
            return Err(ProblemKind::Gone.with(detail).into());
        }
    }
    let since = since.unwrap_or(oldest.saturating_sub(1));
    let items = logged(conn, cluster, since, limit)?;
    // An answer below the limit includes the whole log, also the changes of other clusters.
    let next = if items.len() < limit { last } else { items.last().map_or(last, |item| item.n) };
    Ok(LoggedChanges { items, next })
}

const READ_INVENTORY: &str = "read the inventory and continue after its `asOf`";

pub(super) fn logged(
    conn: &Connection,
    cluster: Option<&str>,
    since: u64,
    limit: usize,
) -> Result<Vec<LoggedChange>, StoreFault> {
    // Two statements, so that each can use its index.
    let of_cluster = if cluster.is_some() { "cluster = ?1 AND" } else { "" };
    let mut statement = conn.prepare_cached(&format!(
        "SELECT n, at_ms, cluster, owner, op, id, namespace, name, epoch, seq, reason, observed \
         FROM changes WHERE {of_cluster} n > ?2 ORDER BY n LIMIT ?3"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(statement.query_map(params![cluster, since, limit], change)?.collect::<rusqlite::Result<_>>()?)
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

/// A stored body as JSON.
pub(super) fn raw(body: String) -> rusqlite::Result<Box<RawValue>> {
    RawValue::from_string(body)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// The clusters that a caller may see, ordered by id. With `id`, only that cluster.
pub(crate) fn clusters(
    conn: &Connection,
    now: i64,
    access: &ClusterAccess,
    id: Option<&str>,
) -> Result<Vec<ClusterInfo>, StoreFault> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {}, c.id, c.name, w.owner, w.synced, w.pods FROM writers AS w JOIN clusters AS c ON c.id = w.cluster \
         WHERE (?1 IS NULL OR c.id = ?1) AND (?2 IS NULL OR c.id = ?2) ORDER BY c.id, w.owner",
        CurrentSession::COLUMNS
    ))?;
    let mut rows = statement.query(params![id, access.only()])?;
    let mut list: Vec<ClusterInfo> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get("id")?;
        if list.last().is_none_or(|cluster| cluster.id != id) {
            list.push(ClusterInfo { id, name: row.get("name")?, pods: Some(0), owners: Vec::new() });
        }
        let session = CurrentSession::from_row(row, now)?;
        let owner = OwnerInfo {
            owner: row.get("owner")?,
            expires_at: Some(rfc3339(session.expires_ms)),
            contender: session.contender,
            session: session.reported,
            synced: row.get("synced")?,
            pods: row.get("pods")?,
        };
        if let Some(cluster) = list.last_mut() {
            cluster.pods = Some(cluster.pods.unwrap_or(0) + owner.pods);
            cluster.owners.push(owner);
        }
    }
    Ok(list)
}
