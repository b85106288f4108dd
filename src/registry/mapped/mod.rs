//! The client of a registry that a targets file describes.
//!
//! [`Target`] renders requests and reads answers; this client sends them, and remembers what it needs to write the next
//! one. It keeps the promises that the registry does not: no record of another owner is changed, no record is created
//! twice, and a list that contradicts itself counts for nothing.
//!
//! | question | file |
//! | --- | --- |
//! | How is one record written? | `put` |
//! | How is one record deleted, and may it be? | `delete`, `deletion_log` |
//! | How are several written in one request? | `batch` |
//! | How are all records read, and one? | `list`, `find` |
//! | What may a list of this term say of records that it does not show? | `shown` |
//! | What has to exist before records can refer to it? | `prepare` |
//! | Which record is which in a list? What if it has an id twice? | `identify`, `doubles` |
//! | What if the registry returns ids in another form? | `renamed`, `alike` |
//! | What if the registry changes what is written? | `differing` |
//! | What is done for each kind of records, and what for all together? | `kind`, `kinds` |
//! | How are records read for people, without the ability to write? | `reader` |
//! | What if a list lacks what was acknowledged? | `unlisted` |
//! | What if the registry does not show yet what it created? | `fresh` |
//! | What if writes have no effect? | `ineffective` |
//! | What is remembered? | `records`, `knowledge`, `table`, `attempt`, `departed` |
//! | Which records of others may be taken over? | `adoption` |
//! | What outlives the process? | `memory`, `remembered` |
//! | What is sent about the target as a whole? | `notices` |
//! | What does an answer mean? | `judge` |
//! | Where do credentials come from? | `auth`, `secrets` |
//! | How are requests signed? | `sign` |
//! | What is sent, and how fast? | `transport`, `registry::pacer` |
//! | What was exchanged lately, for people? | [`recorder`] |
//! | What carries requests? | [`carrier`] |

pub mod adoption;
mod alike;
mod attempt;
mod auth;
mod batch;
pub mod carrier;
mod delete;
pub mod deletion_log;
mod departed;
mod differing;
mod doubles;
mod find;
mod fresh;
mod identify;
mod ineffective;
mod judge;
mod kind;
mod kinds;
mod knowledge;
mod list;
pub mod memory;
mod notices;
mod prepare;
mod put;
pub mod reader;
pub mod recorder;
mod records;
mod remembered;
mod renamed;
mod secrets;
mod shown;
mod sign;
mod table;
mod transport;
mod unlisted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use self::{
    carrier::LocalRegistry,
    deletion_log::DeletionLog,
    kind::KindClient,
    notices::NoticeState,
    recorder::ExchangeLog,
    remembered::{RememberedPages, TargetMemory},
    shown::Unshown,
    transport::TargetTransport,
};
use super::{
    Capabilities, Encoded, Excluded, Features, Kinship, Projection, RecordChange, RecordId, RecordName, Registry,
    RenderFailure,
    credentials::Error,
    inventory::{Bucket, BucketDigests, InventoryPage},
    session::{Contender, Heartbeat, OpenSession, SessionOpened},
};
use crate::{
    mapping::{
        kind::Kind,
        login::LoginTemplate,
        spec::ConnectionSpec,
        target::{RenderedRecord, Target, TermWords, records::RecordRendering},
    },
    model::{digest::Digest, ids::Version, pod::Pod, record::Record, uid::Uid},
    reconcile::{
        deletion::Removal,
        outcome::{Failure, Verdict},
        takeover::SessionHolder,
    },
};

/// What is sent for one record.
#[derive(Clone, Debug)]
pub enum MappedOperation {
    Put(Box<RenderedRecord>),
    Delete {
        removal: Removal,
        /// The position of the record's kind among those of the target.
        kind: usize,
    },
}

/// A client of one target.
pub struct TargetClient {
    target: &'static Target,
    transport: Arc<TargetTransport>,
    /// One per kind of the target, in its order.
    kinds: Vec<KindClient>,
    /// Signs of life and rounds.
    rounds: Mutex<NoticeState>,
    /// That of its kinds.
    memory: Arc<TargetMemory>,
    /// The inventory that is being read from the memory, or from the tables.
    pages: Mutex<Option<RememberedPages>>,
    term: RwLock<TermState>,
    /// Whether `prepare` gave other values since the event loop asked.
    has_prepared_change: AtomicBool,
}

