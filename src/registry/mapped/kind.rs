//! The client of one kind of records. The kinds of a target share its connection and its lookups.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{
    MappedOperation, change_time, delete::RecordDeletion, judge::verdict, list::ListInProgress, memory::ChangeContent,
    now_ms, put::Put, records::Records, remembered::TargetMemory, transport::TargetTransport,
};
use crate::{
    mapping::{
        kind::Kind,
        target::{RenderedRecord, TermWords},
        writes::{ChangeKind, ChangeWords, RemovalWords},
    },
    model::{ids::Version, uid::Uid},
    reconcile::{
        deletion::Removal,
        outcome::{Failure, Verdict},
    },
    registry::{Encoded, client::encode::removal as removal_words, protocol::ObservedBy},
};

/// Bits of a change's order that count the changes of a session. Sessions are numbered by seconds, so that two sessions
/// do not overlap unless there are more than this number of changes per second.
const SEQUENCE_BITS: u32 = 22;

/// Writes, finds and lists the records of one kind.
pub(super) struct KindClient {
    pub(super) kind: &'static Kind,
    pub(super) transport: Arc<TargetTransport>,
    /// The memory writes it, too.
    pub(super) records: Arc<Mutex<Records>>,
    pub(super) list: tokio::sync::Mutex<Option<ListInProgress>>,
    /// That of the target.
    pub(super) memory: Arc<TargetMemory>,
    /// Allows as many lookups at a time as writes, however many batches need some.
    pub(super) lookups: Arc<Semaphore>,
    /// How many there may be.
    pub(super) lookups_max: usize,
    /// Numbers the pages of lists.
    tokens: AtomicU64,
}

impl KindClient {
    /// `is_referred_to` says whether other records use what the registry assigns to records of this kind. There is one
    /// lookup at a time.
    pub(super) fn new(kind: &'static Kind, is_referred_to: bool, transport: Arc<TargetTransport>) -> Self {
        let records = Records::new(kind.list().map(|list| list.lag), transport.timeout, is_referred_to);
        Self {
            kind,
            transport,
            records: Arc::new(Mutex::new(records)),
            list: tokio::sync::Mutex::default(),
            memory: Arc::default(),
            lookups: Arc::new(Semaphore::new(1)),
            lookups_max: 1,
            tokens: AtomicU64::default(),
        }
    }

    pub(super) fn next_token(&self) -> String {
        (self.tokens.fetch_add(1, Ordering::Relaxed) + 1).to_string()
    }

    /// The words of a change, and what was to be sent at the first attempt.
    fn change(&self, key: &Uid, version: Version, content: ChangeContent) -> (ChangeWords, ChangeContent) {
        let first = self.records.lock().first_attempt(key, content, (version, now_ms()));
        let order = version.epoch.saturating_mul(1 << SEQUENCE_BITS).saturating_add(version.seq);
        let kind = match content {
            ChangeContent::Put(_) => ChangeKind::Put,
            ChangeContent::Delete(_) => ChangeKind::Delete,
        };
        let id = format!("{key}-{}-{}", first.version.epoch, first.version.seq);
        (ChangeWords { id, order, time: change_time(first.began), kind }, first.content)
    }

    pub(super) fn put_of<'a>(
        &self,
        encoded: &'a Encoded<MappedOperation>,
        record: &'a RenderedRecord,
        term: &TermWords,
    ) -> Put<'a> {
        let (change, _) = self.change(&encoded.uid, encoded.version, ChangeContent::Put(record.fingerprint));
        Put { key: &encoded.uid, record, change, term: term.clone() }
    }

    pub(super) fn deletion_of<'a>(
        &self,
        encoded: &'a Encoded<MappedOperation>,
        removal: Removal,
        term: &TermWords,
    ) -> RecordDeletion<'a> {
        let (change, first) = self.change(&encoded.uid, encoded.version, ChangeContent::Delete(Some(removal)));
        let removal = if let ChangeContent::Delete(Some(first)) = first { first } else { removal };
        let (reason, observed) = removal_words(removal);
        let removal = RemovalWords { reason: reason.to_owned(), observed: observed == <&str>::from(ObservedBy::Watch) };
        RecordDeletion { key: &encoded.uid, change, removal, term: term.clone() }
    }

    /// Tells the log of the command `purge`, if there is one, which deletions the registry refused.
    pub(super) fn note_refusals(&self, operations: &[Encoded<MappedOperation>], verdicts: &[Verdict]) {
        let Some(log) = self.records.lock().deletion_log.clone() else { return };
        for (operation, verdict) in operations.iter().zip(verdicts) {
            let is_deletion = matches!(operation.body, MappedOperation::Delete { .. });
            // If the registry says when it works again, that is no refusal.
            if let Verdict::Retry { after: None, cause } | Verdict::Rejected { cause } = verdict
                && is_deletion
            {
                log.refuse(&operation.uid, cause);
            }
        }
    }

    pub(super) async fn write_one(
        &self,
        encoded: &Encoded<MappedOperation>,
        term: &TermWords,
    ) -> Result<Verdict, Failure> {
        match &encoded.body {
            MappedOperation::Put(record) => verdict(self.put(&self.put_of(encoded, record, term)).await),
            MappedOperation::Delete { removal, .. } => {
                verdict(self.delete(&self.deletion_of(encoded, *removal, term)).await)
            }
        }
    }
}
