//! The fake registry of these tests: the rules of protocol v1, plus scripted faults and a record of every request.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use pod_registrar::{
    model::{digest::Digest, ids::Version, pod::Pod, uid::Uid},
    reconcile::{
        outcome::{Failure, Verdict},
        takeover::SessionHolder,
    },
    registry::{
        Capabilities, Encoded, EncodedBody, Features, Kinship, Projection, RecordChange, RecordId, RecordName,
        Registry, RenderFailure,
        inventory::{Bucket, BucketDigests, InventoryPage},
        session::{Contender, Heartbeat, OpenSession, SessionOpened},
    },
};
use tokio::time::Instant;

use super::{
    attempts::{Attempts, FailureRate, Write, item},
    gateway::{Gateway, TIMEOUT},
    hostile,
    mapping::{self, Mapping},
    notices::Notices,
};
use crate::fake_registry::{FakeRegistry, refused};

/// Time status still for the sessions, so none expires. A test ends a session with [`State::end_session`].
const NOW: u64 = 0;

/// How the next write fails.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nothing is applied, and this is the answer.
    Refuse(Failure),
    /// The write is applied, and the answer is lost.
    ApplyAndLose,
    /// Every item gets this verdict, and nothing is applied.
    Items(Verdict),
    /// The answer is lost at once, and the write arrives this much later.
    ArriveLate(Duration),
}

#[derive(Default)]
pub(super) struct State {
    stored: FakeRegistry,
    /// A text that changes with each heartbeat of the holder; `None` if the registry does not report it.
    pub(super) heartbeat: Option<String>,
    /// A second writer that announces itself.
    pub(super) contender: Option<String>,
    /// Heartbeats that were refused because their session was superseded.
    pub(super) announced: Vec<Heartbeat>,
    /// How it sees pods, if otherwise than the store.
    pub(super) mapping: Option<Mapping>,
    /// The namespaces of records outside of `default`, by UID.
    pub(super) namespaces: HashMap<String, String>,
    /// Whether the registry does not know the names of its records.
    pub(super) nameless: bool,
    /// For the next writes, in order.
    pub(super) faults: VecDeque<Fault>,
    /// The answer to every request, while it is set.
    pub(super) down: Option<Failure>,
    /// While it is set, half of the answers are made up, and those requests have no effect.
    pub(super) liar: Option<fastrand::Rng>,
    /// Whether a write panics, as a defect of the client would.
    pub(super) panics: bool,
    /// UIDs whose puts are rejected.
    pub(super) poison: HashSet<String>,
    /// UIDs that make a whole batch fail.
    pub(super) breaks_batches: HashSet<String>,
    /// The answer to such a batch.
    pub(super) breaks_with: Option<Failure>,
    /// UIDs whose writes all get this verdict.
    pub(super) failing_ids: HashMap<String, Verdict>,
    /// For every write, while it is set.
    pub(super) failure_rate: Option<FailureRate>,
    /// When to read the inventory again, after the next one.
    pub(super) again_after: Option<Duration>,
    /// UIDs that the inventory and its counts leave out.
    pub(super) hidden: HashSet<String>,
    pub(super) gateway: Gateway,
    pub(super) notices: Notices,
    /// The verdicts of writes that arrived late.
    pub(super) late: Vec<(String, Verdict)>,
    pub(super) attempts: Attempts,
    /// The last record that was sent for a UID (`None` for a deletion), and whether it was acknowledged.
    pub(super) attempted: HashMap<String, (Option<Digest>, bool)>,
    /// The time before which a UID must not be sent, because of its Retry-After.
    pub(super) wait_until: HashMap<String, Instant>,
    random: fastrand::Rng,
    /// The time that a write takes.
    pub(super) latency: Duration,
    /// The time that opening a session takes.
    pub(super) slow_session: Duration,
    /// Added to the count of the inventory.
    pub(super) miscount: u64,
    /// Whether the inventory cannot be read.
    pub(super) unreadable: bool,
    /// The time that a page of the inventory takes.
    pub(super) slow_inventory: Duration,
    /// The time that each record of a page takes. A page that takes longer than the request timeout is not answered.
    pub(super) slow_items: Duration,
    /// The answers to heartbeats and digests, and a bucket whose pages fail.
    pub(super) refusals: super::fake_inventory::Refusals,
    /// For the next pages of the inventory, in order.
    pub(super) inventory_faults: VecDeque<Option<Failure>>,
    pub(super) features: Features,
    pub(super) max_batch_items: usize,
    pub(super) max_batch_bytes: usize,
    /// Whether every batch is refused as too large.
    pub(super) refuses_batches: bool,

