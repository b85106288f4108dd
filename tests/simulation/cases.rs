//! Histories that broke a promise when a rule of the core was removed, or that were written by hand, cut to the steps
//! that matter. A history that breaks a promise is added here, and stays.

use crate::{
    history::Play,
    mapped::{PartRecords, Rest},
    registry::Wrong,
    steps::{ConfirmFault, Fault, History, ListFault, PageFault, Refusal, Setup, Step, Step::*},
};

/// Plays a case to its end. Returns its trace.
#[track_caller]
fn keeps_every_promise(setup: Setup, steps: &[Step]) -> String {
    let history = History { setup, steps: steps.to_vec() };
    let outcome = history.play(Play { trace: true, ..Play::default() });
    if let Some(breach) = outcome.breach {
        panic!("{}\n\n{breach}", outcome.trace.join("\n"));
    }
    outcome.trace.join("\n")
}

#[test]
fn absence_waits_for_the_clusters_confirmation() {
    keeps_every_promise(Setup { pods: 9, registered: true, ..Setup::PLAIN }, &[Wait(10), Replace(8)]);
}

#[test]
fn empty_list_is_guarded_however_few_are_absent() {
    let setup = || Setup { pods: 9, registered: true, ..Setup::PLAIN };
    keeps_every_promise(setup(), &[DeleteMany(4, 5), DeleteMany(0, 5)]);
    keeps_every_promise(setup(), &[Wait(100), WrongList(0, 0, ListFault::Empty), Wait(16_660)]);
}

#[test]
fn many_absences_are_guarded() {
    keeps_every_promise(Setup { pods: 100, registered: true, ..Setup::PLAIN }, &[DeleteMany(13, 70)]);
}

#[test]
fn list_from_before_the_inventory_proves_no_absence() {
    // The inventory contains a pod that the list does not show.
    let steps = [Lag(0, 0), Wait(1), Start(1), Wait(100), Create(9), Wait(10), ForgetSession, Wait(10_000)];
    keeps_every_promise(Setup::PLAIN, &steps);
}

#[test]
fn record_is_placed_by_its_namespace() {
    // After a restore, one of three watches fails to list and the lists of another are stale. The records of the third
    // one's namespace do not wait for them.
    let setup = Setup { pods: 5, registered: true, watches: 3, list_page: 1, ..Setup::PLAIN };
    let steps = [Wait(10), RestoreCluster(6), Wait(18_902), Wait(20_112), Wait(4_614), Wait(18_668)];
    keeps_every_promise(setup, &steps);
}

#[test]
fn accidental_second_writer_does_not_take_turns() {
    keeps_every_promise(Setup::PLAIN, &[Start(1)]);
    keeps_every_promise(Setup { pods: 3, ..Setup::PLAIN }, &[Start(1), Wait(500), Change(0), Wait(20_000), Crash(1)]);
}

#[test]
fn rejected_record_is_retried_after_the_next_resync() {
    let steps = [Create(9), Wait(100), Poison(9), Change(9), Wait(10_000), Cure];
    keeps_every_promise(Setup::PLAIN, &steps);
}

#[test]
fn another_answer_does_not_park_a_rejected_record() {
    let steps = [
        Create(3),
        Wait(100),
        WrongInventory(Wrong::Short(2), 1),
        Wait(22_680),
        Create(5),
        Wait(1),
        Write(Fault::Items(422, 2)),
        Wait(46_215),
        EditRecord(5),
    ];
    keeps_every_promise(Setup { pods: 1, registered: true, ..Setup::PLAIN }, &steps);
}

#[test]
fn record_that_always_fails_converges_once_cured() {
    let steps = [CreateMany(0, 9), Break(3), Change(3), Wait(30_000), Delete(3), Wait(20_000), Cure, Wait(1_000)];
    keeps_every_promise(Setup::PLAIN, &steps);
    keeps_every_promise(Setup { batch: 1, ..Setup::PLAIN }, &steps);
}

