//! Recorded workloads, disturbed systematically: a crash at every moment, a list of every earlier view, every single
//! event lost. The final records and the number of effective writes are compared with the undisturbed run.
//!
//! Moments lie between everything that happens: before and after an event is shown, when a request is sent, when the
//! registry takes it, and when its answer arrives.

use crate::{
    cluster::Name,
    history::{Outcome, Play},
    search::in_parallel,
    steps::{Fault, History, ListFault, Refusal, Setup, Step, Step::*},
};

/// Time for each change to be registered alone, so that the undisturbed run writes each of them.
const PAUSE: Step = Wait(1_200);

fn history(setup: Setup, steps: &[Step]) -> History {
    History { setup, steps: steps.iter().flat_map(|step| [*step, PAUSE]).collect() }
}

/// Pods are created, changed, deselected and deleted, and names are used again.
fn life() -> History {
    let steps = [
        Create(3),
        Change(0),
        Change(3),
        Replace(1),
        Delete(2),
        Create(2),
        Leave(0),
        Change(1),
        ComeBack(0),
        Delete(3),
        Relist(0, 0),
        Change(2),
        Replace(2),
        Delete(1),
        Create(4),
        Revert(0),
        Change(4),
        Delete(4),
        Relist(0, 0),
        Create(1),
    ];
    history(Setup { pods: 3, ..Setup::PLAIN }, &steps)
}

/// A registry that has records already, with a faulty connection, and without batches; two watches, one of which lags.
fn hiccups() -> History {
    let steps = [
        Write(Fault::Lose),
        Change(0),
        Lag(0, 1),
        Delete(1),
        Create(5),
        Change(2),
        CatchUp(0, 1),
        Write(Fault::Late(20_000)),
        Delete(0),
        Wait(12_000),
        Create(0),
        Down(Refusal::Status(503)),
        Change(2),
        Delete(3),
        Up,
        Wait(6_000),
        Relist(0, 0),
        Write(Fault::Items(429, 1)),
        Change(4),
        Ask(Fault::Lose),
        Relist(0, 1),
        Replace(4),
        Delete(5),
    ];
    let setup = Setup { pods: 5, registered: true, watches: 2, batch: 1, max_in_flight: 2, page: 2, ..Setup::PLAIN };
    history(setup, &steps)
}

/// A session that the registry forgets, a process that stops and one that starts, and lists that show missed changes.
fn sessions() -> History {
    let steps = [
        Create(0),
        ForgetSession,
        Change(0),
        Create(1),
        Lose(0, 0, 1),
        Delete(0),
        Relist(0, 0),
        Create(2),
        Stop(0),
        Delete(1),
        Create(0),
        Start(0),
        Wait(3_000),
        Change(2),
        Crash(0),
        Change(2),
        Delete(0),
        Start(0),
        Wait(3_000),
        Change(2),
    ];
    history(Setup { digests: false, ..Setup::PLAIN }, &steps)
}

/// Two processes that share a lease: the first one leads, stops, and is a standby later.
fn hand_over() -> History {
    let steps = [
        Start(1),
        Create(0),
        Change(1),
        CutLease(1),
        Delete(2),
        RepairLease(1),
        Stop(0),
        Wait(4_000),
        Change(0),
        Delete(1),
        Start(0),
        Replace(0),
        Create(2),
        CutLease(1),
        Wait(20_000),
        Change(2),
        Leave(0),
        RepairLease(1),
        Change(2),
    ];
    history(Setup { pods: 3, registered: true, lease: true, ..Setup::PLAIN }, &steps)
}

fn workloads() -> [(&'static str, History); 4] {
    [("life", life()), ("hiccups", hiccups()), ("sessions", sessions()), ("hand-over", hand_over())]
}

/// Plays a workload without a disturbance.
fn undisturbed(name: &str, history: &History) -> Outcome {
    let outcome = history.play(Play::default());
    assert!(outcome.breach.is_none(), "{name}: {:?}", outcome.breach);
    outcome
}

/// A run with one disturbance.
struct Disturbed<'a> {
    workload: &'a str,
    history: History,
    play: Play,
    what: String,
    /// The number of additional effective writes that the disturbance explains.
    explained: u64,
}

impl Disturbed<'_> {
    fn compare(&self, with: &Outcome) -> Result<(), String> {
        let outcome = self.history.play(self.play);
        let problem = if let Some(breach) = &outcome.breach {
            breach.to_string()
        } else if outcome.records != with.records {
            format!("it ends with {:?} instead of {:?}", outcome.records, with.records)
        } else if outcome.effects > with.effects + self.explained {
            format!("{} effective writes, {} without it, {} explained", outcome.effects, with.effects, self.explained)
        } else {
            return Ok(());
        };
        let trace = self.history.play(Play { trace: true, ..self.play }).trace.join("\n");
        Err(format!("{trace}\n\n{}, {}: {problem}", self.workload, self.what))
    }
}

