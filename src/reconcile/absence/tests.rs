//! The absence guard: its questions, its holds, and what it releases when.

use super::*;
use crate::reconcile::absence::check::Confirmation;
use crate::reconcile::absence::check::GuardQuestion;
use crate::reconcile::absence::hold::HoldReason;
use crate::reconcile::absence::operator::is_nearly_all;

const fn at(secs: u64) -> Moment {
    Moment::from_secs(secs)
}

fn ids(range: std::ops::Range<usize>) -> HashSet<Uid> {
    range.map(|n| Uid::from(format!("pod-{n:05}"))).collect()
}

fn list(begun: u64, owned: usize) -> Evidence {
    let list = CompleteList { begun: at(begun), trusted: true };
    Evidence { list, empty: false, nearly_all_of: None, owned }
}

/// A deletion that was released without an approval.
fn released(uid: &str) -> ReleasedDeletion {
    ReleasedDeletion { uid: uid.into(), removal: Removal::Inferred, approved: false }
}

/// The number of released deletions per second, for a minute.
fn release_all(guard: &mut AbsenceGuard, from: u64) -> Vec<(u64, usize)> {
    (from..from + 60).map(|t| (t, guard.release(at(t)).len())).filter(|(_, n)| *n > 0).collect()
}

#[test]
fn few_absences_are_confirmed_by_cluster_identity_alone() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..50), list(1, 100), at(2));
    assert_eq!(guard.release(at(2)).len(), 0, "not before the answer");
    assert!(!guard.is_idle(), "they wait, although none is held");
    assert_eq!(guard.ask(at(2), 0), Some(GuardQuestion::Confirm { round: 1, sample: vec![] }));
    assert_eq!(guard.ask(at(3), 0), None, "each question is asked once");
    guard.answered(guard.round, Confirmation::Gone, at(3), 0);
    assert!(!guard.is_idle(), "they wait for their turn");
    assert_eq!((guard.release(at(3)).len(), guard.held()), (50, 0));
    assert!(guard.is_idle());
}

#[test]
fn deepest_records_are_released_first() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..50), list(1, 100), at(2));
    guard.ask(at(2), 0);
    guard.answered(guard.round, Confirmation::Gone, at(3), 0);
    let number = |uid: &Uid| uid.text()[4..].parse::<usize>().unwrap();
    let depth = |uid: &Uid| number(uid) % 3;
    let mut release = |at_least| guard.release_deepest(&depth, at_least, at(3));
    let first = release(0);
    assert!(first.len() == 16 && first.iter().all(|deletion| depth(&deletion.uid) == 2));
    assert_eq!(release(2), [], "those that were released are still leaving");
    assert_eq!(release(1).len(), 17);
    assert_eq!((release(0).len(), guard.is_idle()), (17, true));
}

#[test]
fn approved_records_wait_for_deeper_ones() {
    let mut guard = AbsenceGuard::new("test");
    guard.approved.extend(ids(0..250).into_iter().map(|uid| (uid, Removal::Inferred)));
    guard.confirmed.extend(ids(250..300).into_iter().map(|uid| (uid, Removal::Inferred)));
    let depth = |uid: &Uid| usize::from(*uid.text() >= *"pod-00200");
    let mut released = Vec::new();
    for second in 0..10 {
        released.extend(guard.release_deepest(&depth, 0, at(second)).into_iter().map(|deletion| depth(&deletion.uid)));
    }
    assert_eq!(released, [vec![1; 100], vec![0; 200]].concat());
    // While another writer may be alive, approved ones wait for no others.
    guard.approved.extend(ids(0..1).into_iter().map(|uid| (uid, Removal::Inferred)));
    guard.confirmed.extend(ids(250..300).into_iter().map(|uid| (uid, Removal::Inferred)));
    guard.is_in_order = false;
    guard.expect_other_writer(at(10));
    assert_eq!(guard.release_deepest(&depth, 0, at(11)).len(), 1);
}