    pub(super) writes: Vec<Write>,
    pub(super) probes: Vec<Instant>,
    pub(super) opened: Vec<(Instant, OpenSession)>,
    pub(super) beats: Vec<(Instant, Heartbeat)>,
    pub(super) readings: Vec<Instant>,
    pub(super) pages: usize,
    pub(super) closed: Option<u64>,
    pub(super) refreshed: usize,
    in_flight: HashSet<String>,
}

impl State {
    /// The number of items that were written.
    pub(super) fn items(&self) -> usize {
        self.writes.iter().map(|write| write.items.len()).sum()
    }

    /// Another process takes over the session, with the same scope.
    pub(super) fn supersede(&mut self, instance: &str) {
        self.epoch += 1;
        let epoch = self.epoch;
        let session = self.session.as_mut().unwrap();
        (session.epoch, session.instance, session.closed) = (epoch, instance.to_owned(), false);
    }

    /// Closes the session, as its holder does.
    pub(super) fn end_session(&mut self) {
        self.session.iter_mut().for_each(|session| session.closed = true);
    }

    fn judge(&mut self, operation: &Encoded) -> Verdict {
        if let Some(verdict) = self.failing_ids.get(&*operation.uid.text()) {
            return verdict.clone();
        }
        match self.failure_rate.clone() {
            Some(FailureRate::Items(percent, verdict)) if self.random.u8(..100) < percent => {
                if let Verdict::Retry { after: Some(after), .. } = verdict {
                    self.wait_until.insert(operation.uid.to_string(), Instant::now() + after);
                }
                verdict
            }
            _ => self.apply(operation),
        }
    }

    fn apply(&mut self, operation: &Encoded) -> Verdict {
        let id = operation.uid.text();
        if matches!(operation.body, EncodedBody::Put { .. }) && self.poison.contains(&*id) {
            return refused(operation, 422, "schema");
        }
        let before = self.records.get(&*id).map(|(version, _)| *version);
        let (verdict, _) = self.stored.apply(operation);
        let after = self.records.get(&*id).map(|(version, _)| *version);
        assert!(after.is_none() || after >= before, "a record never goes back");
        verdict
    }
}

impl Deref for State {
    type Target = FakeRegistry;

    fn deref(&self) -> &FakeRegistry {
        &self.stored
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut FakeRegistry {
        &mut self.stored
    }
}

/// Clones share their state.
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

    /// Reads several values of one moment.
    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state())
    }

    /// A made-up answer, half of the time.
    pub(super) fn lie<T>(&self, make_up: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
        let mut state = self.state();
        let rng = state.liar.as_mut()?;
        rng.bool().then(|| make_up(rng))
    }

    /// Applies operations that arrive late, by the rules of the protocol: newer records stay.
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

    pub(super) fn up(&self) -> Result<(), Failure> {
        let mut state = self.state();
        state.down.clone().map_or(Ok(()), Err)?;
        state.gateway.admit(0)
    }

    /// Applies a write when it arrives.
    fn take(&self, epoch: u64, operations: Vec<Encoded>, batched: bool) -> Result<Vec<Verdict>, Failure> {
        let mut state = self.state();
        let fault = state.faults.pop_front();
        if let Some(failure) = state.down.clone() {
            return Err(failure);
        }
        if state.features.sessions {
            state.fence(epoch)?;
        }
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
        if let Some(FailureRate::Requests(percent, failure)) = state.failure_rate.clone()
            && state.random.u8(..100) < percent
        {
            return Err(failure);
        }
        let verdicts: Vec<_> = operations.iter().map(|operation| state.judge(operation)).collect();
        if matches!(fault, Some(Fault::ApplyAndLose)) {
            return Err(Failure::Broken("the connection was reset".into()));
        }
        for (operation, _) in operations.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::Done) {
            state.attempted.entry(operation.uid.to_string()).and_modify(|(_, acknowledged)| *acknowledged = true);
        }
        Ok(verdicts)
    }
}

