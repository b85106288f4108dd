//! Random inputs for tests of everything that parses bytes of others.
//!
//! An input is a realistic document that was changed a few times, as JSON ([`change`]) and as bytes ([`spoil`]), so
//! that most parsers get past their first check. A property has to hold for every input. An input that breaks it is
//! shrunk and printed with its seed. Values and sequences of calls are the work of proptest; it has no strategy for
//! documents that are almost right.
//!
//! `POD_REGISTRAR_TEST_FUZZ_ROUNDS` sets the inputs per property, and `POD_REGISTRAR_TEST_FUZZ_SEED` repeats a run.

mod change;
pub(crate) mod corpus;
mod spoil;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use fastrand::Rng;

use corpus::pods;

/// The default number of inputs per property, which takes about a second.
const ROUNDS: usize = 1_000;
/// The size limit of an input: above that of a record or a pod.
const LARGEST: usize = 2 << 20;
/// Time limit of a property for one input. Generous, because tests share a machine; it catches endless loops.
const LONGEST: Duration = Duration::from_secs(10);
/// The most attempts to shrink an input.
const SHRINKS: usize = 400;

pub(crate) type Found = Result<(), String>;

pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(why()) }
}

/// Checks a property with many inputs that are made from a corpus. The property draws its own random choices from the
/// generator it gets, which starts with the same seed while an input is shrunk.
pub(crate) fn check(corpus: &[Vec<u8>], property: impl Fn(&[u8], &mut Rng) -> Found) {
    check_slow(1, corpus, property);
}

/// The same with fewer inputs, for a property that takes `cost` times as long as others.
pub(crate) fn check_slow(cost: usize, corpus: &[Vec<u8>], property: impl Fn(&[u8], &mut Rng) -> Found) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let rounds =
        number("POD_REGISTRAR_TEST_FUZZ_ROUNDS").map_or(ROUNDS, |rounds: u64| usize::try_from(rounds).unwrap());
    let seed = number("POD_REGISTRAR_TEST_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    // First the documents of the corpus, unchanged.
    let whole = corpus.len();
    for round in 0..whole + rounds.div_ceil(cost) {
        let mut rng = Rng::with_seed(seed.wrapping_add(round as u64));
        let input = corpus.get(round).cloned().unwrap_or_else(|| input(corpus, &mut rng));
        let again = rng.u64(..);
        let run = |input: &[u8]| run(input, again, &property);
        if let Err(why) = run(&input) {
            let (small, why) = shrink(input, why, run);
            panic!("seed {seed}, round {round}: {why}\ninput: {:?}", String::from_utf8_lossy(&small));
        }
    }
}

/// A document of the corpus, changed as JSON, as bytes, or both.
pub(crate) fn input(corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = corpus[rng.usize(..corpus.len())].clone();
    let kinds = rng.u8(..8);
    if kinds != 0 {
        bytes = change::change(&bytes, corpus, rng);
    }
    if kinds < 3 {
        bytes = spoil::spoil(bytes, corpus, rng);
    }
    bytes.truncate(LARGEST);
    bytes
}

fn run(input: &[u8], seed: u64, property: &impl Fn(&[u8], &mut Rng) -> Found) -> Found {
    let began = Instant::now();
    let found = catch_unwind(AssertUnwindSafe(|| property(input, &mut Rng::with_seed(seed))));
    let found = found.unwrap_or_else(|_| Err("it panicked, see above".to_owned()));
    let took = began.elapsed();
    found.and_then(|()| ensure(took < LONGEST, || format!("it took {took:?}")))
}

/// Removes smaller and smaller pieces while the rest still fails.
fn shrink(mut input: Vec<u8>, mut why: String, run: impl Fn(&[u8]) -> Found) -> (Vec<u8>, String) {
    let (mut piece, mut tries) = (input.len() / 2, 0);
    while piece > 0 && tries < SHRINKS {
        let mut at = 0;
        while at < input.len() && tries < SHRINKS {
            tries += 1;
            let mut less = input.clone();
            less.drain(at..(at + piece).min(input.len()));
            match run(&less) {
                Err(still) => (input, why) = (less, still),
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    (input, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_input_is_shrunk_to_its_cause() {
        let fails = |input: &[u8]| ensure(!input.contains(&b'!'), || "a mark".to_owned());
        let (small, why) = shrink(b"a long text with ! in it".to_vec(), String::new(), fails);
        assert_eq!((small.as_slice(), why.as_str()), (&b"!"[..], "a mark"));
    }

    #[test]
    fn most_inputs_are_json_and_few_are_unchanged() {
        let (corpus, mut rng) = (pods(), Rng::with_seed(1));
        let inputs: Vec<_> = (0..400).map(|_| input(&corpus, &mut rng)).collect();
        let json = inputs.iter().filter(|input| serde_json::from_slice::<serde_json::Value>(input).is_ok()).count();
        assert!((200..390).contains(&json), "{json} of 400 are JSON");
        assert!(inputs.iter().filter(|input| corpus.contains(input)).count() < 20);
        let again = input(&corpus, &mut Rng::with_seed(7));
        assert_eq!(again, input(&corpus, &mut Rng::with_seed(7)), "a seed repeats it");
    }
}
