//! The run: what is measured in which order, and which row of the table it becomes.

use std::{path::Path, time::Duration};

use crate::{
    error::Result,
    growth::{LATENCY, MEMORY, Points},
    options::{Options, Rows},
    own::{self, Footprint, Repair},
    phases::{self, Churned, FirstSync, Relist},
    process::Reaper,
    report::{Report, Unit},
    stats::wide,
    subject::{Kind, Subject},
    world::{Target, World},
};

/// Records in a batch, at most.
const BATCH: u64 = 500;
/// The longest lag with which churn counts as kept up with, in milliseconds.
const LAG: f64 = 1_000.0;
/// For how long each rate of the ramp goes on.
const RAMP_SECONDS: u64 = 10;
/// Differences that a comparison has to find.
const DIFFERENCES: [usize; 3] = [0, 10, 10_000];

/// What all parts of a run need.
pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) logs: &'a Path,
    pub(crate) scratch: &'a Path,
    pub(crate) reaper: &'a Reaper,
}

impl Run<'_> {
    /// Our controller.
    pub(crate) fn ours(&self, more: &[&str]) -> Kind {
        // The limit on writes is there to spare registries, and what is measured is what lies behind it.
        let own = ["--max-writes-per-second", "1000000"];
        let flags = own.iter().chain(more).map(|flag| (*flag).to_owned()).chain(self.options.flag.iter().cloned());
        Kind::Ours { binary: self.options.binary.clone(), flags: flags.collect() }
    }

    pub(crate) async fn world(&self, pods: u32) -> Result<World> {
        World::start(pods, self.options, self.logs, self.scratch, self.reaper).await
    }

    /// All rows, of ours and of the others.
    pub(crate) async fn all(&self, others: &[Kind], report: &mut Report, points: &mut Points) -> Result<()> {
        if self.options.wants(Rows::Footprint) {
            let kind = self.ours(&[]);
            let footprint = own::footprint(&self.world(0).await?, &kind, &self.options.binary).await?;
            add_footprint(report, &kind.name(), &footprint);
        }
        let only_footprint = self.options.rows == [Rows::Footprint];
        if only_footprint {
            return Ok(());
        }
        let world = self.world(self.options.pods).await?;
        let (seconds, megabytes) = phases::read_only(&world).await?;
        report.add("read only", "list, taken in", None, Unit::Seconds, seconds);
        report.note(format!("A list of {megabytes:.0} MB; a client that throws it away reads it in {seconds:.2} s."));
        self.of_ours(&world, seconds, report, points).await?;
        for kind in others {
            self.of_other(&world, kind, report, points).await?;
        }
        Ok(())
    }

    async fn of_ours(&self, world: &World, read_only: f64, report: &mut Report, points: &mut Points) -> Result<()> {
        let kind = self.ours(&[]);
        let name = kind.name();
        let mut target = world.target(&kind).await?;
        let (mut subject, sync) = phases::first_sync(world, &kind, &target).await?;
        add_sync(report, &name, &sync, u64::from(self.options.pods));
        points.add(MEMORY, &name, f64::from(self.options.pods), wide(sync.steady) / 1e6);
        if let Some(list) = sync.list_seconds {
            let task = "share of the list that is the API server's own";
            report.add(&name, task, Some(">= 0.85"), Unit::Times, read_only / list);
        }
        sync.truth.require()?;
        if self.options.wants(Rows::Memory) {
            let relist = phases::relist(world, &mut subject, &target).await?;
            add_relist(report, &name, &relist, sync.steady);
            relist.truth.require()?;
        }
        let mut best = None;
        if self.options.wants(Rows::Latency) {
            let Options { rate, seconds, .. } = *self.options;
            let churned = phases::churn(world, &mut subject, &target, rate, seconds).await?;
            add_churn(report, &name, &churned);
            add_points(points, &name, &churned);
            churned.truth.require()?;
            best = Some(churned).filter(|churned| churned.delays.p99 <= LAG);
        }
        if self.options.wants(Rows::Ramp) {
            self.ramp(world, &mut subject, &target, best, report, points).await?;
        }
        if self.options.wants(Rows::Restart) {
            let (again, restarted) = own::restart(world, &kind, &target, subject).await?;
            add_restart(report, &name, &restarted);
            restarted.truth.require()?;
            subject = again;
        }
        if self.options.wants(Rows::Repair) {
            self.repairs(world, &mut target, subject, report).await?;
        }
        Ok(())
    }

    async fn ramp(
        &self,
        world: &World,
        subject: &mut Subject,
        target: &Target,
        mut best: Option<Churned>,
        report: &mut Report,
        points: &mut Points,
    ) -> Result<()> {
        let name = &self.ours(&[]).name();
        let task = "lossless churn, pods a second with a lag under 1 s";
        for rate in &self.options.ramp {
            let churned = phases::churn(world, subject, target, *rate, RAMP_SECONDS).await?;
            churned.truth.require()?;
            add_points(points, name, &churned);
            let Churned { delays, rate: came, counts, .. } = churned;
            report.note(format!(
                "At {rate} pods/s asked, {came:.0} came: p50 {:.1} ms, p99 {:.0} ms; {}; {} requests for {} events.",
                delays.p50, delays.p99, churned.processor, counts.writes, churned.events
            ));
            report.add(name, &format!("p99 at {rate} pods/s"), None, Unit::Milliseconds, delays.p99);
            report.truth(name, &format!("p99 at {rate} pods/s"), churned.truth, counts.twice);
            if delays.p99 > LAG {
                break;
            }
            best = best.filter(|best| best.rate > came).or(Some(churned));
            // Where the server itself falls behind, more cannot be asked of it.
            if came < 0.95 * wide(*rate) {
                break;
            }
        }
        if let Some(best) = best {
            report.add(name, task, Some(">= 4000/s"), Unit::PerSecond, best.rate);
            report.truth(name, task, best.truth, best.counts.twice);
        }
        Ok(())
    }

    async fn repairs(&self, world: &World, target: &mut Target, before: Subject, report: &mut Report) -> Result<()> {
        let pods = self.options.pods;
        let seconds = self.options.resync_seconds.unwrap_or(10 + u64::from(pods) / 25_000);
        let interval = Duration::from_secs(seconds);
        let every = format!("{seconds}s");
        let kind = self.ours(&["--resync-interval", &every]);
        let (mut subject, _) = own::restart(world, &kind, target, before).await?;
        for wanted in DIFFERENCES {
            let wanted = wanted.min(pods as usize / 2);
            let found = own::repair(world, &mut subject, target, wanted, interval).await?;
            add_repair(report, &kind.name(), &found, pods);
            found.truth.require()?;
        }
        Ok(())
    }

    async fn of_other(&self, world: &World, kind: &Kind, report: &mut Report, points: &mut Points) -> Result<()> {
        let name = kind.name();
        let target = world.target(kind).await?;
        let (mut subject, sync) = phases::first_sync(world, kind, &target).await?;
        add_sync(report, &name, &sync, u64::from(self.options.pods));
        points.add(MEMORY, &name, f64::from(self.options.pods), wide(sync.steady) / 1e6);
        if self.options.wants(Rows::Memory) && *kind != Kind::Reflector {
            let relist = phases::relist(world, &mut subject, &target).await?;
            add_relist(report, &name, &relist, sync.steady);
        }
        if self.options.wants(Rows::Latency) {
            let Options { rate, seconds, .. } = *self.options;
            let churned = phases::churn(world, &mut subject, &target, rate, seconds).await?;
            add_churn(report, &name, &churned);
        }
        Ok(())
    }
}

