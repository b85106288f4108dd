//! The envelope: the memory, time and processor time that pod-registrar takes, measured from outside.
//!
//! `cargo bench --bench envelope -- --pods N` prints a table. It measures the released program as a process, between a
//! stand-in for the API server and the reference registry, beside peers: a controller made of kube's reflector and one
//! written with client-go. After each step the bench compares the registry with the cluster, and it fails if a record
//! was lost, invented or sent twice.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for the terminal")]

mod clients;
mod cluster;
mod described;
mod error;
mod http;
mod inventory;
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
mod sink;
mod stand_in;
mod stats;
mod subject;
mod truth;
mod world;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use error::{Error, Result};
use options::{Options, Part, Program};
use report::Report;
use run::Run;
use world::Places;

/// Prints a line while the bench runs.
fn say(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        // `cargo test --benches` runs every bench without arguments.
        say("nothing was measured; use: cargo bench --bench envelope -- --pods 10000");
        return ExitCode::SUCCESS;
    }
    // reqwest is built without a provider of its own. An error means that one is installed.
    _ = rustls::crypto::ring::default_provider().install_default();
    let Program { part, options } = Program::parse();
    let result = match part {
        Some(Part::StandIn(options)) => stand_in::run(options).await,
        Some(Part::ReadOnly { api }) => clients::read_only(&api).await,
        Some(Part::Reflector(options)) => clients::reflect(&options).await,
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
    let mut terminated = signal(SignalKind::terminate()).map_err(Error::in_step("signals"))?;
    tokio::select! {
        result = drive(options) => result,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        _ = terminated.recv() => Err(Error::Interrupted),
    }
}

async fn drive(options: Options) -> Result<()> {
    let folder = || Error::in_step("a temporary folder");
    // In memory if possible.
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).map_err(folder())?;
    let work = tempfile::tempdir().map_err(folder())?;
    let logs = options.logs.clone().unwrap_or_else(|| work.path().to_owned());
    std::fs::create_dir_all(&logs).map_err(Error::in_step(logs.display().to_string()))?;
    let (scratch, binary, sink) = (scratch.path().to_owned(), options.binary.clone(), options.sink);
    let places = Places { logs, scratch, binary, sink };
    let mut run = Run { options: &options, places: &places, report: Report::printed_by(say) };
    run.report.note(machine());
    let result = if let Some(kubeconfig) = &options.real {
        run.real(kubeconfig, work.path()).await
    } else {
        let peers = peers::chosen(&options, options.pods, work.path(), &mut run.report)?;
        run.all(&peers).await
    };
    let ours = run.ours(&[]).name();
    let what = match &options.real {
        Some(_) => "A real control plane".to_owned(),
        None => format!("{} pods, seed {}", options.pods, options.seed),
    };
    println!("\n{what}\n{}", run.report.table(&ours));
    if let Some(path) = &options.json {
        run.report.write(path)?;
    }
    result?;
    run.report.require(&ours)
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{processors} processors; load average {load} at the start.")
}
