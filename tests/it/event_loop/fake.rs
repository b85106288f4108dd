//! A registry in memory that keeps the protocol's rules about order and sessions, does what it is told to do wrong, and
//! notes when it was asked for what.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use pod_registrar::{
    model::{
        digest::{Buckets, Digest},
        ids::Version,
        uid::Uid,
    },
    reconcile::{
        outcome::{self, Failure, OperationKind, Verdict},
        takeover::{OtherWriter, SessionLiveness},
    },
    registry::{
        Capabilities, Encoded, EncodedBody, Features, RecordChange, RecordName, Registry,
        inventory::{Bucket, BucketDigest, BucketDigests, InventoryPage},
        session::{Contender, Heartbeat, OpenSession, PreviousSession, SessionOpened},
    },
};
use tokio::time::Instant;

use super::{
    gateway::{Gateway, TIMEOUT},
    hostile,
    tries::{Tries, Write, item},
};

/// What a write is answered with instead of its result.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nothing is applied.
    Refuse(Failure),
    /// It is applied, and the answer is lost.
    ApplyAndLose,
    /// Every item gets this verdict, and nothing is applied.
    Items(Verdict),
    /// The answer is lost at once, and what was sent arrives that much later.
    ArriveLate(Duration),
}

/// What part of writes fails, and how. Nothing of it is applied.
#[derive(Clone, Debug)]
pub(super) enum Sickness {
    /// So many items in a hundred, with this verdict.
    Items(u8, Verdict),
    /// So many requests in a hundred.
    Requests(u8, Failure),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) records: BTreeMap<String, (Version, Digest)>,
    pub(super) tombstones: BTreeMap<String, Version>,
    pub(super) epoch: u64,
    pub(super) session: Option<u64>,
    /// Whether another writer's session is over.
    pub(super) other_over: bool,
    /// Who holds the session, where that is not `other`.
    pub(super) holder: Option<String>,
    /// What the newest session declared.
    pub(super) scope: Option<String>,
    /// The cluster that a session named last.
    pub(super) cluster_uid: Option<String>,
    /// A text that changes with each heartbeat of the holder; none if the registry tells none.
    pub(super) heartbeat: Option<String>,
    /// Another writer that announces itself.
    pub(super) contender: Option<String>,
    /// Heartbeats that were refused because another session replaced theirs.
    pub(super) announced: Vec<Heartbeat>,
    /// Where records are, if not in the namespace `default`.
    pub(super) namespaces: HashMap<String, String>,
    /// Whether the registry has lost the names of its records.
    pub(super) nameless: bool,
    /// For the next writes, in order.
    pub(super) faults: VecDeque<Fault>,
    /// For every request, while it is set.
    pub(super) down: Option<Failure>,
    /// While it is there, answers are what it makes up, and nothing is done.
    pub(super) liar: Option<fastrand::Rng>,
    /// Whether writes panic, as a defect of ours would.
    pub(super) panics: bool,
    /// Ids whose records are refused.
    pub(super) poison: HashSet<String>,
    /// Ids that break the whole batch they are in.
    pub(super) breaks_batches: HashSet<String>,
    /// What such a batch is answered with.
    pub(super) breaks_with: Option<Failure>,
    /// Ids of which every write gets this verdict.
    pub(super) sick_ids: HashMap<String, Verdict>,
    /// For every write, while it is set.
    pub(super) sickness: Option<Sickness>,
    /// Ids that the inventory leaves out, and out of its counts.
    pub(super) hidden: HashSet<String>,
    pub(super) gateway: Gateway,
    /// What became of writes that arrived late.
    pub(super) late: Vec<(String, Verdict)>,
    pub(super) tries: Tries,
    /// What was last tried of an id, and whether that was acknowledged.
    pub(super) tried: HashMap<String, (Option<Digest>, bool)>,
    /// Until when ids are to wait.
    pub(super) told_until: HashMap<String, Instant>,
    random: fastrand::Rng,
    /// How long a write takes.
    pub(super) latency: Duration,
    /// How long the opening of a session takes.
    pub(super) slow_session: Duration,
    /// Added to the count of the inventory.
    pub(super) miscount: u64,
    /// Whether the inventory cannot be read.
    pub(super) unreadable: bool,
    /// How long a page of the inventory takes.
    pub(super) slow_inventory: Duration,
    /// How long each record of a page takes; a page that takes longer than a request may is not answered.
    pub(super) slow_items: Duration,
    /// What heartbeats, digests and the pages of one bucket are refused with.
    pub(super) refusals: super::fake_inventory::Refusals,
    /// For the next pages of the inventory, in order.
    pub(super) inventory_faults: VecDeque<Option<Failure>>,
    pub(super) features: Features,
    pub(super) max_batch_items: usize,
    pub(super) max_batch_bytes: usize,
    /// Whether every batch is too large, however small it is.
    pub(super) refuses_batches: bool,

    pub(super) writes: Vec<Write>,
    pub(super) questions: Vec<Instant>,
    pub(super) opened: Vec<(Instant, OpenSession)>,
    pub(super) beats: Vec<(Instant, Heartbeat)>,
    pub(super) readings: Vec<Instant>,
    pub(super) pages: usize,
    pub(super) closed: Option<u64>,
    pub(super) refreshed: usize,
    in_flight: HashSet<String>,
}

