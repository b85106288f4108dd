//! Plays histories seed by seed, and cuts the first one that breaks a promise to the steps that matter.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    history::Play,
    mapped::PartRecords,
    promise::Breach,
    steps::{History, Setup, Step},
};

/// The number of histories, and the first seed.
fn wanted(histories: &str, default: u64) -> (u64, u64) {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    };
    (number(histories, default), number("POD_REGISTRAR_TEST_SEED", 1))
}

/// The promise that a history breaks, if any.
fn broken(history: &History) -> Option<Breach> {
    history.play(Play::default()).breach
}

#[test]
fn histories_keep_every_promise() {
    let (count, first) = wanted("POD_REGISTRAR_TEST_HISTORIES", 2_000);
    play(count, first, History::of_seed);
}

#[test]
fn mapped_histories_keep_every_promise() {
    let (count, first) = wanted("POD_REGISTRAR_TEST_MAPPED_HISTORIES", 200);
    play(count, first, History::mapped_of_seed);
}

fn play(count: u64, first: u64, history: fn(u64) -> History) {
    let began = Instant::now();
    let failed = in_parallel(first, first.saturating_add(count), |seed| broken(&history(seed)));
    if let Some((seed, _)) = failed {
        panic!("{}", report(seed, &history(seed)));
    }
    let each = began.elapsed().as_micros() / u128::from(count.max(1));
    println!("{count} histories from seed {first} in {:?}, {each} µs each on {} threads", began.elapsed(), threads());
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}

/// Tries these numbers on all processors. Returns the first one that fails, and its failure.
pub(crate) fn in_parallel<T: Send>(from: u64, to: u64, fails: impl Fn(u64) -> Option<T> + Sync) -> Option<(u64, T)> {
    let (next, failed) = (AtomicU64::new(from), Mutex::new(None::<(u64, T)>));
    let is_late = |number| failed.lock().unwrap().as_ref().is_some_and(|(failed, _)| *failed < number);
    let work = || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= to || is_late(number) {
            return;
        }
        if let Some(failure) = fails(number).filter(|_| !is_late(number)) {
            *failed.lock().unwrap() = Some((number, failure));
        }
    };
    std::thread::scope(|scope| (0..threads()).for_each(|_| _ = scope.spawn(work)));
    failed.into_inner().unwrap()
}

#[test]
fn a_history_is_the_same_every_time() {
    let traced = Play { trace: true, ..Play::default() };
    for seed in 1..200_u64 {
        let history = if seed.is_multiple_of(2) { History::of_seed(seed) } else { History::mapped_of_seed(seed) };
        let again = std::thread::scope(|scope| scope.spawn(|| history.play(traced).trace).join().unwrap());
        let trace = history.play(traced).trace;
        let differs = trace.iter().zip(&again).position(|(one, other)| one != other);
        assert!(trace == again, "seed {seed}: {:?}", differs.map(|place| (&trace[place], &again[place])));
    }
}

/// The report about a seed that failed.
fn report(seed: u64, whole: &History) -> String {
    let (variable, test) = match whole.setup.rest {
        Some(_) => ("POD_REGISTRAR_TEST_MAPPED_HISTORIES", "mapped_histories"),
        None => ("POD_REGISTRAR_TEST_HISTORIES", "histories"),
    };
    let history = shortened(whole.clone());
    let outcome = history.play(Play { trace: true, ..Play::default() });
    let mut text = format!("seed {seed} breaks a promise\n\n");
    for line in &outcome.trace {
        let _ = writeln!(text, "{line}");
    }
    let breach = outcome.breach.map(|breach| breach.to_string());
    let _ = write!(
        text,
        "\n{}\n\n{} of {} steps matter. To repeat it:\n\
         {variable}=1 POD_REGISTRAR_TEST_SEED={seed} cargo test --release --test simulation {test}\n\n\
         To keep it, in tests/simulation/cases.rs:\n    Setup {},\n    &{:?},\n",
        breach.unwrap_or_else(|| "the shortened history breaks nothing: it is not deterministic".to_owned()),
        history.steps.len(),
        whole.steps.len(),
        in_short(&history.setup),
        history.steps,
    );
    text
}

