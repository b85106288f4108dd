//! The registry that records are written to.
//!
//! [`Registry`] is all that the event loop knows about it. [`protocol`] has the JSON of protocol v1, [`client`] speaks
//! it, and [`server`] is the reference registry. [`mapped`] speaks to registries that a targets file describes. To
//! support another kind of registry, implement the trait.

pub mod client;
pub mod credentials;
mod group_commit;
mod http;
pub mod inventory;
pub mod mapped;
mod pacer;
pub mod protocol;
pub mod server;
pub mod session;
pub mod trace;

use std::{future::Future, time::Duration};

use crate::{
    model::{
        digest::{Digest, Fingerprint},
        ids::Version,
        pod::{Pod, RecordContent, StoredPod},
        uid::Uid,
    },
    reconcile::{
        deletion::Removal,
        outcome::{Failure, Verdict},
        takeover::SessionHolder,
    },
};

use inventory::{Bucket, BucketDigests, InventoryPage};
use session::{Contender, Heartbeat, OpenSession, SessionOpened};

/// How a pod's record should change in the registry.
#[derive(Clone, Copy, Debug)]
pub enum RecordChange<'a> {
    Put(&'a Pod, &'a RecordContent),
    Delete(Removal),
}

/// One operation that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Encoded<O = EncodedBody> {
    /// The key of the record.
    pub uid: Uid,
    pub version: Version,
    /// The fingerprint of the record that a put writes. A deletion has none.
    pub fingerprint: Option<Fingerprint>,
    /// The size of the record. Zero for a deletion.
    pub record_bytes: usize,
    /// An upper bound on the bytes that the operation takes in a batch.
    pub size_at_most: usize,
    pub body: O,
}

/// An operation of protocol v1.
#[derive(Clone, Debug)]
pub enum EncodedBody {
    /// `record` has the bytes of the whole record, as JSON.
    Put {
        record: Vec<u8>,
        digest: Digest,
    },
    Delete(Removal),
}

impl Encoded {
    /// An operation of protocol v1.
    pub fn new(uid: Uid, version: Version, body: EncodedBody) -> Self {
        // The operation's other members: their names, two numbers and the separators.
        const AROUND: usize = 192;
        let (fingerprint, record_bytes) = match &body {
            EncodedBody::Put { record, digest } => (Some(digest.fingerprint()), record.len()),
            EncodedBody::Delete(_) => (None, 0),
        };
        let size_at_most = AROUND + uid.text().len() + record_bytes;
        Self { uid, version, fingerprint, record_bytes, size_at_most, body }
    }
}

/// A pod's record cannot be made, so that it stays as it is until the pod or the settings change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct RenderFailure {
    pub cause: String,
}

/// How a registry sees a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projection {
    /// The pod has this record.
    Record { key: Uid, fingerprint: Fingerprint },
    /// The pod has these records, each behind its parent.
    Records(Vec<DesiredRecord>),
    /// The settings of the registry do not select the pod.
    NotSelected(Excluded),
    /// The pod could not be read. Its record stays as it is.
    Unreadable,
    /// Its record cannot be made, and stays as it is.
    Failed { cause: String },
}

/// One of several records of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredRecord {
    pub key: Uid,
    pub state: DesiredState,
    /// The record that it belongs to.
    pub parent: Option<ParentRecord>,
}

/// Whether a record can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredState {
    Made(Fingerprint),
    /// Not before the registry holds a record that it refers to. Until then it stays as it is.
    Waits,
    /// It stays as it is.
    Failed {
        cause: String,
    },
}

/// The record that another one belongs to: it is put before that one, and deleted after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRecord {
    pub key: Uid,
    /// Whether the registry removes the other one together with it.
    pub cascade: bool,
}

/// What a registry knows of records that belong to others, also if no pod has them any more.
pub trait Kinship {
    /// How many records stand above this one, by its kind. 0 if it is not known.
    fn depth(&self, key: &Uid) -> usize;

    /// The record that this one belonged to when it was written, if that is remembered.
    fn parent(&self, key: &Uid) -> Option<ParentRecord>;
}

/// A pod that the settings of a registry do not select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The keys of the records that it would have. Empty if they cannot be made.
    pub keys: Vec<Uid>,
    /// Whether its namespace or a label excludes it. These hardly change, so the settings probably did.
    pub by_scope: bool,
}

impl DesiredState {
    fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed { cause } => Some(cause),
            Self::Made(_) | Self::Waits => None,
        }
    }
}

