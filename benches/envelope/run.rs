//! The order of the steps, and their rows in the table.

use std::time::Duration;

use crate::{
    described::{self, Form, Reconciled},
    error::Result,
    options::{Options, Rows},
    own::{self, Footprint, Repair},
    phases::{self, Churned, FirstSync, Relist},
    report::{Report, Unit},
    stats::wide,
    subject::{Kind, Subject},
    world::{Places, Target, World},
};

/// Records per batch, at most.
const BATCH: u64 = 500;
/// The row of both clients that read a list.
const LIST: &str = "list";
/// Differences that a resync has to find.
const DIFFERENCES: [usize; 3] = [0, 10, 10_000];

pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) places: &'a Places,
    pub(crate) report: Report,
}

impl Run<'_> {
    /// pod-registrar with these flags besides those of every run.
    pub(crate) fn ours(&self, more: &[&str]) -> Kind {
        Kind::Ours { binary: self.options.binary.clone(), flags: self.flags(more) }
    }

    /// The same with a registry that a file describes.
    fn described(&self, form: Form, more: &[&str]) -> Kind {
        Kind::Described { binary: self.options.binary.clone(), flags: self.flags(more), form }
    }

    fn flags(&self, more: &[&str]) -> Vec<String> {
        // The rate limit protects registries, and would hide the other limits.
        let own = ["--max-writes-per-second", "1000000"];
        own.iter().chain(more).map(|flag| (*flag).to_owned()).chain(self.options.flag.iter().cloned()).collect()
    }

    async fn world(&self, pods: u32) -> Result<World> {
        World::start(pods, self.options, self.places).await
    }

    /// Measures pod-registrar and its peers with the stand-in.
    pub(crate) async fn all(&mut self, peers: &[Kind]) -> Result<()> {
        if self.options.wants(Rows::Footprint) {
            let (kind, world) = (self.ours(&[]), self.world(0).await?);
            let footprint = own::footprint(&world, &kind, &self.options.binary).await?;
            self.add_footprint(&kind.name(), &footprint);
        }
        if self.options.rows == [Rows::Footprint] {
            return Ok(());
        }
        let world = self.world(self.options.pods).await?;
        let (seconds, megabytes) = phases::read_only(&world).await?;
        self.report.add("read only", LIST, None, Unit::Seconds, seconds);
        self.report
            .note(format!("A list has {megabytes:.0} MB. A client that discards it reads it in {seconds:.2} s."));
        let steady = self.of_ours(&world, seconds).await?;
        for form in &self.options.described {
            self.of_described(&world, *form, steady).await?;
        }
        for kind in peers {
            self.of_both(&world, kind).await?;
        }
        Ok(())
    }

    /// The steps for pod-registrar and for its peers.
    async fn of_both(&mut self, world: &World, kind: &Kind) -> Result<(Subject, Target, FirstSync)> {
        let name = kind.name();
        let target = Target::of(kind, &world.places).await?;
        let (mut subject, sync) = phases::first_sync(world, kind, &target).await?;
        self.add_sync(&name, &sync);
        if self.options.wants(Rows::Memory) && *kind != Kind::Reflector {
            let relist = phases::relist(world, &mut subject, &target).await?;
            self.add_relist(&name, &relist, sync.steady);
        }
        if self.options.wants(Rows::Latency) {
            let Options { rate, seconds, .. } = *self.options;
            let churned = phases::churn(world, &mut subject, &target, rate, seconds).await?;
            self.add_churn(&name, &churned);
        }
        Ok((subject, target, sync))
    }

    /// Returns the memory after the first sync, in bytes.
    async fn of_ours(&mut self, world: &World, read_only: f64) -> Result<u64> {
        let kind = self.ours(&[]);
        let name = kind.name();
        let (mut subject, mut target, sync) = self.of_both(world, &kind).await?;
        if let Some(list) = sync.list_seconds {
            self.report.add(
                &name,
                "share of the API server in the list",
                Some(">= 0.85"),
                Unit::Ratio,
                read_only / list,
            );
        }
        self.report.require(&name)?;
        if self.options.wants(Rows::Restart) {
            let (again, restarted) = own::restart(world, &kind, &target, subject).await?;
            self.add_restart(&name, &restarted);
            subject = again;
        }
        if self.options.wants(Rows::Repair) {
            self.repairs(world, &mut target, subject).await?;
        }
        self.report.require(&name)?;
        Ok(sync.steady)
    }

    /// The steps for a target that a file describes. `without` is the memory of a run with protocol v1.
    async fn of_described(&mut self, world: &World, form: Form, without: u64) -> Result<()> {
        let kind = self.described(form, &[]);
        let name = kind.name();
        let (mut subject, target, sync) = self.of_both(world, &kind).await?;
        let beyond = described::beyond(sync.steady, without, u64::from(self.options.pods));
        self.report.add(&name, "memory per record beyond protocol v1, bytes", Some("<= 200"), Unit::Count, beyond);
        self.add_turn(&name, "first sync and churn", &subject);
        if self.options.names(Rows::Restart) {
            let (again, restarted) = own::restart(world, &kind, &target, subject).await?;
            self.add_restart(&name, &restarted);
            self.add_turn(&name, "restart", &again);
            subject = again;
        }
        if self.options.names(Rows::Repair) {
            let interval = self.resync_interval();
            let kind = self.described(form, &["--resync-interval", &format!("{}s", interval.as_secs())]);
            let (mut subject, _) = own::restart(world, &kind, &target, subject).await?;
            let reconciled = described::reconcile(&mut subject, &target, interval).await?;
            self.add_reconcile(&name, &reconciled);
            self.add_turn(&name, "full reconcile", &subject);
        }
        self.report.require(&name)
    }

    fn resync_interval(&self) -> Duration {
        let seconds = self.options.resync_seconds.unwrap_or(10 + u64::from(self.options.pods) / 25_000);
        Duration::from_secs(seconds)
    }

    async fn repairs(&mut self, world: &World, target: &mut Target, before: Subject) -> Result<()> {
        let (pods, interval) = (self.options.pods, self.resync_interval());
        let kind = self.ours(&["--resync-interval", &format!("{}s", interval.as_secs())]);
        let (mut subject, _) = own::restart(world, &kind, target, before).await?;
        for wanted in DIFFERENCES {
            let wanted = wanted.min(pods as usize / 2);
            let found = own::repair(world, &mut subject, target, wanted, interval).await?;
            self.add_repair(&kind.name(), &found);
        }
        Ok(())
    }

    fn add_footprint(&mut self, name: &str, footprint: &Footprint) {
        let Footprint { binary, idle, live } = *footprint;
        self.report.add(name, "executable", Some("<= 14 MB"), Unit::Bytes, wide(binary));
        self.report.add(name, "memory without pods", Some("<= 8 MB"), Unit::Bytes, wide(idle));
        self.report.add(name, "start to first answer of /livez", Some("<= 50 ms"), Unit::Milliseconds, live);
    }

    fn add_sync(&mut self, name: &str, sync: &FirstSync) {
        let (report, pods) = (&mut self.report, u64::from(self.options.pods));
        let (task, steady) = ("memory after the first sync", wide(sync.steady));
        let goal = if pods <= 150_000 { "<= 60 MB" } else { "<= 300 MB" };
        report.add(name, task, Some(goal), Unit::Bytes, steady);
        report.truth(name, task, sync.truth);
        report.add(name, "memory per pod in bytes", None, Unit::Count, steady / wide(pods));
        report.add(
            name,
            "first list: peak / steady memory",
            Some("<= 1.5"),
            Unit::Ratio,
            wide(sync.peak_list) / steady,
        );
        report.add(name, "first sync: peak / steady memory", None, Unit::Ratio, wide(sync.peak) / steady);
        if let Some(seconds) = sync.list_seconds {
            report.add(name, LIST, None, Unit::Seconds, seconds);
        }
        report.add(name, "first sync", None, Unit::Seconds, sync.whole_seconds);
        report.truth(name, "first sync", sync.truth);
        let least = pods.div_ceil(BATCH).to_string();
        report.add(name, "first sync: requests", Some(&least), Unit::Count, wide(sync.counts.writes));
        report.add(name, "first sync: processor time", None, Unit::Seconds, sync.processor);
    }

    fn add_relist(&mut self, name: &str, relist: &Relist, steady: u64) {
        let (report, task) = (&mut self.report, "re-list: peak / steady memory");
        report.add(name, task, Some("<= 1.5"), Unit::Ratio, wide(relist.peak) / wide(steady));
        report.truth(name, task, relist.truth);
        report.add(name, "re-list: memory after it", None, Unit::Bytes, wide(relist.steady));
        report.add(name, "re-list", None, Unit::Seconds, relist.seconds);
        report.add(name, "re-list: processor time", None, Unit::Seconds, relist.processor);
        let writes = wide(relist.counts.puts + relist.counts.deletes);
        report.add(name, "re-list: records written", Some("0"), Unit::Count, writes);
    }

    fn add_churn(&mut self, name: &str, churned: &Churned) {
        let (Churned { wanted, delays, counts, truth, .. }, report) = (*churned, &mut self.report);
        for (value, goal, which) in [
            (delays.p50, None, "p50"),
            (delays.p99, Some("<= 10 ms"), "p99"),
            (delays.p999, None, "p99.9"),
            (delays.wire_p99, None, "p99 from the socket"),
        ] {
            let task = format!("change to request, {which}, {wanted} pods/s");
            report.add(name, &task, goal, Unit::Milliseconds, value);
            report.truth(name, &task, truth);
        }
        let task = "processor time per event";
        report.add(name, task, Some("<= 40 us"), Unit::Microseconds, churned.processor);
        report.truth(name, task, truth);
        let requests = 1e3 * wide(counts.writes) / wide(churned.events);
        report.add(name, "requests per 1000 events", None, Unit::Count, requests);
        report.note(format!(
            "{name}: {:.0} pods/s were replaced, with {} events (per pod: deleted, created, running). {} were reported by a \
             request, {} were outdated before.",
            churned.rate, churned.events, delays.reported, delays.unreported
        ));
    }

    fn add_restart(&mut self, name: &str, sync: &FirstSync) {
        let (report, steady) = (&mut self.report, wide(sync.steady));
        let writes = wide(sync.counts.puts + sync.counts.deletes);
        report.add(name, "restart: records written", Some("0"), Unit::Count, writes);
        report.truth(name, "restart: records written", sync.truth);
        report.add(name, "restart: digest requests", Some("1"), Unit::Count, wide(sync.counts.digests));
        report.add(name, "restart: inventory pages", None, Unit::Count, wide(sync.counts.pages));
        report.add(name, "restart: memory", None, Unit::Bytes, steady);
        report.add(name, "restart: peak / steady memory", Some("<= 1.5"), Unit::Ratio, wide(sync.peak) / steady);
        if let Some(seconds) = sync.list_seconds {
            report.add(name, "restart: list", None, Unit::Seconds, seconds);
        }
    }

    /// The longest turn of the event loop since the start of the process.
    fn add_turn(&mut self, name: &str, step: &str, subject: &Subject) {
        let longest = described::longest_turn(&subject.process.log());
        let task = format!("{step}: longest turn of the event loop");
        self.report.add(name, &task, Some("<= 50 ms"), Unit::Milliseconds, longest);
    }

    fn add_reconcile(&mut self, name: &str, reconciled: &Reconciled) {
        let (Reconciled { processor, seconds, pages, writes }, report) = (*reconciled, &mut self.report);
        report.add(name, "full reconcile: processor time", Some("<= 5 s"), Unit::Seconds, processor);
        report.add(name, "full reconcile: records written", Some("0"), Unit::Count, wide(writes));
        report.note(format!("{name}: a full reconcile read {pages} pages in {seconds:.2} s."));
    }

    fn add_repair(&mut self, name: &str, repair: &Repair) {
        let (report, differences) = (&mut self.report, repair.differences);
        let goal = if self.options.pods <= 150_000 { "<= 0.2 s" } else { "<= 1.5 s" };
        let task = format!("resync with {differences} differences: processor time");
        report.add(name, &task, Some(goal), Unit::Seconds, repair.finding);
        let task = format!("{task} with writes");
        report.add(name, &task, None, Unit::Seconds, repair.processor);
        report.truth(name, &task, repair.truth);
        report.note(format!(
            "Resync with {differences} differences: {} in {:.2} s, with {} writing requests and {} inventory pages.",
            if repair.exact { "exactly these were repaired" } else { "OTHER records were written" },
            repair.seconds,
            repair.writes,
            repair.pages
        ));
    }
}