fn add_footprint(report: &mut Report, name: &str, footprint: &Footprint) {
    let Footprint { binary, image, idle, live } = *footprint;
    report.add(name, "binary", Some("<= 12 MB"), Unit::Bytes, wide(binary));
    match image {
        Some(bytes) => {
            report.add(name, "image, compressed", Some("<= 10 MB"), Unit::Bytes, wide(bytes));
        }
        None => report.note("The image's executable is not built: .ci/build FILE builds it."),
    }
    report.add(name, "memory without pods", Some("<= 8 MB"), Unit::Bytes, wide(idle));
    report.add(name, "start to live", Some("<= 50 ms"), Unit::Milliseconds, live);
}

fn add_sync(report: &mut Report, name: &str, sync: &FirstSync, pods: u64) {
    let goal = if pods <= 150_000 { "<= 60 MB" } else { "<= 300 MB" };
    report.add(name, "memory after the first sync", Some(goal), Unit::Bytes, wide(sync.steady));
    report.truth(name, "memory after the first sync", sync.truth, sync.counts.twice);
    report.add(name, "bytes a pod", None, Unit::Count, wide(sync.steady) / wide(pods));
    let steady = wide(sync.steady);
    report.add(name, "peak in the first list, to steady", Some("<= 1.5"), Unit::Times, wide(sync.peak_list) / steady);
    report.add(name, "peak until all is registered, to steady", None, Unit::Times, wide(sync.peak) / steady);
    if let Some(seconds) = sync.list_seconds {
        report.add(name, "list, taken in", None, Unit::Seconds, seconds);
    }
    report.add(name, "first registration of all", None, Unit::Seconds, sync.whole_seconds);
    report.truth(name, "first registration of all", sync.truth, sync.counts.twice);
    let least = format!("{}", pods.div_ceil(BATCH));
    report.add(name, "requests for it", Some(&least), Unit::Count, wide(sync.counts.writes));
    report.add(name, "processor time of the first sync", None, Unit::Seconds, sync.processor);
}