#[test]
fn many_absences_need_a_list_and_a_sample() {
    // A second list confirms them, and then they leave at a bounded rate.
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..1000), list(1, 3000), at(2));
    assert_eq!((guard.ask(at(10), 0), guard.held()), (None, 1000));
    assert_eq!(guard.ask(at(11), 0), Some(GuardQuestion::List { round: 1 }));
    // Ten came back, and later absences have their turn afterwards.
    guard.derive(ids(10..1100), list(5, 3000), at(11));
    assert_eq!(guard.listed(1, &ids(0..10), at(12), 0), ListOutcome::Agreed);
    let Some(GuardQuestion::Confirm { sample, .. }) = guard.ask(at(12), 7) else { panic!() };
    assert_eq!(sample.iter().collect::<HashSet<_>>().len(), SAMPLE);
    guard.answered(guard.round, Confirmation::Gone, at(13), 0);
    let released = release_all(&mut guard, 13);
    assert_eq!(released.iter().map(|(_, n)| n).sum::<usize>(), 990);
    assert!(released.iter().skip(1).all(|(_, n)| *n <= 100), "{released:?}");
    assert!(released.last().unwrap().0 <= 25, "{released:?}");
}

#[test]
fn guard_holds_empty_list() {
    // A single registered record is enough, and an untrusted list is held as well.
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..1), Evidence { empty: true, ..list(1, 1) }, at(1));
    assert_eq!((guard.ask(at(1), 0), guard.held()), (None, 1));
    let untrusted = CompleteList { begun: at(2), trusted: false };
    guard.derive(ids(0..1), Evidence { list: untrusted, ..list(2, 1) }, at(2));
    assert_eq!(guard.held(), 1);
}

#[test]
fn confirmed_deletions_wait_without_another_confirmation() {
    // They may wait for as long as the registry is down, while more lists come.
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..5), list(1, 100), at(2));
    guard.ask(at(2), 0);
    guard.answered(guard.round, Confirmation::Gone, at(3), 0);
    guard.derive(ids(0..5), list(4, 100), at(4));
    assert_eq!(guard.ask(at(4), 0), None);
    guard.derive(ids(2..5), list(5, 100), at(5));
    assert_eq!(guard.release(at(6)).len(), 3, "two are back");
    guard.derive(ids(7..9), list(7, 100), at(7));
    guard.ask(at(7), 0);
    guard.answered(guard.round, Confirmation::Gone, at(8), 0);
    guard.drop_absences();
    assert_eq!(guard.release(at(9)), [], "another process decides about them");
}

#[test]
fn absences_of_many_lists_add_up() {
    // They add up within ten minutes.
    let mut guard = AbsenceGuard::new("test");
    let mut take = |from: usize, secs: u64| {
        guard.derive(ids(from..from + 30), list(secs, 100), at(secs));
        let free = matches!(guard.ask(at(secs), 0), Some(GuardQuestion::Confirm { .. }));
        guard.answered(guard.round, Confirmation::Gone, at(secs), 0);
        guard.release(at(secs));
        free
    };
    assert!(take(0, 1));
    assert!(!take(30, 100), "60 within ten minutes");
    let mut guard = AbsenceGuard::new("test");
    guard.recent.push_back((at(1), 50));
    guard.derive(ids(0..30), list(700, 100), at(700));
    assert!(matches!(guard.ask(at(700), 0), Some(GuardQuestion::Confirm { .. })), "the window is over");
}

#[test]
fn living_sample_pod_holds_all_deletions() {
    // They are held until later lists show the pods again.
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..100), list(1, 100), at(1));
    guard.ask(at(11), 0);
    guard.listed(1, &HashSet::new(), at(11), 0);
    guard.ask(at(12), 0);
    guard.answered(guard.round, Confirmation::StillThere(3), at(13), 0);
    assert_eq!((guard.held(), guard.hold_reason()), (100, Some(&HoldReason::StillThere(3))));
    assert_eq!(guard.release(at(500)).len(), 0);
    assert_eq!(guard.ask(at(13), 0), None);
    assert_eq!(guard.ask(at(43), 0), Some(GuardQuestion::List { round: 3 }), "the hold is retried");
    guard.derive(ids(0..0), list(43, 100), at(44));
    assert_eq!((guard.held(), guard.hold_reason()), (0, None), "the pods came back");
}

