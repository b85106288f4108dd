//! The envelope: how much memory, time and processor pod-registrar takes for how many pods, measured from outside.
//!
//! `cargo bench --bench envelope -- --pods N` prints the table. The program is measured as it is released, as a process of
//! its own, between a stand-in for the API server that can hold a million pods and the reference registry, beside a
//! controller made of kube's reflector and, where it is there, one written with client-go. After each step the registry is
//! compared with the cluster: figures of a run that lost or invented a record do not count, and the bench fails.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table for people is what this program is for")]

mod chart;
mod clients;
mod cluster;
mod error;
mod growth;
mod http;
mod latency;
mod operations;
mod options;
mod own;
mod peers;
mod phases;
mod pods;
mod process;
mod real;
mod recorder;
mod registry;
mod report;
mod run;
mod stand_in;
mod stats;
mod subject;
mod taker;
mod truth;
mod world;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use error::{Error, Result};
use growth::Points;
use options::{Options, Part, Program};
use process::Reaper;
use report::Report;
use run::Run;

/// Where files stay in memory.
const IN_MEMORY: &str = "/dev/shm";

/// Says something while the bench runs.
fn say(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        // Whoever runs all targets as tests does not mean to wait for minutes.
        say("nothing is measured without being asked for: cargo bench --bench envelope -- --pods 10000");
        return ExitCode::SUCCESS;
    }
    let Program { part, options } = Program::parse();
    let result = match part {
        Some(Part::StandIn(options)) => stand_in::run(options).await,
        Some(Part::ReadOnly { api }) => clients::read_only(&api).await,
        Some(Part::Reflector(options)) => clients::reflect(&options).await,
        Some(Part::Reaper) => {
            process::reap();
            Ok(())
        }
        None => until_interrupted(options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("envelope: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn until_interrupted(options: Options) -> Result<()> {
    let mut told = signal(SignalKind::terminate()).map_err(Error::Serve)?;
    tokio::select! {
        result = drive(options) => result,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        _ = told.recv() => Err(Error::Interrupted),
    }
}

async fn drive(options: Options) -> Result<()> {
    let reaper = Reaper::start()?;
    let folder = |path: &str| {
        let made = tempfile::Builder::new().prefix("envelope-").tempdir_in(path);
        made.map_err(|cause| Error::File { path: path.into(), cause })
    };
    let temporary = std::env::temp_dir().to_string_lossy().into_owned();
    let scratch = folder(IN_MEMORY).or_else(|_| folder(&temporary))?;
    let work = folder(&temporary)?;
    let logs: PathBuf = options.logs.clone().unwrap_or_else(|| work.path().to_owned());
    std::fs::create_dir_all(&logs).map_err(|cause| Error::File { path: logs.clone(), cause })?;
    let mut report = Report::told_to(say);
    let run = Run { options: &options, logs: &logs, scratch: scratch.path(), reaper: &reaper };
    report.note(machine());
    let mut points = Points::default();
    let result = if let Some(kubeconfig) = &options.real {
        run.real(kubeconfig, work.path(), &mut report).await
    } else if options.growth {
        run.growth(work.path(), &mut report, &mut points).await
    } else {
        let others = peers::chosen(&options, options.pods, work.path(), &mut report)?;
        run.all(&others, &mut report, &mut points).await
    };
    let ours = run.ours(&[]).name();
    let what = match (&options.real, options.growth) {
        (Some(_), _) => "A real control plane".to_owned(),
        (None, true) => format!("Growth, seed {}", options.seed),
        (None, false) => format!("{} pods, seed {}", options.pods, options.seed),
    };
    println!("\n{what}\n{}", report.table(&ours));
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    if let Some(folder) = &options.charts {
        points.draw(folder)?;
    }
    result?;
    report.untrue(&ours).map_or(Ok(()), truth::Truth::require)
}

/// What everything ran on.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{processors} processors; {load} processes wanted one at the beginning.")
}
