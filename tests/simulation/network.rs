//! The connection between a process and the registry: requests take time, and may be refused, lost or late.
//!
//! A request that was sent goes on, even if its process gives up or is killed.

use std::{collections::VecDeque, time::Duration};

use pod_registrar::{
    model::{ids::Version, uid::Uid},
    reconcile::{
        outcome::{Failure, OperationKind, Verdict},
        takeover::SessionHolder,
    },
    registry::{
        Capabilities, Encoded, EncodedBody, Features, RecordChange, RecordName, Registry, RenderFailure,
        client::judge::{self, ProblemDetail},
        inventory::{Bucket, BucketDigests, InventoryPage},
        session::{Contender, Heartbeat, OpenSession, SessionOpened},
    },
};
use tokio::sync::oneshot;

use crate::{
    fake_registry::{Effect, kind},
    history::is_previous_process,
    steps::{Fault, Refusal},
    world::{Shared, SimulatedWorld},
};

/// The request timeout of a process.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Network {
    /// The answer to every request, while it is set.
    pub(crate) down: Option<Refusal>,
    /// For the next writes, in order.
    pub(crate) writes: VecDeque<Fault>,
    /// For the next requests of other kinds, in order.
    pub(crate) others: VecDeque<Fault>,
    /// Percent of the requests that fail.
    pub(crate) noise: u8,
    /// The most requests per second; no limit if it is zero.
    pub(crate) requests_per_second: usize,
    /// When the newest requests passed, in milliseconds.
    let_through: VecDeque<u64>,
}

/// The connection of one process to the registry.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
}

fn failure(refusal: Refusal) -> Failure {
    let after = |secs| ProblemDetail { retry_after: Some(Duration::from_secs(secs)), ..ProblemDetail::default() };
    match refusal {
        Refusal::Unreachable => Failure::Unreachable("refused".into()),
        Refusal::Status(status) => judge::judge_request(status, ProblemDetail::default()),
        Refusal::After(status, secs) => judge::judge_request(status, after(u64::from(secs))),
    }
}

impl SimulatedWorld {
    /// The fault of the next request, if any.
    pub(crate) fn fate(&mut self, write: bool) -> Option<Fault> {
        if let Some(refusal) = self.network.down {
            return Some(Fault::Refuse(refusal));
        }
        if self.is_over_limit() {
            return Some(Fault::Refuse(Refusal::After(429, 1)));
        }
        let queue = if write { &mut self.network.writes } else { &mut self.network.others };
        let fault = queue.pop_front();
        if fault.is_some() || self.network.noise == 0 || self.rng.u8(0..100) >= self.network.noise {
            return fault;
        }
        Some(Fault::random(&mut self.rng))
    }

    /// Counts a request, unless it is above the limit.
    fn is_over_limit(&mut self) -> bool {
        let now = self.now();
        let network = &mut self.network;
        network.let_through.retain(|at| now < at + 1_000);
        let over = network.requests_per_second > 0 && network.let_through.len() >= network.requests_per_second;
        if !over {
            network.let_through.push_back(now);
        }
        over
    }

    pub(crate) fn latency(&mut self) -> Duration {
        let most = u64::from(self.setup.latency_ms).max(1);
        Duration::from_millis(self.rng.u64(1..=most))
    }

    fn apply(&mut self, process: usize, operation: &Encoded) -> Verdict {
        let (verdict, effect) = self.registry.apply(operation);
        if effect == Effect::Deleted {
            self.deleted(process, &operation.uid, operation.version);
        }
        verdict
    }

    /// The registry takes a request with writes.
    fn take_writes(
        &mut self,
        process: usize,
        epoch: u64,
        operations: &[Encoded],
        items: Option<(u16, u8)>,
    ) -> Result<Vec<Verdict>, Failure> {
        let fenced = self.registry.stored.fence(epoch);
        self.moment(|| match &fenced {
            Ok(()) => format!("the registry takes {}", listed(operations)),
            Err(failure) => format!("the registry refuses {}: {failure}", listed(operations)),
        });
        fenced?;
        let mut verdicts = Vec::with_capacity(operations.len());
        for (place, operation) in operations.iter().enumerate() {
            if let Some((status, of)) = items
                && place % usize::from(of.max(1)) == 0
            {
                if status == 500 {
                    // The status leaves open whether the write was applied; it was.
                    self.apply(process, operation);
                }
                verdicts.push(judge::judge_operation(kind(operation), status, ProblemDetail::default()));
                continue;
            }
            verdicts.push(self.apply(process, operation));
        }
        // A rejected record waits for a change or for the next resync.
        self.drifted |= verdicts.iter().any(|verdict| matches!(verdict, Verdict::Rejected { .. }));
        Ok(verdicts)
    }
}

