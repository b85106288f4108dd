//! Histories that need a rule of the core, cut to the steps that matter, each under the name of what it is about.
//!
//! Some were found with that rule taken out on trial, the others were written by hand. One that breaks a promise one day
//! is added here, and stays.

use crate::{
    history::Play,
    registry::Wrong,
    steps::{ConfirmFault, Fault, History, ListFault, Refusal, Setup, Step, Step::*},
};

/// Plays a case to its end.
#[track_caller]
fn keeps_every_promise(setup: Setup, steps: &[Step]) {
    let history = History { setup, steps: steps.to_vec() };
    let outcome = history.play(Play { tell: true, ..Play::default() });
    if let Some(breach) = outcome.breach {
        panic!("{}\n\n{breach}", outcome.tale.join("\n"));
    }
}

#[test]
fn an_absence_is_nothing_until_the_cluster_was_asked() {
    keeps_every_promise(Setup { pods: 9, registered: true, ..Setup::PLAIN }, &[Wait(10), Replace(8)]);
}

#[test]
fn an_empty_list_is_doubted_however_few_pods_it_lacks() {
    let setup = || Setup { pods: 9, registered: true, ..Setup::PLAIN };
    keeps_every_promise(setup(), &[DeleteMany(4, 5), DeleteMany(0, 5)]);
    keeps_every_promise(setup(), &[Wait(100), WrongList(0, 0, ListFault::Empty), Wait(16_660)]);
}

#[test]
fn many_absences_are_doubted() {
    keeps_every_promise(Setup { pods: 100, registered: true, ..Setup::PLAIN }, &[DeleteMany(13, 70)]);
}

#[test]
fn a_list_from_before_the_registry_named_a_pod_proves_nothing() {
    let steps = [Lag(0, 0), Wait(1), Start(1), Wait(100), Create(9), Wait(10), ForgetSession, Wait(10_000)];
    keeps_every_promise(Setup::PLAIN, &steps);
}

#[test]
fn two_writers_by_mistake_do_not_take_turns() {
    keeps_every_promise(Setup::PLAIN, &[Start(1)]);
    keeps_every_promise(Setup { pods: 3, ..Setup::PLAIN }, &[Start(1), Wait(500), Change(0), Wait(20_000), Crash(1)]);
}

#[test]
fn a_refused_record_is_tried_again_after_the_next_comparison() {
    let steps = [Create(9), Wait(100), Poison(9), Change(9), Wait(10_000), Cure];
    keeps_every_promise(Setup::PLAIN, &steps);
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
fn an_absence_that_a_request_hid_is_found_when_it_is_answered() {
    keeps_every_promise(Setup::PLAIN, &[Wait(10), RestoreCluster(3), Wait(1_098), CreateMany(0, 5)]);
}

#[test]
fn an_end_after_a_lost_answer_is_owed_though_nothing_was_acknowledged() {
    let steps = [Wait(500), Write(Fault::Lose), Create(3), Wait(100), Delete(3), Wait(5_000)];
    keeps_every_promise(Setup::PLAIN, &steps);
}

#[test]
fn a_short_inventory_and_an_absent_answer_only_cost_time() {
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