/// The differences of a setup from the plain one.
fn in_short(setup: &Setup) -> String {
    let (own, plain) = (format!("{setup:?}"), format!("{:?}", Setup::PLAIN));
    let own = own.trim_start_matches("Setup { ").trim_end_matches(" }").split(", ");
    let plain: Vec<&str> = plain.trim_start_matches("Setup { ").trim_end_matches(" }").split(", ").collect();
    let mut parts: Vec<&str> = own.filter(|part| !plain.contains(part)).collect();
    parts.push("..Setup::PLAIN");
    format!("{{ {} }}", parts.join(", "))
}

/// Removes the steps without which the history still breaks the same promise.
fn shortened(mut history: History) -> History {
    let Some(promise) = broken(&history).map(|breach| breach.promise) else { return history };
    let fails = |history: &History| broken(history).is_some_and(|breach| breach.promise == promise);
    let mut size = history.steps.len().div_ceil(2).max(1);
    loop {
        let (mut from, mut cut) = (0, false);
        while from < history.steps.len() {
            let mut shorter = history.clone();
            shorter.steps.drain(from..(from + size).min(history.steps.len()));
            if fails(&shorter) {
                (history, cut) = (shorter, true);
            } else {
                from += size;
            }
        }
        if size == 1 && !cut {
            break;
        }
        size = if cut { size } else { size.div_ceil(2) };
    }
    for simpler in simpler_setups() {
        let mut other = history.clone();
        simpler(&mut other.setup);
        if other != history && fails(&other) {
            history = other;
        }
    }
    shorten_waits(&mut history, fails);
    history
}

fn simpler_setups() -> Vec<fn(&mut Setup)> {
    vec![
        |setup| *setup = Setup { seed: setup.seed, pods: setup.pods, rest: setup.rest, ..Setup::PLAIN },
        |setup| setup.pods = 0,
        |setup| setup.pods = setup.pods.min(3),
        |setup| setup.pods /= 2,
        |setup| setup.watches = 1,
        |setup| setup.registered = false,
        |setup| setup.batch = 500,
        |setup| setup.page = 500,
        |setup| setup.list_page = Setup::PLAIN.list_page,
        |setup| setup.digests = true,
        |setup| setup.latency_ms = 10,
        |setup| setup.max_in_flight = 4,
        |setup| setup.writes_per_second = 5_000,
        |setup| setup.resync_secs = Setup::PLAIN.resync_secs,
        |setup| setup.backlog_window = Setup::PLAIN.backlog_window,
        |setup| setup.visits_per_turn = Setup::PLAIN.visits_per_turn,
        |setup| setup.lease = false,
        |setup| setup.in_place = true,
        |setup| setup.rest.iter_mut().for_each(|rest| rest.trims = false),
        |setup| setup.rest.iter_mut().for_each(|rest| rest.lag_ms = 0),
        |setup| setup.rest.iter_mut().for_each(|rest| rest.batches = false),
        |setup| setup.rest.iter_mut().for_each(|rest| rest.shares = false),
        |setup| setup.rest.iter_mut().for_each(|rest| rest.parts = PartRecords::None),
        |setup| setup.seed = 1,
    ]
}

fn shorten_waits(history: &mut History, fails: impl Fn(&History) -> bool) {
    for place in 0..history.steps.len() {
        for shorter in [1, 10, 100, 1_000, 10_000] {
            let mut other = history.clone();
            match &mut other.steps[place] {
                Step::Wait(ms) if *ms > shorter => *ms = shorter,
                _ => break,
            }
            if fails(&other) {
                *history = other;
                break;
            }
        }
    }
}
