//! The registry as it is: protocol v1's rules about versions, tombstones, sessions and inventories, kept strictly.

use std::collections::{BTreeMap, BTreeSet};

use pod_registrar::{
    model::{
        digest::{Buckets, Digest},
        ids::Version,
        uid::Uid,
    },
    reconcile::{
        outcome::{self, Failure, OperationKind, ProblemDetail, StoredVersion, Verdict},
        takeover::{OtherWriter, SessionLiveness},
    },
    registry::{
        Encoded, EncodedBody,
        inventory::{Bucket, BucketDigest, BucketDigests, InventoryItem, InventoryPage},
        session::{Contender, Heartbeat, OpenSession, PreviousSession, SessionOpened},
    },
};

/// A session as the registry keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) epoch: u64,
    pub(crate) instance: String,
    scope: Option<String>,
    cluster_uid: Option<String>,
    /// In milliseconds.
    expires_at: u64,
    closed: bool,
}

impl Session {
    fn state(&self, now: u64) -> SessionLiveness {
        match self {
            Self { closed: true, .. } => SessionLiveness::Closed,
            Self { expires_at, .. } if now >= *expires_at => SessionLiveness::Stale,
            _ => SessionLiveness::Live,
        }
    }
}

/// What a backup of the registry holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) records: BTreeMap<Uid, (Version, Digest)>,
    pub(crate) tombstones: BTreeMap<Uid, Version>,
    pub(crate) session: Option<Session>,
    /// The highest epoch that was minted.
    pub(crate) epoch: u64,
}

/// How an inventory is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It names nothing.
    Empty,
    /// It lacks one record in so many, and counts accordingly.
    Short(u8),
    /// It counts more than it names.
    Miscounted,
}

/// The registry.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) books: Books,
    pub(crate) backup: Books,
    /// Ids whose records belong to somebody else.
    pub(crate) foreign: BTreeSet<Uid>,
    /// Ids whose records are refused.
    pub(crate) poison: BTreeSet<Uid>,
    /// Ids for which every write fails.
    pub(crate) broken: BTreeSet<Uid>,
    /// How its next inventories are wrong.
    pub(crate) wrong: Option<Wrong>,
    pub(crate) wrong_readings: u8,
    /// Counts what changed something.
    pub(crate) changes: u64,
    /// The last writer that announced itself, and when.
    contender: Option<(Contender, u64)>,
    /// Counts sessions that were opened.
    pub(crate) opened: u64,
}

/// What an accepted operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Put,
    Deleted,
}

fn said(problem: &str, current: Option<(Version, Option<Digest>)>) -> ProblemDetail {
    let current = current.map(|(version, digest)| StoredVersion { version, digest });
    ProblemDetail { problem: problem.into(), current, ..ProblemDetail::default() }
}

impl Registry {
    /// Checks a write's epoch against the session, as its transaction does.
    pub(crate) fn fence(&self, epoch: u64) -> Result<(), Failure> {
        let refused = |problem| Err(outcome::judge_request(409, said(problem, None)));
        match &self.books.session {
            Some(session) if !session.closed && epoch == session.epoch => Ok(()),
            Some(session) if epoch < session.epoch => refused("stale-epoch"),
            _ => refused("unknown-session"),
        }
    }

    /// Applies one operation.
    pub(crate) fn apply(&mut self, operation: &Encoded) -> (Verdict, Effect) {
        let (uid, version) = (&operation.uid, operation.version);
        let kind = match operation.body {
            EncodedBody::Put { .. } => OperationKind::Put,
            EncodedBody::Delete(_) => OperationKind::Delete,
        };
        let (status, said, effect) = match &operation.body {
            _ if self.broken.contains(uid) => (500, ProblemDetail::default(), Effect::Nothing),
            _ if self.foreign.contains(uid) => (409, said("foreign-owner", None), Effect::Nothing),
            EncodedBody::Put { .. } if self.poison.contains(uid) => (422, said("schema", None), Effect::Nothing),
            EncodedBody::Put { digest, .. } => self.put(uid, version, *digest),
            EncodedBody::Delete(_) => self.delete(uid, version),
        };
        self.changes += u64::from(effect != Effect::Nothing);
        (outcome::judge_operation(kind, status, said), effect)
    }

    fn put(&mut self, uid: &Uid, version: Version, digest: Digest) -> (u16, ProblemDetail, Effect) {
        if let Some(deleted) = self.books.tombstones.get(uid).filter(|deleted| version <= **deleted) {
            return (409, said("tombstoned", Some((*deleted, None))), Effect::Nothing);
        }
        match self.books.records.get(uid).copied() {
            Some(stored) if stored == (version, digest) => return (200, ProblemDetail::default(), Effect::Nothing),
            Some((stored, held)) if version <= stored => {
                return (409, said("stale-version", Some((stored, Some(held)))), Effect::Nothing);
            }
            _ => {}
        }
        self.books.tombstones.remove(uid);
        let before = self.books.records.insert(uid.clone(), (version, digest));
        let effect = if before.is_some_and(|(_, held)| held == digest) { Effect::Nothing } else { Effect::Put };
        (if before.is_some() { 200 } else { 201 }, ProblemDetail::default(), effect)
    }

    fn delete(&mut self, uid: &Uid, version: Version) -> (u16, ProblemDetail, Effect) {
        if let Some(deleted) = self.books.tombstones.get(uid).filter(|deleted| version < **deleted) {
            return (409, said("stale-version", Some((*deleted, None))), Effect::Nothing);
        }
        if let Some((stored, held)) = self.books.records.get(uid).filter(|(stored, _)| version <= *stored) {
            return (409, said("stale-version", Some((*stored, Some(*held)))), Effect::Nothing);
        }
        let effect = if self.books.records.remove(uid).is_some() { Effect::Deleted } else { Effect::Nothing };
        self.books.tombstones.insert(uid.clone(), version);
        (204, ProblemDetail::default(), effect)
    }

