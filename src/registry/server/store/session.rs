//! Sessions: which process of a writer may write. "Sessions" in `docs/protocol-v1.md` has the rules.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::StoreFault;
use crate::{
    model::ids::{INTEGER_LIMIT, Version, is_valid_id},
    reconcile::takeover::{ReportedSession, SessionLiveness},
    registry::{
        protocol::{HeartbeatAccepted, Problem},
        server::{
            clock::rfc3339,
            problem::ProblemKind,
            record::{Address, VALID_ID},
        },
        session::{Contender, Heartbeat, OpenSession, SessionOpened},
    },
};

const MAX_TTL_SECONDS: u64 = 24 * 60 * 60;
/// How long a contender is shown after its heartbeat.
const CONTENDER_MS: i64 = 90_000;
/// Bytes of a contender's instance name. A longer one is dropped.
const INSTANCE_BYTES: usize = 256;

/// A writer's newest session.
pub(super) struct CurrentSession {
    /// The key of the writer's row.
    pub(super) writer: i64,
    pub(super) reported: ReportedSession,
    pub(super) contender: Option<Contender>,
    pub(super) expires_ms: i64,
}

impl CurrentSession {
    /// The first columns of a query of `writers AS w`, as [`Self::from_row`] reads them.
    pub(super) const COLUMNS: &str = "w.writer, w.epoch, w.instance, w.scope, w.cluster_uid, w.expires_ms, w.closed, \
                                      w.contender_epoch, w.contender_instance, w.contender_ms";

    pub(super) fn from_row(row: &Row<'_>, now: i64) -> rusqlite::Result<Self> {
        let expires_ms = row.get(5)?;
        let state = match (row.get(6)?, now < expires_ms) {
            (true, _) => SessionLiveness::Closed,
            (false, true) => SessionLiveness::Live,
            (false, false) => SessionLiveness::Stale,
        };
        let (epoch, instance, scope, cluster_uid) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        Ok(Self {
            writer: row.get(0)?,
            reported: ReportedSession { epoch, instance, scope, cluster_uid, state },
            expires_ms,
            contender: recent_contender(now, row.get(7)?, row.get(8)?, row.get(9)?),
        })
    }
}

fn recent_contender(now: i64, epoch: Option<u64>, instance: Option<String>, seen_ms: Option<i64>) -> Option<Contender> {
    let (epoch, seen_ms) = (epoch?, seen_ms?);
    let recent = now < seen_ms.saturating_add(CONTENDER_MS);
    recent.then(|| Contender { epoch, instance, seen_at: rfc3339(seen_ms) })
}

fn current(conn: &Connection, now: i64, at: &Address) -> rusqlite::Result<Option<CurrentSession>> {
    let columns = CurrentSession::COLUMNS;
    conn.prepare_cached(&format!("SELECT {columns} FROM writers AS w WHERE cluster = ?1 AND owner = ?2"))?
        .query_row(params![at.cluster, at.owner], |row| CurrentSession::from_row(row, now))
        .optional()
}

/// Refuses every epoch but that of the writer's newest session.
///
/// # Errors
/// `stale-epoch` for a lower epoch; `unknown-session` for a higher one, after a close, or without any session.
pub(super) fn fence(conn: &Connection, now: i64, at: &Address, epoch: u64) -> Result<CurrentSession, StoreFault> {
    let unknown = |detail| StoreFault::from(ProblemKind::UnknownSession.with(detail));
    let Some(current) = current(conn, now, at)? else {
        return Err(unknown("the writer has no session; open one".to_owned()));
    };
    let newest = current.reported.epoch;
    if epoch < newest {
        let detail = format!("a session with epoch {newest} replaced epoch {epoch}; stop writing");
        return Err(ProblemKind::StaleEpoch.with(detail).into());
    }
    if epoch > newest {
        return Err(unknown(format!("the newest session has epoch {newest}; open one with `minEpoch` {epoch}")));
    }
    if current.reported.state == SessionLiveness::Closed {
        return Err(unknown(format!("the session with epoch {epoch} is closed; open another")));
    }
    Ok(current)
}