#[test]
fn rate_limit_in_requests_delays_only() {
    let steps = [Limit(1), CreateMany(0, 60), Wait(10_000), DeleteMany(0, 30), Crash(0), Start(0), Wait(20_000)];
    keeps_every_promise(Setup { pods: 40, ..Setup::PLAIN }, &steps);
    keeps_every_promise(Setup { pods: 40, registered: true, batch: 3, page: 3, ..Setup::PLAIN }, &steps);
}

#[test]
fn absence_hidden_by_a_request_is_found_later() {
    // The absence is found when the request is answered.
    keeps_every_promise(Setup::PLAIN, &[Wait(10), RestoreCluster(3), Wait(1_098), CreateMany(0, 5)]);
}

#[test]
fn deletion_after_a_lost_answer_is_pending() {
    // No write of the pod was acknowledged.
    let steps = [Wait(500), Write(Fault::Lose), Create(3), Wait(100), Delete(3), Wait(5_000)];
    keeps_every_promise(Setup::PLAIN, &steps);
}

#[test]
fn short_inventory_and_missing_answer_only_cost_time() {
    let setup = Setup { pods: 9, registered: true, page: 2, ..Setup::PLAIN };
    let steps = [
        WrongInventory(Wrong::Short(2), 1),
        Confirm(ConfirmFault::Unanswered),
        Down(Refusal::Status(503)),
        Delete(3),
        Wait(2_000),
        Up,
        Wait(5_000),
    ];
    keeps_every_promise(setup, &steps);
}

#[test]
fn refused_page_is_requested_again() {
    let setup = || Setup { pods: 9, registered: true, list_page: 3, ..Setup::PLAIN };
    for refusal in [Refusal::Unreachable, Refusal::Status(403), Refusal::Status(400), Refusal::After(429, 7)] {
        let list = ListFault::Pages(6, PageFault::Refused(refusal));
        let steps = [Wait(100), ListBeside(0, 0, Some(list)), Wait(40), Delete(1), Create(12), Change(5), Wait(50_000)];
        let trace = keeps_every_promise(setup(), &steps);
        assert!(trace.matches("a page of watch 0 fails").count() == 6, "{trace}");
        keeps_every_promise(setup(), &[WrongList(0, 0, list), Delete(1), Crash(0), Delete(2), Start(0), Wait(50_000)]);
    }
}

#[test]
fn oversized_page_is_requested_with_fewer_pods() {
    let list = ListFault::Pages(2, PageFault::TooLarge);
    let steps = [Wait(100), Delete(1), Lose(0, 0, 1), Delete(4), ListBeside(0, 0, Some(list)), Wait(50), Create(7)];
    let setup = Setup { pods: 100, list_page: 20, ..Setup::PLAIN };
    let trace = keeps_every_promise(setup, &steps);
    assert!(trace.matches("fails: TooLarge, Page(0ns)").count() == 2, "{trace}");
}

/// After an empty list, pages arrive too late and the cluster is restored, so living pods are held for long.
#[test]
fn operator_approves_no_hold_of_living_pods() {
    let late = ListFault::Pages(3, PageFault::TooSlow);
    let steps = [
        [Wait(5), ListBeside(0, 0, Some(ListFault::Lacks(1))), Wait(100), WrongList(0, 0, late)],
        [Wait(24_840), Wait(25_343), RestoreCluster(5), Wait(17_654)],
    ];
    keeps_every_promise(Setup { pods: 84, digests: false, latency_ms: 1, ..Setup::PLAIN }, &steps.concat());
}