#[test]
fn answer_to_an_earlier_question_confirms_nothing() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..5), list(1, 100), at(1));
    guard.ask(at(1), 0);
    guard.derive(ids(7..13), list(2, 100), at(2));
    guard.answered(1, Confirmation::Gone, at(2), 0);
    assert_eq!(guard.release(at(2)).len(), 0);
    let again = Some(GuardQuestion::Confirm { round: 2, sample: vec![] });
    assert_eq!(guard.ask(at(2), 0), again, "it is asked again");
    guard.answered(2, Confirmation::Gone, at(3), 0);
    assert_eq!(guard.release(at(3)).len(), 6);
}

#[test]
fn later_list_does_not_repeat_the_question() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..5), list(1, 100), at(1));
    guard.ask(at(1), 0);
    guard.derive(ids(1..9), list(2, 100), at(2));
    assert_eq!(guard.ask(at(2), 0), None);
    guard.answered(1, Confirmation::Gone, at(2), 0);
    assert_eq!(guard.release(at(2)).len(), 4, "those that were asked about and are still absent");
}

#[test]
fn missing_or_contradicting_second_list_holds_deletions() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..100), list(1, 100), at(1));
    assert_eq!(guard.ask(at(11), 0), Some(GuardQuestion::List { round: 1 }));
    assert!(guard.answered(1, Confirmation::Unanswered("timed out".into()), at(12), 0));
    assert_eq!((guard.held(), guard.ask(at(12), 0)), (100, None));
    assert_eq!(guard.ask(at(60), 0), Some(GuardQuestion::List { round: 2 }));
    assert_eq!(
        guard.listed(1, &ids(0..100), at(61), 0),
        ListOutcome::Ignored,
        "an answer to an earlier question is ignored"
    );
    assert_eq!(guard.listed(2, &ids(0..1), at(61), 0), ListOutcome::Contradicted, "the pods have to be listed again");
    assert_eq!((guard.held(), guard.hold_reason()), (100, Some(&HoldReason::StillThere(1))));
}

#[test]
fn missing_answer_holds_the_deletions() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..5), list(1, 100), at(1));
    guard.ask(at(1), 0);
    guard.answered(guard.round, Confirmation::Unanswered("forbidden".into()), at(2), 0);
    assert_eq!((guard.release(at(100)).len(), guard.held()), (0, 5));
}

#[test]
fn confirmed_deletion_of_a_returning_pod_is_dropped() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..1000), list(1, 1000), at(1));
    guard.ask(at(11), 0);
    guard.listed(1, &HashSet::new(), at(11), 0);
    guard.ask(at(11), 0);
    guard.answered(guard.round, Confirmation::Gone, at(11), 0);
    guard.release(at(11));
    guard.derive(ids(990..1000), list(12, 1000), at(12));
    let rest: Vec<Uid> = (12..40).flat_map(|t| guard.release(at(t))).map(|deletion| deletion.uid).collect();
    assert!(rest.iter().all(|uid| ids(990..1000).contains(uid)) && rest.len() <= 10);
}

fn take<const N: usize>(names: [std::ops::Range<usize>; N]) -> HashSet<Uid> {
    names.into_iter().flat_map(ids).collect()
}

/// A guard after a change of settings that has asked for the whole cluster.
fn sorting(what: ScopeChangePolicy, absent: std::ops::Range<usize>) -> AbsenceGuard {
    let mut guard = AbsenceGuard::new("test");
    guard.scope_changed(what);
    assert!(!guard.is_scope_resolved(), "no list has come yet");
    guard.derive(ids(absent), list(1, 1000), at(1));
    assert_eq!(guard.ask(at(1), 0), Some(GuardQuestion::Whole { round: 1 }));
    guard
}

/// Answers that a second list agrees and every pod of the sample is gone.
fn gone(guard: &mut AbsenceGuard, secs: u64) {
    assert!(matches!(guard.ask(at(secs), 0), Some(GuardQuestion::List { .. })));
    assert_eq!(guard.listed(guard.round, &HashSet::new(), at(secs), 0), ListOutcome::Agreed);
    let Some(GuardQuestion::Confirm { sample, .. }) = guard.ask(at(secs), 0) else { panic!("no sample") };
    assert!(!sample.is_empty(), "they are looked up");
    guard.answered(guard.round, Confirmation::Gone, at(secs), 0);
}