/// The UIDs of a request, from its start to its end.
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
    type Operation = EncodedBody;

    fn notice_after(&self, in_sync: bool) -> Option<Duration> {
        self.state().notices.after(in_sync)
    }

    async fn send_notice(&self, _: bool) -> Result<(), Failure> {
        self.state().notices.send()
    }

    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        if let Some(lie) = self.lie(hostile::capabilities) {
            return lie;
        }
        self.state().probes.push(Instant::now());
        self.up()?;
        let state = self.state();
        Ok(Capabilities {
            max_batch_items: state.max_batch_items,
            max_batch_bytes: state.max_batch_bytes,
            max_record_bytes: Some(64 << 10),
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
        state.opened.push((Instant::now(), request.clone()));
        Ok(state.open(request, NOW))
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
        if let Err(failure) = state.beat(beat.epoch, beat.ttl_seconds, NOW) {
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
        let mut state = self.state();
        state.closed = Some(epoch);
        state.close(epoch)
    }

    async fn session_holder(&self) -> Result<Option<SessionHolder>, Failure> {
        self.needs(|features| features.sessions);
        if let Some(lie) = self.lie(hostile::holder) {
            return lie;
        }
        self.up()?;
        let state = self.state();
        Ok(state.holder(NOW).map(|holder| SessionHolder { heartbeat: state.heartbeat.clone(), ..holder }))
    }

    fn is_identity(&self) -> bool {
        self.state().mapping.is_none()
    }

    fn keys_are_uids(&self) -> bool {
        self.state().mapping.as_ref().is_none_or(|mapping| mapping.keys_are_uids)
    }

    fn project(&self, pod: &Pod) -> Projection {
        mapping::project(self, pod)
    }

    fn take_moved(&self) -> Vec<Uid> {
        mapping::take_moved(self)
    }

    fn kinship(&self) -> Option<&dyn Kinship> {
        mapping::kinship(self)
    }

    fn removed(&self, key: &Uid) {
        mapping::removed(self, key);
    }

    fn record_id(&self, key: &Uid, _: Option<&Pod>) -> Option<RecordId> {
        (!self.keys_are_uids()).then(|| RecordId { kind: None, id: Some(format!("id of {key}")) })
    }

    async fn prepare(&self, term: u64) -> Result<bool, Failure> {
        mapping::prepare(self, term)
    }

    fn encode(&self, uid: &Uid, version: Version, change: RecordChange<'_>) -> Result<Encoded, RenderFailure> {
        mapping::encode(self, uid, version, change)
    }

    async fn write(&self, epoch: u64, operations: Vec<Encoded>, batched: bool) -> Result<Vec<Verdict>, Failure> {
        if let Some(lie) = self.lie(|rng| hostile::verdicts(rng, operations.len())) {
            return lie;
        }
        let bytes: usize = operations.iter().map(|operation| operation.size_at_most).sum();
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
                before.push(state.count_attempt(operation));
            }
            state.writes.push(Write { at: Instant::now(), items: operations.iter().map(item).collect() });
            let latency = state.latency + state.gateway.per_record * u32::try_from(operations.len()).unwrap();
            (state.gateway.begin_write(bytes), latency, before)
        };
        // A request that timed out is no longer in flight.
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
                state.take_back(uid, before);
            }
        }
        result
    }

    async fn bucket_digests(&self, buckets: usize) -> Result<BucketDigests, Failure> {
        self.needs(|features| features.digests);
        self.digests_of_inventory(buckets)
    }

    async fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> Result<InventoryPage, Failure> {
        self.needs(|features| features.inventory);
        self.read_inventory(bucket, page, limit).await
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

    fn inventory_again_after(&self) -> Option<Duration> {
        self.state().again_after.take()
    }

    fn refresh_credential(&self) {
        self.state().refreshed += 1;
    }
}
