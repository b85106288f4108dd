//! Two clusters with one id: whatever happens on the way, neither deletes a living pod's record of the other one.
//!
//! The clone has other pods than the original, and its `kube-system` UID. As long as both controllers live, each of them
//! says so. Where the original is down, nearly all of many records have no pod in the clone.

use crate::{
    cluster::Name,
    history::Play,
    search::in_parallel,
    steps::{CLONE_FROM, Fault, History, ListFault, Refusal, Setup, Step, Step::*},
};

const HISTORIES: u64 = 100;
/// How long the original may be down while it counts as alive.
const DOWN_AT_MOST_MS: u32 = 10_000;

/// Plays histories until one breaks a promise, and panics with what happened in it.
fn keep_every_promise(history: impl Fn(u64) -> History + Sync) {
    let failed = in_parallel(1, HISTORIES + 1, |seed| history(seed).play(Play::default()).breach);
    if let Some((seed, breach)) = failed {
        let history = history(seed);
        let tale = history.play(Play { tell: true, ..Play::default() }).tale.join("\n");
        panic!("{tale}\n\n{:?}\n{:?}\n\nseed {seed}: {breach}", history.setup, history.steps);
    }
}

fn setup(seed: u64, rng: &mut fastrand::Rng) -> Setup {
    Setup {
        seed,
        pods: rng.u16(1..40),
        clone: rng.u16(1..40),
        registered: rng.bool(),
        watches: rng.u8(1..3),
        resync_secs: [15, 60, 600][rng.usize(0..3)],
        latency_ms: [1, 20, 800][rng.usize(0..3)],
        digests: rng.bool(),
        in_place: rng.bool(),
        ..Setup::PLAIN
    }
}

/// A change of one of the clusters, or something that goes wrong for a while.
fn disturbance(rng: &mut fastrand::Rng, watches: u8) -> Vec<Step> {
    let name: Name = rng.u16(0..45) + if rng.bool() { CLONE_FROM } else { 0 };
    let (slot, watch, while_ms) = (rng.u8(0..2), rng.u8(0..watches), rng.u32(1..15_000));
    match rng.u8(0..20) {
        0..4 => vec![Create(name)],
        4..6 => vec![Change(name)],
        6..9 => vec![Delete(name)],
        9 => vec![Replace(name)],
        10..12 => vec![Relist(slot, watch)],
        12 => vec![WrongList(slot, watch, ListFault::Slow(rng.u16(100..8_000)))],
        13 => vec![Crash(slot), Wait(while_ms.min(DOWN_AT_MOST_MS)), Start(slot)],
        14 => vec![Down(Refusal::Unreachable), Wait(while_ms), Up],
        15 => vec![Noise(20), Wait(while_ms), Noise(0)],
        16 => vec![Write(Fault::random(rng))],
        17 => vec![Ask(Fault::Lose)],
        _ => vec![ForgetSession],
    }
}

#[test]
#[ignore = "a session that the registry forgets, and a restart of the clone, hide the original for a while"]
fn clone_deletes_nothing_while_the_original_lives() {
    keep_every_promise(|seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let setup = setup(seed, &mut rng);
        let mut steps = vec![Wait(rng.u32(1..120_000)), Start(1)];
        for _ in 0..rng.usize(1..25) {
            steps.extend(disturbance(&mut rng, setup.watches));
            let wait = [50, 5_000, 60_000][rng.usize(0..3)];
            steps.push(Wait(rng.u32(1..wait)));
        }
        History { setup, steps }
    });
}

#[test]
fn clone_of_a_stopped_original_waits_for_a_person() {
    keep_every_promise(|seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let setup = Setup { pods: rng.u16(60..120), registered: true, ..setup(seed, &mut rng) };
        let stop = if rng.bool() { Stop(0) } else { Crash(0) };
        let mut steps = vec![Wait(5_000), stop, Wait(rng.u32(1..200_000)), Start(1)];
        for _ in 0..rng.usize(1..12) {
            let name = CLONE_FROM + rng.u16(0..150);
            steps.push(match rng.u8(0..6) {
                0 => CreateMany(name, 60),
                1 => Delete(name),
                2 => Relist(1, 0),
                3 => Crash(1),
                _ => Start(1),
            });
            steps.push(Wait(rng.u32(1..120_000)));
        }
        History { setup, steps }
    });
}