/// The words of the term in force.
pub(super) struct TermState {
    number: u64,
    words: TermWords,
    /// What the steps of `prepare` gave, once they are done.
    prepared: Option<Json>,
    /// The records that were rendered last: the next call mostly encodes one of them.
    last: Mutex<Option<LastRender>>,
}

/// The records of one pod, rendered with the words of a term.
struct LastRender {
    /// Of the v1 record that they were made of.
    content: Digest,
    records: Vec<RenderedRecord>,
}

impl TermState {
    fn new(number: u64, words: TermWords, prepared: Option<Json>) -> Self {
        Self { number, words, prepared, last: Mutex::default() }
    }
}

impl TargetClient {
    /// Makes a client. It reads the files that `connection` names, and connects later. The target is never freed,
    /// because a process has the same targets until it ends.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(
        target: Target,
        connection: &ConnectionSpec,
        login: Option<LoginTemplate>,
        timeout: Duration,
        log: Option<Arc<ExchangeLog>>,
    ) -> Result<Self, Error> {
        let target: &'static Target = Box::leak(Box::new(target));
        Ok(Self::over(target, TargetTransport::new(connection, login, timeout, log)?))
    }

    /// The same with up to this many lookups at a time. Without it, there is one at a time.
    #[must_use]
    pub fn with_lookups(mut self, most: usize) -> Self {
        let lookups = Arc::new(Semaphore::new(most));
        for kind in &mut self.kinds {
            (kind.lookups, kind.lookups_max) = (lookups.clone(), most);
        }
        self
    }

    /// The same, but looks each record up before it is deleted, if the target can, and notes those that were deleted.
    #[must_use]
    pub fn with_deletion_log(self, log: &DeletionLog) -> Self {
        self.kinds.iter().for_each(|kind| kind.records.lock().deletion_log = Some(log.clone()));
        self
    }

    /// Makes a client of a registry in the same process.
    pub fn local(target: &'static Target, registry: Box<dyn LocalRegistry>, timeout: Duration) -> Self {
        Self::over(target, TargetTransport::local(registry, timeout))
    }

    fn over(target: &'static Target, transport: TargetTransport) -> Self {
        let (words, transport) = (target.term(0, &json!({})), Arc::new(transport));
        let kinds = kind_clients(target, &transport);
        let term = RwLock::new(TermState::new(0, words, None));
        let (rounds, memory, pages) = (Mutex::default(), Arc::default(), Mutex::default());
        let has_prepared_change = AtomicBool::new(false);
        Self { target, transport, kinds, rounds, memory, pages, term, has_prepared_change }
    }

    pub fn target(&self) -> &'static Target {
        self.target
    }

    /// Whether the inventory is what this client remembers: in a file, or for the rounds of this process.
    fn remembers(&self) -> bool {
        self.memory.is_used() || self.target.notices.round.is_some()
    }

    fn term(&self) -> TermWords {
        self.term.read().words.clone()
    }

    /// The records of a pod that can be rendered.
    fn rendered(&self, record: &Record, term: &TermWords) -> Result<Vec<RenderedRecord>, RenderFailure> {
        let records = self.target.records(record, term, &|kind, key| self.assigned(kind, key));
        let records = records.map_err(|error| RenderFailure { cause: error.to_string() })?;
        Ok(records.map(kinds::rendered).unwrap_or_default())
    }
}

fn kind_clients(target: &'static Target, transport: &Arc<TargetTransport>) -> Vec<KindClient> {
    let client = |kind: &'static Kind| {
        let is_referred_to = target.kinds.iter().any(|other| target.refers_to(other, kind));
        KindClient::new(kind, is_referred_to, transport.clone())
    };
    target.kinds.iter().map(client).collect()
}

impl Registry for TargetClient {
    type Operation = MappedOperation;

    fn is_identity(&self) -> bool {
        false
    }

    fn keys_are_uids(&self) -> bool {
        self.target.keys_are_uids()
    }

