//! What the registry holds of a pod, for people and for the writer of receipts.

use super::Comparison;
use crate::{
    controller::{
        explain::{ComparedRecord, Selection},
        records::RecordsOfPod,
    },
    model::{
        moment::Moment,
        pod::{Pod, StoredPod},
        uid::Uid,
    },
    reconcile::{
        ledger::entry::Known,
        receipts::{Registration, TargetRecords},
    },
    registry::{DesiredState, Projection, Registry},
};

impl<R: Registry> Comparison<R> {
    /// The pod whose record has this key.
    pub(in crate::controller) fn owner_of<'a>(&'a self, key: &'a Uid) -> Option<&'a Uid> {
        self.records.owner_of(key)
    }

    /// The pod whose record has this key, if the store has it.
    pub(in crate::controller) fn pod_of(&self, key: &Uid) -> Option<Pod> {
        self.records.pod_of(key)
    }

    /// Whether the registry has neither the record nor one that it belongs to. A record below another one is live once
    /// that one is registered, also in a first sync.
    pub(in crate::controller) fn is_new(&self, key: &Uid) -> bool {
        self.records.families.parents_of(key).next().is_none() && self.ledger.known(key) == Known::Absent
    }

    /// What is known of a pod's record. Of several records, it is the first that is pending, or else the first one.
    pub(in crate::controller) fn record_of(&self, pod: &Uid, now: Moment) -> ComparedRecord {
        let RecordsOfPod { mut keys, selected, failed } = self.records.records_of(pod);
        let pending = keys.iter().position(|key| self.ledger.pending(key).is_some());
        let key = (!keys.is_empty()).then(|| keys.swap_remove(pending.unwrap_or_default()));
        let owner = key.as_ref().and_then(|key| self.records.owner_of(key)).filter(|owner| *owner != pod);
        let pending = key.as_ref().and_then(|key| self.ledger.pending(key));
        let shown = key.as_ref().and_then(|key| self.records.shown_by(None, key));
        ComparedRecord {
            decided: key.as_ref().map(|key| (self.ledger.known(key), self.decision(key, now))),
            other_pod: owner.and_then(|owner| self.records.view().get(owner)).map(|pod| pod.full_name()),
            pending_for: pending.map(|pending| now.since(pending.since())),
            label: key.as_ref().map(|key| self.label(key.clone())),
            key,
            selection: match failed {
                Some(cause) => Selection::Failed(cause),
                None if shown == Some(StoredPod::Unreadable) => Selection::Unreadable,
                None if selected => Selection::Selected,
                None => Selection::NotSelected,
            },
        }
    }

    /// What the registry holds of a pod, as the store shows it now: the event that showed it may still be to come.
    pub(in crate::controller) fn target_records(&self, uid: &Uid) -> TargetRecords {
        let Some(pod) = self.records.view().get(uid) else { return TargetRecords::default() };
        let is_identity = self.records.is_identity();
        let projection = if is_identity { Projection::identity(&pod) } else { self.registry.project(&pod) };
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
                let id = self.registry.record_id(&key, Some(pod)).and_then(|record| record.id);
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
