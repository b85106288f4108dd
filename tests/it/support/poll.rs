//! Waiting for a condition, with a deadline.

use std::{
    io::{Write, stderr},
    time::{Duration, Instant},
};

/// The deadline for everything that needs no time by design. It is long, because the tests share a machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The pause between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Checks until the result is `Ok`. At the deadline the test fails with the last error.
pub(crate) async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(state) => assert!(Instant::now() < deadline, "{what}: not within {within:?}; at last: {state}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Checks until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, SOON, async || if condition() { Ok(()) } else { Err("it does not hold".to_owned()) }).await;
}

/// A random seed, which is shown if the test fails.
pub(crate) fn seed() -> u64 {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    seed
}

/// Prints a line that the test runner does not hide.
pub(crate) fn notice(text: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // The test runner catches `eprintln`.
    stderr().write_all(format!("{test}: {text}\n").as_bytes()).unwrap();
}