impl State {
    /// How many items were written.
    pub(super) fn items(&self) -> usize {
        self.writes.iter().map(|write| write.items.len()).sum()
    }

    fn judge(&mut self, operation: &Encoded) -> Verdict {
        if let Some(verdict) = self.sick_ids.get(&*operation.uid.text()) {
            return verdict.clone();
        }
        match self.sickness.clone() {
            Some(Sickness::Items(percent, verdict)) if self.random.u8(..100) < percent => {
                if let Verdict::Retry { after: Some(after), .. } = verdict {
                    self.told_until.insert(operation.uid.to_string(), Instant::now() + after);
                }
                verdict
            }
            _ => self.apply(operation),
        }
    }

    fn apply(&mut self, operation: &Encoded) -> Verdict {
        let id = operation.uid.to_string();
        let stored = self.records.get(&id).map(|(version, _)| *version);
        if let Some((version, digest)) = self.records.get(&id).filter(|(version, _)| *version >= operation.version) {
            let current = pod_registrar::reconcile::outcome::StoredVersion { version: *version, digest: Some(*digest) };
            return Verdict::Stale { current: Some(current) };
        }
        if self.tombstones.get(&id).is_some_and(|version| *version >= operation.version) {
            return Verdict::Tombstoned { current: None };
        }
        match &operation.body {
            EncodedBody::Put { .. } if self.poison.contains(&id) => {
                return outcome::judge_operation(OperationKind::Put, 422, said("schema"));
            }
            EncodedBody::Put { digest, .. } => _ = self.records.insert(id, (operation.version, *digest)),
            EncodedBody::Delete(_) => {
                self.records.remove(&id);
                self.tombstones.insert(id, operation.version);
            }
        }
        assert!(stored.is_none_or(|stored| stored < operation.version), "effects never go back");
        Verdict::Done
    }
}

fn said(problem: &str) -> pod_registrar::reconcile::outcome::ProblemDetail {
    pod_registrar::reconcile::outcome::ProblemDetail { problem: problem.into(), ..Default::default() }
}

/// A registry in memory. Clones are the same one.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            features: Features::ALL,
            max_batch_items: 500,
            max_batch_bytes: 4 << 20,
            random: fastrand::Rng::with_seed(5),
            ..State::default()
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Several figures of one moment.
    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state())
    }

    /// What is made up instead of an answer, half of the time.
    fn lie<T>(&self, make_up: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
        let mut state = self.state();
        let rng = state.liar.as_mut()?;
        rng.bool().then(|| make_up(rng))
    }

    /// Applies what was sent some time ago, as the protocol has it: what is newer stays.
    fn arrive_late(self, operations: Vec<Encoded>, delay: Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut state = self.state();
            for operation in &operations {
                let verdict = state.apply(operation);
                state.late.push((operation.uid.to_string(), verdict));
            }
        });
    }

    /// A call needs this feature. Without it the call is a defect.
    fn needs(&self, has: impl FnOnce(&Features) -> bool) {
        let features = self.state().features;
        assert!(has(&features), "not supported: {features:?}");
    }

    fn up(&self) -> Result<(), Failure> {
        let mut state = self.state();
        state.down.clone().map_or(Ok(()), Err)?;
        state.gateway.admit(0)
    }

    /// Takes a write, once it has arrived.
    fn take(&self, epoch: u64, operations: Vec<Encoded>, batched: bool) -> Result<Vec<Verdict>, Failure> {
        let mut state = self.state();
        let fault = state.faults.pop_front();
        if let Some(failure) = state.down.clone() {
            return Err(failure);
        }
        check_epoch(&state, epoch)?;
        if batched && state.refuses_batches {
            return Err(Failure::TooLarge);
        }
        match fault {
            Some(Fault::Refuse(failure)) => return Err(failure),
            Some(Fault::Items(verdict)) => return Ok(vec![verdict; operations.len()]),
            Some(Fault::ArriveLate(delay)) => {
                self.clone().arrive_late(operations, delay);
                return Err(Failure::Broken("timed out".into()));
            }
            _ => {}
        }
        if operations.iter().any(|operation| state.breaks_batches.contains(&*operation.uid.text())) {
            return Err(state.breaks_with.clone().unwrap_or(Failure::Broken("status 500".into())));
        }
        if let Some(Sickness::Requests(percent, failure)) = state.sickness.clone()
            && state.random.u8(..100) < percent
        {
            return Err(failure);
        }
        let verdicts: Vec<_> = operations.iter().map(|operation| state.judge(operation)).collect();
        if matches!(fault, Some(Fault::ApplyAndLose)) {
            return Err(Failure::Broken("the connection was reset".into()));
        }
        for (operation, _) in operations.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Done) {
            state.tried.entry(operation.uid.to_string()).and_modify(|(_, acknowledged)| *acknowledged = true);
        }
        Ok(verdicts)
    }
}