/// Compares all runs, and panics with the first one that differs.
fn compare_all(disturbed: &[Disturbed<'_>], with: &Outcome) {
    let failed = in_parallel(0, disturbed.len() as u64, |number| {
        disturbed[usize::try_from(number).unwrap()].compare(with).err()
    });
    if let Some((_, problem)) = failed {
        panic!("{problem}");
    }
}

#[test]
fn crash_at_any_moment_changes_no_outcome() {
    for (workload, history) in workloads() {
        let with = undisturbed(workload, &history);
        let crash = |moment| Disturbed {
            workload,
            history: history.clone(),
            play: Play { kill_at: Some(moment), ..Play::default() },
            what: format!("killed at moment {moment}"),
            explained: 0,
        };
        let kills = |moment| history.play(crash(moment).play).processes > with.processes;
        // At some moments no process runs.
        assert!((1..4).any(|part| kills(with.moments * part / 4)), "{workload}: no process was killed");
        let disturbed: Vec<_> = (1..=with.moments).map(crash).collect();
        compare_all(&disturbed, &with);
    }
}

/// Inserts these steps before the one at this place.
fn with_steps(history: &History, place: usize, steps: &[Step]) -> History {
    let mut history = history.clone();
    history.steps.splice(place..place, steps.iter().copied());
    history
}

/// The number of changes of the cluster before each step.
fn changes_before(history: &History) -> Vec<usize> {
    (0..=history.steps.len())
        .map(|place| {
            let steps = history.steps[..place].to_vec();
            History { setup: history.setup.clone(), steps }.cluster_after().log.len()
        })
        .collect()
}

/// Every place of a workload, with the age in changes of every earlier view.
fn earlier_views(history: &History) -> Vec<(usize, u16)> {
    let changes = changes_before(history);
    let views = (0..changes.len()).flat_map(|place| (1..=changes[place]).map(move |back| (place, back)));
    // Two waits in a row would be tried twice.
    let views = views.filter(|(place, _)| place % 2 == 0 || *place == history.steps.len());
    views.map(|(place, back)| (place, u16::try_from(back).unwrap())).collect()
}

#[test]
fn earlier_list_changes_no_outcome() {
    // The list shows an earlier view to a process that has seen more.
    for (workload, history) in workloads() {
        let with = undisturbed(workload, &history);
        let mut disturbed = Vec::new();
        for (place, back) in earlier_views(&history) {
            for watch in 0..history.setup.watches {
                let steps = [WrongList(0, watch, ListFault::Old(back)), Wait(200)];
                disturbed.push(Disturbed {
                    workload,
                    history: with_steps(&history, place, &steps),
                    play: Play::default(),
                    what: format!("before step {place} watch {watch} lists the view of {back} changes ago"),
                    explained: 0,
                });
            }
        }
        compare_all(&disturbed, &with);
    }
}

#[test]
fn earlier_first_list_changes_no_outcome() {
    // The list shows an earlier view to a process that has seen nothing.
    for (workload, history) in workloads() {
        let with = undisturbed(workload, &history);
        let mut disturbed = Vec::new();
        for (place, back) in earlier_views(&history) {
            let mut steps = vec![Crash(0), Start(0)];
            steps.extend((0..history.setup.watches).map(|watch| WrongList(0, watch, ListFault::Old(back))));
            steps.push(Wait(200));
            disturbed.push(Disturbed {
                workload,
                history: with_steps(&history, place, &steps),
                play: Play::default(),
                what: format!("before step {place} a new process begins with the view of {back} changes ago"),
                // The old view may undo each of these changes, which is then made again.
                explained: 2 * u64::from(back),
            });
        }
        compare_all(&disturbed, &with);
    }
}

#[test]
fn lost_event_changes_no_outcome() {
    // Each event of a history is lost in turn.
    for (workload, history) in workloads() {
        let with = undisturbed(workload, &history);
        let changes = changes_before(&history);
        let mut disturbed = Vec::new();
        for place in (0..history.steps.len()).filter(|place| changes[*place] < changes[place + 1]) {
            let name = name_of(history.steps[place]);
            let watch = u8::try_from(name % Name::from(history.setup.watches)).unwrap();
            disturbed.push(Disturbed {
                workload,
                history: with_steps(&history, place, &[Lose(0, watch, 1)]),
                play: Play::default(),
                what: format!("the event of step {place} is lost"),
                // A standby that missed a deletion and takes over registers that pod until its next list.
                explained: if history.setup.lease { 2 } else { 0 },
            });
        }
        assert!(disturbed.len() > 5, "{workload} has too few events");
        compare_all(&disturbed, &with);
    }
}

/// The pod of a step.
fn name_of(step: Step) -> Name {
    match step {
        Create(name) | Change(name) | Revert(name) | Delete(name) | Replace(name) | Leave(name) | ComeBack(name) => {
            name
        }
        step => panic!("{step:?} is not about one pod"),
    }
}
