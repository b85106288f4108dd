//! Decides what to do about a pod, from the desired record and its ledger entry.
//!
//! Events, full reconciles and resyncs all call [`decide`].

use super::{
    deletion::{Deletion, Removal},
    ledger::{
        entry::{Known, LedgerEntry},
        pending::Pending,
    },
};
use crate::model::{digest::Fingerprint, moment::Moment, pod::StoredPod};

/// The desired state of one UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The registry should hold the record with this fingerprint.
    Present(Fingerprint),
    /// The pod exists and cannot be read: its registered record stays as it is.
    Unreadable,
    /// A watch reported the deletion of the pod.
    Deleted(Deletion),
    /// A complete list that began after the pod was last seen does not show it.
    Absent,
    /// No list is new enough to tell.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The registry holds the desired record.
    UpToDate,
    /// Neither the cluster nor the registry has the pod: drop its ledger entry.
    Forget,
    Put(Fingerprint),
    Delete(Removal),
    /// Do nothing before this moment.
    Wait(Moment),
    /// A request is in flight: decide again when it is answered.
    InFlight,
    /// Wait until the inventory of the registry is read.
    AwaitInventory,
    /// Wait until the absence guard has confirmed the absence.
    AwaitConfirmation,
    /// Wait for a complete list that begins after the pod was last seen.
    AwaitList,
    /// The registry rejected this record.
    Parked,
}

/// The desired state of a UID, from the pod in the store, if there is one, and the evidence for its absence.
///
/// `list_begun` is when the newest complete list began: of the watch that showed the pod, or the oldest over all
/// watches if only the registry named the UID. It is `None` until there is such a list.
pub fn wanted(
    shown: Option<StoredPod>,
    entry: Option<&LedgerEntry>,
    pending: Option<&Pending>,
    list_begun: Option<Moment>,
) -> Wanted {
    match shown {
        Some(StoredPod::Record(record)) => return Wanted::Present(record),
        Some(StoredPod::Unreadable) => return Wanted::Unreadable,
        None => {}
    }
    if let Some(deletion) = pending.and_then(|pending| pending.deletion) {
        return Wanted::Deleted(deletion);
    }
    let last_seen = entry.and_then(LedgerEntry::last_seen);
    match list_begun {
        Some(begun) if Some(begun) > last_seen => Wanted::Absent,
        _ => Wanted::Unknown,
    }
}

/// What to do about a UID.
pub fn decide(wanted: Wanted, known: Known, pending: Option<&Pending>, now: Moment) -> Action {
    if pending.is_some_and(|pending| pending.attempts().in_flight.is_some()) {
        return Action::InFlight;
    }
    let unread = matches!(known, Known::Unknown | Known::Assumed(_));
    let action = match (wanted, known) {
        (Wanted::Unknown, _) => return Action::AwaitList,
        (Wanted::Unreadable, _) => return Action::UpToDate,
        (Wanted::Present(desired), Known::Registered(held)) if held == desired => return Action::UpToDate,
        (Wanted::Present(_), _) if unread => return Action::AwaitInventory,
        (Wanted::Present(desired), _) if is_parked(pending, desired) => return Action::Parked,
        (Wanted::Present(desired), _) => Action::Put(desired),
        (Wanted::Deleted(_) | Wanted::Absent, Known::Absent) => return Action::Forget,
        // An observed deletion does not wait for the inventory: the registry may hold the record.
        (Wanted::Deleted(deletion), _) => Action::Delete(Removal::Observed(deletion)),
        (Wanted::Absent, _) if unread => return Action::AwaitInventory,
        (Wanted::Absent, _) => match pending.and_then(|pending| pending.confirmed) {
            Some(removal) => Action::Delete(removal),
            None => return Action::AwaitConfirmation,
        },
    };
    match pending.and_then(|pending| pending.attempts().not_before) {
        Some(not_before) if not_before > now => Action::Wait(not_before),
        _ => action,
    }
}