/// The list expires until all pods are requested in one page, which is too large. The rest of the list shows a later
/// moment.
#[test]
fn inconsistent_list_proves_no_absence() {
    let expired = ListFault::Pages(4, PageFault::Expired { offered: true });
    for seed in 1..50 {
        let setup = Setup { seed, pods: 9, registered: true, list_page: 2, resync_secs: 15, ..Setup::PLAIN };
        let between = [Wait(2_000), Leave(1), Delete(3), Wait(500), ComeBack(1), Create(11), Lose(0, 0, 1), Delete(6)];
        let first =
            [&[Crash(0), Start(0), WrongList(0, 0, expired)], &between[..], &[Delete(8), Wait(20_000)]].concat();
        let trace = keeps_every_promise(setup.clone(), &first);
        assert!(trace.contains("Rest(") && trace.contains("identified: false"), "{trace}");
        let beside = [&[Wait(500), ListBeside(0, 0, Some(expired))], &between[..], &[Wait(20_000)]].concat();
        assert!(keeps_every_promise(setup, &beside).contains("Rest("));
    }
}

#[test]
fn later_events_outlive_the_list_beside_them() {
    for wait in (1..300).step_by(3) {
        let setup = Setup { seed: wait.into(), pods: 9, registered: true, list_page: 1, ..Setup::PLAIN };
        let events =
            [Delete(0), Delete(8), Create(20), Change(4), Replace(2), Leave(6), Create(0), ComeBack(6), Delete(5)];
        let steps = [&[Wait(100), ListBeside(0, 0, None), Wait(wait)], &events[..], &[Wait(1_000)]].concat();
        let trace = keeps_every_promise(setup, &steps);
        assert!(trace.contains("watch 0 shows the deletion of 8-8"), "{trace}");
    }
}

/// A lagging watch shows events from before the list that arrives beside it.
#[test]
fn lagging_events_undo_no_newer_list() {
    let changes = [
        [Change(0), Change(0), Change(0)],
        [Leave(0), ComeBack(0), Change(0)],
        [Delete(0), Create(0), Change(0)],
        [Replace(0), Replace(0), Replace(0)],
    ];
    for (wait, changes) in (20..120).flat_map(|wait| changes.map(|changes| (wait, changes))) {
        let setup = Setup { seed: wait.into(), pods: 4, list_page: 1, ..Setup::PLAIN };
        let beside = [ListBeside(0, 0, None), Wait(wait), CatchUp(0, 0), Wait(5_000)];
        keeps_every_promise(setup, &[&[Wait(500), Lag(0, 0)], &changes[..], &beside[..]].concat());
    }
}

/// The watch ends when its last event is later than the list that still arrives.
#[test]
fn events_outlive_their_watch() {
    let slow = ListBeside(0, 0, Some(ListFault::Slow(5_000)));
    let steps = [Create(8), Wait(100), slow, Wait(10), Delete(8), Create(9), Wait(1), Relist(0, 0)];
    keeps_every_promise(Setup::PLAIN, &steps);
}

#[test]
fn restarted_list_shows_earlier_events() {
    let slow = ListBeside(0, 0, Some(ListFault::Pages(1, PageFault::TooSlow)));
    keeps_every_promise(Setup::PLAIN, &[Wait(100), slow, Wait(100), Create(3), RestoreCluster(2)]);
}

/// An event arrives before the list is requested again. The cluster is restored to the version of before that event.
#[test]
fn retried_list_is_older_than_earlier_events() {
    let refused = |refusal| Some(ListFault::Pages(6, PageFault::Refused(refusal)));
    let list = ListBeside(0, 1, refused(Refusal::After(429, 19)));
    let steps = [Wait(100), Create(2), list, Wait(100), Create(9), Wait(1), RestoreCluster(2)];
    keeps_every_promise(Setup { watches: 2, ..Setup::PLAIN }, &steps);
    // The token of the next page belongs to another history.
    let steps = [
        [Lag(0, 0), Wait(100), Create(5), Change(1), CatchUp(0, 0)],
        [ListBeside(0, 0, None), Wait(10), CreateMany(7, 5), RestoreCluster(2), Wait(100)],
    ];
    let setup = Setup { seed: 153_624, pods: 4, batch: 1, list_page: 3, ..Setup::PLAIN };
    keeps_every_promise(setup, &steps.concat());
}

