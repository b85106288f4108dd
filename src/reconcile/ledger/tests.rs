//! The ledger: a pending change stays until it is acknowledged.

use super::*;
use crate::reconcile::ledger::reading::Drift;
use crate::{
    model::{
        digest::{Buckets, Digest, Fingerprint},
        ids::Version,
    },
    reconcile::outcome::{OperationKind, StoredVersion},
};

const fn at(secs: u64) -> Moment {
    Moment::from_secs(secs)
}

fn digest(n: u8) -> Fingerprint {
    whole(n).fingerprint()
}

fn whole(n: u8) -> Digest {
    Digest([n; 32])
}

fn put(n: u8, seq: u64) -> InFlight {
    InFlight { kind: OperationKind::Put, result: Known::Registered(digest(n)), version: Version { epoch: 3, seq } }
}

fn seeded() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.finish_reading();
    ledger
}

impl LedgerEntry {
    pub(in crate::reconcile) fn seen_at(last_seen: Moment) -> Self {
        let mut entry = Self::new(&"a".into(), Known::Unknown);
        entry.see(last_seen);
        entry
    }
}

#[test]
fn acknowledged_put_makes_the_entry_registered() {
    // The acknowledgement says since when the change was pending.
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.pod_seen(&uid, 0, at(1));
    ledger.mark_pending(&uid, at(1));
    ledger.begin(&uid, put(1, 1), at(2));
    assert_eq!(ledger.settle(&uid, Verdict::Done, at(3), 0), Settled::Acknowledged(at(1)));
    assert_eq!((ledger.known(&uid), ledger.owned()), (Known::Registered(digest(1)), 1));
    ledger.clear_pending(&uid);
    assert!(ledger.pending(&uid).is_none());
    ledger.forget(&uid);
    assert_eq!((ledger.known(&uid), ledger.owned()), (Known::Absent, 0));
}

#[test]
fn failures_never_drop_a_pending_change() {
    let verdicts = [
        Verdict::Retry { after: None, cause: String::new() },
        Verdict::Uncertain { cause: String::new() },
        Verdict::Rejected { cause: String::new() },
        Verdict::Stale { current: None },
        Verdict::Tombstoned { current: None },
    ];
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.deleted(&uid, Deletion::Deleted, at(1));
    for round in 0..1000_u64 {
        let verdict = verdicts[usize::try_from(round).unwrap() % 4].clone();
        ledger.begin(&uid, InFlight { kind: OperationKind::Delete, result: Known::Absent, ..put(1, round) }, at(round));
        ledger.settle(&uid, verdict, at(round), round);
        assert_eq!(ledger.pending(&uid).map(|w| (w.deletion, w.since())), Some((Some(Deletion::Deleted), at(1))));
    }
}

#[test]
fn lost_answer_makes_an_entry_uncertain() {
    // An unreachable registry does not, because nothing was sent.
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.begin(&uid, put(1, 1), at(1));
    ledger.fail(&uid, Applied::No, Blame::Elsewhere, at(2), 0);
    assert_eq!(ledger.known(&uid), Known::Absent);
    ledger.begin(&uid, put(1, 2), at(3));
    ledger.fail(&uid, Applied::Maybe, Blame::OneOf(500), at(4), 0);
    assert_eq!(ledger.known(&uid), Known::Uncertain);
    let pending = ledger.pending(&uid).unwrap();
    assert_eq!(
        (pending.attempts().isolation, pending.attempts().not_before),
        (Isolation::part_of(64, 1), None),
        "in a batch with others it is sent again at once, in a smaller batch"
    );
    ledger.begin(&uid, put(1, 3), at(5));
    ledger.fail(&uid, Applied::Maybe, Blame::Alone, at(6), 0);
    assert!(ledger.pending(&uid).unwrap().attempts().not_before > Some(at(6)), "alone it is at fault and waits");
}

#[test]
fn stale_version_acknowledges_only_an_own_newer_one() {
    let current = |epoch, seq| StoredVersion { version: Version { epoch, seq }, digest: Some(whole(9)) };
    for (current, known) in [
        (Some(current(3, 8)), Known::Registered(digest(9))),
        (Some(current(2, 8)), Known::Uncertain),
        (Some(current(4, 1)), Known::Uncertain),
        (None, Known::Uncertain),
    ] {
        let (mut ledger, uid) = (seeded(), Uid::from("a"));
        ledger.begin(&uid, put(1, 5), at(1));
        let settled = ledger.settle(&uid, Verdict::Stale { current }, at(2), 0);
        assert_eq!((settled, ledger.known(&uid)), (Settled::Superseded(current.map(|c| c.version)), known));
    }
}

