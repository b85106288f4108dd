//! A registry in memory that follows protocol v1: versions, tombstones, sessions and the inventory.
//!
//! It does nothing wrong. The event loop's tests wrap it with scripted faults (`event_loop::fake`), the simulation with
//! a virtual network (`registry` and `network`). Time is an argument, in milliseconds.

use std::collections::BTreeMap;

use pod_registrar::{
    model::{
        digest::{Buckets, Digest},
        ids::Version,
    },
    reconcile::{
        outcome::{Failure, OperationKind, StoredVersion, Verdict},
        takeover::{ReportedSession, SessionHolder, SessionLiveness},
    },
    registry::{
        Encoded, EncodedBody,
        client::judge::{self, ProblemDetail},
        inventory::{Bucket, BucketDigest, BucketDigests, InventoryItem, InventoryPage},
        session::{OpenSession, SessionOpened},
    },
};

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) epoch: u64,
    pub(crate) instance: String,
    pub(crate) scope: Option<String>,
    pub(crate) cluster_uid: Option<String>,
    pub(crate) expires_at: u64,
    pub(crate) closed: bool,
}

impl Session {
    fn liveness(&self, now: u64) -> SessionLiveness {
        match self {
            Self { closed: true, .. } => SessionLiveness::Closed,
            Self { expires_at, .. } if now >= *expires_at => SessionLiveness::Stale,
            _ => SessionLiveness::Live,
        }
    }
}

/// What the registry stores, which is what a backup of it contains. Records and tombstones are kept by the pod's UID.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeRegistry {
    pub(crate) records: BTreeMap<String, (Version, Digest)>,
    pub(crate) tombstones: BTreeMap<String, Version>,
    pub(crate) session: Option<Session>,
    /// The highest epoch that was given to a session.
    pub(crate) epoch: u64,
}

/// What an operation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Put,
    Deleted,
}

pub(crate) fn kind(operation: &Encoded) -> OperationKind {
    match operation.body {
        EncodedBody::Put { .. } => OperationKind::Put,
        EncodedBody::Delete(_) => OperationKind::Delete,
    }
}

/// The verdict about an operation that the registry answers with this status and problem.
pub(crate) fn refused(operation: &Encoded, status: u16, problem: &str) -> Verdict {
    judge::judge_operation(kind(operation), status, detail(problem, None))
}

fn detail(problem: &str, current: Option<(Version, Option<Digest>)>) -> ProblemDetail {
    let current = current.map(|(version, digest)| StoredVersion { version, digest });
    ProblemDetail { problem: problem.into(), current, ..ProblemDetail::default() }
}

impl FakeRegistry {
    /// Checks the epoch of a write against the session.
    pub(crate) fn fence(&self, epoch: u64) -> Result<(), Failure> {
        let refused = |problem| Err(judge::judge_request(409, detail(problem, None)));
        match &self.session {
            Some(session) if !session.closed && epoch == session.epoch => Ok(()),
            Some(session) if epoch < session.epoch => refused("stale-epoch"),
            _ => refused("unknown-session"),
        }
    }

    /// Applies one operation of a writer that passed the fence.
    pub(crate) fn apply(&mut self, operation: &Encoded) -> (Verdict, Effect) {
        let (id, version) = (operation.uid.to_string(), operation.version);
        let (status, detail, effect) = match &operation.body {
            EncodedBody::Put { digest, .. } => self.put(id, version, *digest),
            EncodedBody::Delete(_) => self.delete(id, version),
        };
        (judge::judge_operation(kind(operation), status, detail), effect)
    }

    fn put(&mut self, id: String, version: Version, digest: Digest) -> (u16, ProblemDetail, Effect) {
        if let Some(deleted) = self.tombstones.get(&id).filter(|deleted| version <= **deleted) {
            return (409, detail("tombstoned", Some((*deleted, None))), Effect::Nothing);
        }
        match self.records.get(&id).copied() {
            Some(stored) if stored == (version, digest) => return (200, ProblemDetail::default(), Effect::Nothing),
            Some((stored, held)) if version <= stored => {
                return (409, detail("stale-version", Some((stored, Some(held)))), Effect::Nothing);
            }
            _ => {}
        }
        self.tombstones.remove(&id);
        let before = self.records.insert(id, (version, digest));
        let effect = if before.is_some_and(|(_, held)| held == digest) { Effect::Nothing } else { Effect::Put };
        (if before.is_some() { 200 } else { 201 }, ProblemDetail::default(), effect)
    }

