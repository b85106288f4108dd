//! One run: the scenarios one after the other, then the removal of what was written, then the report.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{
    cleanup,
    http::{Access, Error, HttpProber},
    report::ConformanceReport,
    rules, scenarios,
    suite::{Halt, Suite},
};

/// Time limit of the scenarios, and of the removal after them.
const RUN_AT_MOST: Duration = Duration::from_secs(600);
/// Time limit of the removal after a signal, when the process has 25 s.
const CLEANUP_AFTER_SIGNAL: Duration = Duration::from_secs(20);

/// What a run showed.
#[derive(Debug)]
pub struct Conformance {
    pub report: ConformanceReport,
    pub ending: Ending,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// The time limit, or a registry that lacks what all scenarios need or stopped answering.
    Cut,
    Interrupted,
    /// The registry never answered, or refuses the token.
    Unreachable,
}

/// Runs all scenarios under this cluster id. `restart` is the command that restarts the registry.
///
/// # Errors
/// If a file of the settings cannot be used. Everything else is in the report.
pub async fn run(
    access: Access,
    cluster: String,
    restart: Option<&str>,
    stop: &CancellationToken,
) -> Result<Conformance, Error> {
    let (url, started) = (access.url.to_string(), Instant::now());
    let mut suite = Suite::new(HttpProber::new(access)?, cluster.clone());
    let limited = tokio::time::timeout(RUN_AT_MOST, scenarios::run(&mut suite, restart));
    let (ending, incomplete) = match stop.run_until_cancelled(limited).await {
        None => (Ending::Interrupted, Some("it was interrupted".to_owned())),
        Some(Err(_)) => (Ending::Cut, Some(format!("it took longer than {} s", RUN_AT_MOST.as_secs()))),
        Some(Ok(Ok(()))) => (Ending::Complete, None),
        Some(Ok(Err(Halt::Unreachable(why)))) => (Ending::Unreachable, Some(why)),
        Some(Ok(Err(Halt::Run(why) | Halt::Scenario(why)))) => (Ending::Cut, Some(why)),
    };
    let reason = incomplete.as_deref().unwrap_or("it was not observed");
    rules::all().for_each(|rule| suite.skip(rule, reason));
    let limit = if ending == Ending::Interrupted { CLEANUP_AFTER_SIGNAL } else { RUN_AT_MOST };
    let removed = tokio::time::timeout(limit, cleanup::remove(&mut suite)).await;
    let leftovers = removed.unwrap_or_else(|_| Some(format!("some records, as {} s had passed", limit.as_secs())));
    let (results, took) = (suite.results, started.elapsed());
    let report = ConformanceReport { url, cluster, results, incomplete, leftovers, took };
    Ok(Conformance { report, ending })
}
