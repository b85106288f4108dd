//! The client of a registry that a targets file describes.
//!
//! [`Target`] renders requests and reads answers; this client sends them, and remembers what it needs to write the next
//! one. It keeps the promises that the registry does not: no record of another owner is changed, no record is created
//! twice, and a list that contradicts itself counts for nothing.
//!
//! | question | file |
//! | --- | --- |
//! | How is one record written? | `put` |
//! | How is one record deleted, and may it be? | `delete` |
//! | How are several written in one request? | `batch` |
//! | How are all records read? | `list` |
//! | What if a list has an id twice? | `doubles` |
//! | What if the registry changes what is written? | `differing` |
//! | How are records read for people, without the ability to write? | `reader` |
//! | What if a list lacks what was acknowledged? | `unlisted` |
//! | What is remembered? | `records`, `table` |
//! | Which records of others may be taken over? | `adoption` |
//! | What outlives the process? | `memory`, `remembered` |
//! | What is sent about the target as a whole? | `notices` |
//! | What does an answer mean? | `judge` |
//! | Where do credentials come from? | `auth`, `secrets` |
//! | How are requests signed? | `sign` |
//! | What is sent, and how fast? | `transport`, `registry::pacer` |
//! | What carries requests? | [`carrier`] |

pub mod adoption;
mod auth;
mod batch;
pub mod carrier;
mod delete;
mod differing;
mod doubles;
mod find;
mod judge;
mod list;
pub mod memory;
mod notices;
mod prepare;
mod put;
pub mod reader;
pub mod recorder;
mod records;
mod remembered;
mod secrets;
mod sign;
mod table;
mod transport;
mod unlisted;

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use self::{
    carrier::MemoryRegistry,
    delete::RecordDeletion,
    judge::verdict,
    list::ListInProgress,
    memory::RowStore,
    notices::NoticeState,
    put::Put,
    recorder::ExchangeLog,
    records::{Records, Unshown},
    remembered::{MemoryTerm, RememberedPages},
    transport::TargetTransport,
};
use super::{
    Capabilities, Encoded, Excluded, Features, Projection, RecordChange, RecordName, Registry, RenderFailure,
    client::encode::removal as removal_words,
    credentials::Error,
    inventory::{Bucket, BucketDigests, InventoryPage},
    protocol::ObservedBy,
    session::{Contender, Heartbeat, OpenSession, SessionOpened},
};
use crate::{
    mapping::{
        login::LoginTemplate,
        spec::ConnectionSpec,
        target::{RenderedRecord, Target, TermWords},
        writes::{ChangeKind, ChangeWords, RemovalWords},
    },
    model::{digest::Digest, ids::Version, pod::Pod, uid::Uid},
    reconcile::{
        deletion::Removal,
        outcome::{Failure, Verdict},
        takeover::SessionHolder,
    },
};

/// Bits of a change's order that count the changes of a session. Sessions are numbered by seconds, so that two sessions
/// do not overlap unless there are more than this number of changes per second.
const SEQUENCE_BITS: u32 = 22;

/// What is sent for one record.
#[derive(Clone, Debug)]
pub enum MappedOperation {
    Put(Box<RenderedRecord>),
    Delete(Removal),
}

/// A client of one target.
pub struct TargetClient {
    target: &'static Target,
    transport: TargetTransport,
    records: Mutex<Records>,
    /// Keeps the records' rows for the next process.
    memory: Option<Box<dyn RowStore>>,
    /// Signs of life and rounds.
    rounds: Mutex<NoticeState>,
    memory_term: Mutex<MemoryTerm>,
    /// Held while the memory is opened.
    recalling: tokio::sync::Mutex<()>,
    /// The inventory that is being read from the memory.
    remembered: Mutex<Option<RememberedPages>>,
    term: RwLock<TermState>,
    list: tokio::sync::Mutex<Option<ListInProgress>>,
    /// Allows as many lookups at a time as writes, however many batches need some.
    lookups: Semaphore,
    /// How many there may be.
    lookups_max: usize,
    /// Numbers the pages of lists.
    tokens: std::sync::atomic::AtomicU64,
}