fn add_relist(report: &mut Report, name: &str, relist: &Relist, steady: u64) {
    let task = "peak in a list anew, to steady";
    report.add(name, task, Some("<= 1.5"), Unit::Times, wide(relist.peak) / wide(steady));
    report.truth(name, task, relist.truth, relist.counts.twice);
    report.add(name, "memory after a list anew", None, Unit::Bytes, wide(relist.steady));
    report.add(name, "list anew", None, Unit::Seconds, relist.seconds);
    report.add(name, "processor time of a list anew", None, Unit::Seconds, relist.processor);
    report.add(
        name,
        "writes after a list anew",
        Some("0"),
        Unit::Count,
        wide(relist.counts.puts + relist.counts.deletes),
    );
}

fn add_churn(report: &mut Report, name: &str, churned: &Churned) {
    let Churned { asked, delays, counts, truth, .. } = *churned;
    let goals = [None, Some("<= 10 ms"), None, None];
    let values = [delays.p50, delays.p99, delays.p999, delays.wire_p99];
    let names = ["p50", "p99", "p99.9", "p99 from the socket"];
    for ((value, goal), which) in values.into_iter().zip(goals).zip(names) {
        let task = format!("change to request, {which}, {asked} pods/s");
        report.add(name, &task, goal, Unit::Milliseconds, value);
        report.truth(name, &task, truth, counts.twice);
    }
    report.add(name, "processor time an event", Some("<= 40 us"), Unit::Microseconds, churned.processor.controller);
    report.truth(name, "processor time an event", truth, counts.twice);
    report.add(name, "requests for 1000 events", None, Unit::Count, 1e3 * wide(counts.writes) / wide(churned.events));
    report.note(format!(
        "{name}: {:.0} pods/s came, {} events (a pod deleted, one created, the same one running half a second later), {} \
         told, {} passed over for later ones; {}.",
        churned.rate, churned.events, delays.told, delays.untold, churned.processor
    ));
}

fn add_points(points: &mut Points, name: &str, churned: &Churned) {
    points.add(LATENCY, &format!("{name} p50"), churned.rate, churned.delays.p50);
    points.add(LATENCY, &format!("{name} p99"), churned.rate, churned.delays.p99);
}

fn add_restart(report: &mut Report, name: &str, sync: &FirstSync) {
    let writes = sync.counts.puts + sync.counts.deletes;
    report.add(name, "restart: records written", Some("0"), Unit::Count, wide(writes));
    report.truth(name, "restart: records written", sync.truth, sync.counts.twice);
    report.add(name, "restart: digest exchanges", Some("1"), Unit::Count, wide(sync.counts.digests));
    report.add(name, "restart: inventory pages", None, Unit::Count, wide(sync.counts.pages));
    report.add(name, "restart: memory", None, Unit::Bytes, wide(sync.steady));
    report.add(name, "restart: peak, to steady", Some("<= 1.5"), Unit::Times, wide(sync.peak) / wide(sync.steady));
    if let Some(seconds) = sync.list_seconds {
        report.add(name, "restart: list, taken in", None, Unit::Seconds, seconds);
    }
}

fn add_repair(report: &mut Report, name: &str, repair: &Repair, pods: u32) {
    let goal = if pods <= 150_000 { "<= 0.2 s" } else { "<= 1.5 s" };
    let task = format!("comparison that finds {}: processor time", repair.differences);
    report.add(name, &task, Some(goal), Unit::Seconds, repair.finding);
    let task = format!("{task}, with the writing");
    report.add(name, &task, None, Unit::Seconds, repair.processor);
    report.truth(name, &task, repair.truth, 0);
    report.note(format!(
        "Comparison of {} differences: {} after {:.2} s, {} requests that write, {} pages read.",
        repair.differences,
        if repair.exact { "exactly those were repaired" } else { "NOT exactly those were written" },
        repair.seconds,
        repair.writes,
        repair.pages
    ));
}
