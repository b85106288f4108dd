//! Waiting for a condition, under a deadline.

use std::{
    io::{Write, stderr},
    time::{Duration, Instant},
};

/// How long anything may take that takes no time by design. Generous, as the tests share a machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to be seen. The deadline's message ends with what the last look said.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(stand) => assert!(Instant::now() < deadline, "{what}: not within {within:?}; at last: {stand}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks until something is so.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, SOON, async || if condition() { Ok(()) } else { Err("it is not so".to_owned()) }).await;
}

/// A random seed, which is shown if the test fails.
pub(crate) fn seed() -> u64 {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    seed
}

/// Says something that the test runner does not hide.
pub(crate) fn notice(text: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not `eprintln`, which the test runner catches.
    stderr().write_all(format!("{test}: {text}\n").as_bytes()).unwrap();
}