#[test]
fn incomplete_whole_cluster_list_deletes_no_live_pod() {
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    assert_eq!(guard.listed(1, &HashSet::new(), at(2), 0), ListOutcome::Sorted { left: 0, gone: 3 });
    guard.ask(at(11), 0);
    guard.listed(guard.round, &HashSet::new(), at(11), 0);
    guard.ask(at(11), 0);
    guard.answered(guard.round, Confirmation::StillThere(3), at(12), 0);
    assert_eq!((guard.release(at(900)).len(), guard.holds()[0].deletions), (0, 3));
    assert!(matches!(guard.ask(at(900), 0), Some(GuardQuestion::Whole { .. })), "they are sorted again");
}

#[test]
fn pods_deselected_by_settings_are_held() {
    // They are held however few they are; pods that are gone are deleted as usual.
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    assert_eq!(guard.listed(1, &ids(1..500), at(2), 0), ListOutcome::Sorted { left: 2, gone: 1 });
    let [hold] = guard.holds().try_into().unwrap();
    assert_eq!((hold.deletions, &hold.because), (2, &HoldReason::ScopeChanged));
    assert_eq!(guard.ask(at(2), 0), None, "a second list has to agree, however few they are");
    gone(&mut guard, 11);
    assert_eq!(guard.release(at(11)), [released("pod-00000")]);
    guard.derive(ids(1..3), list(12, 1000), at(12));
    assert_eq!((guard.release(at(900)).len(), guard.held(), guard.holds().len()), (0, 2, 1), "they stay held");
    assert!(!guard.is_scope_resolved());
}

#[test]
fn approval_covers_exactly_what_was_shown() {
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    guard.listed(1, &ids(0..500), at(2), 0);
    let shown = guard.holds()[0].id.clone();
    guard.derive(ids(0..5), list(4, 1000), at(4));
    assert_eq!(guard.ask(at(4), 0), Some(GuardQuestion::Whole { round: 2 }), "more pods left the selection");
    guard.listed(2, &ids(0..500), at(5), 0);
    assert_eq!(guard.approve(&"0123456789ab".parse().unwrap()), 0, "another hold's name");
    assert_eq!(guard.approve(&shown), 3, "two of them were not shown");
    let shown = guard.holds()[0].id.clone();
    assert_eq!(guard.approve(&shown), 2);
    let released = guard.release(at(6));
    assert!(
        released.len() == 5 && released.iter().all(|d| d.approved && d.removal == Removal::LeftSelection),
        "{released:?}"
    );
    guard.derive(ids(0..0), list(7, 995), at(7));
    assert!(guard.is_scope_resolved());
    guard.scope_declared();
    assert!(!guard.is_scope_resolved(), "reported once");
}

#[test]
fn hold_clears_when_its_pods_are_selected_again() {
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    guard.listed(1, &ids(0..500), at(2), 0);
    assert!(guard.is_about(&"pod-00002".into()) && !guard.is_about(&"pod-00003".into()));
    guard.derive(ids(2..3), list(4, 1000), at(4));
    assert_eq!(guard.holds()[0].deletions, 1);
    guard.derive(ids(0..0), list(5, 1000), at(5));
    assert!(guard.holds().is_empty() && guard.is_scope_resolved());
}

#[test]
fn automatic_release_keeps_the_bounded_rate() {
    let mut guard = sorting(ScopeChangePolicy::Release, 0..400);
    assert_eq!(guard.listed(1, &ids(10..500), at(2), 0), ListOutcome::Sorted { left: 390, gone: 10 });
    assert_eq!((guard.release(at(2)).len(), guard.ask(at(2), 0)), (0, Some(GuardQuestion::List { round: 2 })));
    assert_eq!(guard.listed(2, &ids(700..800), at(2), 0), ListOutcome::Agreed, "none of them is selected");
    let released = release_all(&mut guard, 2);
    assert_eq!(released.iter().map(|(_, n)| n).sum::<usize>(), 390);
    assert!(released.iter().skip(1).all(|(_, n)| *n <= 100), "{released:?}");
    guard.derive(ids(0..10), list(70, 1000), at(70));
    assert!(matches!(guard.ask(at(70), 0), Some(GuardQuestion::Whole { .. })), "the pods that are gone come next");
}

#[test]
fn contradicted_automatic_release_deletes_nothing() {
    // A list of the selection still shows one of the pods.
    let mut guard = sorting(ScopeChangePolicy::Release, 0..400);
    guard.listed(1, &ids(0..500), at(2), 0);
    guard.ask(at(2), 0);
    assert_eq!(guard.listed(2, &ids(5..6), at(2), 0), ListOutcome::Contradicted);
    assert_eq!((guard.release(at(900)).len(), guard.holds()[0].deletions), (0, 400));
}