    fn project(&self, pod: &Pod) -> Projection {
        let Some(content) = &pod.content else { return Projection::Unreadable };
        let term = self.term.read();
        // Its record cannot be made yet, and is not at fault.
        if term.prepared.is_none() && self.target.needs_prepared() {
            return Projection::Unreadable;
        }
        let records = match self.target.records(&content.record, &term.words, &|kind, key| self.assigned(kind, key)) {
            Ok(Some(records)) => records,
            Ok(None) => {
                return Projection::NotSelected(Excluded {
                    keys: self.target.keys_of(&content.record, &term.words),
                    by_scope: !self.target.has_in_scope(&content.record),
                });
            }
            Err(error) => return Projection::Failed { cause: error.to_string() },
        };
        let projection = match records.as_slice() {
            [record] if !self.target.has_kinds() => match &record.state {
                RecordRendering::Rendered(record) => {
                    Projection::Record { key: record.key.clone(), fingerprint: record.fingerprint }
                }
                RecordRendering::Failed(error) => return Projection::Failed { cause: error.to_string() },
                RecordRendering::Waits => return Projection::Unreadable,
            },
            records => Projection::Records(records.iter().map(|record| self.desired(record)).collect()),
        };
        let records = kinds::rendered(records);
        self.expect(&records);
        *term.last.lock() = Some(LastRender { content: content.digest, records });
        projection
    }

    fn not_desired(&self, key: &Uid) {
        self.kinds.iter().for_each(|kind| kind.records.lock().ids.not_desired(key));
    }

    fn take_moved(&self) -> Vec<Uid> {
        self.kinds.iter().flat_map(|kind| kind.records.lock().take_moved()).collect()
    }

    fn take_prepared_change(&self) -> bool {
        self.has_prepared_change.swap(false, Ordering::Relaxed)
    }

    fn kinship(&self) -> Option<&dyn Kinship> {
        if self.has_families() { Some(self) } else { None }
    }

    fn removed(&self, key: &Uid) {
        for kind in &self.kinds {
            kind.records.lock().removed_with_parent(key);
        }
        self.memory.keep_soon(key);
    }

    fn may_be_removed(&self, key: &Uid) {
        for kind in &self.kinds {
            kind.records.lock().may_be_removed(key);
        }
        self.memory.keep_soon(key);
    }

    fn record_id(&self, key: &Uid, pod: Option<&Pod>) -> Option<RecordId> {
        if self.keys_are_uids() {
            return self.may_be_that_of(key).map(|_| RecordId { kind: None, id: Some(key.to_string()) });
        }
        let named = |kind: &Kind, id| RecordId { kind: kind.name().map(str::to_owned), id };
        let known = |kind: &KindClient| Some(named(kind.kind, Some(kind.records.lock().known_id(key)?)));
        self.kinds.iter().find_map(known).or_else(|| {
            let records = self.target.records(&pod?.content.as_ref()?.record, &self.term(), &|_, _| None);
            let record = records.ok()??.into_iter().find(|record| record.key == *key)?;
            Some(named(self.target.kinds.get(record.kind)?, Some(record.id)))
        })
    }

    fn left_differing(&self) -> usize {
        self.kinds.iter().map(|kind| kind.records.lock().differing.settled()).sum()
    }

    fn may_be_that_of(&self, key: &Uid) -> Option<Uid> {
        self.kinds.iter().find_map(|kind| kind.records.lock().ids.may_be_that_of(key).cloned())
    }

    async fn prepare(&self, term: u64) -> Result<bool, Failure> {
        self.prepare_term(term).await?;
        Ok(self.target.needs_prepared())
    }

