//! What was written to the fake registry, and how often the same was written again.

use pod_registrar::{
    model::{digest::Digest, ids::Version, uid::Uid},
    reconcile::{deletion::Removal, outcome::OperationKind},
    registry::{Encoded, EncodedBody},
};
use tokio::time::Instant;

use super::fake::State;

/// How often something was written for the first time, and again unchanged although it may have been applied. What was
/// refused counts as not written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    pub(super) first: usize,
    pub(super) repeats: usize,
    /// What was held and acknowledged already, in the same session.
    pub(super) needless: usize,
    /// What was sent before the time that the registry had asked for.
    pub(super) early: usize,
}

/// One item that was written.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) uid: Uid,
    pub(super) kind: OperationKind,
    pub(super) version: Version,
    pub(super) removal: Option<Removal>,
}

/// One write request.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) at: Instant,
    pub(super) items: Vec<Item>,
}

/// The item that an operation is.
pub(super) fn item(operation: &Encoded) -> Item {
    let (kind, removal) = match &operation.body {
        EncodedBody::Put { .. } => (OperationKind::Put, None),
        EncodedBody::Delete(removal) => (OperationKind::Delete, Some(*removal)),
    };
    Item { uid: operation.uid.clone(), kind, version: operation.version, removal }
}

impl State {
    /// Counts what is sent. Says what was tried of the id before.
    pub(super) fn count_try(&mut self, operation: &Encoded) -> (String, Option<(Option<Digest>, bool)>) {
        let result = match &operation.body {
            EncodedBody::Put { digest, .. } => Some(*digest),
            EncodedBody::Delete(_) => None,
        };
        let told = self.told_until.remove(&*operation.uid.text());
        self.tries.early += usize::from(told.is_some_and(|until| Instant::now() < until));
        let before = self.tried.insert(operation.uid.to_string(), (result, false));
        match before {
            Some((before, false)) if before == result => self.tries.repeats += 1,
            before => {
                self.tries.first += 1;
                let held = self.records.get(&*operation.uid.text()).map(|(_, digest)| *digest);
                self.tries.needless += usize::from(before == Some((result, true)) && held == result);
            }
        }
        (operation.uid.to_string(), before)
    }

    /// What was tried was certainly not applied.
    pub(super) fn untry(&mut self, uid: String, before: Option<(Option<Digest>, bool)>) {
        match before {
            Some(before) => self.tried.insert(uid, before),
            None => self.tried.remove(&uid),
        };
    }
}