#[test]
fn missing_whole_cluster_list_holds_all_deletions() {
    // The list is requested again.
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    for round in 1..SHOWN_AFTER.into() {
        guard.answered(round, Confirmation::Unanswered("forbidden".into()), at(60 * round), 0);
        assert_eq!((guard.holds().len(), guard.held()), (0, 3), "a few missing answers are not shown");
        assert_eq!(guard.ask(at(60 * round + 50), 0), Some(GuardQuestion::Whole { round: round + 1 }));
    }
    guard.answered(SHOWN_AFTER.into(), Confirmation::Unanswered("forbidden".into()), at(300), 0);
    let shown = guard.holds()[0].clone();
    assert_eq!(shown.because, HoldReason::Unconfirmed("forbidden".into()));
    assert!(guard.ask(at(400), 0).is_some());
    assert_eq!(guard.holds(), std::slice::from_ref(&shown), "it stays shown during the retry");
    assert_eq!((guard.approve(&shown.id), guard.holds().len()), (3, 0));
}

#[test]
fn approval_releases_unconfirmed_deletions() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..100), list(1, 100), at(1));
    guard.ask(at(11), 0);
    guard.listed(1, &ids(0..1), at(11), 0);
    let shown = guard.holds()[0].clone();
    assert_eq!((shown.deletions, &shown.because), (100, &HoldReason::StillThere(1)));
    assert_eq!(guard.approve(&shown.id), 100);
    assert_eq!(guard.approve(&shown.id), 0, "once");
    guard.derive(take([0..50, 200..220]), list(12, 100), at(12));
    assert!(release_all(&mut guard, 12).iter().map(|(_, n)| n).sum::<usize>() <= 50, "those that are still absent");
}

#[test]
fn held_deselected_pods_are_sorted_again() {
    // A pod that left the selection may be deleted later.
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    guard.listed(1, &ids(0..500), at(2), 0);
    assert_eq!(guard.ask(at(200), 0), None, "too soon");
    assert_eq!(guard.ask(at(400), 0), Some(GuardQuestion::Whole { round: 2 }));
    assert_eq!(guard.holds()[0].deletions, 3, "shown during the retry");
    assert!(!guard.answered(2, Confirmation::Unanswered("timed out".into()), at(400), 0));
    assert_eq!((guard.held(), guard.holds().len(), guard.ask(at(500), 0)), (3, 1, None), "held as before");
    assert_eq!(guard.ask(at(800), 0), Some(GuardQuestion::Whole { round: 3 }));
    assert_eq!(guard.listed(3, &ids(1..500), at(801), 0), ListOutcome::Sorted { left: 2, gone: 1 });
    assert_eq!(guard.holds()[0].deletions, 2);
    gone(&mut guard, 802);
    assert_eq!(guard.release(at(802)), [released("pod-00000")]);
    guard.ask(at(1_200), 0);
    assert_eq!(guard.listed(guard.round, &HashSet::new(), at(1_201), 0), ListOutcome::Sorted { left: 0, gone: 2 });
    assert!(guard.holds().is_empty());
}

/// A list that lacks nearly all of this many records.
fn list_of_a_copy(begun: u64, of: usize, owned: usize) -> Evidence {
    Evidence { nearly_all_of: Some(of), ..list(begun, owned) }
}

#[test]
fn nearly_all_means_90_percent_and_50_absent() {
    assert!(is_nearly_all(50, 55) && is_nearly_all(300, 300) && is_nearly_all(90, 100));
    assert!(!is_nearly_all(49, 49) && !is_nearly_all(89, 100) && !is_nearly_all(50, 56));
}

