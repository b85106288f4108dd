//! The steps for every controller: a first sync, a re-list, and churn.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    latency::Delays,
    process::Process,
    recorder::Counts,
    stand_in::Marks,
    stats::{median, wide},
    subject::{Kind, Subject},
    truth::Truth,
    world::{Target, World},
};

/// A record that is missing after this time without a write counts as lost.
const QUIET: Duration = Duration::from_secs(30);
/// Time until freed memory is returned to the system.
const REST: Duration = Duration::from_secs(5);

/// Time limit of a step, by the number of pods.
fn patience(pods: u64) -> Duration {
    Duration::from_secs(120 + pods / 500)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstSync {
    /// Seconds from the request for the first page to the start of the watch. None if the list is a watch.
    pub(crate) list_seconds: Option<f64>,
    /// Seconds from the request for the first page to the last write.
    pub(crate) whole_seconds: f64,
    /// Peak memory until the list was complete, and until everything was registered; bytes.
    pub(crate) peak_list: u64,
    pub(crate) peak: u64,
    /// Memory after that; bytes.
    pub(crate) steady: u64,
    /// Processor seconds.
    pub(crate) processor: f64,
    pub(crate) counts: Counts,
    pub(crate) truth: Truth,
}

/// The time that the API server and the network take to deliver all pods: the median of three readings in seconds, and
/// megabytes.
pub(crate) async fn read_only(world: &World) -> Result<(f64, f64)> {
    let mut seconds = Vec::new();
    let mut megabytes = 0.0;
    for _ in 0..3 {
        let (took, came) = read_only_once(world).await?;
        seconds.push(took);
        megabytes = came;
    }
    Ok((median(&seconds).unwrap_or_default(), megabytes))
}

async fn read_only_once(world: &World) -> Result<(f64, f64)> {
    let mut process = Process::part("read-only", [&world.cluster.url], &world.places.logs)?;
    process.wait(Duration::from_secs(600)).await?;
    let log = process.log();
    let mut parts = log.strip_prefix("read ").unwrap_or_default().split_whitespace();
    let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok());
    match next().zip(next()) {
        Some((nanoseconds, bytes)) => Ok((wide(nanoseconds) / 1e9, wide(bytes) / 1e6)),
        None => Err(Error::in_step("reading all pages")(log)),
    }
}

/// Starts a controller and waits until it has registered every pod.
pub(crate) async fn first_sync(world: &World, kind: &Kind, target: &Target) -> Result<(Subject, FirstSync)> {
    target.recorder.reset();
    world.cluster.order("reset").await?;
    let mut subject = world.subject(kind, target).await?;
    let alive = world.cluster.stats().await?.alive;
    let listed = listed(world, &mut subject, target, alive).await?;
    let peak_list = subject.process.memory()?.peak;
    let truth = synced(world, &mut subject, target, alive).await?;
    let counts = target.recorder.counts();
    let Marks { first_page_at, watch_at, .. } = world.cluster.stats().await?.marks;
    let seconds = |from: u64, to: u64| wide(to.saturating_sub(from)) / 1e9;
    let (peak, processor) = (subject.process.memory()?.peak, subject.process.processor_time()?.as_secs_f64());
    sleep(REST).await;
    let end = if counts.last_write_at == 0 { watch_at } else { counts.last_write_at };
    let sync = FirstSync {
        list_seconds: listed.map(|at| seconds(first_page_at, at)),
        whole_seconds: seconds(first_page_at, end),
        peak_list,
        peak,
        steady: subject.process.memory()?.now,
        processor,
        counts,
        truth,
    };
    Ok((subject, sync))
}

/// Waits for the end of the list: the start of the watch, or the first write if the list is a watch.
async fn listed(world: &World, subject: &mut Subject, target: &Target, alive: u64) -> Result<Option<u64>> {
    subject
        .process
        .until("a complete list", patience(alive), async || {
            let stats = world.cluster.stats().await?;
            let Marks { watch_at, lists, .. } = stats.marks;
            let begun = (watch_at > 0).then_some(watch_at);
            let writes = target.recorder.counts().first_write_at;
            let first_write = (writes > 0 && lists == 0).then_some(writes);
            Ok(begun.or(first_write).map(Some).ok_or_else(|| format!("{stats:?}")))
        })
        .await
}