/// A list is requested before a pod's event, and the cluster is restored to a version before it.
#[test]
fn request_ends_with_a_restored_server() {
    for fault in [None, Some(ListFault::Lacks(3))] {
        let steps = [Wait(100), ListBeside(0, 0, fault), Wait(2), Create(6), Wait(1), RestoreCluster(1)];
        keeps_every_promise(Setup { seed: 183_996, ..Setup::PLAIN }, &steps);
    }
}

/// The cluster is restored to a version between the first pages of a list and its rest.
#[test]
fn list_is_older_than_an_earlier_rest() {
    let expired = ListFault::Pages(9, PageFault::Expired { offered: true });
    let steps =
        [Lag(0, 0), ListBeside(0, 0, Some(expired)), Wait(921), CreateMany(69, 60), Wait(24_403), RestoreCluster(7)];
    let trace = keeps_every_promise(Setup { pods: 21, list_page: 1, ..Setup::PLAIN }, &steps);
    assert!(trace.contains("Rest(") && trace.contains("is stale"), "{trace}");
}

/// A fenced process finds a session of its own, which the registry has from a backup.
#[test]
fn session_from_a_backup_is_not_adopted() {
    let steps = [
        &[Wait(10_483), Wait(1_253), Down(Refusal::Status(413)), Wait(27_095), Start(1), Wait(567), Delete(4)][..],
        &[Wait(5_610), Wait(9_288), Backup, Wait(44), Wait(5_926), RestoreCluster(7), Wait(483), Wait(9_029)],
        &[Wait(1_468), Up, ForgetSession, Wait(10_000), Restore],
    ];
    let setup =
        Setup { seed: 120_870, pods: 6, watches: 2, batch: 1, resync_secs: 15, latency_ms: 800, ..Setup::PLAIN };
    keeps_every_promise(setup, &steps.concat());
}

/// While a session is replaced, the registry says that it was superseded: perhaps by the replacement, whose answer is
/// lost.
#[test]
fn superseded_writer_opens_no_further_session() {
    let steps = [
        &[Write(Fault::Items(429, 2)), Wait(1_635), Ask(Fault::Lose), Wait(43), Write(Fault::Items(422, 1))][..],
        &[Change(4), Wait(1_106), Wait(1_162), Noise(50), Wait(595), Wait(399), Delete(3), Wait(10_000)],
    ];
    let setup =
        Setup { seed: 404_316, pods: 7, registered: true, watches: 2, list_page: 3, latency_ms: 800, ..Setup::PLAIN };
    keeps_every_promise(setup, &steps.concat());
}

/// The registry does not hold the record, so it has no name with which the pod could be looked up.
#[test]
fn absent_pod_that_was_never_registered_is_forgotten() {
    for seed in 1..100 {
        let setup = Setup { seed, pods: 1, watches: 2, latency_ms: 800, ..Setup::PLAIN };
        for wait in [1_000, 1_900] {
            let steps = [Lose(0, 0, 2), Wait(wait), Leave(0), Noise(50), Wait(100)];
            keeps_every_promise(setup.clone(), &steps);
        }
    }
    let setup = Setup { seed: 10_625, pods: 3, list_page: 1, latency_ms: 1, ..Setup::PLAIN };
    let steps =
        [CreateMany(3, 5), Delete(5), Wait(2_684), Change(7), Restore, Noise(10), Relist(0, 0), Wait(475), Leave(7)];
    keeps_every_promise(setup, &steps);
}

/// An earlier process saw an empty list. A pod that left the selection since then is held until the operator approves
/// it.
#[test]
fn hold_outlives_the_process_that_began_it() {
    let steps = [Wait(100), WrongList(0, 0, ListFault::Empty), Wait(100), Stop(0), Leave(56)];
    keeps_every_promise(Setup { pods: 110, ..Setup::PLAIN }, &steps);
}

