//! Everything that is said to a registry.
//!
//! [`Registry`] is what the event loop knows of it; [`v1`] is the protocol that the reference registry speaks.

pub mod client;
pub mod protocol;
pub mod server;

use std::future::Future;

use crate::{
    model::{
        digest::Digest,
        ids::Version,
        pod::{Pod, RecordContent},
        uid::Uid,
    },
    reconcile::{
        deletion::Removal,
        outcome::{Failure, Verdict},
        takeover::OtherWriter,
    },
};

pub mod inventory;
pub mod session;

use inventory::{Bucket, BucketDigests, InventoryPage};
use session::{Contender, Heartbeat, OpenSession, SessionOpened};

/// What is said about one pod.
#[derive(Clone, Copy, Debug)]
pub enum RecordChange<'a> {
    /// The registry should hold this pod's record.
    Put(&'a Pod, &'a RecordContent),
    /// The registry should hold none.
    Delete(Removal),
}

/// One operation as bytes, with the version that it was built for.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The pod.
    pub uid: Uid,
    /// The operation's version.
    pub version: Version,
    /// What is sent.
    pub body: EncodedBody,
}

/// What is sent for one operation.
#[derive(Clone, Debug)]
pub enum EncodedBody {
    /// A whole record.
    Put {
        /// Its bytes.
        record: Vec<u8>,
        /// Its digest.
        digest: Digest,
    },
    /// The removal of a record.
    Delete(Removal),
}

impl Encoded {
    /// An upper bound of the bytes that the operation takes in a batch.
    pub fn size_at_most(&self) -> usize {
        // The names of an operation's other members, two numbers and the separators.
        const AROUND: usize = 192;
        AROUND
            + self.uid.text().len()
            + match &self.body {
                EncodedBody::Put { record, .. } => record.len(),
                EncodedBody::Delete(_) => 0,
            }
    }
}

/// The name under which a registry holds a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordName {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

/// What a registry can do, and how much it takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Operations in one batch, at most.
    pub max_batch_items: usize,
    /// Bytes of one batch's body, at most.
    pub max_batch_bytes: usize,
    /// Bytes of one record, at most.
    pub max_record_bytes: usize,
    /// What it supports.
    pub features: Features,
}

/// What a registry supports. A call that needs a feature is made only if the registry has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// It takes several operations in one request: [`Registry::write`] with more than one.
    pub batches: bool,
    /// It gives digests of its inventory's buckets: [`Registry::bucket_digests`].
    pub digests: bool,
    /// It tells one writer's session from another's: [`Registry::open_session`], [`Registry::heartbeat`],
    /// [`Registry::close_session`] and [`Registry::session_holder`].
    pub sessions: bool,
    /// It can list what it holds: [`Registry::inventory`].
    pub inventory: bool,
}

impl Features {
    /// Everything.
    pub const ALL: Self = Self { batches: true, digests: true, sessions: true, inventory: true };
}

/// A registry of systems, as its writer sees it. The only trait of the project.
///
/// Every call ends within the request time-out, reads bounded answers, and turns what it is told into values; it never
/// retries by itself.
pub trait Registry: Send + Sync + 'static {
    /// What the registry can do.
    fn capabilities(&self) -> impl Future<Output = Result<Capabilities, Failure>> + Send;

    /// Opens a session; every other session of this writer is over then.
    fn open_session(&self, request: OpenSession) -> impl Future<Output = Result<SessionOpened, Failure>> + Send;

    /// Says that this writer lives. Tells of another one that announced itself lately, if the registry knows of one.
    fn heartbeat(&self, beat: Heartbeat) -> impl Future<Output = Result<Option<Contender>, Failure>> + Send;

    /// Says that this writer stops as asked. Deletes nothing.
    fn close_session(&self, epoch: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Who holds this writer's session now.
    fn session_holder(&self) -> impl Future<Output = Result<Option<OtherWriter>, Failure>> + Send;

    /// The bytes of an operation, and with them its place in the order.
    fn encode(&self, uid: &Uid, version: Version, change: RecordChange<'_>) -> Encoded;

    /// Sends operations, one verdict each, in their order.
    fn write(
        &self,
        epoch: u64,
        operations: Vec<Encoded>,
        batched: bool,
    ) -> impl Future<Output = Result<Vec<Verdict>, Failure>> + Send;

    /// The inventory as digests of this many buckets.
    fn bucket_digests(&self, buckets: usize) -> impl Future<Output = Result<BucketDigests, Failure>> + Send;

    /// A page of the inventory, of one bucket or of all, with at most `limit` records.
    fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<InventoryPage, Failure>> + Send;

    /// Under which name the registry holds a pod, if it does.
    fn record_name(&self, uid: Uid) -> impl Future<Output = Result<Option<RecordName>, Failure>> + Send;

    /// Reads the credential anew, after it was refused.
    fn refresh_credential(&self);
}
