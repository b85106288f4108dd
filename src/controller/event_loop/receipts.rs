//! Receipts: what is acknowledged, and what the registry holds of a pod.

use super::EventLoop;
use crate::{
    controller::receipts::ReceiptQuestion,
    model::{moment::Moment, pod::Pod, uid::Uid},
    reconcile::{
        ledger::entry::Known,
        outcome::OperationKind,
        receipts::{Registration, TargetRecords},
    },
    registry::{DesiredState, Projection, Registry},
};

impl<R: Registry> EventLoop<R> {
    /// The registry acknowledged an operation on a record.
    pub(super) fn acknowledged(&mut self, key: Uid, kind: OperationKind, now: Moment) {
        self.receipts.acknowledged(&key, kind, self.records.owner_of(&key), now);
        self.activity.acknowledged(key, kind, now);
    }

    pub(super) fn answer_receipts(&self, ReceiptQuestion { pods, reply }: ReceiptQuestion) {
        // The writer may have stopped waiting.
        let _ = reply.send(pods.iter().map(|pod| self.target_records(pod)).collect());
    }

    /// What the registry holds of a pod, as the store shows it now: the event that showed it may still be to come.
    fn target_records(&self, uid: &Uid) -> TargetRecords {
        let Some(pod) = self.records.view().get(uid).filter(|_| self.leads()) else { return TargetRecords::default() };
        let registry = self.requests.registry();
        let projection = if self.records.is_identity() { Projection::identity(&pod) } else { registry.project(&pod) };
        match projection {
            Projection::NotSelected(_) => TargetRecords { registration: Registration::NotSelected, ids: Vec::new() },
            Projection::Record { key, fingerprint } => {
                self.of_records(&pod, [(key, Some(Known::Registered(fingerprint)))].into_iter())
            }
            Projection::Records(records) => {
                let desired = records.into_iter().map(|record| match record.state {
                    DesiredState::Made(fingerprint) => (record.key, Some(Known::Registered(fingerprint))),
                    DesiredState::Waits | DesiredState::Failed { .. } => (record.key, None),
                });
                self.of_records(&pod, desired)
            }
            // The records that it had stay as they are, and are not the newest.
            Projection::Unreadable | Projection::Failed { .. } => {
                let records = self.of_records(&pod, self.records.keys_of(uid).iter().map(|key| (key.clone(), None)));
                let is_unknown = records.registration == Registration::Unknown;
                TargetRecords {
                    registration: if is_unknown { Registration::Unknown } else { Registration::Waiting },
                    ..records
                }
            }
        }
    }

    /// The same for a pod with these records, each with what should be known of it.
    fn of_records(&self, pod: &Pod, desired: impl Iterator<Item = (Uid, Option<Known>)>) -> TargetRecords {
        let (mut ids, mut registration, mut count) = (Vec::new(), Registration::Registered, 0);
        for (key, desired) in desired {
            count += 1;
            let known = self.ledger.known(&key);
            if matches!(known, Known::Registered(_)) {
                let id = self.requests.registry().record_id(&key, Some(pod)).and_then(|record| record.id);
                ids.push(id.unwrap_or_else(|| key.to_string()));
            }
            // Another pod may have the record. It is made of that one then.
            let is_held =
                Some(known) == desired || self.has_other_owner(&key, pod) && self.records.is_held(&key, &self.ledger);
            registration = match known {
                Known::Unknown | Known::Assumed(_) | Known::Uncertain => Registration::Unknown,
                _ if is_held => registration,
                _ if registration == Registration::Registered => Registration::Waiting,
                _ => registration,
            };
        }
        // Nothing is to be registered of a pod without records.
        TargetRecords { registration: if count == 0 { Registration::NotSelected } else { registration }, ids }
    }

    fn has_other_owner(&self, key: &Uid, pod: &Pod) -> bool {
        self.records.owner_of(key).is_some_and(|owner| *owner != pod.uid)
    }
}