/// The words of the term in force.
pub(super) struct TermState {
    number: u64,
    words: TermWords,
    /// Whether the steps of `prepare` are done.
    is_prepared: bool,
    /// The record that was rendered last: the next call mostly encodes it.
    last: Mutex<Option<LastRender>>,
}

/// A record, rendered with the words of a term.
struct LastRender {
    /// Of the v1 record that it was made of.
    content: Digest,
    record: RenderedRecord,
}

impl TermState {
    fn new(number: u64, words: TermWords, is_prepared: bool) -> Self {
        Self { number, words, is_prepared, last: Mutex::default() }
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
    pub fn with_lookups(self, most: usize) -> Self {
        Self { lookups: Semaphore::new(most), lookups_max: most, ..self }
    }

    /// Makes a client of a registry in memory.
    pub fn in_memory(target: &'static Target, registry: Box<dyn MemoryRegistry>, timeout: Duration) -> Self {
        Self::over(target, TargetTransport::in_memory(registry, timeout))
    }

    fn over(target: &'static Target, transport: TargetTransport) -> Self {
        let lag = target.list().map(|list| list.lag).unwrap_or_default();
        let words = target.term(0, &json!({}));
        let mut records = Records::new(lag, transport.timeout);
        records.tracks_puts = target.notices.round.is_some();
        Self {
            target,
            records: Mutex::new(records),
            transport,
            memory: None,
            rounds: Mutex::default(),
            memory_term: Mutex::default(),
            recalling: tokio::sync::Mutex::default(),
            remembered: Mutex::default(),
            term: RwLock::new(TermState::new(0, words, false)),
            list: tokio::sync::Mutex::default(),
            lookups: Semaphore::new(1),
            lookups_max: 1,
            tokens: std::sync::atomic::AtomicU64::default(),
        }
    }

    pub fn target(&self) -> &'static Target {
        self.target
    }

    /// The number of records that the registry returns otherwise than they were sent, and that are left so.
    pub fn settled(&self) -> usize {
        self.records.lock().differing.settled()
    }

    /// Whether the inventory is what this client remembers: in a file, or for the rounds of this process.
    fn remembers(&self) -> bool {
        self.memory.is_some() || self.target.notices.round.is_some()
    }

    fn term(&self) -> TermWords {
        self.term.read().words.clone()
    }

    fn next_token(&self) -> String {
        (self.tokens.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1).to_string()
    }

    fn change(&self, key: &Uid, version: Version, record: Option<&RenderedRecord>) -> ChangeWords {
        let fingerprint = record.map(|record| record.fingerprint);
        let first = self.records.lock().first_attempt(key, fingerprint, (version, now_ms()));
        let order = version.epoch.saturating_mul(1 << SEQUENCE_BITS).saturating_add(version.seq);
        ChangeWords {
            id: format!("{key}-{}-{}", first.version.epoch, first.version.seq),
            order,
            time: change_time(first.began),
            kind: if record.is_some() { ChangeKind::Put } else { ChangeKind::Delete },
        }
    }

    fn put_of<'a>(
        &self,
        encoded: &'a Encoded<MappedOperation>,
        record: &'a RenderedRecord,
        term: &TermWords,
    ) -> Put<'a> {
        let change = self.change(&encoded.uid, encoded.version, Some(record));
        Put { key: &encoded.uid, record, change, term: term.clone() }
    }

    fn deletion_of<'a>(
        &self,
        encoded: &'a Encoded<MappedOperation>,
        removal: Removal,
        term: &TermWords,
    ) -> RecordDeletion<'a> {
        let (reason, observed) = removal_words(removal);
        let removal = RemovalWords { reason: reason.to_owned(), observed: observed == <&str>::from(ObservedBy::Watch) };
        let change = self.change(&encoded.uid, encoded.version, None);
        RecordDeletion { key: &encoded.uid, change, removal, term: term.clone() }
    }

    async fn write_one(&self, encoded: &Encoded<MappedOperation>) -> Result<Verdict, Failure> {
        let term = self.term();
        match &encoded.body {
            MappedOperation::Put(record) => verdict(self.put(&self.put_of(encoded, record, &term)).await),
            MappedOperation::Delete(removal) => verdict(self.delete(&self.deletion_of(encoded, *removal, &term)).await),
        }
    }
}