fn listed(operations: &[Encoded]) -> String {
    let one = |o: &Encoded| format!("{} {} ({}, {})", word(kind(o)), o.uid, o.version.epoch, o.version.seq);
    operations.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn word(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Put => "put",
        OperationKind::Delete => "delete",
    }
}

/// Ends the requests for these UIDs when it is dropped: they are answered, or were given up.
struct Waiting<'a> {
    connection: &'a Connection,
    uids: Vec<Uid>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.connection.shared.world().landed(self.connection.process, &self.uids);
    }
}

impl Connection {
    /// Sends a request. `take` is its effect on the registry.
    async fn request<T: Send + 'static>(
        &self,
        what: &'static str,
        write: bool,
        take: impl FnOnce(&mut SimulatedWorld, Option<Fault>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (fate, there, back) = {
            let mut world = self.shared.world();
            let fate = world.fate(write);
            if let Some(fault) = fate {
                world.trace(|| format!("    {what}: {fault:?}"));
            }
            (fate, world.latency(), world.latency())
        };
        match fate {
            Some(Fault::Refuse(refusal)) => {
                tokio::time::sleep(there).await;
                let failure = failure(refusal);
                if matches!(failure, Failure::TooLarge | Failure::Refused { .. }) {
                    self.shared.world().drifted = true;
                }
                Err(failure)
            }
            Some(Fault::Swallow) => {
                tokio::time::sleep(REQUEST_TIMEOUT).await;
                Err(Failure::Broken("no answer in time".into()))
            }
            Some(Fault::Late(ms)) => {
                drop(self.arrive(Duration::from_millis(u64::from(ms)), Duration::ZERO, fate, take));
                tokio::time::sleep(REQUEST_TIMEOUT).await;
                Err(Failure::Broken("no answer in time".into()))
            }
            Some(Fault::Lose) => {
                drop(self.arrive(there, Duration::ZERO, fate, take));
                tokio::time::sleep(there + back).await;
                Err(Failure::Broken("the connection was reset".into()))
            }
            Some(Fault::Items(..)) | None => {
                let answer = self.arrive(there, back, fate, take).await;
                answer.unwrap_or_else(|_| Err(Failure::Broken("the registry is gone".into())))
            }
        }
    }

    /// Sends a request that goes on even if the receiver is dropped.
    fn arrive<T: Send + 'static>(
        &self,
        there: Duration,
        back: Duration,
        fate: Option<Fault>,
        take: impl FnOnce(&mut SimulatedWorld, Option<Fault>) -> Result<T, Failure> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, Failure>> {
        let (answer, answered) = oneshot::channel();
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(there).await;
            let result = take(&mut shared.world(), fate);
            tokio::time::sleep(back).await;
            let _ = answer.send(result);
        });
        answered
    }

    /// Sends a request that changes at most the session.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        take: impl FnOnce(&mut SimulatedWorld) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let result = self.request(what, false, move |world, _| take(world)).await;
        self.shared.world().moment(|| match &result {
            Ok(_) => format!("{what}: answered"),
            Err(failure) => format!("{what}: {failure}"),
        });
        result
    }

    /// Notes what a process learns about its session. A forgotten session may be replaced at once; a superseded one may
    /// not.
    fn heard<T>(&self, epoch: u64, result: &Result<T, Failure>) {
        let mut world = self.shared.world();
        let now = world.now();
        let process = &mut world.processes[self.process];
        if process.epoch == Some(epoch) {
            match result {
                Err(Failure::StaleEpoch) => _ = process.fenced_at.get_or_insert(now),
                Err(Failure::UnknownSession) => process.epoch = None,
                _ => {}
            }
        }
    }
}

