//! The one place that decides: what is wanted of an id, what is known of it, and so what to do.
//!
//! It serves one key when an event wakes it, and all keys at start, after a list, at a resync. There is no second path.

use super::{
    deletion::{Deletion, Removal},
    ledger::{
        entry::{Known, LedgerEntry},
        pending::Pending,
    },
};
use crate::model::{digest::Fingerprint, moment::Moment, pod::StoredPod};

/// What should be true of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The registry should hold the record with this fingerprint.
    Present(Fingerprint),
    /// The pod is there and cannot be read: the registry's record is left as it is.
    Unreadable,
    /// The pod's end was watched.
    Deleted(Deletion),
    /// The pod is not in a complete list that was begun after the last sight of it.
    Absent,
    /// Nobody can tell yet.
    Unknown,
}

/// What to do about one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The registry holds what is desired: nothing is owed.
    UpToDate,
    /// The pod is gone and the registry does not hold it: forget the id.
    Forget,
    /// Send the record.
    Put(Fingerprint),
    /// Remove the record.
    Delete(Removal),
    /// Not before this moment.
    Wait(Moment),
    /// A request is in flight: decide again when it is settled.
    InFlight,
    /// The inventory has to be read first.
    AwaitInventory,
    /// The absence has to be confirmed first: this is what the brake is asked about.
    AwaitConfirmation,
    /// A list begun after the last sight of the pod has to be complete first.
    AwaitList,
    /// The registry refuses this very record.
    Parked,
}

/// What should be true of an id, from what the store shows of its pod and the evidence for its absence.
///
/// `list_begun` is when the newest complete list of the watch that showed the pod was begun (of all watches, where only
/// the registry named the id), none while there is no such list.
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

/// What to do about an id: a pure function of what is wanted, what is known, and the time.
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
        // The registry may hold it, read or not: a watched end waits for no inventory.
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
            (present, Known::Unknown, AwaitInventory, "a restart rewrites nothing that it has not compared"),
            (present, Known::Assumed(digest(1)), AwaitInventory, "a supposition is no knowledge"),
            (present, Known::Absent, Put(digest(1)), "a new pod"),
            (present, Known::Registered(digest(1)), UpToDate, "no change without a difference"),
            (present, Known::Registered(digest(2)), Put(digest(1)), "a changed pod"),
            (present, Known::Uncertain, Put(digest(1)), "an answer was lost"),
            (
                Wanted::Unreadable,
                Known::Registered(digest(1)),
                UpToDate,
                "a pod that cannot be read is not a deleted pod",
            ),
            (Wanted::Unreadable, Known::Absent, UpToDate, "nor is it registered"),
            (deletion, Known::Unknown, removal, "a watched end waits for no inventory"),
            (deletion, Known::Registered(digest(1)), removal, "a watched end"),
            (deletion, Known::Uncertain, removal, "a watched end while an answer is missing"),
            (deletion, Known::Absent, Forget, "born and gone before its first request"),
            (Wanted::Absent, Known::Unknown, AwaitInventory, "absence means nothing before the inventory is read"),
            (Wanted::Absent, Known::Registered(digest(1)), AwaitConfirmation, "absence is confirmed before it deletes"),
            (Wanted::Absent, Known::Uncertain, AwaitConfirmation, "absence in doubt as well"),
            (Wanted::Absent, Known::Absent, Forget, "gone on both sides"),
            (Wanted::Unknown, Known::Registered(digest(1)), AwaitList, "no list, no absence"),
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
        // Its deletion does not wait.
        let parked = pending(|w| w.attempts_mut().parked = Some(digest(1)));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Absent, Some(&parked), NOW), Action::Parked);
        assert_eq!(decide(Wanted::Present(digest(2)), Known::Absent, Some(&parked), NOW), Action::Put(digest(2)));
        let delete = Action::Delete(Removal::Observed(Deletion::Deleted));
        assert_eq!(decide(Wanted::Deleted(Deletion::Deleted), Known::Uncertain, Some(&parked), NOW), delete);
    }

    #[test]
    fn absence_counts_only_in_lists_begun_later() {
        // The list begins after the last pod event of the pod.
        let entry = LedgerEntry::seen_at(Moment::from_secs(10));
        let wanted = |begun| super::wanted(None, Some(&entry), None, begun);
        assert_eq!(wanted(None), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(9))), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(10))), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(11))), Wanted::Absent);
    }

    #[test]
    fn stored_pod_is_desired_despite_an_earlier_deletion() {
        let deletion = pending(|w| w.deletion = Some(Deletion::DeletedOrLeftRule));
        let pod = crate::model::pod::to_record::unreadable("u", "n", "p", "1").shown();
        assert_eq!(wanted(Some(pod), None, Some(&deletion), None), Wanted::Unreadable);
        assert_eq!(wanted(None, None, Some(&deletion), None), Wanted::Deleted(Deletion::DeletedOrLeftRule));
    }
}
