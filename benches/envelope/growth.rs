//! How memory, sync time and processor time grow with the number of pods, and the charts of what was measured.

use std::path::Path;

use crate::{
    chart::{Chart, Series},
    error::{Error, Result},
    peers, phases,
    report::{Report, Unit},
    run::Run,
    stats::{Line, wide},
};

/// The sizes that are measured, up to the largest that is wanted.
const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Points of lines, by what they show and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Points(Vec<(&'static str, Series)>);

impl Points {
    /// Notes a point.
    pub(crate) fn add(&mut self, shows: &'static str, name: &str, x: f64, y: f64) {
        let found = self.0.iter_mut().find(|(known, series)| *known == shows && series.name == name);
        match found {
            Some((_, series)) => series.points.push((x, y)),
            None => self.0.push((shows, Series { name: name.to_owned(), points: vec![(x, y)] })),
        }
    }

    fn of(&self, shows: &str) -> Vec<Series> {
        self.0.iter().filter(|(known, _)| *known == shows).map(|(_, series)| series.clone()).collect()
    }

    /// Draws what there are points of.
    pub(crate) fn draw(&self, folder: &Path) -> Result<()> {
        let failed = |cause| Error::File { path: folder.to_owned(), cause };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let charts = [
            ("memory.svg", Chart { title: "Memory by pods", x: "pods", y: "MB", limit: None, series: self.of(MEMORY) }),
            (
                "latency.svg",
                Chart {
                    title: "From a pod's change to the request, by churn",
                    x: "pods replaced a second",
                    y: "ms",
                    limit: Some((1_000.0, "lag of 1 s")),
                    series: self.of(LATENCY),
                },
            ),
        ];
        for (name, chart) in charts {
            if let Some(svg) = chart.svg() {
                std::fs::write(folder.join(name), svg).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// What points show: MB by pods, and milliseconds by pods replaced a second.
pub(crate) const MEMORY: &str = "memory";
pub(crate) const LATENCY: &str = "latency";

impl Run<'_> {
    /// Measures one size after the other, of ours and of the others where they have room.
    pub(crate) async fn growth(&self, work: &Path, report: &mut Report, points: &mut Points) -> Result<()> {
        let mut figures: [Vec<(f64, f64)>; 3] = Default::default();
        for pods in SIZES.into_iter().filter(|pods| *pods <= self.options.growth_to) {
            let world = self.world(pods).await?;
            let ours = self.ours(&[]);
            for kind in std::iter::once(ours.clone()).chain(peers::chosen(self.options, pods, work, report)?) {
                let name = kind.name();
                let target = world.target(&kind).await?;
                let (_subject, sync) = phases::first_sync(&world, &kind, &target).await?;
                let seconds = sync.list_seconds.unwrap_or(sync.whole_seconds);
                report.add(&name, &format!("memory of {pods} pods"), None, Unit::Bytes, wide(sync.steady));
                report.truth(&name, &format!("memory of {pods} pods"), sync.truth, sync.counts.twice);
                report.add(&name, &format!("peak of {pods} pods"), None, Unit::Bytes, wide(sync.peak));
                report.add(&name, &format!("list of {pods} pods"), None, Unit::Seconds, seconds);
                report.add(&name, &format!("processor time of {pods} pods"), None, Unit::Seconds, sync.processor);
                points.add(MEMORY, &name, f64::from(pods), wide(sync.steady) / 1e6);
                if kind == ours {
                    sync.truth.require()?;
                    for (all, value) in figures.iter_mut().zip([wide(sync.steady), seconds, sync.processor]) {
                        all.push((f64::from(pods), value));
                    }
                }
            }
        }
        for (all, (what, unit)) in figures.iter().zip([("memory", "bytes"), ("list", "s"), ("processor time", "s")]) {
            if let Some(Line { slope, intercept, r_squared }) = Line::through(all) {
                report.note(format!(
                    "Growth of {what}: {intercept:.3} {unit} and {slope:.9} {unit} a pod, R2 = {r_squared:.4}."
                ));
            }
        }
        Ok(())
    }
}