#[test]
fn matching_bucket_confirms_only_assumed_records() {
    let mut ledger = Ledger::default();
    for name in ["a", "b"] {
        ledger.pod_seen(&name.into(), 0, at(1));
    }
    ledger.assume(|uid, _| (uid.text() == "a").then(|| digest(1)));
    let buckets = ledger.buckets(Buckets::One);
    assert_eq!(buckets, [(1, digest(1))]);
    ledger.confirm_bucket(Buckets::One, |_| true);
    ledger.finish_reading();
    assert_eq!(ledger.known(&"a".into()), Known::Registered(digest(1)));
    assert_eq!(ledger.known(&"b".into()), Known::Absent, "the registry's bucket does not hold it");
}

#[test]
fn inventory_is_compared_with_the_ledger() {
    let (mut ledger, a, b, c) = (seeded(), Uid::from("a"), Uid::from("b"), Uid::from("c"));
    for uid in [&a, &b] {
        ledger.set_known(uid, Known::Registered(digest(1)));
    }
    ledger.assume(|_, _| None);
    let now = at(6);
    assert_eq!(ledger.inventory_has(&a, Some(digest(2)), now), Some(Drift::Differing));
    assert_eq!(ledger.inventory_has(&c, Some(digest(3)), now), Some(Drift::Extra));
    assert_eq!(ledger.inventory_has(&c, Some(digest(3)), now), None);
    assert_eq!(ledger.entry(&c).unwrap().last_seen(), Some(now), "only a list begun after this can prove it absent");
    assert_eq!(ledger.inventory_lacks_the_others(Buckets::One, |_| true), 0, "its bucket is equal");
    assert_eq!((ledger.known(&b), ledger.owned()), (Known::Registered(digest(1)), 3));
    assert_eq!(ledger.inventory_lacks_the_others(Buckets::One, |_| false), 1);
    assert_eq!(ledger.inventory_lacks_the_others(Buckets::One, |_| false), 0, "it is known now");
    assert_eq!((ledger.known(&b), ledger.owned()), (Known::Absent, 2));
}

#[test]
fn reading_ignores_records_changed_since_it_began() {
    let [flying, acked, sent, still] = ["flying", "acked", "sent", "still"].map(Uid::from);
    let reading = |named: bool| {
        let mut ledger = seeded();
        for (uid, seq) in [(&flying, 1), (&acked, 2), (&still, 3)] {
            ledger.begin(uid, put(1, seq), at(4));
        }
        ledger.settle(&still, Verdict::Done, at(5), 0);
        ledger.clear_pending(&still);
        ledger.assume(|_, _| None);
        ledger.begin(&sent, put(1, 4), at(6));
        for uid in [&acked, &sent] {
            ledger.settle(uid, Verdict::Done, at(6), 0);
            ledger.clear_pending(uid);
        }
        if named {
            let drift = [&flying, &acked, &sent, &still].map(|uid| ledger.inventory_has(uid, Some(digest(7)), at(7)));
            assert_eq!(drift, [None, None, None, Some(Drift::Differing)]);
        }
        assert_eq!(ledger.inventory_lacks_the_others(Buckets::One, |_| false), usize::from(!named));
        ledger
    };
    for (named, known) in [(true, Known::Registered(digest(7))), (false, Known::Absent)] {
        let ledger = reading(named);
        assert_eq!([&acked, &sent].map(|uid| ledger.known(uid)), [Known::Registered(digest(1)); 2]);
        assert_eq!((ledger.known(&flying), ledger.known(&still)), (Known::Absent, known));
    }
}

#[test]
fn new_reading_forgets_the_abandoned_one() {
    let (mut ledger, sent, gone) = (seeded(), Uid::from("sent"), Uid::from("gone"));
    for uid in [&sent, &gone] {
        ledger.set_known(uid, Known::Registered(digest(1)));
    }
    ledger.assume(|_, _| None);
    ledger.begin(&sent, put(2, 1), at(1));
    ledger.settle(&sent, Verdict::Done, at(2), 0);
    ledger.clear_pending(&sent);
    ledger.forget(&gone);
    assert_eq!([&sent, &gone].map(|uid| ledger.inventory_has(uid, Some(digest(3)), at(3))), [None, None]);
    ledger.abandon_reading();
    ledger.assume(|_, _| None);
    let drift = [&sent, &gone].map(|uid| ledger.inventory_has(uid, Some(digest(3)), at(4)));
    assert_eq!(drift, [Some(Drift::Differing), Some(Drift::Extra)], "the changes were before this reading");
}

