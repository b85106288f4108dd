//! The one place that decides: what is wanted of an id, what is known of it, and so what to do.
//!
//! It serves one key when an event wakes it, and all keys at start, after a list, at a resync. There is no second path.

use super::ledger::{
    belief::{Belief, Known},
    work::{Ended, Work},
};
use crate::model::{digest::Fingerprint, moment::Moment, pod::Shown};

/// What should be true of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The registry should hold the record with this fingerprint.
    Present(Fingerprint),
    /// The pod is there and cannot be read: the registry's record is left as it is.
    Unreadable,
    /// The pod's end was watched.
    Ended(Ended),
    /// The pod is not in a complete list that was begun after the last sight of it.
    Absent,
    /// Nobody can tell yet.
    Unknown,
}

/// What to do about one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The registry holds what is desired: nothing is owed.
    Rest,
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
    AwaitApproval,
    /// A list begun after the last sight of the pod has to be complete first.
    AwaitList,
    /// The registry refuses this very record.
    Parked,
}

/// Why a record is removed, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removal {
    /// The pod's end was watched.
    Watched(Ended),
    /// The pod was absent from a list, and that was confirmed.
    Absent,
    /// The pod is there, and the settings no longer select it.
    LeftRule,
}

/// What should be true of an id, from what the store shows of its pod and the evidence for its absence.
///
/// `list_begun` is when the newest complete list of the watch that showed the pod was begun (of all watches, where only
/// the registry named the id), none while there is no such list.
pub fn wanted(
    shown: Option<Shown>,
    belief: Option<&Belief>,
    work: Option<&Work>,
    list_begun: Option<Moment>,
) -> Wanted {
    match shown {
        Some(Shown::Record(record)) => return Wanted::Present(record),
        Some(Shown::Unreadable) => return Wanted::Unreadable,
        None => {}
    }
    if let Some(ended) = work.and_then(|work| work.ended) {
        return Wanted::Ended(ended);
    }
    let sighted = belief.and_then(Belief::sighted);
    match list_begun {
        Some(begun) if Some(begun) > sighted => Wanted::Absent,
        _ => Wanted::Unknown,
    }
}

/// What to do about an id: a pure function of what is wanted, what is known, and the time.
pub fn decide(wanted: Wanted, known: Known, work: Option<&Work>, now: Moment) -> Action {
    if work.is_some_and(|work| work.tries().flight.is_some()) {
        return Action::InFlight;
    }
    let unread = matches!(known, Known::Unread | Known::Supposed(_));
    let action = match (wanted, known) {
        (Wanted::Unknown, _) => return Action::AwaitList,
        (Wanted::Unreadable, _) => return Action::Rest,
        (Wanted::Present(desired), Known::Holds(held)) if held == desired => return Action::Rest,
        (Wanted::Present(_), _) if unread => return Action::AwaitInventory,
        (Wanted::Present(desired), _) if is_parked(work, desired) => return Action::Parked,
        (Wanted::Present(desired), _) => Action::Put(desired),
        (Wanted::Ended(_) | Wanted::Absent, Known::Absent) => return Action::Forget,
        // The registry may hold it, read or not: a watched end waits for no inventory.
        (Wanted::Ended(ended), _) => Action::Delete(Removal::Watched(ended)),
        (Wanted::Absent, _) if unread => return Action::AwaitInventory,
        (Wanted::Absent, _) => match work.and_then(|work| work.approved) {
            Some(removal) => Action::Delete(removal),
            None => return Action::AwaitApproval,
        },
    };
    match work.and_then(|work| work.tries().not_before) {
        Some(not_before) if not_before > now => Action::Wait(not_before),
        _ => action,
    }
}