/// The registry does not hold the record of one pod. Another one is found to be absent while the guard asks about it.
#[test]
fn unanswered_question_delays_no_other_absence() {
    let steps = [
        &[Create(4), Wait(1_469), Ask(Fault::Lose), Wait(2_957), WrongList(0, 0, ListFault::Slow(2_151))][..],
        &[Wait(14_080), Write(Fault::Lose), Wait(2_264), Create(2), Wait(18_373), Foreign(4), Wait(1_725)],
        &[RestoreCluster(8), Wait(1)],
    ];
    keeps_every_promise(Setup { seed: 12_077_596, watches: 3, ..Setup::PLAIN }, &steps.concat());
}

/// A page shows two pods when the comparison with the registry ends. Only one of them is new to the registry.
#[test]
fn heartbeat_may_precede_the_rest_of_a_page() {
    let setup = Setup { seed: 16_123_199, pods: 4, registered: true, list_page: 3, latency_ms: 20, ..Setup::PLAIN };
    keeps_every_promise(setup, &[Create(4), Wait(10), ListBeside(0, 0, Some(ListFault::Lacks(1))), Wait(1_000)]);
}

/// Each history ends with a restart, which writes nothing.
#[test]
fn restart_of_a_mapped_target_writes_nothing() {
    for (assigns, shares, compares_bodies, batches) in
        [(false, false, true, true), (true, false, true, false), (false, true, false, true), (true, true, true, false)]
    {
        let rest = Some(Rest { assigns, shares, compares_bodies, batches, ..Rest::default() });
        keeps_every_promise(Setup { pods: 9, rest, ..Setup::PLAIN }, &[Delete(3), Change(4)]);
    }
}

#[test]
fn record_is_created_once_where_lists_lag() {
    // The next process does not see what the one before has created.
    let rest = Some(Rest { assigns: true, lag_ms: 9_000, ..Rest::default() });
    keeps_every_promise(Setup { pods: 1, rest, ..Setup::PLAIN }, &[Wait(100), Crash(0), Start(0)]);
}

/// The answer to the create is lost, a lookup finds the record, and the next list does not show it yet.
#[test]
fn found_record_is_created_once_where_lists_lag() {
    let rest = Some(Rest { assigns: true, compares_bodies: true, lag_ms: 2_000, ..Rest::default() });
    let setup = Setup { seed: 450_115, resync_secs: 15, rest, ..Setup::PLAIN };
    let steps = [Wait(3_138), Write(Fault::Lose), Wait(10_000), Restore, Wait(1_000), Create(5), Wait(1)];
    keeps_every_promise(setup, &steps);
}

#[test]
fn late_create_makes_no_second_record() {
    let setup = || Setup { rest: Some(Rest { assigns: true, ..Rest::default() }), ..Setup::PLAIN };
    let late = [Wait(100), Write(Fault::Late(13_813)), Create(5), Wait(1)];
    keeps_every_promise(setup(), &late);
    keeps_every_promise(setup(), &[&late[..], &[Delete(5)]].concat());
    let setup = Setup { lease: true, ..setup() };
    keeps_every_promise(setup, &[&late[..], &[LoseLease(0)]].concat());
}

/// The put of a part has no answer when the record that it belongs to is deleted. The registry removes both.
#[test]
fn part_that_left_is_not_remembered() {
    let rest = Some(Rest { remembers: true, parts: PartRecords::Cascade, ..Rest::default() });
    let steps = [
        &[Delete(0), Wait(100), Create(4), RestoreCluster(2), Wait(1), Write(Fault::Late(3_554))][..],
        &[Create(5), Wait(10), DeleteMany(1, 5)],
    ];
    keeps_every_promise(Setup { seed: 31_000_179, pods: 1, rest, ..Setup::PLAIN }, &steps.concat());
}