#[test]
fn reading_ignores_records_deleted_since_it_began() {
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.set_known(&uid, Known::Registered(digest(1)));
    ledger.assume(|_, _| None);
    ledger.begin(&uid, InFlight { kind: OperationKind::Delete, result: Known::Absent, ..put(1, 1) }, at(6));
    ledger.settle(&uid, Verdict::Done, at(7), 0);
    ledger.forget(&uid);
    assert_eq!(ledger.inventory_has(&uid, Some(digest(1)), at(8)), None, "the page with it was read before");
    assert_eq!((ledger.known(&uid), ledger.owned()), (Known::Absent, 0));
}

#[test]
fn pod_event_cancels_deletion_and_approval() {
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.deleted(&uid, Deletion::DeletedOrLeftSelection, at(1));
    ledger.confirm(&uid, Removal::Inferred, false, at(1));
    ledger.pod_seen(&uid, 0, at(2));
    let pending = ledger.pending(&uid).unwrap();
    assert_eq!((pending.deletion, pending.confirmed), (None, None));
}

#[test]
fn parked_records_are_retried_when_unparked() {
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.begin(&uid, put(1, 1), at(1));
    let verdict = Verdict::Rejected { cause: "schema".into() };
    assert_eq!(ledger.settle(&uid, verdict, at(2), 0), Settled::Parked("schema".into()));
    assert_eq!(ledger.pending(&uid).unwrap().attempts().parked, Some(digest(1)));
    assert_eq!(ledger.unpark().as_slice(), std::slice::from_ref(&uid));
    assert_eq!(ledger.unpark(), [], "once");
    let kinds = [1, 2].map(|n| ledger.attempt(&uid, put(n, 2).result));
    assert_eq!(kinds, [AttemptKind::Rejected, AttemptKind::First], "another record is a first attempt");
    ledger.begin(&uid, put(1, 2), at(3));
    ledger.settle(&uid, Verdict::Rejected { cause: "schema".into() }, at(4), 0);
    assert_eq!(ledger.unpark().len(), 1, "until the next resync");
    ledger.begin(&uid, put(2, 3), at(5));
    assert!(ledger.pending(&uid).unwrap().attempts().parked.is_none());
}

#[test]
fn rejected_record_waits_only_while_rejected() {
    let stale = Verdict::Stale { current: None };
    let busy = Verdict::Retry { cause: "busy".into(), after: None };
    let uncertain = Verdict::Uncertain { cause: "?".into() };
    let is_parked = |ledger: &Ledger, uid: &Uid| {
        let attempts = ledger.pending(uid).unwrap().attempts();
        attempts.parked.is_some() && !attempts.unparked
    };
    for answer in [Some(stale), Some(busy), Some(uncertain), None] {
        let (mut ledger, uid) = (seeded(), Uid::from("a"));
        ledger.begin(&uid, put(1, 1), at(1));
        ledger.settle(&uid, Verdict::Rejected { cause: "schema".into() }, at(2), 0);
        assert!(is_parked(&ledger, &uid));
        ledger.unpark();
        ledger.begin(&uid, put(1, 2), at(3));
        match answer.clone() {
            Some(verdict) => _ = ledger.settle(&uid, verdict, at(4), 0),
            None => ledger.fail(&uid, Applied::Maybe, Blame::Alone, at(4), 0),
        }
        assert!(!is_parked(&ledger, &uid), "after the resync, {answer:?} is no rejection");
    }
}