fn is_parked(work: Option<&Work>, desired: Fingerprint) -> bool {
    work.map(Work::tries).is_some_and(|tries| tries.parked == Some(desired) && !tries.unparked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{digest::Digest, ids::Version},
        reconcile::{ledger::work::Flight, outcome::OperationKind},
    };

    const NOW: Moment = Moment::from_secs(100);

    fn digest(n: u8) -> Fingerprint {
        Digest([n; 32]).fingerprint()
    }

    fn work(change: impl FnOnce(&mut Work)) -> Work {
        let mut work = Work::owed_since(NOW);
        change(&mut work);
        work
    }

    #[test]
    fn desired_state_and_ledger_entry_decide_the_action() {
        use Action::*;
        let (present, ended) = (Wanted::Present(digest(1)), Wanted::Ended(Ended::Deleted));
        let removal = Delete(Removal::Watched(Ended::Deleted));
        let cases = [
            (present, Known::Unread, AwaitInventory, "a restart rewrites nothing that it has not compared"),
            (present, Known::Supposed(digest(1)), AwaitInventory, "a supposition is no knowledge"),
            (present, Known::Absent, Put(digest(1)), "a new pod"),
            (present, Known::Holds(digest(1)), Rest, "no change without a difference"),
            (present, Known::Holds(digest(2)), Put(digest(1)), "a changed pod"),
            (present, Known::Doubt, Put(digest(1)), "an answer was lost"),
            (Wanted::Unreadable, Known::Holds(digest(1)), Rest, "a pod that cannot be read is not a deleted pod"),
            (Wanted::Unreadable, Known::Absent, Rest, "nor is it registered"),
            (ended, Known::Unread, removal, "a watched end waits for no inventory"),
            (ended, Known::Holds(digest(1)), removal, "a watched end"),
            (ended, Known::Doubt, removal, "a watched end while an answer is missing"),
            (ended, Known::Absent, Forget, "born and gone before its first request"),
            (Wanted::Absent, Known::Unread, AwaitInventory, "absence means nothing before the inventory is read"),
            (Wanted::Absent, Known::Holds(digest(1)), AwaitApproval, "absence is confirmed before it deletes"),
            (Wanted::Absent, Known::Doubt, AwaitApproval, "absence in doubt as well"),
            (Wanted::Absent, Known::Absent, Forget, "gone on both sides"),
            (Wanted::Unknown, Known::Holds(digest(1)), AwaitList, "no list, no absence"),
        ];
        for (wanted, known, action, why) in cases {
            assert_eq!(decide(wanted, known, None, NOW), action, "{why}");
        }
    }

    #[test]
    fn id_has_one_request_and_waits_for_backoff() {
        let flight =
            Flight { kind: OperationKind::Put, result: Known::Holds(digest(1)), version: Version { epoch: 1, seq: 1 } };
        let flying = work(|w| w.tries_mut().flight = Some(flight));
        assert_eq!(decide(Wanted::Ended(Ended::Deleted), Known::Doubt, Some(&flying), NOW), Action::InFlight);
        let later = NOW + std::time::Duration::from_secs(1);
        let waiting = work(|w| w.tries_mut().not_before = Some(later));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Doubt, Some(&waiting), NOW), Action::Wait(later));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Doubt, Some(&waiting), later), Action::Put(digest(1)));
    }

    #[test]
    fn parked_record_waits_for_another_body() {
        // Its deletion does not wait.
        let parked = work(|w| w.tries_mut().parked = Some(digest(1)));
        assert_eq!(decide(Wanted::Present(digest(1)), Known::Absent, Some(&parked), NOW), Action::Parked);
        assert_eq!(decide(Wanted::Present(digest(2)), Known::Absent, Some(&parked), NOW), Action::Put(digest(2)));
        let delete = Action::Delete(Removal::Watched(Ended::Deleted));
        assert_eq!(decide(Wanted::Ended(Ended::Deleted), Known::Doubt, Some(&parked), NOW), delete);
    }

    #[test]
    fn absence_counts_only_in_lists_begun_later() {
        // The list begins after the last pod event of the pod.
        let belief = Belief::sighted_at(Moment::from_secs(10));
        let wanted = |begun| super::wanted(None, Some(&belief), None, begun);
        assert_eq!(wanted(None), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(9))), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(10))), Wanted::Unknown);
        assert_eq!(wanted(Some(Moment::from_secs(11))), Wanted::Absent);
    }

    #[test]
    fn stored_pod_is_desired_despite_an_earlier_deletion() {
        let ended = work(|w| w.ended = Some(Ended::DeletedOrLeftRule));
        let pod = crate::model::pod::to_record::unreadable("u", "n", "p", "1").shown();
        assert_eq!(wanted(Some(pod), None, Some(&ended), None), Wanted::Unreadable);
        assert_eq!(wanted(None, None, Some(&ended), None), Wanted::Ended(Ended::DeletedOrLeftRule));
    }
}
