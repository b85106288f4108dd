//! Sessions: who may write, and since which epoch.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreFault;
use crate::{
    model::ids::{INTEGER_LIMIT, Version, is_valid_id},
    reconcile::takeover::SessionLiveness,
    registry::{
        protocol::{HeartbeatAccepted, Problem},
        server::{clock::rfc3339, problem::ProblemKind, record::Address},
        session::{Contender, Heartbeat, OpenSession, PreviousSession, SessionOpened},
    },
};

/// The longest time that a session is shown as live without a heartbeat, in seconds.
const MAX_TTL_SECONDS: u64 = 24 * 60 * 60;
/// For how long a contender is shown after it announced itself, in milliseconds.
const CONTENDER_MS: i64 = 90_000;
/// Bytes of a contender's name that are kept.
const INSTANCE_BYTES: usize = 256;

/// A writer's row: its key and its current session.
pub(super) struct CurrentSession {
    pub(super) writer: i64,
    epoch: u64,
    instance: String,
    scope: Option<String>,
    cluster_uid: Option<String>,
    contender: Option<Contender>,
    expires_ms: i64,
    closed: bool,
}

/// How a session stands at a time.
pub(super) fn state(closed: bool, expires_ms: i64, now: i64) -> SessionLiveness {
    match (closed, now < expires_ms) {
        (true, _) => SessionLiveness::Closed,
        (false, true) => SessionLiveness::Live,
        (false, false) => SessionLiveness::Stale,
    }
}

/// The other writer that announced itself, unless that is long ago.
pub(super) fn contender(
    now: i64,
    epoch: Option<u64>,
    instance: Option<String>,
    seen_ms: Option<i64>,
) -> Option<Contender> {
    let (epoch, seen_ms) = (epoch?, seen_ms?);
    let recent = now < seen_ms.saturating_add(CONTENDER_MS);
    recent.then(|| Contender { epoch, instance, seen_at: rfc3339(seen_ms) })
}

fn current(conn: &Connection, now: i64, at: &Address) -> rusqlite::Result<Option<CurrentSession>> {
    conn.prepare_cached(
        "SELECT writer, epoch, instance, scope, expires_ms, closed, cluster_uid, contender_epoch, contender_instance, \
         contender_ms FROM writers WHERE cluster = ?1 AND owner = ?2",
    )?
    .query_row(params![at.cluster, at.owner], |row| {
        Ok(CurrentSession {
            writer: row.get(0)?,
            epoch: row.get(1)?,
            instance: row.get(2)?,
            scope: row.get(3)?,
            expires_ms: row.get(4)?,
            closed: row.get(5)?,
            cluster_uid: row.get(6)?,
            contender: contender(now, row.get(7)?, row.get(8)?, row.get(9)?),
        })
    })
    .optional()
}

/// The writer's key, if `epoch` is its current session's.
///
/// # Errors
/// `stale-epoch` below the current session, `unknown-session` above it and where there is none.
pub(super) fn fence(conn: &Connection, now: i64, at: &Address, epoch: u64) -> Result<CurrentSession, StoreFault> {
    let unknown = |detail| StoreFault::from(ProblemKind::UnknownSession.with(detail));
    let Some(current) = current(conn, now, at)? else {
        return Err(unknown("this writer has no session; open one".to_owned()));
    };
    if epoch < current.epoch {
        let detail = format!("epoch {epoch} was replaced by epoch {}; stop writing", current.epoch);
        return Err(ProblemKind::StaleEpoch.with(detail).into());
    }
    if epoch > current.epoch {
        return Err(unknown(format!("the newest session has epoch {}; open one with minEpoch", current.epoch)));
    }
    if current.closed {
        return Err(unknown(format!("the session of epoch {epoch} was closed; open another")));
    }
    Ok(current)
}

/// Opens a session above every epoch that this writer, its client or its records know.
pub(crate) fn open(
    conn: &Connection,
    now: i64,
    at: &Address,
    asked: &OpenSession,
) -> Result<SessionOpened, StoreFault> {
    let ttl = checked_ttl(asked.ttl_seconds)?;
    if asked.cluster_uid.as_ref().is_some_and(|uid| !is_valid_id(uid)) {
        return Err(ProblemKind::Schema.with("`clusterUid` must be 1 to 128 of [A-Za-z0-9._~:@-]").into());
    }
    let before = current(conn, now, at)?;
    let known = before.as_ref().map_or(0, |session| session.epoch);
    let stored = match &before {
        Some(session) => highest_stored(conn, session.writer)?,
        None => 0,
    };
    let epoch = known.max(stored).max(asked.min_epoch.unwrap_or(0)) + 1;
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
        asked.instance,
        asked.scope,
        expiry(now, ttl),
        asked.cluster_uid
    ])?;
    conn.prepare_cached(
        "INSERT INTO clusters (id, name) VALUES (?1, ?2) \
         ON CONFLICT (id) DO UPDATE SET name = coalesce(excluded.name, name)",
    )?
    .execute(params![at.cluster, asked.cluster_name])?;
    let previous = before.map(|session| PreviousSession {
        epoch: session.epoch,
        state: state(session.closed, session.expires_ms, now),
        instance: session.instance,
        scope: session.scope,
        cluster_uid: session.cluster_uid,
    });
    Ok(SessionOpened { epoch, ttl_seconds: ttl, previous })
}

fn highest_stored(conn: &Connection, writer: i64) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT max(coalesce((SELECT max(epoch) FROM records WHERE writer = ?1), 0), \
                    coalesce((SELECT max(epoch) FROM tombstones WHERE writer = ?1), 0))",
    )?
    .query_row([writer], |row| row.get(0))
}

/// Keeps a session shown as live. A writer whose session was replaced announces itself by a heartbeat: that is noted, and
/// the heartbeat refused.
pub(crate) fn heartbeat(
    conn: &Connection,
    now: i64,
    at: &Address,
    beat: &Heartbeat,
) -> Result<Result<HeartbeatAccepted, StoreFault>, StoreFault> {
    let ttl = checked_ttl(beat.ttl_seconds)?;
    let session = match fence(conn, now, at, beat.epoch) {
        Err(StoreFault::Refused(problem)) if problem.name() == ProblemKind::StaleEpoch.name() => {
            contend(conn, now, at, beat)?;
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

fn contend(conn: &Connection, now: i64, at: &Address, beat: &Heartbeat) -> rusqlite::Result<()> {
    let instance = beat.instance.as_ref().filter(|instance| instance.len() <= INSTANCE_BYTES);
    conn.prepare_cached(
        "UPDATE writers SET contender_epoch = ?3, contender_instance = ?4, contender_ms = ?5 \
         WHERE cluster = ?1 AND owner = ?2",
    )?
    .execute(params![at.cluster, at.owner, beat.epoch, instance, now])?;
    Ok(())
}

/// Closes a session; closing it once more is a success.
pub(crate) fn close(conn: &Connection, now: i64, at: &Address, epoch: u64) -> Result<(), StoreFault> {
    if current(conn, now, at)?.is_some_and(|session| session.closed && session.epoch == epoch) {
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

/// A version from two columns.
pub(super) fn version(row: &rusqlite::Row<'_>, epoch: usize, seq: usize) -> rusqlite::Result<Version> {
    Ok(Version { epoch: row.get(epoch)?, seq: row.get(seq)? })
}
