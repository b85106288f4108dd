//! A process's client of the REST registry, which checks promises where requests are built.

use pod_registrar::{
    model::{ids::Version, pod::Pod, uid::Uid},
    reconcile::{
        outcome::{Failure, Verdict},
        takeover::SessionHolder,
    },
    registry::{
        Capabilities, Encoded, Kinship, Projection, RecordChange, RecordName, Registry, RenderFailure,
        inventory::{Bucket, BucketDigests, InventoryPage},
        mapped::{MappedOperation, TargetClient},
        session::{Contender, Heartbeat, OpenSession, SessionOpened},
    },
};

use super::{Rest, memory::ProcessMemory, network::RestConnection, target::target};
use crate::{network::REQUEST_TIMEOUT, world::Shared};

pub(crate) struct Writer {
    shared: Shared,
    process: usize,
    client: TargetClient,
}

/// Ends the requests for these keys when it is dropped: they are answered, or were given up.
struct Waiting<'a> {
    writer: &'a Writer,
    keys: Vec<Uid>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.writer.shared.world().landed(self.writer.process, &self.keys);
    }
}

impl Writer {
    pub(crate) fn new(shared: Shared, process: usize, rest: Rest) -> Self {
        let connection = RestConnection { shared: shared.clone(), process };
        let client = TargetClient::local(target(rest), Box::new(connection), REQUEST_TIMEOUT).with_lookups(4);
        let memory = ProcessMemory { shared: shared.clone(), process };
        let client = if rest.remembers { client.with_memory(Box::new(memory)) } else { client };
        Self { shared, process, client }
    }
}

impl Registry for Writer {
    type Operation = MappedOperation;

    fn is_identity(&self) -> bool {
        self.client.is_identity()
    }

    fn keys_are_uids(&self) -> bool {
        self.client.keys_are_uids()
    }

    fn project(&self, pod: &Pod) -> Projection {
        self.client.project(pod)
    }

    fn take_moved(&self) -> Vec<Uid> {
        self.client.take_moved()
    }

    fn kinship(&self) -> Option<&dyn Kinship> {
        self.client.kinship()
    }

    fn removed(&self, key: &Uid) {
        self.client.removed(key);
    }

    fn not_desired(&self, key: &Uid) {
        self.client.not_desired(key);
    }

    fn may_be_removed(&self, key: &Uid) {
        self.client.may_be_removed(key);
    }

    async fn prepare(&self, term: u64) -> Result<bool, Failure> {
        self.client.prepare(term).await
    }

    fn end_term(&self) {
        self.client.end_term();
    }

    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        self.client.capabilities().await
    }

    async fn open_session(&self, request: OpenSession) -> Result<SessionOpened, Failure> {
        self.client.open_session(request).await
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<Option<Contender>, Failure> {
        self.client.heartbeat(beat).await
    }

    async fn close_session(&self, epoch: u64) -> Result<(), Failure> {
        self.client.close_session(epoch).await
    }

    async fn session_holder(&self) -> Result<Option<SessionHolder>, Failure> {
        self.client.session_holder().await
    }

    fn encode(
        &self,
        key: &Uid,
        version: Version,
        change: RecordChange<'_>,
    ) -> Result<Encoded<MappedOperation>, RenderFailure> {
        let mut world = self.shared.world();
        match change {
            RecordChange::Put(pod, content) => world.put_built(self.process, pod, content.digest, version),
            RecordChange::Delete(removal) if self.client.keys_are_uids() => {
                world.note_misled(self.process, key, false);
                world.delete_built(self.process, key, removal, version);
            }
            RecordChange::Delete(removal) => world.shared_delete_built(self.process, key, removal),
        }
        drop(world);
        self.client.encode(key, version, change)
    }

    async fn write(
        &self,
        epoch: u64,
        operations: Vec<Encoded<MappedOperation>>,
        batched: bool,
    ) -> Result<Vec<Verdict>, Failure> {
        let keys: Vec<Uid> = operations.iter().map(|operation| operation.uid.clone()).collect();
        self.shared.world().sent(self.process, &keys);
        let waiting = Waiting { writer: self, keys };
        let result = self.client.write(epoch, operations, batched).await;
        drop(waiting);
        self.shared.world().moment(|| match &result {
            Ok(verdicts) => format!("    answered {verdicts:?}"),
            Err(failure) => format!("    {failure}"),
        });
        result
    }

    async fn bucket_digests(&self, buckets: usize) -> Result<BucketDigests, Failure> {
        self.client.bucket_digests(buckets).await
    }

    async fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> Result<InventoryPage, Failure> {
        let result = self.client.inventory(bucket, page, limit).await;
        self.shared.world().moment(|| match &result {
            Ok(page) => format!("inventory: {:?}", page.items),
            Err(failure) => format!("inventory: {failure}"),
        });
        result
    }

    async fn record_name(&self, uid: Uid) -> Result<Option<RecordName>, Failure> {
        self.client.record_name(uid).await
    }

    fn refresh_credential(&self) {
        self.client.refresh_credential();
    }
}