    /// Opens a session, `now` in milliseconds.
    pub(crate) fn open(&mut self, request: OpenSession, now: u64) -> SessionOpened {
        let books = &mut self.books;
        let records = books.records.values().map(|(version, _)| version.epoch);
        let stored = records.chain(books.tombstones.values().map(|version| version.epoch)).max();
        books.epoch = books.epoch.max(stored.unwrap_or(0)).max(request.min_epoch.unwrap_or(0)) + 1;
        let expires_at = now + request.ttl_seconds * 1000;
        let before = books.session.as_ref().and_then(|before| before.cluster_uid.clone());
        let session = Session {
            epoch: books.epoch,
            instance: request.instance,
            scope: request.scope,
            cluster_uid: request.cluster_uid.or(before),
            expires_at,
            closed: false,
        };
        let previous = books.session.replace(session).map(|before| PreviousSession {
            epoch: before.epoch,
            state: before.state(now),
            instance: before.instance,
            scope: before.scope,
            cluster_uid: before.cluster_uid,
        });
        self.opened += 1;
        SessionOpened { epoch: self.books.epoch, ttl_seconds: request.ttl_seconds, previous }
    }

    /// Takes a heartbeat. One of a session that was replaced announces another writer.
    pub(crate) fn beat(&mut self, beat: &Heartbeat, now: u64) -> Result<Option<Contender>, Failure> {
        let Heartbeat { epoch, instance, ttl_seconds, .. } = beat;
        if let Err(failure) = self.fence(*epoch) {
            if failure == Failure::StaleEpoch {
                self.contender =
                    Some((Contender { epoch: *epoch, instance: instance.clone(), seen_at: String::new() }, now));
            }
            return Err(failure);
        }
        if let Some(session) = &mut self.books.session {
            session.expires_at = now + ttl_seconds * 1000;
        }
        Ok(self.contender.clone().filter(|(_, seen)| now < seen + 90_000).map(|(contender, _)| contender))
    }

    /// Closes a session.
    pub(crate) fn close(&mut self, epoch: u64) -> Result<(), Failure> {
        self.fence(epoch)?;
        if let Some(session) = &mut self.books.session {
            session.closed = true;
        }
        Ok(())
    }

    /// Who has the session.
    pub(crate) fn holder(&self, now: u64) -> Option<OtherWriter> {
        let session = self.books.session.clone()?;
        let state = session.state(now);
        let Session { epoch, instance, scope, cluster_uid, expires_at, .. } = session;
        let heartbeat = Some(expires_at.to_string());
        let records = self.books.records.len() as u64;
        Some(OtherWriter { epoch, instance, scope, cluster_uid, heartbeat, records, state })
    }

    /// What an inventory names, right or wrong.
    fn named(&self) -> impl Iterator<Item = (&Uid, &(Version, Digest))> {
        let lacks = move |uid: &Uid| match self.wrong {
            Some(Wrong::Empty) => true,
            Some(Wrong::Short(of)) => Buckets::By16Bits.of(&uid.text()).is_multiple_of(usize::from(of.max(1))),
            _ => false,
        };
        self.books.records.iter().filter(move |(uid, _)| !lacks(uid))
    }

    fn miscount(&self) -> u64 {
        u64::from(self.wrong == Some(Wrong::Miscounted))
    }

    /// The digests of an inventory's buckets.
    pub(crate) fn digests(&mut self, buckets: usize) -> BucketDigests {
        let division = Buckets::from_count(buckets).unwrap();
        let mut digests = vec![BucketDigest { count: 0, digest: Digest::default() }; buckets];
        let mut count = 0;
        for (uid, (_, digest)) in self.named() {
            let bucket = &mut digests[division.of(&uid.text())];
            bucket.count += 1;
            bucket.digest.xor(digest);
            count += 1;
        }
        let count = count + self.miscount();
        self.read();
        BucketDigests { buckets: digests, count, as_of: self.changes }
    }

    /// A page of an inventory. The token is the last id of the page before.
    pub(crate) fn page(&mut self, bucket: Option<Bucket>, after: Option<&str>, size: usize) -> InventoryPage {
        let within = |uid: &Uid| {
            bucket.is_none_or(|bucket| Buckets::from_count(bucket.of).unwrap().of(&uid.text()) == bucket.index)
        };
        let all = self.named().filter(|(uid, _)| within(uid));
        let item = |(uid, (version, digest)): (&Uid, &(Version, Digest))| InventoryItem {
            id: uid.to_string(),
            digest: *digest,
            version: *version,
        };
        let count = all.count() as u64 + self.miscount();
        let rest = self.named().filter(|(uid, _)| within(uid) && after.is_none_or(|last| &*uid.text() > last));
        let mut items: Vec<InventoryItem> = rest.take(size + 1).map(item).collect();
        let next = if items.len() > size { items.pop().and(items.last()).map(|item| item.id.clone()) } else { None };
        if bucket.is_none() && next.is_none() {
            self.read();
        }
        InventoryPage { items, next, count, as_of: self.changes }
    }

    fn read(&mut self) {
        self.wrong_readings = self.wrong_readings.saturating_sub(1);
        if self.wrong_readings == 0 {
            self.wrong = None;
        }
    }
}