#[test]
fn observed_deletions_are_remembered_within_bounds() {
    // A deletion seen while nothing may be written is sent if the inventory names the record.
    let mut ledger = Ledger::default();
    for n in 0..1_000 {
        let uid = Uid::from(n.to_string());
        ledger.pod_seen(&uid, 0, at(n));
        ledger.remember_deletion(&uid, Deletion::Deleted, 100);
    }
    assert!((100..200).contains(&ledger.remembered_deletions()), "{}", ledger.remembered_deletions());
    assert_eq!((ledger.entry_count(), ledger.pending_count()), (0, 0));
    ledger.pod_seen(&"950".into(), 0, at(2_000));
    ledger.assume(|_, _| None);
    for n in [500, 950, 990] {
        ledger.inventory_has(&Uid::from(n.to_string()), Some(digest(1)), at(3_001));
    }
    ledger.finish_reading();
    let deletion = |n: &str| ledger.pending(&n.into()).and_then(|pending| pending.deletion);
    assert_eq!(
        (deletion("990"), deletion("991")),
        (Some(Deletion::Deleted), None),
        "a deletion is pending only if the registry holds the record"
    );
    assert_eq!((deletion("950"), deletion("500")), (None, None), "one came back, one was dropped");
    assert_eq!(ledger.entry(&"500".into()).map(|entry| entry.known), Some(Known::Registered(digest(1))));
    assert_eq!((ledger.remembered_deletions(), ledger.owned()), (0, 3));
}

#[test]
fn stepping_down_forgets_the_registry_but_no_pods() {
    let (mut ledger, lives, deletion, named) = (seeded(), Uid::from("lives"), Uid::from("ended"), Uid::from("named"));
    for uid in [&lives, &deletion] {
        ledger.pod_seen(uid, 0, at(3));
        ledger.set_known(uid, Known::Registered(digest(1)));
    }
    ledger.deleted(&deletion, Deletion::Deleted, at(4));
    ledger.inventory_has(&named, Some(digest(2)), at(5));
    ledger.mark_pending(&lives, at(5)).attempts_mut().parked = Some(digest(1));
    ledger.step_down(100);
    assert_eq!((ledger.known(&lives), ledger.is_seeded(), ledger.owned()), (Known::Unknown, false, 0));
    assert_eq!(ledger.entry(&lives).map(|entry| (entry.last_seen(), entry.watch())), Some((Some(at(3)), Some(0))));
    assert!(ledger.entry(&named).is_none() && ledger.entry(&deletion).is_none());
    assert_eq!((ledger.remembered_deletions(), ledger.pending_count()), (1, 0));
}

#[test]
fn stepping_down_abandons_requests_in_flight() {
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    ledger.pod_seen(&uid, 0, at(1));
    ledger.begin(&uid, put(1, 1), at(1));
    ledger.step_down(100);
    assert!(ledger.pending(&uid).is_none(), "the answer is ignored");
    assert_eq!(ledger.settle(&uid, Verdict::Done, at(6), 0), Settled::Again);
    assert_eq!((ledger.known(&uid), ledger.pending_count()), (Known::Unknown, 0));
}

#[test]
fn unchanged_second_try_is_a_retry() {
    // A record that has changed counts as a first attempt.
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    let lost = |ledger: &mut Ledger, in_flight, secs| {
        ledger.begin(&uid, in_flight, at(secs));
        let retries = ledger.pending(&uid).unwrap().attempts().attempt == AttemptKind::Retry;
        ledger.fail(&uid, Applied::Maybe, Blame::Elsewhere, at(secs), 0);
        retries
    };
    let delete = InFlight { kind: OperationKind::Delete, result: Known::Absent, ..put(0, 9) };
    let attempts = [put(1, 1), put(1, 2), put(2, 3), put(2, 4), delete, delete, put(2, 10)];
    let retries: Vec<bool> = (1..).zip(attempts).map(|(secs, in_flight)| lost(&mut ledger, in_flight, secs)).collect();
    assert_eq!(retries, [false, true, false, true, false, true, false]);
    ledger.begin(&uid, put(2, 11), at(20));
    ledger.settle(&uid, Verdict::Done, at(21), 0);
    assert_eq!(ledger.attempt(&uid, put(2, 11).result), AttemptKind::First, "an acknowledged record is not retried");
}

