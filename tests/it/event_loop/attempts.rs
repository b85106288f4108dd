//! What was sent to the fake registry, and how often the same record was sent again.

use pod_registrar::{
    model::{digest::Digest, ids::Version, uid::Uid},
    reconcile::{
        deletion::Removal,
        outcome::{Failure, OperationKind, Verdict},
    },
    registry::{Encoded, EncodedBody},
};
use tokio::time::Instant;

use super::fake::State;

/// Counts first attempts, and retries of writes that may have been applied. A refused write counts as not sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    pub(super) first: usize,
    pub(super) retries: usize,
    /// Writes of a record that the registry held and had acknowledged.
    pub(super) needless: usize,
    /// Writes before the end of their Retry-After.
    pub(super) early: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) uid: Uid,
    pub(super) kind: OperationKind,
    pub(super) version: Version,
    pub(super) removal: Option<Removal>,
}

#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) at: Instant,
    pub(super) items: Vec<Item>,
}

pub(super) fn item(operation: &Encoded) -> Item {
    let (kind, removal) = match &operation.body {
        EncodedBody::Put { .. } => (OperationKind::Put, None),
        EncodedBody::Delete(removal) => (OperationKind::Delete, Some(*removal)),
    };
    Item { uid: operation.uid.clone(), kind, version: operation.version, removal }
}

impl State {
    /// Counts an operation. Returns the previous attempt for its UID.
    pub(super) fn count_attempt(&mut self, operation: &Encoded) -> (String, Option<(Option<Digest>, bool)>) {
        let result = match &operation.body {
            EncodedBody::Put { digest, .. } => Some(*digest),
            EncodedBody::Delete(_) => None,
        };
        let until = self.wait_until.remove(&*operation.uid.text());
        self.attempts.early += usize::from(until.is_some_and(|until| Instant::now() < until));
        let before = self.attempted.insert(operation.uid.to_string(), (result, false));
        match before {
            Some((before, false)) if before == result => self.attempts.retries += 1,
            before => {
                self.attempts.first += 1;
                let held = self.records.get(&*operation.uid.text()).map(|(_, digest)| *digest);
                self.attempts.needless += usize::from(before == Some((result, true)) && held == result);
            }
        }
        (operation.uid.to_string(), before)
    }

    /// Takes back an attempt that was certainly not applied.
    pub(super) fn take_back(&mut self, uid: String, before: Option<(Option<Digest>, bool)>) {
        match before {
            Some(before) => self.attempted.insert(uid, before),
            None => self.attempted.remove(&uid),
        };
    }
}

/// Which share of the writes fails, and how. A failed write is not applied.
#[derive(Clone, Debug)]
pub(super) enum FailureRate {
    /// Percent of the items, and the verdict they get.
    Items(u8, Verdict),
    /// Percent of the requests.
    Requests(u8, Failure),
}
