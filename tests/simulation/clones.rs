//! Two clusters with one id: where the original is down, nearly all of many records have no pod in the clone, and a person
//! decides.

use crate::{
    history::Play,
    search::in_parallel,
    steps::{CLONE_FROM, History, Setup, Step::*},
};

const HISTORIES: u64 = 100;

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