    /// Reads the first page of the list, which changes nothing. A registry without a list counts as reachable.
    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        let (term, is_prepared) = (self.term(), self.is_prepared());
        if let Some(kind) = self.kinds.first() {
            kind.probe(&term, is_prepared).await?;
        }
        self.check_memory().await?;
        let (max_batch_items, max_batch_bytes) = self.batch_limits();
        let features = Features {
            batches: self.target.kinds.iter().any(|kind| !kind.batches.is_empty()),
            stated_limits: true,
            inventory: self.target.lists() || self.remembers(),
            remembers: self.remembers(),
            ..Features::default()
        };
        Ok(Capabilities { max_batch_items, max_batch_bytes, max_record_bytes: None, features })
    }

    async fn open_session(&self, _: OpenSession) -> Result<SessionOpened, Failure> {
        Err(unsupported("sessions"))
    }

    async fn heartbeat(&self, _: Heartbeat) -> Result<Option<Contender>, Failure> {
        Err(unsupported("sessions"))
    }

    async fn close_session(&self, _: u64) -> Result<(), Failure> {
        Err(unsupported("sessions"))
    }

    async fn session_holder(&self) -> Result<Option<SessionHolder>, Failure> {
        Err(unsupported("sessions"))
    }

    fn encode(
        &self,
        key: &Uid,
        version: Version,
        change: RecordChange<'_>,
    ) -> Result<Encoded<MappedOperation>, RenderFailure> {
        // What surrounds a record in a batch.
        const AROUND: usize = 512;
        let (pod, content) = match change {
            RecordChange::Put(pod, content) => (pod, content),
            RecordChange::Delete(removal) => {
                let body = MappedOperation::Delete { removal, kind: self.kind_of(key) };
                let uid = key.clone();
                return Ok(Encoded { uid, version, fingerprint: None, record_bytes: 0, size_at_most: AROUND, body });
            }
        };
        let failure = |cause: String| RenderFailure { cause };
        let term = self.term.read();
        let last = term.last.lock().take_if(|last| last.content == content.digest);
        let mut records = match last {
            Some(last) => last.records,
            None => self.rendered(&content.record, &term.words)?,
        };
        let place = records.iter().position(|record| record.key == *key);
        let place = place.ok_or_else(|| failure(format!("the pod {} has no such record by now", pod.uid)))?;
        let record = records.swap_remove(place);
        let record_bytes = match &record.body {
            Json::Null => 0,
            body => body.to_string().len(),
        };
        Ok(Encoded {
            uid: key.clone(),
            version,
            fingerprint: Some(record.fingerprint),
            record_bytes,
            // Base64 makes texts longer.
            size_at_most: AROUND + record_bytes / 3 * 4,
            body: MappedOperation::Put(Box::new(record)),
        })
    }

    async fn write(&self, _: u64, operations: Vec<Encoded<MappedOperation>>, _: bool) -> Result<Vec<Verdict>, Failure> {
        let verdicts = self.write_kinds(operations).await;
        // If this fails, the registry's answers still hold, and the next request waits for the memory.
        let _ = self.save().await;
        verdicts
    }

    async fn bucket_digests(&self, _: usize) -> Result<BucketDigests, Failure> {
        Err(unsupported("digests"))
    }

    async fn inventory(&self, _: Option<Bucket>, page: Option<String>, limit: usize) -> Result<InventoryPage, Failure> {
        if !self.remembers() {
            return self.page(page).await;
        }
        if page.is_none() {
            // Also if nothing changes, a file that was deleted is noticed.
            self.save().await?;
            self.begin_round().await?;
        }
        self.remembered_page(page.as_deref(), limit)
    }

    fn notice_after(&self, in_sync: bool) -> Option<Duration> {
        self.next_notice(in_sync)
    }

    async fn send_notice(&self, in_sync: bool) -> Result<(), Failure> {
        self.notify(in_sync).await
    }

    fn answers(&self) -> Option<u64> {
        Some(self.transport.answers())
    }

    fn end_term(&self) {
        self.forget_term();
    }

    async fn record_name(&self, _: Uid) -> Result<Option<RecordName>, Failure> {
        Err(unsupported("names"))
    }

    fn inventory_again_after(&self) -> Option<Duration> {
        if self.remembers() {
            return self.round_after();
        }
        let after = |kind: &KindClient| {
            let mut records = kind.records.lock();
            match records.unshown() {
                Unshown::UntilRead => Some(Duration::ZERO),
                Unshown::For(left) => Some(left),
                // Each record is looked up instead.
                _ if kind.kind.find.is_some() => None,
                _ => records.unlisted.awaits_list().then_some(Duration::ZERO),
            }
        };
        self.kinds.iter().filter(|kind| kind.assigns()).filter_map(after).max()
    }

    fn refresh_credential(&self) {
        self.transport.renew_credentials();
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// A time in milliseconds since 1970, as templates see it.
fn change_time(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn unsupported(what: &str) -> Failure {
    Failure::Broken(format!("a target that a file describes has no {what}"))
}

#[cfg(test)]
mod tests;