fn is_parked(pending: Option<&Pending>, desired: Fingerprint) -> bool {
    pending.map(Pending::attempts).is_some_and(|attempts| attempts.parked == Some(desired) && !attempts.unparked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{digest::Digest, ids::Version},
        reconcile::{ledger::pending::InFlight, outcome::OperationKind},
    };

    const NOW: Moment = Moment::from_secs(100);

    fn digest(n: u8) -> Fingerprint {
        Digest([n; 32]).fingerprint()
    }

    fn pending(change: impl FnOnce(&mut Pending)) -> Pending {
        let mut pending = Pending::pending_since(NOW);
        change(&mut pending);
        pending
    }

    #[test]
    fn desired_state_and_ledger_entry_decide_the_action() {
        use Action::*;
        let (present, deletion) = (Wanted::Present(digest(1)), Wanted::Deleted(Deletion::Deleted));
        let removal = Delete(Removal::Observed(Deletion::Deleted));
        let cases = [
            (present, Known::Unknown, AwaitInventory, "a restart compares before it writes"),
            (present, Known::Assumed(digest(1)), AwaitInventory, "an assumed record is not confirmed"),
            (present, Known::Absent, Put(digest(1)), "a new pod"),
            (present, Known::Registered(digest(1)), UpToDate, "the registry holds the record"),
            (present, Known::Registered(digest(2)), Put(digest(1)), "a changed pod"),
            (present, Known::Uncertain, Put(digest(1)), "an answer was lost"),
            (Wanted::Unreadable, Known::Registered(digest(1)), UpToDate, "a pod that cannot be read is not deleted"),
            (Wanted::Unreadable, Known::Absent, UpToDate, "a pod that cannot be read is not registered"),
            (deletion, Known::Unknown, removal, "an observed deletion does not wait for the inventory"),
            (deletion, Known::Registered(digest(1)), removal, "an observed deletion"),
            (deletion, Known::Uncertain, removal, "an observed deletion after a lost answer"),
            (deletion, Known::Absent, Forget, "created and deleted before its first request"),
            (Wanted::Absent, Known::Unknown, AwaitInventory, "an absence needs the inventory"),
            (Wanted::Absent, Known::Registered(digest(1)), AwaitConfirmation, "absence is confirmed before it deletes"),
            (Wanted::Absent, Known::Uncertain, AwaitConfirmation, "the registry may hold it"),
            (Wanted::Absent, Known::Absent, Forget, "neither side has it"),
            (Wanted::Unknown, Known::Registered(digest(1)), AwaitList, "only a list can show an absence"),
        ];
        for (wanted, known, action, why) in cases {
            assert_eq!(decide(wanted, known, None, NOW), action, "{why}");
        }
    }

    #[test]
    fn id_has_one_request_and_waits_for_backoff() {
        let in_flight = InFlight {
            kind: OperationKind::Put,
            result: Known::Registered(digest(1)),
            version: Version { epoch: 1, seq: 1 },
        };
        let flying = pending(|w| w.attempts_mut().in_flight = Some(in_flight));
        assert_eq!(decide(Wanted::Deleted(Deletion::Deleted), Known::Uncertain, Some(&flying), NOW), Action::InFlight);
        let later = NOW + std::time::Duration::from_secs(1);
        let waiting = pending(|w| w.attempts_mut().not_before = Some(later));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Uncertain, Some(&waiting), NOW), Action::Wait(later));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Uncertain, Some(&waiting), later), Action::Put(digest(1)));
    }

    #[test]
    fn parked_record_waits_for_another_body() {
        // Its deletion is sent.
        let parked = pending(|w| w.attempts_mut().parked = Some(digest(1)));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Absent, Some(&parked), NOW), Action::Parked);
        assert_eq!(decide(Wanted::Present(digest(2)), Known::Absent, Some(&parked), NOW), Action::Put(digest(2)));
        let delete = Action::Delete(Removal::Observed(Deletion::Deleted));
        assert_eq!(decide(Wanted::Deleted(Deletion::Deleted), Known::Uncertain, Some(&parked), NOW), delete);
    }

    #[test]
    fn absence_counts_only_in_lists_begun_later() {
        // The list has to begin after the last event of the pod.
        let entry = LedgerEntry::seen_at(Moment::from_secs(10));
        let wanted = |begun| super::wanted(None, Some(&entry), None, begun);
        assert_eq!(wanted(None), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(9))), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(10))), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(11))), Wanted::Absent);
    }

    #[test]
    fn stored_pod_is_desired_despite_an_earlier_deletion() {
        let deletion = pending(|w| w.deletion = Some(Deletion::DeletedOrLeftSelection));
        let pod = crate::model::pod::to_record::unreadable("u", "n", "p", "1").shown();
        assert_eq!(wanted(Some(pod), None, Some(&deletion), None), Wanted::Unreadable);
        assert_eq!(wanted(None, None, Some(&deletion), None), Wanted::Deleted(Deletion::DeletedOrLeftSelection));
    }
}