impl Projection {
    /// The records of the pod that cannot be made, and why. Without a key, none of them can.
    pub fn failures(&self) -> impl Iterator<Item = (Option<&Uid>, &str)> {
        let (all, records) = match self {
            Self::Failed { cause } => (Some((None, cause.as_str())), &[][..]),
            Self::Records(records) => (None, &records[..]),
            Self::Record { .. } | Self::NotSelected(_) | Self::Unreadable => (None, &[][..]),
        };
        let single =
            records.iter().filter_map(|record: &DesiredRecord| Some((Some(&record.key), record.state.failure()?)));
        all.into_iter().chain(single)
    }

    /// The pod's UID and the fingerprint of its record.
    pub fn identity(pod: &Pod) -> Self {
        match pod.shown() {
            StoredPod::Record(fingerprint) => Self::Record { key: pod.uid.clone(), fingerprint },
            StoredPod::Unreadable => Self::Unreadable,
        }
    }
}

/// A pod's namespace and name in its registered record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordName {
    pub namespace: String,
    pub name: String,
}

/// The id of a record, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// The name of its kind. None if the registry's records are all of one kind.
    pub kind: Option<String>,
    /// None if it is the key.
    pub id: Option<String>,
}

/// The limits and features of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub max_batch_items: usize,
    pub max_batch_bytes: usize,
    /// None if it takes records of any size.
    pub max_record_bytes: Option<usize>,
    pub features: Features,
}

/// What a registry supports. A call that needs a feature is made only if the registry has it. The
/// controller works without any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// [`Registry::write`] accepts more than one operation. Without it, each operation is a request of its own.
    pub batches: bool,
    /// An operator has stated the limits of batches, so the first batch may be as large. Otherwise batches begin small,
    /// because a registry may take long for each record.
    pub stated_limits: bool,
    /// [`Registry::bucket_digests`] works. Without it, a resync reads all pages of the inventory.
    pub digests: bool,
    /// [`Registry::open_session`], [`Registry::heartbeat`], [`Registry::close_session`] and
    /// [`Registry::session_holder`] work. Without them, no other writer is noticed, and no settings are declared for
    /// the next process. Epochs then begin with the wall clock's seconds since 1970 at the start of the process, so a
    /// process that starts later has higher epochs, unless the clock was set back.
    pub sessions: bool,
    /// [`Registry::inventory`] works. Without it, a resync reads nothing: the ledger takes the record of each pod that
    /// was seen as uncertain and sends it once. An inferred deletion of such a pod passes the absence guard as usual.
    /// Records of pods that this process has not seen are never deleted.
    pub inventory: bool,
    /// The inventory is what this client remembers, which tells nothing about writes without an answer.
    pub remembers: bool,
    /// [`Registry::record_name`] works, and keys are the UIDs of pods. Without it, no absent pod is looked up by its
    /// name: the absence guard then relies on the identity of the cluster and on a second list.
    pub names: bool,
}

impl Features {
    /// What protocol v1 offers.
    pub const ALL: Self = Self {
        batches: true,
        stated_limits: false,
        digests: true,
        sessions: true,
        inventory: true,
        remembers: false,
        names: true,
    };
}