/// The ids of a request that is under way.
struct InFlight<'a>(&'a Fake, Vec<String>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        for uid in &self.1 {
            state.in_flight.remove(uid);
        }
    }
}

impl Registry for Fake {
    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        if let Some(lie) = self.lie(hostile::capabilities) {
            return lie;
        }
        self.state().questions.push(Instant::now());
        self.up()?;
        let state = self.state();
        Ok(Capabilities {
            max_batch_items: state.max_batch_items,
            max_batch_bytes: state.max_batch_bytes,
            max_record_bytes: 64 << 10,
            features: state.features,
        })
    }

    async fn open_session(&self, request: OpenSession) -> Result<SessionOpened, Failure> {
        self.needs(|features| features.sessions);
        if let Some(lie) = self.lie(hostile::session) {
            return lie;
        }
        self.up()?;
        let latency = self.state().slow_session;
        tokio::time::sleep(latency).await;
        let mut state = self.state();
        let stored = state.records.values().map(|(version, _)| version.epoch).max().unwrap_or_default();
        state.epoch = state.epoch.max(stored).max(request.min_epoch.unwrap_or_default()) + 1;
        let closed = state.closed == state.session || state.other_over;
        let previous = state.session.map(|epoch| PreviousSession {
            epoch,
            instance: state.holder.clone().unwrap_or_else(|| "other".into()),
            scope: state.scope.clone(),
            cluster_uid: state.cluster_uid.clone(),
            state: if closed { SessionLiveness::Closed } else { SessionLiveness::Live },
        });
        state.session = Some(state.epoch);
        (state.scope, state.holder, state.other_over) = (request.scope.clone(), Some(request.instance.clone()), false);
        state.cluster_uid = request.cluster_uid.clone().or(state.cluster_uid.take());
        state.opened.push((Instant::now(), request));
        Ok(SessionOpened { epoch: state.epoch, ttl_seconds: 90, previous })
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<Option<Contender>, Failure> {
        self.needs(|features| features.sessions);
        if let Some(lie) = self.lie(hostile::nothing) {
            return lie.map(|()| None);
        }
        self.up()?;
        let mut state = self.state();
        if let Some(failure) = state.refusals.heartbeats.clone() {
            return Err(failure);
        }
        if let Err(failure) = check_epoch(&state, beat.epoch) {
            state.announced.push(beat);
            return Err(failure);
        }
        state.beats.push((Instant::now(), beat));
        let seen_at = "2026-11-29T00:00:00Z".to_owned();
        Ok(state.contender.clone().map(|instance| Contender { epoch: 1, instance: Some(instance), seen_at }))
    }

    async fn close_session(&self, epoch: u64) -> Result<(), Failure> {
        self.needs(|features| features.sessions);
        self.up()?;
        self.state().closed = Some(epoch);
        Ok(())
    }

    async fn session_holder(&self) -> Result<Option<OtherWriter>, Failure> {
        self.needs(|features| features.sessions);
        if let Some(lie) = self.lie(hostile::holder) {
            return lie;
        }
        self.up()?;
        let state = self.state();
        let instance = state.holder.clone().unwrap_or_else(|| "other".into());
        Ok(state.session.map(|epoch| OtherWriter {
            epoch,
            instance,
            scope: state.scope.clone(),
            cluster_uid: state.cluster_uid.clone(),
            heartbeat: state.heartbeat.clone(),
            records: state.records.len() as u64,
            state: if state.other_over || state.closed == Some(epoch) {
                SessionLiveness::Closed
            } else {
                SessionLiveness::Live
            },
        }))
    }

    fn encode(&self, uid: &Uid, version: Version, change: RecordChange<'_>) -> Encoded {
        let body = match change {
            RecordChange::Put(_, content) => {
                EncodedBody::Put { record: content.canonical.to_vec(), digest: content.digest }
            }
            RecordChange::Delete(removal) => EncodedBody::Delete(removal),
        };
        Encoded { uid: uid.clone(), version, body }
    }

    async fn write(&self, epoch: u64, operations: Vec<Encoded>, batched: bool) -> Result<Vec<Verdict>, Failure> {
        if let Some(lie) = self.lie(|rng| hostile::verdicts(rng, operations.len())) {
            return lie;
        }
        let bytes: usize = operations.iter().map(Encoded::size_at_most).sum();
        let (admitted, latency, before) = {
            let mut state = self.state();
            if state.panics {
                drop(state);
                panic!("a defect");
            }
            assert!(batched || operations.len() == 1);
            assert!(operations.len() <= state.max_batch_items);
            assert!(!batched || bytes <= state.max_batch_bytes, "{bytes} bytes in a batch");
            let mut before = Vec::new();
            for operation in &operations {
                let fresh = state.in_flight.insert(operation.uid.to_string());
                assert!(fresh, "two requests in flight for {}", operation.uid);
                before.push(state.count_try(operation));
            }
            state.writes.push(Write { at: Instant::now(), items: operations.iter().map(item).collect() });
            let records = u32::try_from(operations.len()).unwrap();
            let latency = state.latency + state.gateway.per_record * records;
            (state.gateway.begin_write(bytes), latency, before)
        };
        // A request that is given up is no longer in flight.
        let flight = InFlight(self, operations.iter().map(|operation| operation.uid.to_string()).collect());
        tokio::time::sleep(latency.min(TIMEOUT)).await;
        drop(flight);
        let result = match &admitted {
            Err(refused) => Err(refused.clone()),
            Ok(()) if latency > TIMEOUT => {
                self.clone().arrive_late(operations, latency - TIMEOUT);
                Err(Failure::Broken("timed out".into()))
            }
            Ok(()) => self.take(epoch, operations, batched),
        };
        let mut state = self.state();
        if admitted.is_ok() {
            state.gateway.end_write();
        }
        for (place, (uid, before)) in before.into_iter().enumerate() {
            state.in_flight.remove(&uid);
            let applied = match &result {
                Err(failure) => matches!(failure, Failure::Broken(_)),
                Ok(verdicts) => matches!(verdicts.get(place), Some(Verdict::Done | Verdict::Uncertain { .. })),
            };
            if !applied {
                state.untry(uid, before);
            }
        }
        result
    }

    async fn bucket_digests(&self, buckets: usize) -> Result<BucketDigests, Failure> {
        self.needs(|features| features.digests);
        if let Some(lie) = self.lie(|rng| hostile::buckets(rng, buckets)) {
            return lie;
        }
        self.up()?;
        if let Some(failure) = self.state().refusals.digests.clone() {
            return Err(failure);
        }
        let mut state = self.state();
        state.readings.push(Instant::now());
        if state.unreadable {
            return Err(Failure::Broken("status 500".into()));
        }
        let division = Buckets::from_count(buckets).unwrap();
        let mut digests = vec![BucketDigest { count: 0, digest: Digest::default() }; buckets];
        let shown = state.records.iter().filter(|(id, _)| !state.hidden.contains(*id));
        let count = shown.clone().count() as u64;
        for (id, (_, digest)) in shown {
            let bucket = &mut digests[division.of(id)];
            bucket.count += 1;
            bucket.digest.xor(digest);
        }
        Ok(BucketDigests { buckets: digests, count, as_of: 1 })
    }

    async fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> Result<InventoryPage, Failure> {
        self.needs(|features| features.inventory);
        if let Some(lie) = self.lie(hostile::page) {
            return lie;
        }
        self.up()?;
        let latency = self.state().slow_inventory;
        tokio::time::sleep(latency).await;
        let (page, takes) = self.page_of_inventory(bucket, page, limit)?;
        let within = super::world::options().request_timeout;
        tokio::time::sleep(takes.min(within)).await;
        if takes > within { Err(Failure::Broken("no answer in time".into())) } else { Ok(page) }
    }

    async fn record_name(&self, uid: Uid) -> Result<Option<RecordName>, Failure> {
        if let Some(lie) = self.lie(hostile::name) {
            return lie;
        }
        self.up()?;
        let state = self.state();
        let there = state.records.contains_key(&*uid.text()) && !state.nameless;
        let namespace = state.namespaces.get(&*uid.text()).cloned().unwrap_or_else(|| "default".into());
        Ok(there.then(|| RecordName { namespace, name: uid.to_string() }))
    }

    fn refresh_credential(&self) {
        self.state().refreshed += 1;
    }
}

fn check_epoch(state: &State, epoch: u64) -> Result<(), Failure> {
    match state.session {
        _ if !state.features.sessions => Ok(()),
        Some(current) if epoch == current => Ok(()),
        Some(current) if epoch < current => Err(Failure::StaleEpoch),
        _ => Err(Failure::UnknownSession),
    }
}
