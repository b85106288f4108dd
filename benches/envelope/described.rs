//! The steps for pod-registrar with a target that a file describes: those of every controller, a restart without
//! changes, and a full reconcile.

use std::time::Duration;

use clap::ValueEnum;
use tokio::time::{Instant, sleep};

use crate::{error::Result, stats::wide, subject::Subject, world::Target};

/// A list is over when no page was asked for in this time.
const LISTED: Duration = Duration::from_secs(3);
/// Time over which the processor time of an idle process is measured.
const QUIET: Duration = Duration::from_secs(3);

const BY_DIGEST: &str = r#"
    body: {digest: "{{ digest }}"}
    item: {id: /id, mark: /owner, body: null, digest: /digest}"#;
const BY_BODY: &str = r#"
    body: {digest: null}
    item: {id: /id, mark: /owner, digest: null, body: ""}"#;
const BATCH: &str = r#"
    batch:
      - path: systems:batch
        body: {operations: "{{ operations }}"}
        put: [{id: "{{ id }}", record: "{{ body }}"}]
        delete: [{id: "{{ id }}"}]
        max: {records: 500, bytes: 16MiB}"#;

/// A target of the preset `rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One request per record; lists are compared by digest.
    Put,
    /// Up to 500 records per request; lists are compared by digest.
    Batch,
    /// One request per record; lists are compared by the members of the body.
    Body,
}

impl Form {
    /// The name of the controller in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Put => "rest",
            Self::Batch => "rest, batches",
            Self::Body => "rest, by body",
        }
    }

    /// The targets file. Its name is that of the only target of other runs, so that metrics have the same labels.
    pub(crate) fn file(self, url: &str) -> String {
        let more = match self {
            Self::Put => BY_DIGEST.to_owned(),
            Self::Body => BY_BODY.to_owned(),
            Self::Batch => format!("{BY_DIGEST}{BATCH}"),
        };
        format!("targets:\n  - name: default\n    preset: rest\n    url: {url}/\n    exclusive: true{more}\n")
    }
}

/// A list of all records, and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconciled {
    /// Processor seconds. That of an idle process in the same time is subtracted.
    pub(crate) processor: f64,
    /// Seconds from the first to the last page.
    pub(crate) seconds: f64,
    pub(crate) pages: u64,
    pub(crate) writes: u64,
}

/// Waits for the next resync. Nothing differs.
pub(crate) async fn reconcile(subject: &mut Subject, target: &Target, interval: Duration) -> Result<Reconciled> {
    let recorder = target.recorder.clone();
    let pages = async || {
        let counts = recorder.counts();
        Ok((counts.pages > 1).then_some(()).ok_or_else(|| format!("{counts:?}")))
    };
    recorder.reset();
    let before = subject.process.processor_time()?;
    let waited = Instant::now();
    subject.process.until("a list", interval * 3 + Duration::from_secs(60), pages).await?;
    let begun = Instant::now();
    let (mut read, mut last) = (0, Instant::now());
    while last.elapsed() < LISTED {
        sleep(Duration::from_millis(100)).await;
        let pages = recorder.counts().pages;
        if pages > read {
            (read, last) = (pages, Instant::now());
        }
    }
    let (after, lasted) = (subject.process.processor_time()?, waited.elapsed());
    sleep(QUIET).await;
    let idle = subject.process.processor_time()?.saturating_sub(after).as_secs_f64() / QUIET.as_secs_f64();
    let counts = recorder.counts();
    Ok(Reconciled {
        processor: (after.saturating_sub(before).as_secs_f64() - idle * lasted.as_secs_f64()).max(0.0),
        seconds: last.duration_since(begun).as_secs_f64(),
        pages: counts.pages,
        writes: counts.puts + counts.deletes,
    })
}

/// Milliseconds of the longest turn of the event loop that the log of the process tells. Shorter turns than 10 ms are
/// not logged.
pub(crate) fn longest_turn(log: &str) -> f64 {
    let turns = log.lines().filter(|line| line.contains("a turn of the event loop was long"));
    let seconds = turns.filter_map(|line| line.split_once("seconds=")?.1.split(' ').next()?.parse::<f64>().ok());
    seconds.fold(0.0, f64::max) * 1e3
}

/// Bytes per record that a run takes beyond another one.
pub(crate) fn beyond(steady: u64, without: u64, records: u64) -> f64 {
    wide(steady.saturating_sub(without)) / wide(records.max(1))
}
