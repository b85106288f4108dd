//! Two clusters with one id. While the original is alive, the clone deletes none of its records, however few there are.
//! If the original is down and nearly all of many records have no pod in the clone, the operator decides.

use crate::{
    history::Play,
    search::in_parallel,
    steps::{CLONE_FROM, History, Setup, Step, Step::*},
};

const HISTORIES: u64 = 100;

/// Plays histories until one breaks a promise, and panics with its trace.
fn keep_every_promise(history: impl Fn(u64) -> History + Sync) {
    let histories = std::env::var("POD_REGISTRAR_TEST_CLONES").map_or(HISTORIES, |text| text.parse().unwrap());
    let failed = in_parallel(1, histories + 1, |seed| history(seed).play(Play::default()).breach);
    if let Some((seed, breach)) = failed {
        let history = history(seed);
        let trace = history.play(Play { trace: true, ..Play::default() }).trace.join("\n");
        panic!("{trace}\n\n{:?}\n{:?}\n\nseed {seed}: {breach}", history.setup, history.steps);
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
fn clone_of_a_stopped_original_waits_for_approval() {
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

/// The clone may start, stop and crash at any moment, and the registry may forget sessions. The original restarts at
/// once.
#[test]
fn clone_deletes_nothing_while_the_original_lives() {
    keep_every_promise(|seed| {
        let mut rng = fastrand::Rng::with_seed(seed);
        let setup = Setup { lease: rng.bool(), ..setup(seed, &mut rng) };
        let mut steps = vec![Wait(rng.u32(1..60_000)), Start(1)];
        for _ in 0..rng.usize(1..25) {
            let name = if rng.bool() { 0 } else { CLONE_FROM } + rng.u16(0..40);
            let slot = rng.u8(0..2);
            let next: &[Step] = match rng.u8(0..16) {
                0 => &[Create(name)],
                1 => &[CreateMany(name, 5)],
                2 => &[Delete(name)],
                3 => &[Change(name)],
                4..7 => &[Crash(1), Wait(rng.u32(1..5_000)), Start(1)],
                7..9 => &[Stop(1), Wait(rng.u32(1..5_000)), Start(1)],
                9 => &[Crash(1)],
                10 => &[Start(1)],
                11..13 => &[Crash(0), Start(0)],
                // A session is opened, and the inventory is compared.
                13 => &[ForgetSession, Wait(15_000)],
                _ => &[Relist(slot, 0)],
            };
            steps.extend(next);
            steps.push(Wait(if rng.bool() { rng.u32(1..5_000) } else { rng.u32(1..150_000) }));
        }
        History { setup, steps }
    });
}