    fn delete(&mut self, id: String, version: Version) -> (u16, ProblemDetail, Effect) {
        if let Some(deleted) = self.tombstones.get(&id).filter(|deleted| version < **deleted) {
            return (409, detail("stale-version", Some((*deleted, None))), Effect::Nothing);
        }
        if let Some((stored, held)) = self.records.get(&id).filter(|(stored, _)| version <= *stored) {
            return (409, detail("stale-version", Some((*stored, Some(*held)))), Effect::Nothing);
        }
        let effect = if self.records.remove(&id).is_some() { Effect::Deleted } else { Effect::Nothing };
        self.tombstones.insert(id, version);
        (204, ProblemDetail::default(), effect)
    }

    /// Opens a session above every epoch that the registry stores.
    pub(crate) fn open(&mut self, request: OpenSession, now: u64) -> SessionOpened {
        let records = self.records.values().map(|(version, _)| version.epoch);
        let stored = records.chain(self.tombstones.values().map(|version| version.epoch)).max();
        self.epoch = self.epoch.max(stored.unwrap_or(0)).max(request.min_epoch.unwrap_or(0)) + 1;
        let before = self.session.as_ref().and_then(|before| before.cluster_uid.clone());
        let session = Session {
            epoch: self.epoch,
            instance: request.instance,
            scope: request.scope,
            cluster_uid: request.cluster_uid.or(before),
            expires_at: now + request.ttl_seconds * 1000,
            closed: false,
        };
        let previous = self.session.replace(session).map(|before| ReportedSession {
            epoch: before.epoch,
            state: before.liveness(now),
            instance: before.instance,
            scope: before.scope,
            cluster_uid: before.cluster_uid,
        });
        SessionOpened { epoch: self.epoch, ttl_seconds: request.ttl_seconds, previous }
    }

    /// Extends the session.
    pub(crate) fn beat(&mut self, epoch: u64, ttl_seconds: u64, now: u64) -> Result<(), Failure> {
        self.fence(epoch)?;
        if let Some(session) = &mut self.session {
            session.expires_at = now + ttl_seconds * 1000;
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, epoch: u64) -> Result<(), Failure> {
        self.fence(epoch)?;
        if let Some(session) = &mut self.session {
            session.closed = true;
        }
        Ok(())
    }

    pub(crate) fn holder(&self, now: u64) -> Option<SessionHolder> {
        let session = self.session.clone()?;
        let state = session.liveness(now);
        let Session { epoch, instance, scope, cluster_uid, expires_at, .. } = session;
        let heartbeat = Some(expires_at.to_string());
        let session = ReportedSession { epoch, instance, scope, cluster_uid, state };
        Some(SessionHolder { session, heartbeat, records: self.records.len() as u64 })
    }

    /// The digests of the buckets, over the records that `shows` lets through.
    pub(crate) fn digests(&self, buckets: usize, shows: impl Fn(&str) -> bool) -> BucketDigests {
        let division = Buckets::from_count(buckets).unwrap();
        let mut digests = vec![BucketDigest { count: 0, digest: Digest::default() }; buckets];
        let mut count = 0;
        for (id, (_, digest)) in self.records.iter().filter(|(id, _)| shows(id)) {
            let bucket = &mut digests[division.of(id)];
            bucket.count += 1;
            bucket.digest.xor(digest);
            count += 1;
        }
        BucketDigests { buckets: digests, count, as_of: 1 }
    }

    /// A page of the inventory, over the records that `shows` lets through. The next page starts behind its last UID.
    pub(crate) fn page(
        &self,
        bucket: Option<Bucket>,
        after: Option<&str>,
        size: usize,
        shows: impl Fn(&str) -> bool,
    ) -> InventoryPage {
        let within = |id: &str| bucket.is_none_or(|b| Buckets::from_count(b.of).unwrap().of(id) == b.index);
        let all = || self.records.iter().filter(|(id, _)| within(id) && shows(id));
        let rest = all().filter(|(id, _)| after.is_none_or(|last| id.as_str() > last));
        let item = |(id, (version, digest)): (&String, &(Version, Digest))| InventoryItem {
            uid: id.as_str().into(),
            fingerprint: Some(digest.fingerprint()),
            version: Some(*version),
        };
        let mut items: Vec<InventoryItem> = rest.take(size + 1).map(item).collect();
        let next =
            if items.len() > size { items.pop().and(items.last()).map(|item| item.uid.to_string()) } else { None };
        InventoryPage { items, next, count: all().count() as u64, as_of: 1 }
    }
}