impl Registry for TargetClient {
    type Operation = MappedOperation;

    fn is_identity(&self) -> bool {
        false
    }

    fn keys_are_uids(&self) -> bool {
        self.target.id_is_uid()
    }

    fn project(&self, pod: &Pod) -> Projection {
        let Some(content) = &pod.content else { return Projection::Unreadable };
        let term = self.term.read();
        // Its record cannot be made yet, and is not at fault.
        if !term.is_prepared && self.target.needs_prepared() {
            return Projection::Unreadable;
        }
        match self.target.render(&content.record, &term.words) {
            Ok(Some(record)) => {
                let projection = Projection::Record { key: record.key.clone(), fingerprint: record.fingerprint };
                *term.last.lock() = Some(LastRender { content: content.digest, record });
                projection
            }
            Ok(None) => Projection::NotSelected(Excluded {
                key: self.target.key_of_record(&content.record, &term.words),
                by_scope: !self.target.has_in_scope(&content.record),
            }),
            Err(error) => Projection::Failed { cause: error.to_string() },
        }
    }

    fn record_id(&self, key: &Uid, pod: Option<&Pod>) -> Option<String> {
        if self.keys_are_uids() {
            return None;
        }
        let known = self.records.lock().table.get(key).and_then(|row| row.id().map(str::to_owned));
        known.or_else(|| {
            let rendered = self.target.render(&pod?.content.as_ref()?.record, &self.term()).ok()??;
            (rendered.key == *key).then_some(rendered.id)
        })
    }

    async fn prepare(&self, term: u64) -> Result<bool, Failure> {
        self.prepare_term(term).await?;
        Ok(self.target.needs_prepared())
    }

    /// Reads the first page of the list, which changes nothing. A registry without a list counts as reachable.
    async fn capabilities(&self) -> Result<Capabilities, Failure> {
        self.probe(&self.term()).await?;
        self.check_memory().await?;
        let (max_batch_items, max_batch_bytes) = self.batch_limits();
        let features = Features {
            batches: !self.target.batches.is_empty(),
            stated_limits: true,
            inventory: self.target.list().is_some() || self.remembers(),
            remembers: self.remembers(),
            ..Features::default()
        };
        Ok(Capabilities { max_batch_items, max_batch_bytes, max_record_bytes: usize::MAX, features })
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
                let body = MappedOperation::Delete(removal);
                let uid = key.clone();
                return Ok(Encoded { uid, version, fingerprint: None, record_bytes: 0, size_at_most: AROUND, body });
            }
        };
        let failure = |cause: String| RenderFailure { cause };
        let term = self.term.read();
        let last = term.last.lock().take_if(|last| last.content == content.digest);
        let record = match last {
            Some(last) => Some(last.record),
            None => {
                let rendered = self.target.render(&content.record, &term.words);
                rendered.map_err(|error| failure(error.to_string()))?
            }
        };
        let record = record.ok_or_else(|| failure(format!("the target does not select the pod {}", pod.uid)))?;
        if record.key != *key {
            return Err(failure(format!("the pod {} has another record by now", pod.uid)));
        }
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
        let verdicts = match operations.as_slice() {
            [operation] => self.write_one(operation).await.map(|verdict| vec![verdict]),
            operations => self.write_batch(operations).await,
        };
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
        if !self.assigns() {
            return None;
        }
        match self.records.lock().unshown() {
            Unshown::IsMissing => None,
            Unshown::UntilRead => Some(Duration::ZERO),
            Unshown::For(left) => Some(left),
        }
    }

    fn refresh_credential(&self) {
        self.transport.doubt();
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