#[test]
fn nearly_all_absences_wait_for_approval() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..300), list_of_a_copy(1, 300, 300), at(1));
    let [hold] = guard.holds().try_into().unwrap();
    assert_eq!((hold.deletions, &hold.because), (300, &HoldReason::NearlyAll { absent: 300, of: 300 }));
    // Our own pods were registered since, so the share is smaller. The hold stays.
    guard.derive(ids(0..300), list(50, 600), at(50));
    for secs in [60, 600, 86_400] {
        assert_eq!((guard.ask(at(secs), 0), guard.release(at(secs)).len()), (None, 0));
    }
    assert!(guard.is_operator_needed() && !guard.is_scope_resolved());
    assert_eq!(guard.approve(&hold.id), 300);
    assert_eq!(release_all(&mut guard, 90_000).iter().map(|(_, n)| n).sum::<usize>(), 300);
    guard.derive(ids(0..0), list(90_100, 300), at(90_100));
    assert!(guard.is_scope_resolved());
}

#[test]
fn needed_approval_survives_a_restart() {
    let mut guard = AbsenceGuard::new("test");
    guard.need_operator();
    guard.derive(ids(0..3), list(1, 600), at(1));
    assert_eq!(guard.holds()[0].because, HoldReason::NearlyAll { absent: 3, of: 600 });
    assert_eq!((guard.ask(at(1_000), 0), guard.release(at(1_000)).len()), (None, 0));
    guard.derive(ids(0..0), list(2, 600), at(2));
    assert!(guard.is_scope_resolved(), "the pods are back");
}

#[test]
fn another_writer_holds_inferred_deletions() {
    let mut guard = AbsenceGuard::new("test");
    guard.expect_other_writer(at(1));
    guard.derive(ids(0..5), list(1, 100), at(1));
    guard.no_other_writer_reported(at(60));
    assert_eq!(guard.ask(at(600), 0), None, "it may still announce itself");
    guard.no_other_writer_reported(at(61));
    assert!(matches!(guard.ask(at(61), 0), Some(GuardQuestion::Confirm { .. })));
    guard.other_writer_seen(at(62));
    guard.answered(guard.round, Confirmation::Gone, at(63), 0);
    assert_eq!((guard.release(at(63)).len(), &guard.holds()[0].because), (0, &HoldReason::AnotherWriter));
    for secs in (100..=200).step_by(10) {
        guard.other_writer_seen(at(secs));
        assert_eq!((guard.ask(at(secs), 0), guard.release(at(secs)).len()), (None, 0));
    }
    guard.no_other_writer_reported(at(259));
    assert!(guard.ask(at(259), 0).is_none());
    guard.no_other_writer_reported(at(260));
    assert!(guard.ask(at(260), 0).is_some(), "it is gone");
}

#[test]
fn confirmed_deletions_wait_while_a_writer_is_expected() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..5), list(1, 100), at(1));
    guard.ask(at(1), 0);
    guard.answered(guard.round, Confirmation::Gone, at(2), 0);
    guard.expect_other_writer(at(2));
    guard.no_other_writer_reported(at(61));
    assert!(guard.is_contested() && guard.release(at(61)).is_empty());
    guard.no_other_writer_reported(at(62));
    assert_eq!(guard.release(at(62)).len(), 5);
}

#[test]
fn confirmed_deletions_stop_when_another_writer_appears() {
    let mut guard = AbsenceGuard::new("test");
    guard.derive(ids(0..1000), list(1, 3000), at(1));
    gone(&mut guard, 11);
    assert_eq!(guard.release(at(11)).len(), 100);
    guard.other_writer_seen(at(12));
    assert_eq!((guard.release(at(60)).len(), guard.holds()[0].deletions), (0, 900));
    let hold = guard.holds()[0].id.clone();
    assert_eq!(guard.approve(&hold), 900);
    guard.other_writer_seen(at(61));
    assert_eq!(guard.release(at(61)).len(), 100, "an operator approved");
}

#[test]
fn approval_outlives_a_new_hold_name() {
    // It covers nothing that was added since.
    let mut guard = sorting(ScopeChangePolicy::Hold, 0..3);
    guard.listed(1, &ids(0..500), at(2), 0);
    let first = guard.holds()[0].id.clone();
    guard.derive(ids(1..5), list(4, 1000), at(4));
    guard.ask(at(4), 0);
    guard.listed(2, &ids(0..500), at(5), 0);
    assert_ne!(guard.holds()[0].id, first);
    assert!(guard.holds()[0].is_named(&first));
    assert_eq!(guard.approve(&first), 2, "one of the three is back");
    assert_eq!(guard.holds()[0].deletions, 2, "two are new");
    assert_eq!(guard.release(at(6)).len(), 2);
}