#[test]
fn certain_failure_leaves_a_first_try() {
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    let verdicts = [
        Verdict::Retry { after: None, cause: String::new() },
        Verdict::Stale { current: None },
        Verdict::Tombstoned { current: None },
    ];
    for (seq, verdict) in (1..).zip(verdicts) {
        ledger.begin(&uid, put(1, seq), at(seq));
        ledger.settle(&uid, verdict, at(seq), 0);
        assert_eq!(ledger.attempt(&uid, put(1, 0).result), AttemptKind::First);
    }
    for applied in [Applied::No, Applied::Unlikely] {
        ledger.begin(&uid, put(1, 9), at(9));
        ledger.fail(&uid, applied, Blame::Elsewhere, at(9), 0);
        assert_eq!(ledger.attempt(&uid, put(1, 0).result), AttemptKind::First, "{applied:?}");
    }
    assert_eq!(ledger.known(&uid), Known::Uncertain);
    ledger.begin(&uid, put(1, 10), at(10));
    ledger.fail(&uid, Applied::Maybe, Blame::Elsewhere, at(10), 0);
    ledger.begin(&uid, put(1, 11), at(11));
    ledger.fail(&uid, Applied::No, Blame::Elsewhere, at(11), 0);
    assert_ne!(
        ledger.attempt(&uid, put(1, 0).result),
        AttemptKind::First,
        "the one before may still have been applied"
    );
}

#[test]
fn record_that_fails_twice_is_persistent() {
    let (mut ledger, uid) = (seeded(), Uid::from("a"));
    let mut kinds = Vec::new();
    for seq in 1..5 {
        kinds.push(ledger.attempt(&uid, put(1, 0).result));
        ledger.begin(&uid, put(1, seq), at(seq));
        ledger.settle(&uid, Verdict::Uncertain { cause: String::new() }, at(seq), 0);
        assert_eq!(ledger.stays_uncertain(&uid), seq > 2, "after {seq} failures");
    }
    assert_eq!(kinds, [AttemptKind::First, AttemptKind::Retry, AttemptKind::Persistent, AttemptKind::Persistent]);
    ledger.begin(&uid, put(1, 9), at(9));
    ledger.settle(&uid, Verdict::Done, at(9), 0);
    assert_eq!(ledger.attempt(&uid, put(1, 0).result), AttemptKind::First);
    assert!(!ledger.stays_uncertain(&uid));
}

#[test]
fn recovery_shortens_backoff_but_not_retry_after() {
    let (mut ledger, uids) = (seeded(), ["a", "b"].map(Uid::from));
    for secs in 1..20 {
        for (uid, after) in uids.iter().zip([None, Some(Duration::from_secs(200))]) {
            ledger.begin(uid, put(1, secs), at(secs));
            ledger.settle(uid, Verdict::Retry { after, cause: String::new() }, at(secs), u64::MAX);
        }
    }
    let until = |ledger: &Ledger, n: usize| ledger.pending(&uids[n]).unwrap().attempts().not_before.unwrap();
    assert!(until(&ledger, 0) > at(40) && until(&ledger, 1) == at(219));
    assert_eq!(ledger.end_backoffs(at(20)), [uids[0].clone()]);
    assert_eq!((until(&ledger, 0), until(&ledger, 1)), (at(19), at(219)));
    assert_eq!(ledger.end_backoffs(at(20)), []);
}

#[test]
fn short_retry_after_limits_backoff_to_ten_seconds() {
    // A longer Retry-After is obeyed exactly.
    for (after, within) in [(Some(1), 10), (Some(30), 30), (None, 60)] {
        let after = after.map(Duration::from_secs);
        let (mut ledger, uid) = (seeded(), Uid::from("a"));
        for seq in 1..20 {
            ledger.begin(&uid, put(1, seq), at(0));
            ledger.settle(&uid, Verdict::Retry { after, cause: String::new() }, at(0), u64::MAX);
            let waits = ledger.pending(&uid).unwrap().attempts().not_before.unwrap() - at(0);
            assert!(waits >= after.unwrap_or_default() && waits.as_secs() <= within, "{after:?}: {waits:?}");
        }
    }
}

#[test]
fn approved_confirmations_outlive_another_writer() {
    // A writer that took over ends them as well.
    let (mut ledger, inferred, approved) = (Ledger::default(), Uid::from("inferred"), Uid::from("approved"));
    ledger.confirm(&inferred, Removal::Inferred, false, at(1));
    ledger.confirm(&approved, Removal::Inferred, true, at(1));
    let confirmed = |ledger: &Ledger, uid| ledger.pending(uid).unwrap().confirmed.is_some();
    assert!(ledger.withdraw_unapproved() && !ledger.withdraw_unapproved(), "withdrawn once");
    assert_eq!((confirmed(&ledger, &inferred), confirmed(&ledger, &approved)), (false, true));
    ledger.withdraw_confirmations();
    assert!(!confirmed(&ledger, &approved));
}
