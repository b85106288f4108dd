//! The steps for pod-registrar alone: a start without pods, a restart without changes, and resyncs that repair records.

use std::{collections::BTreeSet, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    error::{Error, Result},
    phases::{FirstSync, first_sync},
    stats::{median, wide},
    subject::{Kind, Subject},
    truth::Truth,
    world::{Target, World},
};

/// Starts that are measured.
const STARTS: usize = 5;
/// Time until the memory of an idle process is stable.
const IDLE: Duration = Duration::from_secs(5);
/// Time over which the processor time of an idle process is measured.
const QUIET: Duration = Duration::from_secs(3);
/// Time limit of a start.
const LIVE_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(crate) struct Footprint {
    /// Bytes of the executable.
    pub(crate) binary: u64,
    /// Bytes of memory without pods.
    pub(crate) idle: u64,
    /// Milliseconds from the start to the first answer of `/livez`, a median.
    pub(crate) live: f64,
}

/// Measures it in a world without pods.
pub(crate) async fn footprint(world: &World, kind: &Kind, binary: &Path) -> Result<Footprint> {
    let file = std::fs::metadata(binary).map_err(Error::in_step(binary.display().to_string()))?;
    let target = Target::of(kind, &world.places).await?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let mut subject = world.subject(kind, &target).await?;
        subject.live(LIVE_WITHIN).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        subject.process.stop().await?;
    }
    let subject = world.subject(kind, &target).await?;
    sleep(IDLE).await;
    let idle = subject.process.memory()?.now;
    Ok(Footprint { binary: file.len(), idle, live: median(&times).unwrap_or_default() })
}

/// Stops the controller and starts it again while nothing changes.
pub(crate) async fn restart(
    world: &World,
    kind: &Kind,
    target: &Target,
    before: Subject,
) -> Result<(Subject, FirstSync)> {
    before.process.stop().await?;
    first_sync(world, kind, target).await
}

/// A resync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repair {
    /// The number of records that were made to differ.
    pub(crate) differences: usize,
    /// Processor seconds from the start of the registry until the first write, or until a second after the answer if
    /// nothing differs. The processor time of an idle controller is subtracted.
    pub(crate) finding: f64,
    /// The same, until a second after everything was repaired.
    pub(crate) processor: f64,
    /// Seconds from the first request of the resync to the last write.
    pub(crate) seconds: f64,
    /// Whether exactly the differing records were written.
    pub(crate) exact: bool,
    pub(crate) writes: u64,
    pub(crate) pages: u64,
    pub(crate) truth: Truth,
}

/// Makes records differ while the registry is stopped, and waits for the resync that repairs them.
pub(crate) async fn repair(
    world: &World,
    subject: &mut Subject,
    target: &mut Target,
    differences: usize,
    interval: Duration,
) -> Result<Repair> {
    let registry = target.registry.as_mut().ok_or("there is no registry").map_err(Error::in_step("repair"))?;
    registry.stop().await?;
    let spoiled: BTreeSet<u128> = registry.spoil(differences)?.into_iter().collect();
    registry.resume().await?;
    target.recorder.reset();
    let (before, returned) = (subject.process.processor_time()?, Instant::now());
    let within = interval * 3 + Duration::from_secs(60);
    let recorder = target.recorder.clone();
    subject
        .process
        .until("a resync", within, async || {
            let counts = recorder.counts();
            let compared = counts.digests > counts.unanswered && counts.digests > 0;
            Ok(compared.then_some(()).ok_or_else(|| format!("{counts:?}")))
        })
        .await?;
    let begun = target.recorder.counts().last_digests_at;
    if !spoiled.is_empty() {
        let writes = async || {
            let counts = recorder.counts();
            Ok((counts.writes > 0).then_some(()).ok_or_else(|| format!("{counts:?}")))
        };
        subject.process.until("a repair", within, writes).await?;
    }
    let (found, found_after) = (subject.process.processor_time()?, returned.elapsed());
    // A repaired record is the one that was sent before.
    let truth = Truth { twice: 0, ..world.settle(subject, target, interval, within).await? };
    // Includes the work after the answer, if nothing differs.
    sleep(Duration::from_secs(1)).await;
    let (after, lasted) = (subject.process.processor_time()?, returned.elapsed());
    sleep(QUIET).await;
    let idle = subject.process.processor_time()?.saturating_sub(after).as_secs_f64() / QUIET.as_secs_f64();
    let spent = |until: Duration, in_time: Duration| {
        (until.saturating_sub(before).as_secs_f64() - idle * in_time.as_secs_f64()).max(0.0)
    };
    let processor = spent(after, lasted);
    let counts = target.recorder.counts();
    let written: BTreeSet<u128> = target.recorder.take_arrivals().iter().map(|arrival| arrival.uid).collect();
    Ok(Repair {
        differences: spoiled.len(),
        finding: if spoiled.is_empty() { processor } else { spent(found, found_after) },
        processor,
        seconds: wide(counts.last_write_at.saturating_sub(begun)) / 1e9,
        exact: written == spoiled,
        writes: counts.writes,
        pages: counts.pages,
        truth,
    })
}