impl Registry for Connection {
    type Operation = EncodedBody;

    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        self.ask("capabilities", |world| {
            let setup = &world.setup;
            let features = Features { batches: setup.batch > 1, digests: setup.digests, ..Features::ALL };
            Ok(Capabilities {
                max_batch_items: usize::from(setup.batch),
                max_batch_bytes: 1 << 20,
                max_record_bytes: Some(64 << 10),
                features,
            })
        })
        .await
    }

    async fn open_session(&self, request: OpenSession) -> Result<SessionOpened, Failure> {
        self.shared.world().session_requested(self.process);
        let opened = self
            .ask("session", |world| {
                let now = world.now();
                let opened = world.registry.open(request, now);
                world.moment(|| format!("the registry opens session {}", opened.epoch));
                Ok(opened)
            })
            .await?;
        let mut world = self.shared.world();
        let process = &mut world.processes[self.process];
        (process.epoch, process.fenced_at) = (Some(opened.epoch), None);
        Ok(opened)
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<Option<Contender>, Failure> {
        let epoch = beat.epoch;
        self.shared.world().heartbeat_sent(self.process, beat.synced, epoch);
        let result = self
            .ask("heartbeat", move |world| {
                let now = world.now();
                let contender = world.registry.beat(&beat, now)?;
                world.beat = Some((beat.synced, beat.counts.map_or(0, |counts| counts.pending)));
                Ok(contender)
            })
            .await;
        self.heard(epoch, &result);
        result
    }

    async fn close_session(&self, epoch: u64) -> Result<(), Failure> {
        self.ask("close", move |world| world.registry.stored.close(epoch)).await
    }

    async fn session_holder(&self) -> Result<Option<SessionHolder>, Failure> {
        let holder = self.ask("holder", |world| Ok(world.registry.stored.holder(world.now()))).await?;
        let mut world = self.shared.world();
        let process = &mut world.processes[self.process];
        let ours = |instance: &str| instance == process.instance || is_previous_process(instance, &process.instance);
        let free = holder.as_ref().is_none_or(|other| other.session.is_over() || ours(&other.session.instance));
        process.fenced_at = process.fenced_at.filter(|_| !free);
        if let Some(ours) =
            holder.as_ref().filter(|other| !other.session.is_over() && other.session.instance == process.instance)
        {
            process.epoch = Some(ours.session.epoch);
        }
        Ok(holder)
    }

    fn encode(&self, uid: &Uid, version: Version, change: RecordChange<'_>) -> Result<Encoded, RenderFailure> {
        let mut world = self.shared.world();
        let body = match change {
            RecordChange::Put(pod, content) => {
                world.put_built(self.process, pod, content.digest, version);
                EncodedBody::Put { record: content.canonical.to_vec(), digest: content.digest }
            }
            RecordChange::Delete(removal) => {
                world.delete_built(self.process, uid, removal, version);
                EncodedBody::Delete(removal)
            }
        };
        Ok(Encoded::new(uid.clone(), version, body))
    }

    async fn write(&self, epoch: u64, operations: Vec<Encoded>, _batched: bool) -> Result<Vec<Verdict>, Failure> {
        let uids: Vec<Uid> = operations.iter().map(|operation| operation.uid.clone()).collect();
        {
            let mut world = self.shared.world();
            world.sent(self.process, &uids);
            let instance = world.processes[self.process].instance.clone();
            world.moment(|| format!("{instance} sends {}", listed(&operations)));
        }
        let waiting = Waiting { connection: self, uids };
        let process = self.process;
        let result = self
            .request("write", true, move |world, fate| {
                let items = if let Some(Fault::Items(status, of)) = fate { Some((status, of)) } else { None };
                world.take_writes(process, epoch, &operations, items)
            })
            .await;
        drop(waiting);
        self.heard(epoch, &result);
        self.shared.world().moment(|| match &result {
            Ok(verdicts) => format!("    answered {verdicts:?}"),
            Err(failure) => format!("    {failure}"),
        });
        result
    }

    async fn bucket_digests(&self, buckets: usize) -> Result<BucketDigests, Failure> {
        self.ask("bucket digests", move |world| Ok(world.registry.digests(buckets))).await
    }

    async fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> Result<InventoryPage, Failure> {
        self.ask("inventory", move |world| {
            let size = usize::from(world.setup.page).min(limit);
            Ok(world.registry.page(bucket, page.as_deref(), size))
        })
        .await
    }

    async fn record_name(&self, uid: Uid) -> Result<Option<RecordName>, Failure> {
        self.ask("record", move |world| {
            let held = world.registry.stored.records.contains_key(&*uid.text());
            let namespace = world.cluster.namespace_of(&uid);
            Ok(held.then(|| RecordName { namespace, name: uid.to_string() }))
        })
        .await
    }

    fn refresh_credential(&self) {}
}