/// Opens a session. Its epoch is above the writer's newest session, its stored versions and `minEpoch`.
pub(crate) fn open(
    conn: &Connection,
    now: i64,
    at: &Address,
    request: &OpenSession,
) -> Result<SessionOpened, StoreFault> {
    let ttl = checked_ttl(request.ttl_seconds)?;
    if request.cluster_uid.as_ref().is_some_and(|uid| !is_valid_id(uid)) {
        return Err(ProblemKind::Schema.with(format!("`clusterUid` must be {VALID_ID}")).into());
    }
    let before = current(conn, now, at)?;
    let known = before.as_ref().map_or(0, |session| session.reported.epoch);
    let stored = match &before {
        Some(session) => highest_stored(conn, session.writer)?,
        None => 0,
    };
    let epoch = known.max(stored).max(request.min_epoch.unwrap_or(0)) + 1;
    if epoch >= INTEGER_LIMIT {
        return Err(ProblemKind::Schema.with("`minEpoch` leaves no epoch below 2^53").into());
    }
    conn.prepare_cached(
        "INSERT INTO writers (cluster, owner, epoch, instance, scope, expires_ms, cluster_uid) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (cluster, owner) DO UPDATE SET epoch = excluded.epoch, instance = excluded.instance, \
         scope = excluded.scope, expires_ms = excluded.expires_ms, closed = 0, synced = 0, \
         cluster_uid = coalesce(excluded.cluster_uid, cluster_uid)",
    )?
    .execute(params![
        at.cluster,
        at.owner,
        epoch,
        request.instance,
        request.scope,
        expiry(now, ttl),
        request.cluster_uid
    ])?;
    conn.prepare_cached(
        "INSERT INTO clusters (id, name) VALUES (?1, ?2) \
         ON CONFLICT (id) DO UPDATE SET name = coalesce(excluded.name, name)",
    )?
    .execute(params![at.cluster, request.cluster_name])?;
    Ok(SessionOpened { epoch, ttl_seconds: ttl, previous: before.map(|session| session.reported) })
}

fn highest_stored(conn: &Connection, writer: i64) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT max(coalesce((SELECT max(epoch) FROM records WHERE writer = ?1), 0), \
                    coalesce((SELECT max(epoch) FROM tombstones WHERE writer = ?1), 0))",
    )?
    .query_row([writer], |row| row.get(0))
}

/// Renews a session. With a replaced session's epoch, the sender is noted as a contender, and the heartbeat is refused.
/// The inner error is the refusal, which must not roll back that note.
pub(crate) fn heartbeat(
    conn: &Connection,
    now: i64,
    at: &Address,
    beat: &Heartbeat,
) -> Result<Result<HeartbeatAccepted, StoreFault>, StoreFault> {
    let ttl = checked_ttl(beat.ttl_seconds)?;
    let session = match fence(conn, now, at, beat.epoch) {
        Err(StoreFault::Refused(problem)) if problem.name() == ProblemKind::StaleEpoch.name() => {
            note_contender(conn, now, at, beat)?;
            return Ok(Err(problem.into()));
        }
        session => session?,
    };
    let expires_ms = expiry(now, ttl);
    conn.prepare_cached("UPDATE writers SET expires_ms = ?2, synced = ?3 WHERE writer = ?1")?.execute(params![
        session.writer,
        expires_ms,
        beat.synced
    ])?;
    let contender = session.contender;
    Ok(Ok(HeartbeatAccepted { epoch: beat.epoch, expires_at: rfc3339(expires_ms), contender }))
}

fn note_contender(conn: &Connection, now: i64, at: &Address, beat: &Heartbeat) -> rusqlite::Result<()> {
    let instance = beat.instance.as_ref().filter(|instance| instance.len() <= INSTANCE_BYTES);
    conn.prepare_cached(
        "UPDATE writers SET contender_epoch = ?3, contender_instance = ?4, contender_ms = ?5 \
         WHERE cluster = ?1 AND owner = ?2",
    )?
    .execute(params![at.cluster, at.owner, beat.epoch, instance, now])?;
    Ok(())
}

/// Closes a session. Closing it again succeeds.
pub(crate) fn close(conn: &Connection, now: i64, at: &Address, epoch: u64) -> Result<(), StoreFault> {
    let current = current(conn, now, at)?.map(|session| session.reported);
    if current.is_some_and(|session| session.state == SessionLiveness::Closed && session.epoch == epoch) {
        return Ok(());
    }
    let session = fence(conn, now, at, epoch)?;
    conn.prepare_cached("UPDATE writers SET closed = 1 WHERE writer = ?1")?.execute([session.writer])?;
    Ok(())
}

fn checked_ttl(seconds: u64) -> Result<u64, Box<Problem>> {
    if seconds == 0 {
        return Err(ProblemKind::Schema.with("`ttlSeconds` must be at least 1"));
    }
    Ok(seconds.min(MAX_TTL_SECONDS))
}

fn expiry(now: i64, ttl: u64) -> i64 {
    now.saturating_add(i64::try_from(ttl * 1_000).unwrap_or(i64::MAX))
}

/// Reads a version from two columns.
pub(super) fn version(row: &Row<'_>, epoch: usize, seq: usize) -> rusqlite::Result<Version> {
    Ok(Version { epoch: row.get(epoch)?, seq: row.get(seq)? })
}