/// A registry, as the controller sees it.
///
/// Every call ends within the request timeout, and bounds the bytes of the answer that it reads. A call never retries;
/// the caller decides about retries.
pub trait Registry: Send + Sync + 'static {
    /// What is sent for one record.
    type Operation: Send + 'static;

    /// Whether [`Registry::project`] gives each pod the key and fingerprint that the store has. If so, it need not be
    /// called.
    fn is_identity(&self) -> bool {
        true
    }

    /// Whether the key of each record is the UID of its pod. Otherwise several pods may have one record.
    fn keys_are_uids(&self) -> bool {
        true
    }

    /// How this registry sees a pod.
    fn project(&self, pod: &Pod) -> Projection {
        Projection::identity(pod)
    }

    /// Records that other records refer to, and that are new in the registry, gone from it, or have been assigned
    /// something else since the last call. The pods that have these records are projected again.
    fn take_moved(&self) -> Vec<Uid> {
        Vec::new()
    }

    /// Whether things that all records may refer to are others since the last call. All pods are projected again.
    fn take_prepared_change(&self) -> bool {
        false
    }

    /// What is known of records without a pod that belong to others. None if no record belongs to another one.
    fn kinship(&self) -> Option<&dyn Kinship> {
        None
    }

    /// The registry removed this record together with its parent.
    fn removed(&self, key: &Uid) {
        let _ = key;
    }

    /// No pod has this record any more, as a watch reported.
    fn not_desired(&self, key: &Uid) {
        let _ = key;
    }

    /// The registry may have removed this record together with its parent: the answer was lost.
    fn may_be_removed(&self, key: &Uid) {
        let _ = key;
    }

    /// The id that people know a record by, if it is known and is not the key. `pod` is the pod that has the record, if
    /// the store has it.
    fn record_id(&self, key: &Uid, pod: Option<&Pod>) -> Option<RecordId> {
        let _ = (key, pod);
        None
    }

    /// The number of records that the registry returns otherwise than they were sent, and that are left so.
    fn left_differing(&self) -> usize {
        0
    }

    /// The record of a pod that a record without a pod may be, because the registry changes ids. The latter is not
    /// deleted while this is not clear.
    fn may_be_that_of(&self, key: &Uid) -> Option<Uid> {
        let _ = key;
        None
    }

    /// Prepares a registry without sessions for the writes of a term. Called before the first write of each term, and
    /// again until it succeeds. Returns whether pods may be seen otherwise from then on.
    fn prepare(&self, term: u64) -> impl Future<Output = Result<bool, Failure>> + Send {
        let _ = term;
        std::future::ready(Ok(false))
    }

    /// How long until [`Registry::send_notice`] has something to send. None if it has nothing to send. `in_sync` says
    /// that the registry is believed to equal the cluster, and that nothing is held or parked.
    fn notice_after(&self, in_sync: bool) -> Option<Duration> {
        let _ = in_sync;
        None
    }

    /// Sends a request about the target as a whole, if one is due.
    fn send_notice(&self, in_sync: bool) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = in_sync;
        std::future::ready(Ok(()))
    }

    /// The term ended, and writes in flight are abandoned. The next one begins with [`Registry::prepare`].
    fn end_term(&self) {}

    fn capabilities(&self) -> impl Future<Output = Result<Capabilities, Failure>> + Send;

    /// Opens a session. It replaces every earlier session of this writer.
    fn open_session(&self, request: OpenSession) -> impl Future<Output = Result<SessionOpened, Failure>> + Send;

    /// Renews the session. Returns another process of this writer that announced itself recently, if there is one.
    fn heartbeat(&self, beat: Heartbeat) -> impl Future<Output = Result<Option<Contender>, Failure>> + Send;

    /// Closes the session after a clean stop. Deletes nothing.
    fn close_session(&self, epoch: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Reads which process holds this writer's session.
    fn session_holder(&self) -> impl Future<Output = Result<Option<SessionHolder>, Failure>> + Send;

    /// Encodes the change of a record as an operation with this version.
    ///
    /// # Errors
    /// The record cannot be made of this pod. The next attempt has the same result.
    fn encode(
        &self,
        key: &Uid,
        version: Version,
        change: RecordChange<'_>,
    ) -> Result<Encoded<Self::Operation>, RenderFailure>;

    /// Sends operations. Returns one verdict per operation, in the same order.
    fn write(
        &self,
        epoch: u64,
        operations: Vec<Encoded<Self::Operation>>,
        batched: bool,
    ) -> impl Future<Output = Result<Vec<Verdict>, Failure>> + Send;

    /// How often the registry has answered. None if it answers each write: others may need no request, and then show
    /// nothing about the registry.
    fn answers(&self) -> Option<u64> {
        None
    }

    /// Reads the digests of the inventory, divided into this number of buckets.
    fn bucket_digests(&self, buckets: usize) -> impl Future<Output = Result<BucketDigests, Failure>> + Send;

    /// Reads a page of at most `limit` records, of one bucket or of the whole inventory.
    fn inventory(
        &self,
        bucket: Option<Bucket>,
        page: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<InventoryPage, Failure>> + Send;

    /// When to read the inventory again because the one that was read may lack records of an earlier term.
    fn inventory_again_after(&self) -> Option<Duration> {
        None
    }

    /// Reads the namespace and name in a pod's registered record, if there is one.
    fn record_name(&self, uid: Uid) -> impl Future<Output = Result<Option<RecordName>, Failure>> + Send;

    /// Reads the credential again, after the registry refused it.
    fn refresh_credential(&self);
}