/// Waits until everything is registered.
async fn synced(world: &World, subject: &mut Subject, target: &Target, alive: u64) -> Result<Truth> {
    let begun = Instant::now();
    while let Some(complete) = subject.metrics(&["first_complete_sync_seconds"]).await?.first() {
        if *complete > 0.0 {
            break;
        }
        subject.process.check()?;
        if begun.elapsed() > patience(alive) {
            let state = subject.process.log();
            return Err(Error::TooSlow { what: "the first sync".into(), seconds: begun.elapsed().as_secs(), state });
        }
        sleep(Duration::from_millis(20)).await;
    }
    world.settle(subject, target, QUIET, patience(alive)).await
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Relist {
    /// Peak memory, and memory after that; bytes.
    pub(crate) peak: u64,
    pub(crate) steady: u64,
    /// From the request for the first page to the start of the watch.
    pub(crate) seconds: f64,
    pub(crate) processor: f64,
    pub(crate) counts: Counts,
    pub(crate) truth: Truth,
}

/// Expires the history of the API server, so that everything is listed again.
pub(crate) async fn relist(world: &World, subject: &mut Subject, target: &Target) -> Result<Relist> {
    let alive = world.cluster.stats().await?.alive;
    target.recorder.reset();
    world.cluster.order("reset").await?;
    subject.process.reset_peak()?;
    let before = subject.process.processor_time()?;
    world.cluster.order("expire").await?;
    subject
        .process
        .until("another list", patience(alive), async || {
            let stats = world.cluster.stats().await?;
            let Marks { watch_at, lists, delivered_all_at, .. } = stats.marks;
            let again = watch_at > 0 && lists > 0 || delivered_all_at > 0;
            Ok(again.then_some(()).ok_or_else(|| format!("{stats:?}")))
        })
        .await?;
    let Marks { first_page_at, watch_at, delivered_all_at, .. } = world.cluster.stats().await?.marks;
    let truth = world.settle(subject, target, QUIET, patience(alive)).await?;
    sleep(REST).await;
    let memory = subject.process.memory()?;
    Ok(Relist {
        peak: memory.peak,
        steady: memory.now,
        seconds: wide(watch_at.max(delivered_all_at).saturating_sub(first_page_at)) / 1e9,
        processor: subject.process.processor_time()?.saturating_sub(before).as_secs_f64(),
        counts: target.recorder.counts(),
        truth,
    })
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Churned {
    /// Replaced pods per second: the wanted rate, and the achieved one.
    pub(crate) wanted: u64,
    pub(crate) rate: f64,
    /// Three per replaced pod.
    pub(crate) events: u64,
    pub(crate) delays: Delays,
    /// Processor microseconds per event.
    pub(crate) processor: f64,
    pub(crate) counts: Counts,
    pub(crate) truth: Truth,
}

/// Replaces pods at a rate for some seconds, and waits until the registry equals the cluster.
pub(crate) async fn churn(
    world: &World,
    subject: &mut Subject,
    target: &Target,
    rate: u64,
    seconds: u64,
) -> Result<Churned> {
    target.recorder.reset();
    let before = subject.process.processor_time()?;
    let begun = Instant::now();
    world.cluster.order(&format!("churn?rate={rate}&seconds={seconds}")).await?;
    let (mut lasted, mut replaced) = (Duration::ZERO, 0);
    loop {
        let stats = world.cluster.stats().await?;
        if !stats.churning {
            break;
        }
        if stats.replaced > replaced {
            (lasted, replaced) = (begun.elapsed(), stats.replaced);
        }
        subject.process.check()?;
        sleep(Duration::from_millis(100)).await;
    }
    let alive = world.cluster.stats().await?.alive;
    let truth = world.settle(subject, target, QUIET, patience(alive)).await?;
    let stats = world.cluster.stats().await?;
    let spent = subject.process.processor_time()?.saturating_sub(before);
    let processor = spent.as_secs_f64() * 1e6 / wide(stats.changes.max(1));
    let counts = target.recorder.counts();
    let events = world.cluster.events().await?;
    let delays = Delays::of(&events, &target.recorder.take_arrivals());
    Ok(Churned {
        wanted: rate,
        rate: wide(stats.replaced) / lasted.as_secs_f64().clamp(wide(seconds), wide(seconds) * 2.0),
        events: stats.changes,
        delays,
        processor,
        counts,
        truth,
    })
}
